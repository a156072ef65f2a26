/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory device: which blocks a driver gets, and which not; that what it gives up is gone from
 * the host, and nothing is touched before. The guest has 2 MiB for its rings, and 21 blocks from
 * 4 GiB on.
 */
#include "devices/virtio/mem.h"

#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#define RINGS 0x10000ull
#define REQ   0x40000ull
#define RESP  0x50000ull
#define BASE  (4 * GiB)
#define BLOCK VIRTIO_MEM_BLOCK
#define OWN   VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE

enum { PAGE = 4096, SIZE = 16, BLOCKS = 21, LIVE = 15, NEEDS_RESET = 64 };
enum { PLUG, UNPLUG, UNPLUG_ALL, STATE };
enum { ACK, NACK, BUSY, ERROR };
enum { PLUGGED, UNPLUGGED, MIXED };

/* The host's own, counted. */
static unsigned calls, fail_calls;

int madvise(void *addr, size_t len, int advice)
{
	if (advice == MADV_DONTNEED || advice == MADV_REMOVE) {
		calls++;
		if (fail_calls) {
			errno = ENOMEM;
			return -1;
		}
	}
	return (int)syscall(SYS_madvise, addr, len, advice);
}

struct fixture {
	struct guest_mem gm;
	struct loop *loop;
	struct virtio_mem m;
	struct fake_transport t;
	struct virtq_driver q;
};

static struct fixture *build(enum guest_mem_kind kind)
{
	struct fixture *f = calloc(1, sizeof(*f));

	log_set_level(LOG_QUIET);
	fail_calls = calls = 0;
	guest_mem_init(&f->gm, kind);
	assert_int_equal(guest_mem_add(&f->gm, 0, 2 * MiB, -1, 0, NULL), 0);
	assert_int_equal(guest_mem_add(&f->gm, BASE, BLOCKS * BLOCK, -1, 0, NULL), 0);
	f->loop = loop_create();
	assert_int_equal(virtio_mem_init(&f->m, "mem", &f->gm, f->loop, BASE, BLOCKS * BLOCK), 0);
	fake_transport_init(&f->t, &f->m.v);
	return f;
}

static void start(struct fixture *f, uint64_t features)
{
	virtq_driver_init(&f->q, &f->gm, RINGS, SIZE);
	virtio_driver_start(&f->m.v, VIRTIO_F_VERSION_1 | features, &f->q, 1);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(&f->m.v), LIVE);
}

static void end_driver(struct fixture *f)
{
	virtio_set_status(&f->m.v, 0);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(&f->m.v), 0);
}

static void destroy(struct fixture *f)
{
	end_driver(f);
	virtio_mem_fini(&f->m);
	loop_destroy(f->loop);
	guest_mem_fini(&f->gm);
	free(f);
}

static int setup(void **state)
{
	*state = build(GUEST_MEM_ANON);
	start(*state, OWN);
	return 0;
}

static int teardown(void **state)
{
	destroy(*state);
	return 0;
}

/* What was answered; what is no matter is not zero. */
static int ask_at(struct fixture *f, unsigned type, uint64_t addr, unsigned n, const void *bufs,
		  unsigned n_bufs)
{
	uint8_t *req = guest_mem_hva(&f->gm, REQ, VIRTIO_MEM_REQ_LEN);
	uint8_t *resp = guest_mem_hva(&f->gm, RESP, VIRTIO_MEM_RESP_LEN + 1);
	uint32_t id, len = 0;

	memset(req, 0xee, VIRTIO_MEM_REQ_LEN);
	memset(resp, 0xee, VIRTIO_MEM_RESP_LEN + 1);
	le16_put(req, (uint16_t)type);
	le64_put(req + VIRTIO_MEM_REQ_ADDR, addr);
	le16_put(req + VIRTIO_MEM_REQ_BLOCKS, (uint16_t)n);
	virtq_driver_offer(&f->q, bufs, n_bufs);
	virtio_kick(&f->m.v, 0);
	loop_settle(f->loop);
	if (!virtq_driver_take_used(&f->q, &id, &len))
		return -1;
	assert_int_equal(len, VIRTIO_MEM_RESP_LEN);
	assert_int_equal(resp[VIRTIO_MEM_RESP_LEN], 0xee);
	return le16_get(resp);
}

