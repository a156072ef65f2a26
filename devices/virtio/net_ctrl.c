/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control queue [virtio 1.3 5.1.6.5]. A command is
 *
 *	device reads:   class u8, command u8, what the command wants
 *	device writes:  ack u8: 0 done, 1 not
 *
 * and there is one: how many pairs of queues the driver uses. Whatever else it says is
 * answered with an error and changes nothing.
 */
#include "devices/virtio/net_priv.h"
#include "vmm/base/le.h"

/* class, command, virtqueue_pairs u16 */
enum { CLASS, COMMAND, PAIRS, LEN = 4 };

static bool set_up(const struct virtio_net *n, unsigned pairs)
{
	for (unsigned i = 0; i < VIRTIO_NET_QUEUES * pairs; i++)
		if (!n->v.queues[i].running)
			return false;
	return true;
}

static bool obey(struct virtio_net *n, const struct virtq_chain *c)
{
	uint8_t wire[LEN];
	unsigned pairs;

	if (c->read_len != LEN || virtq_chain_read(c, 0, wire, LEN) != LEN ||
	    wire[CLASS] != VIRTIO_NET_CTRL_MQ || wire[COMMAND] != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET ||
	    !(n->v.features & VIRTIO_NET_F_MQ))
		return false;
	pairs = le16_get(wire + PAIRS);
	if (!pairs || pairs > n->n_pairs || !set_up(n, pairs) || !net_use_pairs(n, pairs))
		return false;
	/* What was offered before anybody was to look. */
	for (unsigned i = 0; i < VIRTIO_NET_QUEUES * pairs; i++)
		virtio_kick(&n->v, i);
	return true;
}

void net_ctrl_run(struct virtio_net *n)
{
	unsigned index = net_control_queue(n), taken = 0;

	while (virtio_pop(&n->v, index, &taken, &n->command)) {
		uint8_t ack;

		if (!n->command.write_len) {
			virtio_fail(&n->v, "a command without room for its answer");
			return;
		}
		ack = obey(n, &n->command) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
		virtq_chain_write(&n->command, n->v.gm, 0, &ack, sizeof(ack));
		virtq_push(&n->v.queues[index], n->command.head, sizeof(ack));
	}
	virtio_publish(&n->v, index);
}
