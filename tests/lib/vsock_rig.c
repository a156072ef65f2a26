/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/vsock_rig.h"

#include "devices/virtio/vsock_priv.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define RINGS 0x10000ull
#define RX    0x100000ull
#define TX    (RX + (uint64_t)VR_SLOT * VR_SLOTS)
#define RAM   (64 * MiB)

struct vsock_rig *vr_create(bool threaded)
{
	static const struct virtio_vsock_options options = {"vsock", VR_CID,
							    VIRTIO_VSOCK_CONNS_MAX};
	struct vsock_rig *r = calloc(1, sizeof(*r));
	int ret = 0;

	assert_non_null(r);
	log_set_level(LOG_QUIET);
	guest_mem_init(&r->gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_add(&r->gm, 0, RAM, -1, 0, NULL), 0);
	if (threaded)
		r->thread = io_thread_create("vsock", &ret);
	r->loop = threaded ? io_thread_loop(r->thread) : loop_create();
	r->b = fake_vsock_create();
	r->alloc = 1 << 20;
	r->features = VIRTIO_F_VERSION_1;
	assert_int_equal(virtio_vsock_init(&r->s, &r->b->b, &options, &r->gm, r->loop), 0);
	fake_transport_init(&r->t, &r->s.v);
	return r;
}

void vr_settle(struct vsock_rig *r)
{
	if (!r->thread)
		loop_settle(r->loop);
}

void vr_start(struct vsock_rig *r)
{
	for (unsigned i = 0; i < 3; i++)
		virtq_driver_init(&r->q[i], &r->gm, RINGS + i * 0x8000, i == 2 ? 16 : VR_SIZE);
	r->rx_given = 0;
	virtio_driver_start(&r->s.v, r->features, r->q, 3);
	vr_settle(r);
	assert_int_equal(virtio_status(&r->s.v), VR_LIVE);
}

void vr_destroy(struct vsock_rig *r)
{
	virtio_set_status(&r->s.v, 0);
	vr_settle(r);
	virtio_vsock_fini(&r->s);
	if (r->thread)
		io_thread_destroy(r->thread);
	else
		loop_destroy(r->loop);
	guest_mem_fini(&r->gm);
	free(r);
}

static uint8_t *ram(const struct vsock_rig *r, uint64_t gpa)
{
	uint8_t *p = guest_mem_hva(&r->gm, gpa, VR_SLOT);

	assert_non_null(p);
	return p;
}

/* Cut [gpa, gpa+len) into pieces; gives how many. */
static unsigned cut(struct vd_buf *bufs, uint64_t gpa, uint32_t len, uint32_t piece, bool write)
{
	unsigned n = 0;

	for (uint32_t off = 0; off < len; off += piece) {
		assert_true(n < VR_SIZE);
		bufs[n++] =
			(struct vd_buf){gpa + off, len - off < piece ? len - off : piece, write};
	}
	return n;
}

/* A chain's place in RAM follows from its head. */
void vr_give(struct vsock_rig *r, unsigned n, uint32_t len, uint32_t piece)
{
	struct vd_buf bufs[VR_SIZE];

	for (unsigned i = 0; i < n; i++) {
		uint16_t head = r->q[VIRTIO_VSOCK_RX].next_desc;

		virtq_driver_offer(&r->q[VIRTIO_VSOCK_RX], bufs,
				   cut(bufs, RX + (uint64_t)VR_SLOT * head, len, piece, true));
	}
	r->rx_given += n;
	virtio_kick(&r->s.v, VIRTIO_VSOCK_RX);
	vr_settle(r);
}

struct packet vr_packet(const struct vsock_rig *r, uint16_t op, uint32_t guest_port,
			uint32_t host_port)
{
	return (struct packet){
		.src_cid = VR_CID,
		.dst_cid = VR_HOST,
		.src_port = guest_port,
		.dst_port = host_port,
		.type = 1,
		.op = op,
		.buf_alloc = r->alloc,
		.fwd_cnt = r->fwd,
	};
}