static int ask(struct fixture *f, unsigned type, uint64_t addr, unsigned n)
{
	const struct vd_buf bufs[] = {{REQ, VIRTIO_MEM_REQ_LEN, false},
				      {RESP, VIRTIO_MEM_RESP_LEN, true}};

	return ask_at(f, type, addr, n, bufs, 2);
}

static int ask_blocks(struct fixture *f, unsigned type, unsigned first, unsigned n)
{
	return ask(f, type, BASE + first * BLOCK, n);
}

static int state_of(struct fixture *f, unsigned first, unsigned n)
{
	assert_int_equal(ask_blocks(f, STATE, first, n), ACK);
	return le16_get((uint8_t *)guest_mem_hva(&f->gm, RESP, 10) + VIRTIO_MEM_RESP_STATE);
}

/* As a string, "#" for each plugged block; and the size fits. */
static void expect(struct fixture *f, const char *map)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < BLOCKS; i++) {
		bool plugged = i < strlen(map) && map[i] == '#';

		assert_int_equal(state_of(f, i, 1), plugged ? PLUGGED : UNPLUGGED);
		n += plugged;
	}
	assert_true(virtio_mem_plugged(&f->m) == n * BLOCK);
	assert_true(virtio_config_read(&f->m.v, VIRTIO_MEM_CFG_PLUGGED_SIZE, 8) == n * BLOCK);
}

static char *byte_of(struct fixture *f, unsigned block)
{
	return guest_mem_hva(&f->gm, BASE + block * BLOCK + 12345, 1);
}

static size_t resident(struct fixture *f)
{
	static unsigned char there[BLOCKS * VIRTIO_MEM_BLOCK / PAGE];
	size_t n = 0;

	assert_int_equal(mincore(f->gm.regions[1].hva, BLOCKS * BLOCK, there), 0);
	for (size_t i = 0; i < sizeof(there); i++)
		n += there[i] & 1;
	return n;
}

/* --- blocks ----------------------------------------------------------------------------- */

static void test_plug_and_unplug(void **state)
{
	struct fixture *f = *state;

	virtio_mem_request(&f->m, 12 * BLOCK);
	assert_int_equal(ask_blocks(f, PLUG, 0, 2), ACK);
	assert_int_equal(ask_blocks(f, PLUG, 7, 10), ACK);
	expect(f, "##.....##########");
	assert_int_equal(state_of(f, 0, 2), PLUGGED);
	assert_int_equal(state_of(f, 0, 3), MIXED);
	assert_int_equal(state_of(f, 2, 5), UNPLUGGED);
	assert_int_equal(state_of(f, 6, 2), MIXED);
	assert_int_equal(state_of(f, 0, BLOCKS), MIXED);
	assert_int_equal(ask_blocks(f, UNPLUG, 8, 1), ACK);
	assert_int_equal(ask_blocks(f, UNPLUG, 15, 2), ACK);
	expect(f, "##.....#.######");
	/* The room that this made is there again, and no more. */
	assert_int_equal(ask_blocks(f, PLUG, BLOCKS - 3, 3), ACK);
	assert_int_equal(ask_blocks(f, PLUG, 3, 1), NACK);
	expect(f, "##.....#.######...###");
	assert_int_equal(ask(f, UNPLUG_ALL, 1, 0), ACK);
	expect(f, "");
	assert_int_equal(ask(f, UNPLUG_ALL, 0, 0), ACK);
	assert_int_equal(ask_blocks(f, PLUG, 0, 12), ACK);
}

static void test_no_more_than_requested(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask_blocks(f, PLUG, 0, 1), NACK);
	virtio_mem_request(&f->m, 3 * BLOCK);
	assert_int_equal(ask_blocks(f, PLUG, 0, 4), NACK);
	expect(f, "");
	assert_int_equal(ask_blocks(f, PLUG, 0, 2), ACK);
	assert_int_equal(ask_blocks(f, PLUG, 2, 2), NACK);
	assert_int_equal(ask_blocks(f, PLUG, 2, 1), ACK);
	/* With less requested than is plugged, too. */
	virtio_mem_request(&f->m, BLOCK);
	assert_int_equal(ask_blocks(f, PLUG, 4, 1), NACK);
	assert_int_equal(ask_blocks(f, UNPLUG, 1, 1), ACK);
	assert_int_equal(ask_blocks(f, PLUG, 4, 1), NACK);
	expect(f, "#.#");
	/* All of it, in one piece. */
	virtio_mem_request(&f->m, BLOCKS * BLOCK);
	assert_int_equal(ask_blocks(f, UNPLUG_ALL, 0, 0), ACK);
	assert_int_equal(ask_blocks(f, PLUG, 0, BLOCKS), ACK);
	assert_int_equal(state_of(f, 0, BLOCKS), PLUGGED);
	assert_true(virtio_mem_plugged(&f->m) == BLOCKS * BLOCK);
}

