/* SPDX-License-Identifier: Apache-2.0 */
/* The socket device from its driver's side: half-closes, ends of all kinds, resets, the end of the
 * machine, two threads at once, its state. */
#include "tests/lib/vsock_rig.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define FIRST_PORT (1u << 30) /* of the host's own connections */

/* --- ends ---------------------------------------------------------------------------------- */

static void test_guest_has_said_all(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);
	struct packet p;

	vr_data(r, 1000, 52, "last words", 10);
	vr_shutdown(r, 1000, 52, NO_SEND);
	assert_string_equal(vr_read(fd), "last words");
	assert_string_equal(vr_read(fd), "");
	/* The other half lives on. */
	vr_write(fd, "answer");
	p = vr_expect(r, RW, 1000, 52);
	assert_memory_equal(p.payload, "answer", 6);
	vr_expect_nothing(r);
	close(fd);
	p = vr_expect(r, SHUTDOWN, 1000, 52);
	assert_int_equal(p.flags, NEITHER);
	vr_op(r, RST, 1000, 52);
	vr_expect_nothing(r);
	assert_int_equal(r->s.n_conns, 0);
}

static void test_host_has_said_all(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);
	struct packet p;

	vr_write(fd, "question");
	shutdown(fd, SHUT_WR);
	p = vr_expect(r, RW, 1000, 52);
	assert_memory_equal(p.payload, "question", 8);
	p = vr_expect(r, SHUTDOWN, 1000, 52);
	assert_int_equal(p.flags, NO_SEND);
	vr_data(r, 1000, 52, "still heard", 11);
	assert_string_equal(vr_read(fd), "still heard");
	vr_expect_nothing(r);
	/* The guest closes, and gets the answer that ends it. */
	vr_shutdown(r, 1000, 52, NEITHER);
	assert_string_equal(vr_read(fd), "");
	vr_expect(r, RST, 1000, 52);
	vr_expect_nothing(r);
	assert_int_equal(r->s.n_conns, 0);
	close(fd);
}

static void test_host_closes(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);
	struct packet p;

	vr_write(fd, "bye");
	close(fd);
	p = vr_expect(r, RW, 1000, 52);
	assert_memory_equal(p.payload, "bye", 3);
	p = vr_expect(r, SHUTDOWN, 1000, 52);
	assert_int_equal(p.flags, NEITHER);
	/* What the guest sent before it knew goes nowhere, and costs it no credit. */
	vr_data(r, 1000, 52, "too late", 8);
	vr_op(r, CREDIT_REQUEST, 1000, 52);
	p = vr_expect(r, CREDIT_UPDATE, 1000, 52);
	assert_int_equal(p.fwd_cnt, 8);
	vr_op(r, RST, 1000, 52);
	vr_expect_nothing(r);
	assert_int_equal(r->s.n_conns, 0);
}

/* It goes without having read what was there for it. */
static void test_host_aborts(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);

	vr_data(r, 1000, 52, "unread", 6);
	close(fd);
	vr_expect(r, RST, 1000, 52);
	vr_expect_nothing(r);
	assert_int_equal(r->s.n_conns, 0);
}

/* It only stops reading: it is the guest's sending that ends. */
static void test_host_stops_reading(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);
	struct packet p;

	shutdown(fd, SHUT_RD);
	vr_settle(r);
	vr_data(r, 1000, 52, "unwanted", 8);
	p = vr_expect(r, SHUTDOWN, 1000, 52);
	assert_int_equal(p.flags, NO_RECEIVE);
	vr_write(fd, "but this");
	p = vr_expect(r, RW, 1000, 52);
	assert_memory_equal(p.payload, "but this", 8);
	close(fd);
	p = vr_expect(r, SHUTDOWN, 1000, 52);
	assert_int_equal(p.flags, NEITHER);
}

static void test_guest_stops_reading(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);

	vr_shutdown(r, 1000, 52, NO_RECEIVE);
	assert_true(send(fd, "x", 1, MSG_NOSIGNAL) < 0);
	assert_int_equal(errno, EPIPE);
	vr_data(r, 1000, 52, "still sends", 11);
	assert_string_equal(vr_read(fd), "still sends");
	vr_expect_nothing(r);
	/* The bits of several packets add up. */
	vr_shutdown(r, 1000, 52, NO_SEND);
	assert_string_equal(vr_read(fd), "");
	vr_expect(r, RST, 1000, 52);
	assert_int_equal(r->s.n_conns, 0);
	close(fd);
}