void vr_offer(struct vsock_rig *r, const struct packet *p, const void *payload, uint32_t len,
	      uint32_t piece)
{
	uint64_t gpa = TX + (uint64_t)VR_SLOT * (r->next_slot++ % VR_SLOTS);
	struct vd_buf bufs[VR_SIZE];
	uint8_t *h = ram(r, gpa);

	le64_put(h, p->src_cid);
	le64_put(h + 8, p->dst_cid);
	le32_put(h + 16, p->src_port);
	le32_put(h + 20, p->dst_port);
	le32_put(h + 24, p->len);
	le16_put(h + 28, p->type);
	le16_put(h + 30, p->op);
	le32_put(h + 32, p->flags);
	le32_put(h + 36, p->buf_alloc);
	le32_put(h + 40, p->fwd_cnt);
	if (len)
		memcpy(h + VR_HDR, payload, len);
	virtq_driver_offer(&r->q[VIRTIO_VSOCK_TX], bufs,
			   cut(bufs, gpa, VR_HDR + len, piece, false));
}

static void wait_used(struct vsock_rig *r, unsigned queue, uint32_t *id, uint32_t *len)
{
	unsigned tries = 0;

	vr_settle(r);
	while (!virtq_driver_take_used(&r->q[queue], id, len)) {
		assert_non_null(r->thread);
		assert_true(++tries < 50000);
		usleep(200);
	}
}

void vr_send(struct vsock_rig *r, const struct packet *p, const void *payload, uint32_t len)
{
	uint32_t id, used;

	vr_offer(r, p, payload, len, VR_SLOT);
	virtio_kick(&r->s.v, VIRTIO_VSOCK_TX);
	wait_used(r, VIRTIO_VSOCK_TX, &id, &used);
	assert_int_equal(used, 0);
}

void vr_op(struct vsock_rig *r, uint16_t op, uint32_t guest_port, uint32_t host_port)
{
	const struct packet p = vr_packet(r, op, guest_port, host_port);

	vr_send(r, &p, NULL, 0);
}

void vr_shutdown(struct vsock_rig *r, uint32_t guest_port, uint32_t host_port, uint32_t flags)
{
	struct packet p = vr_packet(r, SHUTDOWN, guest_port, host_port);

	p.flags = flags;
	vr_send(r, &p, NULL, 0);
}

void vr_data(struct vsock_rig *r, uint32_t guest_port, uint32_t host_port, const void *bytes,
	     uint32_t len)
{
	struct packet p = vr_packet(r, RW, guest_port, host_port);

	p.len = len;
	vr_send(r, &p, bytes, len);
}

bool vr_take(struct vsock_rig *r, struct packet *p)
{
	uint32_t id, len;

	vr_settle(r);
	if (!virtq_driver_take_used(&r->q[VIRTIO_VSOCK_RX], &id, &len))
		return false;
	assert_true(len >= VR_HDR);
	r->rx_given--;
	const uint8_t *h = ram(r, RX + (uint64_t)VR_SLOT * id);

	*p = (struct packet){
		.src_cid = le64_get(h),
		.dst_cid = le64_get(h + 8),
		.src_port = le32_get(h + 16),
		.dst_port = le32_get(h + 20),
		.len = le32_get(h + 24),
		.type = le16_get(h + 28),
		.op = le16_get(h + 30),
		.flags = le32_get(h + 32),
		.buf_alloc = le32_get(h + 36),
		.fwd_cnt = le32_get(h + 40),
		.payload = h + VR_HDR,
		.used = len,
	};
	return true;
}

struct packet vr_expect(struct vsock_rig *r, uint16_t op, uint32_t guest_port, uint32_t host_port)
{
	struct packet p;
	unsigned tries = 0;

