/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/net_rig.h"

#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t ring_at(unsigned queue)
{
	return 0x10000ull + 0x10000ull * queue;
}

static void clear_rings(struct net_rig *r)
{
	for (unsigned q = 0; q < VIRTIO_NET_QUEUES; q++)
		virtq_driver_init(&r->d[q], &r->gm, ring_at(q), NET_RIG_QUEUE);
}

struct net_rig *net_rig_create(unsigned offloads, uint16_t mtu)
{
	struct net_rig *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	r->clock = fake_clock_wire(&r->time);
	const struct virtio_net_options options = {
		.name = "net0", .mac = {0x52, 0x54, 0, 0, 1, 2}, .clock = &r->clock};

	log_set_level(LOG_QUIET);
	guest_mem_init(&r->gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_add(&r->gm, 0, NET_RIG_RAM, -1, 0, NULL), 0);
	r->loop = loop_create();
	r->net = fake_net_create(offloads);
	r->net->net.mtu = mtu;
	r->net->destroyed = &r->destroyed;
	struct net *backend = &r->net->net;

	assert_int_equal(virtio_net_init(&r->n, &backend, 1, &options, &r->gm, r->loop), 0);
	fake_transport_init(&r->t, &r->n.v);
	clear_rings(r);
	return r;
}

void net_rig_destroy(struct net_rig *r)
{
	virtio_set_status(&r->n.v, 0);
	loop_settle(r->loop);
	virtio_net_fini(&r->n);
	assert_true(r->destroyed);
	loop_destroy(r->loop);
	guest_mem_fini(&r->gm);
	free(r);
}

void net_rig_go(struct net_rig *r, uint64_t features)
{
	virtio_driver_start(&r->n.v, features, r->d, VIRTIO_NET_QUEUES);
	loop_settle(r->loop);
}

void net_rig_reset(struct net_rig *r)
{
	virtio_set_status(&r->n.v, 0);
	loop_settle(r->loop);
	assert_int_equal(virtio_status(&r->n.v), 0);
	clear_rings(r);
}

static void *pause_it(void *arg)
{
	struct net_rig *r = arg;

	return virtio_pause(&r->n.v, 20000) ? r : NULL;
}

void net_rig_pause(struct net_rig *r)
{
	pthread_t thread;
	void *failed = r;

	/* It waits for the loop, which is ours. */
	assert_int_equal(pthread_create(&thread, NULL, pause_it, r), 0);
	while (pthread_tryjoin_np(thread, &failed))
		loop_settle(r->loop);
	assert_null(failed);
}

void net_rig_adopt_ram(struct net_rig *r, const struct net_rig *from)
{
	memcpy(guest_mem_hva(&r->gm, 0, NET_RIG_RAM), guest_mem_hva(&from->gm, 0, NET_RIG_RAM),
	       NET_RIG_RAM);
	for (unsigned q = 0; q < VIRTIO_NET_QUEUES; q++) {
		r->d[q] = from->d[q];
		r->d[q].gm = &r->gm;
	}
}

uint8_t *net_rig_at(struct net_rig *r, uint64_t gpa)
{
	uint8_t *p = guest_mem_hva(&r->gm, gpa, 1);

	assert_non_null(p);
	return p;
}

void net_rig_kick(struct net_rig *r, unsigned queue)
{
	virtio_kick(&r->n.v, queue);
	loop_settle(r->loop);
}

bool net_rig_used(struct net_rig *r, unsigned queue)
{
	return virtq_driver_take_used(&r->d[queue], &r->used_id, &r->used_len);
}

uint16_t net_rig_give(struct net_rig *r, unsigned i, uint32_t len)
{
	const struct vd_buf buf = {NET_RIG_BUF(i), len, true};

	memset(guest_mem_hva(&r->gm, buf.gpa, len), NET_RIG_UNTOUCHED, len);
	uint16_t head = virtq_driver_offer(&r->d[VIRTIO_NET_RX], &buf, 1);

	net_rig_kick(r, VIRTIO_NET_RX);
	return head;
}

bool net_rig_send(struct net_rig *r, const uint8_t header[VIRTIO_NET_HDR_LEN], uint32_t len)
{
	const struct vd_buf bufs[] = {{NET_RIG_TX, VIRTIO_NET_HDR_LEN, false},
				      {NET_RIG_TX + VIRTIO_NET_HDR_LEN, len, false}};
	uint8_t *frame = net_rig_at(r, NET_RIG_TX + VIRTIO_NET_HDR_LEN);

	memcpy(net_rig_at(r, NET_RIG_TX), header, VIRTIO_NET_HDR_LEN);
	for (uint32_t i = 0; i < len; i++)
		frame[i] = (uint8_t)i;
	uint16_t head = virtq_driver_offer(&r->d[VIRTIO_NET_TX], bufs, 2);

	net_rig_kick(r, VIRTIO_NET_TX);
	if (!net_rig_used(r, VIRTIO_NET_TX))
		return false;
	assert_int_equal(r->used_id, head);
	assert_int_equal(r->used_len, 0);
	return true;
}

bool net_rig_send_plain(struct net_rig *r, uint32_t len)
{
	static const uint8_t header[VIRTIO_NET_HDR_LEN];

	return net_rig_send(r, header, len);
}

int net_rig_setup(void **state)
{
	*state = net_rig_create(NET_RIG_ALL_OFFLOADS, 0);
	return 0;
}

int net_rig_teardown(void **state)
{
	net_rig_destroy(*state);
	return 0;
}

bool net_rig_holds(const uint8_t *p, size_t len, uint8_t seed)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != (uint8_t)(seed + i))
			return false;
	return true;
}

void net_rig_put_header(uint8_t h[VIRTIO_NET_HDR_LEN], uint8_t flags, uint8_t gso, uint16_t hdr_len,
			uint16_t gso_size, uint16_t csum_start, uint16_t csum_offset)
{
	memset(h, 0, VIRTIO_NET_HDR_LEN);
	h[0] = flags;
	h[1] = gso;
	le16_put(h + 2, hdr_len);
	le16_put(h + 4, gso_size);
	le16_put(h + 6, csum_start);
	le16_put(h + 8, csum_offset);
}