/* All that the guest has sent comes before the end of it, and RST tells it so. */
static void test_guest_closes_on_a_slow_reader(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);
	uint32_t sent = vr_fill(r, 1000, 52, 100000);
	struct packet p;

	vr_shutdown(r, 1000, 52, NEITHER);
	while (vr_take(r, &p))
		assert_int_equal(p.op, CREDIT_UPDATE);
	vr_read_pattern(r, fd, 0, sent - 100000); /* until the rest is in the socket */
	vr_read_pattern(r, fd, sent - 100000, 100000);
	assert_string_equal(vr_read(fd), "");
	do
		assert_true(vr_take(r, &p));
	while (p.op == CREDIT_UPDATE);
	assert_int_equal(p.op, RST);
	vr_expect_nothing(r);
	close(fd);
}

/* It does not wait for that as long as it takes; the host gets everything all the same, and
 * the guest may use its ports again. */
static void test_guest_gives_up_on_a_slow_reader(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52), again;
	uint32_t sent = vr_fill(r, 1000, 52, 100000);
	struct packet p;

	vr_shutdown(r, 1000, 52, NEITHER);
	vr_op(r, RST, 1000, 52);
	while (vr_take(r, &p))
		assert_int_equal(p.op, CREDIT_UPDATE);
	assert_int_equal(r->s.n_conns, 1);
	again = vr_connect(r, 1000, 52);
	vr_read_pattern(r, fd, 0, sent);
	vr_settle(r);
	assert_string_equal(vr_read(fd), "");
	assert_int_equal(r->s.n_conns, 1);
	vr_data(r, 1000, 52, "new", 3);
	assert_string_equal(vr_read(again), "new");
	vr_expect_nothing(r);
	close(fd);
	close(again);
}

/* A reader that went while something waited for it. */
static void test_an_orphan_without_a_reader(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);

	vr_fill(r, 1000, 52, 1000);
	vr_op(r, RST, 1000, 52);
	assert_int_equal(r->s.n_conns, 1);
	close(fd);
	vr_settle(r);
	assert_int_equal(r->s.n_conns, 0);
}

/* --- the driver comes and goes ------------------------------------------------------------- */

static void test_reset_ends_connections(void **state)
{
	struct vsock_rig *r = *state;

	for (unsigned i = 0; i < 200; i++) {
		int fd = vr_connect(r, 1000, 52), asked = fake_vsock_open(r->b, 80, NULL);
		unsigned answers = r->b->n_answers;

		vr_expect(r, REQUEST, 80, FIRST_PORT + i + 1);
		vr_data(r, 1000, 52, "something", 9);
		vr_write(fd, "not read any more");
		virtio_kick(&r->s.v, VIRTIO_VSOCK_RX);
		virtio_set_status(&r->s.v, 0);
		vr_settle(r);
		assert_int_equal(virtio_status(&r->s.v), 0);
		assert_int_equal(r->s.n_conns, 0);
		assert_false(r->b->attached);
		assert_string_equal(vr_read(fd), "something");
		assert_string_equal(vr_read(fd), "");
		assert_string_equal(vr_read(asked), "");
		assert_int_equal(r->b->n_answers, answers);
		close(fd);
		close(asked);
		vr_start(r);
		vr_give(r, 16, 4096, 4096);
		vr_expect_nothing(r);
	}
}

/* What lies in the ring when the driver resets the device was sent. */
static void test_reset_takes_what_was_offered(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);
	struct packet p = vr_packet(r, RW, 1000, 52);

	p.len = 10;
	vr_offer(r, &p, "last words", 10, 4096);
	virtio_set_status(&r->s.v, 0);
	vr_settle(r);
	assert_int_equal(virtio_status(&r->s.v), 0);
	assert_string_equal(vr_read(fd), "last words");
	assert_string_equal(vr_read(fd), "");
	close(fd);
}