	while (!vr_take(r, &p)) {
		if (!r->thread || ++tries >= 50000)
			fail_msg("no packet; op %u of %u, %u was due", op, guest_port, host_port);
		usleep(200);
	}
	if (p.op != op || p.dst_port != guest_port || p.src_port != host_port)
		fail_msg("op %u to %u from %u; op %u to %u from %u was due", p.op, p.dst_port,
			 p.src_port, op, guest_port, host_port);
	assert_int_equal(p.src_cid, VR_HOST);
	assert_int_equal(p.dst_cid, VR_CID);
	assert_int_equal(p.type, 1);
	assert_int_equal(p.used, VR_HDR + p.len);
	assert_true(op == RW ? p.len : !p.len);
	if (op != SHUTDOWN)
		assert_int_equal(p.flags, 0);
	if (op != RST)
		assert_int_equal(p.buf_alloc, VIRTIO_VSOCK_BUFFER);
	return p;
}

void vr_expect_nothing(struct vsock_rig *r)
{
	struct packet p;

	if (vr_take(r, &p))
		fail_msg("op %u to %u from %u; nothing was due", p.op, p.dst_port, p.src_port);
}

int vr_connect(struct vsock_rig *r, uint32_t guest_port, uint32_t host_port)
{
	vr_op(r, REQUEST, guest_port, host_port);
	vr_expect(r, RESPONSE, guest_port, host_port);
	unsigned last = __atomic_load_n(&r->b->n_ends, __ATOMIC_ACQUIRE) - 1;

	assert_int_equal(r->b->ports[last], host_port);
	return fake_vsock_end(r->b, last);
}

const char *vr_read(int fd)
{
	static char text[65536];
	ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	if (n < 0) {
		if (errno == ECONNRESET)
			return "";
		assert_int_equal(errno, EAGAIN);
		return NULL;
	}
	text[n] = '\0';
	return text;
}

void vr_write(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* --- what several tests do ------------------------------------------------------------------ */

uint8_t vr_pattern(size_t i)
{
	return (uint8_t)(i * 7 + i / 251);
}

uint32_t vr_fill(struct vsock_rig *r, uint32_t guest_port, uint32_t host_port, uint32_t want)
{
	struct vsock_conn *c = vsock_conn_find(&r->s, guest_port, host_port);
	uint8_t bytes[4096];
	uint32_t sent = 0, waits;

	while ((waits = c->came - c->fwd) < want) {
		uint32_t n = want - waits < sizeof(bytes) ? want - waits : sizeof(bytes);

		for (uint32_t i = 0; i < n; i++)
			bytes[i] = vr_pattern(sent + i);
		vr_data(r, guest_port, host_port, bytes, n);
		sent += n;
	}
	return sent;
}

void vr_read_pattern(struct vsock_rig *r, int fd, size_t from, size_t n)
{
	static uint8_t bytes[32768];

	while (n) {
		ssize_t got = recv(fd, bytes, n < sizeof(bytes) ? n : sizeof(bytes), MSG_DONTWAIT);

		if (got < 0) {
			assert_int_equal(errno, EAGAIN);
			vr_settle(r);
			continue;
		}
		assert_true(got > 0);
		for (ssize_t i = 0; i < got; i++)
			assert_int_equal(bytes[i], vr_pattern(from + (size_t)i));
		from += (size_t)got;
		n -= (size_t)got;
	}
}

int vr_idle(void **state)
{
	*state = vr_create(false);
	return 0;
}

int vr_live(void **state)
{
	struct vsock_rig *r = vr_create(false);

	vr_start(r);
	vr_give(r, 64, 4096, 4096);
	*state = r;
	return 0;
}

int vr_threaded(void **state)
{
	struct vsock_rig *r = vr_create(true);

	vr_start(r);
	vr_give(r, 64, 4096, 4096);
	*state = r;
	return 0;
}

int vr_teardown(void **state)
{
	if (*state)
		vr_destroy(*state);
	return 0;
}
