/* SPDX-License-Identifier: Apache-2.0 */
/* vsock: configuration, events and the device's life. Connections are the business of
 * vsock_conn.c, packets that of vsock_rx.c and vsock_tx.c, or of whoever vsock_rings.c lends
 * the rings to. */
#include "devices/virtio/vsock_priv.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* Event ids and struct virtio_vsock_event [virtio 1.3 5.10.6.7]. */
enum { EVENT_TRANSPORT_RESET = 0, EVENT_LEN = 4 };

/* The host's end of a connection that the host begins; what servers listen at is below. */
enum { HOST_PORT_FIRST = 1 << 30, HOST_PORTS = 1 << 30 };

enum { QUEUE_SIZE = VIRTQ_SIZE_MAX, EVENT_QUEUE_SIZE = 16, PAUSE_MS = 1000 };

static uint64_t config_read(void *dev, uint32_t off, unsigned size)
{
	const struct virtio_vsock *s = dev;

	return s->cid >> 8 * off & size_mask(size);
}

/* --- what goes without the guest's asking ------------------------------------------------- */

static void send_event(struct virtio_vsock *s)
{
	uint8_t event[EVENT_LEN];
	unsigned taken = 0;

	if (s->restored && virtio_pop(&s->v, VIRTIO_VSOCK_EVENT, &taken, &s->rx_chain)) {
		if (s->rx_chain.write_len < sizeof(event)) {
			virtio_fail(&s->v, "a buffer too small for an event");
			return;
		}
		le32_put(event, EVENT_TRANSPORT_RESET);
		virtq_chain_write(&s->rx_chain, s->v.gm, 0, event, sizeof(event));
		virtq_push(&s->v.queues[VIRTIO_VSOCK_EVENT], s->rx_chain.head, sizeof(event));
		s->restored = false;
	}
	virtio_publish(&s->v, VIRTIO_VSOCK_EVENT);
}

/* The backend's open(). */
static int open_conn(void *ctx, uint32_t port, int fd, void *who)
{
	struct virtio_vsock *s = ctx;
	struct vsock_conn *c;
	uint32_t host_port;

	if (s->n_conns >= s->conns_max)
		return -ENOBUFS;
	/* There are more ports than connections. */
	do {
		s->last_port = (s->last_port + 1) % HOST_PORTS;
		host_port = HOST_PORT_FIRST + s->last_port;
	} while (vsock_conn_find(s, port, host_port));
	c = vsock_conn_new(s, port, host_port, fd, VSOCK_ASKED);
	if (!c)
		return -ENOMEM;
	c->who = who;
	c->owed = VSOCK_OWED_REQUEST;
	vsock_conn_wake(c);
	vsock_rx_run(s);
	return 0;
}

/* --- life ------------------------------------------------------------------------------------ */

/* The backend's broken(). */
static void on_broken(void *ctx)
{
	struct virtio_vsock *s = ctx;

	vsock_rings_reclaim(s);
	virtio_fail(&s->v, "a descriptor chain or ring index breaks the rules");
}

static void started(void *dev, unsigned lane)
{
	struct virtio_vsock *s = dev;
	const struct vsock_backend_ops *b = s->backend->ops;
	const char *why = NULL;

	s->attached = vsock_conns_watch(s) &&
		      !(b->attach && b->attach(s->backend, virtio_loop(&s->v, 0)));
	if (!s->attached)
		why = "the host has no resources for its sockets";
	else if (b->take_rings)
		why = vsock_rings_lend(s);
	if (why)
		virtio_fail(&s->v, why);
}

static void queue_ready(void *dev, unsigned index)
{
	struct virtio_vsock *s = dev;

	if (index == VIRTIO_VSOCK_RX)
		vsock_rx_run(s);
	else if (index == VIRTIO_VSOCK_TX)
		vsock_tx_run(s);
	else
		send_event(s);
}

/* What the guest has sent it need not send again, be it that it powers off. */
static void quiesce(void *dev, unsigned lane)
{
	struct virtio_vsock *s = dev;

	if (s->backend->ops->take_rings)
		vsock_rings_reclaim(s);
	else
		vsock_tx_finish(s);
	if (s->attached && s->backend->ops->detach)
		s->backend->ops->detach(s->backend);
	s->attached = false;
	vsock_conns_unwatch(s);
	virtio_quiesced(&s->v, lane);
}

/* The driver knows of no connection any more. What it has sent goes its way, with the next
 * driver or at the end. */
static void reset(void *dev)
{
	struct virtio_vsock *s = dev;

	vsock_conns_leave_all(s);
	s->n_strays = 0;
	s->tx_waits = false;
	s->restored = false;
}

static void save(void *dev, struct state_writer *w)
{
	const struct virtio_vsock *s = dev;

	state_put_u64(w, s->cid);
}

/* Another CID is lawful: the driver looks after TRANSPORT_RESET [virtio 1.3 5.10.6.7]. */
static int load(void *dev, struct state_reader *r, struct err *e)
{
	struct virtio_vsock *s = dev;
	uint64_t cid = state_get_u64(r);

	if (r->error || cid < VIRTIO_VSOCK_CID_MIN || cid > VIRTIO_VSOCK_CID_MAX)
		return err_host(e, -EBADMSG, "saved state: %s: not of a vsock", s->v.name);
	s->restored = true;
	return 0;
}

static const struct virtio_ops ops = {
	.device_id = VIRTIO_ID_VSOCK,
	.config_read = config_read,
	.started = started,
	.queue_ready = queue_ready,
	.quiesce = quiesce,
	.reset = reset,
	.save = save,
	.load = load,
};

int virtio_vsock_init(struct virtio_vsock *s, struct vsock_backend *backend,
		      const struct virtio_vsock_options *options, struct guest_mem *gm,
		      struct loop *loop)
{
	const uint16_t sizes[VIRTIO_VSOCK_QUEUES] = {QUEUE_SIZE, QUEUE_SIZE, EVENT_QUEUE_SIZE};
	int ret;

	assert(options->cid >= VIRTIO_VSOCK_CID_MIN && options->cid <= VIRTIO_VSOCK_CID_MAX);
	assert(options->conns_max && options->conns_max <= VIRTIO_VSOCK_CONNS_MAX);
	memset(s, 0, sizeof(*s));
	TAILQ_INIT(&s->ready);
	s->cid = options->cid;
	s->conns_max = options->conns_max;
	s->backend = backend;
	backend->open = open_conn;
	backend->broken = on_broken;
	backend->ctx = s;
	/* Streams are implied where nothing is negotiated; this says that there is nothing
	 * else, SEQPACKET for one. */
	ret = virtio_init(&s->v, &ops, s, options->name, gm, loop, VIRTIO_VSOCK_F_STREAM,
			  VIRTIO_VSOCK_CFG_LEN, VIRTIO_VSOCK_QUEUES, sizes);
	if (ret)
		virtio_vsock_fini(s);
	return ret;
}

void virtio_vsock_fini(struct virtio_vsock *s)
{
	uint64_t left = 0;

	if (s->v.ops && !virtio_pause(&s->v, PAUSE_MS))
		left = vsock_conns_drain(s, VIRTIO_VSOCK_DRAIN_MS);
	if (left)
		log_warn("%s: its readers took no more; %lu bytes from the guest are lost",
			 s->v.name, left);
	virtio_fini(&s->v);
	vsock_conns_free_all(s);
	vsock_backend_destroy(s->backend);
	s->backend = NULL;
}