/* A reader that is slow gets what is left of it with the next driver. */
static void test_reset_with_a_slow_reader(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);
	uint32_t sent = vr_fill(r, 1000, 52, 50000);

	virtio_set_status(&r->s.v, 0);
	vr_settle(r);
	assert_int_equal(virtio_status(&r->s.v), 0);
	assert_int_equal(r->s.n_conns, 1);
	vr_start(r);
	vr_read_pattern(r, fd, 0, sent);
	vr_settle(r);
	assert_string_equal(vr_read(fd), "");
	assert_int_equal(r->s.n_conns, 0);
	close(fd);
}

static void test_pause_and_resume(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52);

	for (unsigned i = 0; i < 20; i++) {
		struct packet p;

		vr_data(r, 1000, 52, "before", 6);
		assert_int_equal(virtio_pause(&r->s.v, 5000), 0);
		assert_false(r->b->attached);
		assert_string_equal(vr_read(fd), "before");
		vr_write(fd, "meanwhile");
		assert_int_equal(r->s.n_conns, 1);
		virtio_resume(&r->s.v);
		p = vr_expect(r, RW, 1000, 52);
		assert_memory_equal(p.payload, "meanwhile", 9);
	}
	assert_int_equal(r->b->attaches, r->b->detaches + 1);
	close(fd);
}

/* --- the end of the machine -------------------------------------------------------------- */

struct reader {
	int fd;
	size_t got;
	bool good;
};

/* Slow at first. */
static void *read_all(void *arg)
{
	struct reader *rd = arg;
	uint8_t bytes[8192];
	ssize_t n;

	usleep(300000);
	rd->good = true;
	while ((n = recv(rd->fd, bytes, sizeof(bytes), 0)) > 0)
		for (ssize_t i = 0; i < n; i++)
			rd->good = rd->good && bytes[i] == vr_pattern(rd->got++);
	return NULL;
}

/* As machine_run() and machine_destroy() end it. */
static void end_machine(struct vsock_rig *r)
{
	assert_int_equal(virtio_pause(&r->s.v, 5000), 0);
	vr_destroy(r);
}

static void test_end_waits_for_readers(void **state)
{
	struct vsock_rig *r = *state;
	struct reader rd = {.fd = vr_connect(r, 1000, 52)};
	static uint8_t bytes[60000];
	uint32_t sent = 0;
	pthread_t t;

	/* More than a socket takes. */
	for (unsigned i = 0; i < 5; i++) {
		for (size_t k = 0; k < sizeof(bytes); k++)
			bytes[k] = vr_pattern(sent + k);
		vr_data(r, 1000, 52, bytes, sizeof(bytes));
		sent += sizeof(bytes);
	}
	assert_int_equal(pthread_create(&t, NULL, read_all, &rd), 0);
	end_machine(r);
	*state = NULL;
	pthread_join(t, NULL);
	assert_int_equal(rd.got, sent);
	assert_true(rd.good);
	close(rd.fd);
}

/* What nobody takes in time is lost, and that is told in a line. */
static void test_end_does_not_wait_for_ever(void **state)
{
	struct vsock_rig *r = *state;
	int fd = vr_connect(r, 1000, 52), said = memfd_create("log", MFD_CLOEXEC);
	static uint8_t bytes[60000];
	struct timespec from, to;
	char line[200] = "";

	for (unsigned i = 0; i < 5; i++)
		vr_data(r, 1000, 52, bytes, sizeof(bytes));
	assert_int_equal(virtio_pause(&r->s.v, 5000), 0);
	log_set_fd(said);
	log_set_level(LOG_WARN);
	clock_gettime(CLOCK_MONOTONIC, &from);
	end_machine(r);
	*state = NULL;
	clock_gettime(CLOCK_MONOTONIC, &to);
	log_set_level(LOG_QUIET);
	log_set_fd(STDERR_FILENO);
	assert_in_range(to.tv_sec - from.tv_sec, 1, 30);
	assert_true(pread(said, line, sizeof(line) - 1, 0) > 0);
	assert_non_null(strstr(line, "vsock: its readers took no more; "));
	assert_non_null(strstr(line, " bytes from the guest are lost\n"));
	assert_ptr_equal(strchr(line, '\n') + 1, line + strlen(line));
	close(said);
	close(fd);
}