static void test_hostile_requests(void **state)
{
	struct fixture *f = *state;
	static const struct {
		uint64_t addr;
		unsigned n;
	} bad[] = {
		{BASE, 0},
		{BASE + 1, 1},
		{BASE + BLOCK / 2, 1},
		{BASE + PAGE, 1},
		{BASE - BLOCK, 1},
		{BASE - BLOCK, 2},
		{0, 1},
		{BASE, BLOCKS + 1},
		{BASE, 65535},
		{BASE + (BLOCKS - 1) * BLOCK, 2},
		{BASE + BLOCKS * BLOCK, 1},
		{BASE + BLOCKS * BLOCK, 0},
		{-BLOCK, 1},
		{-BLOCK, 65535},
		{UINT64_MAX, 1},
		{1ull << 63, 1},
	};

	virtio_mem_request(&f->m, BLOCKS * BLOCK);
	assert_int_equal(ask_blocks(f, PLUG, 4, 4), ACK);
	*byte_of(f, 4) = 'x';
	for (unsigned type = PLUG; type <= STATE; type++)
		for (size_t i = 0; i < ARRAY_LEN(bad) && type != UNPLUG_ALL; i++)
			assert_int_equal(ask(f, type, bad[i].addr, bad[i].n), ERROR);
	/* Plugged twice, unplugged twice, wholly or in part. */
	assert_int_equal(ask_blocks(f, PLUG, 4, 1), ERROR);
	assert_int_equal(ask_blocks(f, PLUG, 3, 2), ERROR);
	assert_int_equal(ask_blocks(f, PLUG, 7, 2), ERROR);
	assert_int_equal(ask_blocks(f, PLUG, 0, BLOCKS), ERROR);
	assert_int_equal(ask_blocks(f, UNPLUG, 0, 1), ERROR);
	assert_int_equal(ask_blocks(f, UNPLUG, 3, 2), ERROR);
	assert_int_equal(ask_blocks(f, UNPLUG, 7, 2), ERROR);
	assert_int_equal(ask_blocks(f, UNPLUG, 0, BLOCKS), ERROR);
	for (unsigned type = STATE + 1; type < 0x10000; type = 2 * type + 1)
		assert_int_equal(ask_blocks(f, type, 4, 1), ERROR);
	expect(f, "....####");
	assert_int_equal(*byte_of(f, 4), 'x');
	assert_int_equal(calls, 0);
	assert_int_equal(virtio_status(&f->m.v), LIVE);
}

/* --- framing ---------------------------------------------------------------------------- */

static void test_in_pieces(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf bufs[] = {{REQ, 1, false},      {REQ + 1, 8, false},
				      {REQ + 9, 15, false}, {REQ + 64, 9, false}, /* too much */
				      {RESP, 1, true},      {RESP + 1, 8, true},
				      {RESP + 9, 1, true},  {RESP + 10, 1, true}};

	virtio_mem_request(&f->m, BLOCK);
	assert_int_equal(ask_at(f, PLUG, BASE + 5 * BLOCK, 1, bufs, ARRAY_LEN(bufs)), ACK);
	assert_int_equal(fake_transport_irqs(&f->t, 0), 1);
	expect(f, ".....#");
}

static void test_hostile_frames(void **state)
{
	static const struct vd_buf frames[][2] = {
		{{REQ, VIRTIO_MEM_REQ_LEN - 1, false}, {RESP, VIRTIO_MEM_RESP_LEN, true}},
		{{REQ, VIRTIO_MEM_REQ_LEN, false}, {RESP, VIRTIO_MEM_RESP_LEN - 1, true}},
		{{REQ, VIRTIO_MEM_REQ_LEN, false}, {REQ, VIRTIO_MEM_REQ_LEN, false}},
		{{RESP, VIRTIO_MEM_RESP_LEN, true}, {RESP, VIRTIO_MEM_RESP_LEN, true}},
	};
	struct fixture *f = *state;

	virtio_mem_request(&f->m, 4 * BLOCK);
	for (size_t i = 0; i < ARRAY_LEN(frames); i++) {
		assert_int_equal(ask_at(f, PLUG, BASE, 1, frames[i], 2), -1);
		assert_int_equal(virtio_status(&f->m.v), LIVE | NEEDS_RESET);
		assert_int_equal(virtio_mem_plugged(&f->m), 0);
		end_driver(f);
		start(f, 0);
	}
	assert_int_equal(ask_blocks(f, PLUG, 0, 1), ACK);
}