/* --- two threads --------------------------------------------------------------------------- */

struct echo {
	int fd;
	size_t n;
};

static void *echo_all(void *arg)
{
	struct echo *e = arg;
	uint8_t bytes[4096];
	ssize_t n;

	while ((n = recv(e->fd, bytes, sizeof(bytes), 0)) > 0) {
		for (ssize_t at = 0, w; at < n; at += w) {
			w = send(e->fd, bytes + at, (size_t)(n - at), MSG_NOSIGNAL);
			if (w < 0)
				return NULL;
		}
		e->n += (size_t)n;
	}
	shutdown(e->fd, SHUT_WR);
	return NULL;
}

/* Data goes there and back, with credit on both sides, while all run on their own. */
static void test_echo(void **state)
{
	enum { TOTAL = 1 << 20, PIECE = 3000 };
	struct vsock_rig *r = *state;
	struct echo e;
	uint32_t sent = 0, got = 0, told = 0;
	uint8_t bytes[PIECE];
	pthread_t t;
	bool ended = false;

	r->alloc = 20000;
	e = (struct echo){.fd = vr_connect(r, 1000, 52)};
	assert_int_equal(pthread_create(&t, NULL, echo_all, &e), 0);
	while (got < TOTAL || !ended) {
		struct packet p;

		if (sent < TOTAL && VIRTIO_VSOCK_BUFFER - (sent - told) >= PIECE) {
			uint32_t n = TOTAL - sent < PIECE ? TOTAL - sent : PIECE;

			for (uint32_t i = 0; i < n; i++)
				bytes[i] = vr_pattern(sent + i);
			vr_data(r, 1000, 52, bytes, n);
			sent += n;
			if (sent == TOTAL)
				vr_shutdown(r, 1000, 52, NO_SEND);
		}
		while (vr_take(r, &p)) {
			assert_int_equal(p.dst_port, 1000);
			told = p.fwd_cnt;
			for (uint32_t i = 0; i < p.len; i++)
				assert_int_equal(p.payload[i], vr_pattern(got + i));
			got += p.len;
			assert_true(got - r->fwd <= r->alloc);
			ended = ended || (p.op == SHUTDOWN && p.flags & NO_SEND);
			vr_give(r, 1, 4096, 4096);
			r->fwd = got;
			if (sent == TOTAL)
				vr_op(r, CREDIT_UPDATE, 1000, 52);
		}
	}
	pthread_join(t, NULL);
	assert_int_equal(e.n, TOTAL);
	assert_int_equal(got, TOTAL);
	close(e.fd);
}

/* --- state ---------------------------------------------------------------------------------- */

static void save(struct vsock_rig *r, struct state_writer *w)
{
	state_writer_init(w);
	state_section_begin(w, "vsock", 1);
	r->s.v.ops->save(&r->s, w);
	state_section_end(w);
}

static int load(struct vsock_rig *r, const uint8_t *data, size_t len)
{
	struct state_reader reader;
	struct err e = {0};

	state_reader_init(&reader, data, len);
	if (state_section_open(&reader, "vsock", &e) != 1)
		return -1;
	int ret = r->s.v.ops->load(&r->s, &reader, &e);

	return ret ? ret : state_section_close(&reader, &e);
}

static void test_save_load_save(void **state)
{
	struct vsock_rig *r = *state, *g = vr_create(false);
	struct state_writer a, b;
	int fd = vr_connect(r, 1000, 52);

	save(r, &a);
	assert_int_equal(load(g, a.data, a.len), 0);
	save(g, &b);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
	for (size_t len = 0; len < a.len; len++)
		assert_true(load(g, a.data, len) < 0);
	/* Addresses that are no guest's. */
	for (uint64_t bad = 0; bad < 3; bad++) {
		le64_put(a.data + a.len - 8, bad);
		assert_true(load(g, a.data, a.len) < 0);
	}
	le64_put(a.data + a.len - 8, 0xffffffff);
	assert_true(load(g, a.data, a.len) < 0);
	/* Another one is lawful, and this machine's own is what counts. */
	le64_put(a.data + a.len - 8, 1234);
	assert_int_equal(load(g, a.data, a.len), 0);
	assert_int_equal(virtio_config_read(&g->s.v, 0, 8), VR_CID);
	state_writer_fini(&a);
	state_writer_fini(&b);
	vr_destroy(g);
	close(fd);
}

/* The whole of a device that was active: its driver is told that all connections ended, as
 * soon as it has a buffer for that, and once. */
static void test_restored_driver_hears_of_it(void **state)
{
	struct vsock_rig *r = *state, *g = vr_create(true);
	int fd = vr_connect(r, 1000, 52);
	const struct vd_buf event = {0xe0000, 4, true};
	struct state_reader reader;
	struct state_writer w;
	struct err e = {0};
	uint32_t id, len;
	unsigned tries = 0;

	assert_int_equal(virtio_pause(&r->s.v, 5000), 0);
	state_writer_init(&w);
	state_section_begin(&w, "all", 1);
	virtio_save(&r->s.v, &w);
	state_section_end(&w);
	for (uint64_t gpa = 0; gpa < 0x100000; gpa += 4096)
		memcpy(guest_mem_hva(&g->gm, gpa, 4096), guest_mem_hva(&r->gm, gpa, 4096), 4096);
	memcpy(g->q, r->q, sizeof(g->q));
	for (unsigned i = 0; i < 3; i++)
		g->q[i].gm = &g->gm;
	state_reader_init(&reader, w.data, w.len);
	assert_int_equal(state_section_open(&reader, "all", &e), 1);
	assert_int_equal(virtio_load(&g->s.v, &reader, &e), 0);
	virtio_resume(&g->s.v);
	memset(guest_mem_hva(&g->gm, event.gpa, 4), 0xee, 4);
	virtq_driver_offer(&g->q[VIRTIO_VSOCK_EVENT], &event, 1);
	virtq_driver_offer(&g->q[VIRTIO_VSOCK_EVENT], &event, 1);
	virtio_kick(&g->s.v, VIRTIO_VSOCK_EVENT);
	while (!virtq_driver_take_used(&g->q[VIRTIO_VSOCK_EVENT], &id, &len)) {
		assert_true(++tries < 50000);
		usleep(200);
	}
	assert_int_equal(len, 4);
	assert_int_equal(le32_get(guest_mem_hva(&g->gm, event.gpa, 4)), 0);
	/* Of the old connections nothing is known; new ones work. */
	vr_data(g, 1000, 52, "lost", 4);
	vr_expect(g, RST, 1000, 52);
	vr_connect(g, 1000, 52);
	assert_false(virtq_driver_take_used(&g->q[VIRTIO_VSOCK_EVENT], &id, &len));
	/* The one that was saved goes on, if it is not ended. */
	virtio_resume(&r->s.v);
	vr_data(r, 1000, 52, "alive", 5);
	assert_string_equal(vr_read(fd), "alive");
	state_writer_fini(&w);
	vr_destroy(g);
	close(fd);
}

int main(void)
{
#define LIVE(f)     cmocka_unit_test_setup_teardown(f, vr_live, vr_teardown)
#define THREADED(f) cmocka_unit_test_setup_teardown(f, vr_threaded, vr_teardown)
	const struct CMUnitTest tests[] = {
		LIVE(test_guest_has_said_all),
		LIVE(test_host_has_said_all),
		LIVE(test_host_closes),
		LIVE(test_host_aborts),
		LIVE(test_host_stops_reading),
		LIVE(test_guest_stops_reading),
		LIVE(test_guest_closes_on_a_slow_reader),
		LIVE(test_guest_gives_up_on_a_slow_reader),
		LIVE(test_an_orphan_without_a_reader),
		LIVE(test_reset_ends_connections),
		LIVE(test_reset_takes_what_was_offered),
		LIVE(test_reset_with_a_slow_reader),
		THREADED(test_pause_and_resume),
		THREADED(test_end_waits_for_readers),
		THREADED(test_end_does_not_wait_for_ever),
		THREADED(test_echo),
		LIVE(test_save_load_save),
		THREADED(test_restored_driver_hears_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