/* --- the host's side -------------------------------------------------------------------- */

static void goes_back(struct fixture *f)
{
	assert_int_equal(resident(f), 0);
	virtio_mem_request(&f->m, 8 * BLOCK);
	assert_int_equal(ask_blocks(f, PLUG, 2, 8), ACK);
	assert_int_equal(resident(f), 0);
	for (unsigned i = 2; i < 10; i++)
		memset(guest_mem_hva(&f->gm, BASE + i * BLOCK, BLOCK), 'x', BLOCK);
	assert_true(resident(f) >= 8 * BLOCK / PAGE);
	assert_int_equal(ask_blocks(f, UNPLUG, 3, 4), ACK);
	assert_int_equal(calls, 1);
	assert_int_equal(resident(f), 4 * BLOCK / PAGE);
	assert_int_equal(*byte_of(f, 2), 'x');
	assert_int_equal(*byte_of(f, 7), 'x');
	for (unsigned i = 3; i < 7; i++)
		assert_int_equal(*byte_of(f, i), 0);
	assert_int_equal(ask(f, UNPLUG_ALL, 0, 0), ACK);
	assert_int_equal(calls, 3);
	for (unsigned i = 0; i < BLOCKS; i++)
		assert_int_equal(*byte_of(f, i), 0);
}

static void test_what_is_unplugged_goes_back(void **state)
{
	goes_back(*state);
}

static void test_shared_ram(void **state)
{
	struct fixture *f = build(GUEST_MEM_SHARED);

	start(f, OWN);
	goes_back(f);
	destroy(f);
}

static void test_what_went_is_logged(void **state)
{
	struct fixture *f = *state;
	uint64_t dirty[BLOCKS * VIRTIO_MEM_BLOCK / PAGE / 64];

	virtio_mem_request(&f->m, 2 * BLOCK);
	assert_int_equal(ask_blocks(f, PLUG, 0, 2), ACK);
	assert_int_equal(guest_mem_log_start(&f->gm), 0);
	assert_int_equal(ask_blocks(f, UNPLUG, 1, 1), ACK);
	assert_int_equal(guest_mem_log_fetch(&f->gm, 1, dirty, ARRAY_LEN(dirty)), 0);
	for (size_t i = 0; i < ARRAY_LEN(dirty); i++)
		assert_true(dirty[i] == (i / 8 == 1 ? UINT64_MAX : 0));
}

static void test_a_host_that_takes_nothing(void **state)
{
	struct fixture *f = *state;
	int said = memfd_create("log", MFD_CLOEXEC);
	char text[512] = "";

	virtio_mem_request(&f->m, 4 * BLOCK);
	assert_int_equal(ask_blocks(f, PLUG, 0, 4), ACK);
	log_set_fd(said);
	log_set_level(LOG_WARN);
	fail_calls = 1;
	assert_int_equal(ask_blocks(f, UNPLUG, 0, 2), ACK);
	fail_calls = 0;
	log_set_level(LOG_QUIET);
	log_set_fd(STDERR_FILENO);
	assert_true(pread(said, text, sizeof(text) - 1, 0) > 0);
	assert_non_null(strstr(text, "mem: the host does not take 4 MiB back: "));
	close(said);
	expect(f, "..##");
	/* Pages of its pool stay, and that is no reason to say something. */
	f->gm.pages = GUEST_MEM_PAGES_2M;
	*byte_of(f, 2) = 'x';
	assert_int_equal(ask_blocks(f, UNPLUG, 2, 2), ACK);
	f->gm.pages = GUEST_MEM_PAGES_HOST;
	assert_int_equal(*byte_of(f, 2), 'x');
	expect(f, "");
}

/* --- configuration ---------------------------------------------------------------------- */

static void test_configuration(void **state)
{
	struct fixture *f = *state;
	struct virtio *v = &f->m.v;
	uint8_t generation = virtio_config_generation(v);

	assert_int_equal(v->ops->device_id, 24);
	assert_true(v->offered & 1ull << 1 && !(v->offered & 1));
	assert_true(virtio_config_read(v, 0, 8) == 2 * MiB);
	assert_int_equal(virtio_config_read(v, 8, 8), 0);
	assert_true(virtio_config_read(v, 16, 8) == BASE);
	assert_true(virtio_config_read(v, 20, 4) == BASE >> 32);
	assert_true(virtio_config_read(v, 24, 8) == BLOCKS * BLOCK);
	assert_true(virtio_config_read(v, 32, 8) == BLOCKS * BLOCK);
	assert_int_equal(virtio_config_read(v, 40, 8), 0);
	assert_int_equal(virtio_config_read(v, 48, 8), 0);
	assert_int_equal(virtio_config_read(v, 56, 4), 0);
	virtio_mem_request(&f->m, 6 * BLOCK);
	assert_int_equal(fake_transport_config_irqs(&f->t), 1);
	assert_int_not_equal(virtio_config_generation(v), generation);
	assert_true(virtio_config_read(v, 48, 8) == 6 * BLOCK);
	/* It is told of nothing that it did itself [5.15.4.2]. */
	assert_int_equal(ask_blocks(f, PLUG, 1, 2), ACK);
	assert_int_equal(fake_transport_config_irqs(&f->t), 1);
	for (unsigned off = 0; off < VIRTIO_MEM_CFG_LEN; off += 4)
		virtio_config_write(v, off, 4, 0x5a5a5a5a);
	assert_true(virtio_config_read(v, 0, 8) == 2 * MiB);
	assert_true(virtio_mem_requested(&f->m) == 6 * BLOCK);
	assert_true(virtio_config_read(v, 40, 8) == 2 * BLOCK);
}

/* It changes no block, nor what the host wants; all goes on with another driver. */
static void test_a_reset_changes_nothing(void **state)
{
	struct fixture *f = *state;

	virtio_mem_request(&f->m, 6 * BLOCK);
	assert_int_equal(ask_blocks(f, PLUG, 3, 2), ACK);
	*byte_of(f, 3) = 'x';
	end_driver(f);
	assert_true(virtio_config_read(&f->m.v, 40, 8) == 2 * BLOCK);
	virtio_mem_request(&f->m, 7 * BLOCK);
	start(f, 0);
	assert_true(virtio_config_read(&f->m.v, 48, 8) == 7 * BLOCK);
	assert_int_equal(*byte_of(f, 3), 'x');
	expect(f, "...##");
	assert_int_equal(ask(f, UNPLUG_ALL, 0, 0), ACK);
	expect(f, "");
}

/* ... but a machine that begins anew has as much as at first. */
static void test_renewed(void **state)
{
	struct fixture *f = *state;

	virtio_mem_request(&f->m, 6 * BLOCK);
	assert_int_equal(ask_blocks(f, PLUG, 3, 2), ACK);
	*byte_of(f, 3) = 'x';
	end_driver(f);
	virtio_mem_renew(&f->m);
	assert_true(virtio_mem_plugged(&f->m) == 0 && virtio_mem_requested(&f->m) == 0);
	assert_int_equal(*byte_of(f, 3), 0);
	start(f, 0);
	expect(f, "");
}

/* --- state ------------------------------------------------------------------------------ */

static void *pause_it(void *arg)
{
	struct fixture *f = arg;

	return virtio_pause(&f->m.v, 20000) ? f : NULL;
}

static void stand(struct fixture *f)
{
	pthread_t thread;
	void *failed = f;

	assert_int_equal(pthread_create(&thread, NULL, pause_it, f), 0);
	while (pthread_tryjoin_np(thread, &failed))
		loop_settle(f->loop);
	assert_null(failed);
}

static void save(struct fixture *f, struct state_writer *w)
{
	state_writer_init(w);
	state_section_begin(w, "mem", 1);
	virtio_save(&f->m.v, w);
	state_section_end(w);
	assert_int_equal(w->error, 0);
}

static int load(struct fixture *f, const uint8_t *data, size_t len)
{
	struct state_reader r;
	struct err e = {0};
	int ret;

	state_reader_init(&r, data, len);
	ret = state_section_open(&r, "mem", &e);
	if (ret > 0)
		ret = virtio_load(&f->m.v, &r, &e);
	assert_true(!ret || *e.text);
	return ret;
}

/* The other machine has this one's memory. */
static void copy_ram(struct fixture *to, const struct fixture *from)
{
	for (unsigned i = 0; i < to->gm.n_regions; i++)
		memcpy(to->gm.regions[i].hva, from->gm.regions[i].hva, to->gm.regions[i].len);
	to->q = from->q;
	to->q.gm = &to->gm;
}

/* Another one, as it would be saved, of which all can be told. */
static struct fixture *saved(struct fixture *f, struct state_writer *w)
{
	struct fixture *other = build(GUEST_MEM_ANON);

	virtio_mem_request(&f->m, 9 * BLOCK);
	assert_int_equal(ask_blocks(f, PLUG, 2, 4), ACK);
	assert_int_equal(ask_blocks(f, PLUG, BLOCKS - 1, 1), ACK);
	*byte_of(f, 3) = 'x';
	stand(f);
	save(f, w);
	copy_ram(other, f);
	return other;
}

static void test_state(void **state)
{
	struct fixture *f = *state, *other;
	struct state_writer w, again;

	other = saved(f, &w);
	assert_int_equal(load(other, w.data, w.len), 0);
	save(other, &again);
	assert_int_equal(again.len, w.len);
	assert_memory_equal(again.data, w.data, w.len);
	virtio_resume(&other->m.v);
	loop_settle(other->loop);
	assert_true(virtio_mem_requested(&other->m) == 9 * BLOCK);
	expect(other, "..####..............#");
	assert_int_equal(*byte_of(other, 3), 'x');
	assert_int_equal(ask_blocks(other, PLUG, 7, 5), NACK);
	assert_int_equal(ask_blocks(other, PLUG, 7, 4), ACK);
	state_writer_fini(&w);
	state_writer_fini(&again);
	destroy(other);
}

static void refused(struct fixture *f, const uint8_t *data, size_t len)
{
	assert_int_equal(load(f, data, len), -EBADMSG);
	assert_int_equal(virtio_status(&f->m.v), 0);
	assert_int_equal(virtio_mem_requested(&f->m), 0);
	assert_int_equal(virtio_mem_plugged(&f->m), 0);
}

static void test_hostile_state(void **state)
{
	struct fixture *f = *state, *other;
	struct state_writer w;

	other = saved(f, &w);
	/* The end: le64 addr, region, requested, then a bit for each of 21 blocks. */
	uint8_t *own = w.data + w.len - 27;

	assert_true(le64_get(own) == BASE && le64_get(own + 8) == BLOCKS * BLOCK);
	for (size_t len = 0; len < w.len; len++)
		refused(other, w.data, len);
	le64_put(own, BASE + BLOCK);
	refused(other, w.data, w.len);
	le64_put(own, BASE);
	le64_put(own + 8, (BLOCKS + 1) * BLOCK);
	refused(other, w.data, w.len);
	le64_put(own + 8, BLOCKS * BLOCK);
	le64_put(own + 16, (BLOCKS + 1) * BLOCK);
	refused(other, w.data, w.len);
	le64_put(own + 16, BLOCK + 1);
	refused(other, w.data, w.len);
	le64_put(own + 16, 9 * BLOCK);
	own[26] |= 0x20;
	refused(other, w.data, w.len);
	own[26] &= 0x1f;
	assert_int_equal(load(other, w.data, w.len), 0);
	assert_true(virtio_mem_plugged(&other->m) == 5 * BLOCK);
	state_writer_fini(&w);
	destroy(other);
}

/* More than belongs to it: refused before any block is taken. */
static void test_hostile_state_that_goes_on(void **state)
{
	struct fixture *f = *state, *other;
	struct state_writer w, longer;

	other = saved(f, &w);
	state_writer_fini(&w);
	state_writer_init(&longer);
	state_section_begin(&longer, "mem", 1);
	virtio_save(&f->m.v, &longer);
	state_put_u8(&longer, 0);
	state_section_end(&longer);
	refused(other, longer.data, longer.len);
	state_writer_fini(&longer);
	destroy(other);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_plug_and_unplug),
		T(test_no_more_than_requested),
		T(test_hostile_requests),
		T(test_in_pieces),
		T(test_hostile_frames),
		T(test_what_is_unplugged_goes_back),
		cmocka_unit_test(test_shared_ram),
		T(test_what_went_is_logged),
		T(test_a_host_that_takes_nothing),
		T(test_configuration),
		T(test_a_reset_changes_nothing),
		T(test_renewed),
		T(test_state),
		T(test_hostile_state),
		T(test_hostile_state_that_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
