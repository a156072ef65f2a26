/* SPDX-License-Identifier: Apache-2.0 */
/* The file-system device from its driver's side, over a real directory: what is between
 * the rings and the share. What a share answers is test_share's. */
#include "devices/virtio/fs.h"
#include "tests/lib/scratch.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define RAM      (8 * MiB)
#define RING(i)  (0x10000ull + 0x10000ull * (i))
#define REQUEST  0x100000ull
#define ANSWER   0x110000ull
#define FEATURES (VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC)

enum { SIZE = 256, QUEUES = 3, HIPRIO = 0, LIVE = 15, NEEDS_RESET = 64, ROOM = 8192 };

struct fixture {
	struct scratch s;
	struct guest_mem gm;
	struct loop *loop;
	struct virtio_fs f;
	struct fake_transport t;
	struct virtq_driver d[QUEUES];
	uint64_t unique;
	uint32_t used_len;
};

static int setup(void **state)
{
	static const struct virtio_fs_options options = {"share0", "the-tag", QUEUES - 1};
	static const struct share_options share_options = {
		.name = "share0", .writable = true, .fds_max = 1024};
	struct fixture *f = calloc(1, sizeof(*f));
	struct share *share = NULL;

	log_set_level(LOG_QUIET);
	scratch_init(&f->s);
	scratch_text(&f->s, "file", "some words in a file");
	guest_mem_init(&f->gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_add(&f->gm, 0, RAM, -1, 0, NULL), 0);
	f->loop = loop_create();
	assert_int_equal(share_open(&share, f->s.path, &share_options, NULL), 0);
	assert_int_equal(virtio_fs_init(&f->f, share, &options, &f->gm, f->loop), 0);
	fake_transport_init(&f->t, &f->f.v);
	for (unsigned i = 0; i < QUEUES; i++)
		virtq_driver_init(&f->d[i], &f->gm, RING(i), SIZE);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	virtio_set_status(&f->f.v, 0);
	loop_settle(f->loop);
	virtio_fs_fini(&f->f);
	loop_destroy(f->loop);
	guest_mem_fini(&f->gm);
	scratch_fini(&f->s);
	free(f);
	return 0;
}

static void go(struct fixture *f)
{
	for (unsigned i = 0; i < QUEUES; i++)
		virtq_driver_init(&f->d[i], &f->gm, RING(i), SIZE);
	virtio_driver_start(&f->f.v, FEATURES, f->d, QUEUES);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(&f->f.v), LIVE);
}

static uint8_t *at(struct fixture *f, uint64_t gpa)
{
	uint8_t *p = guest_mem_hva(&f->gm, gpa, ROOM);

	assert_non_null(p);
	return p;
}

/* Lays a request out; gives its length. */
static uint32_t put(struct fixture *f, uint32_t op, uint64_t node, const void *args, size_t len)
{
	struct fuse_in_header h = {
		.len = (uint32_t)(sizeof(h) + len),
		.opcode = op,
		.unique = ++f->unique * 2,
		.nodeid = node,
	};

	memcpy(at(f, REQUEST), &h, sizeof(h));
	if (len)
		memcpy(at(f, REQUEST) + sizeof(h), args, len);
	memset(at(f, ANSWER), 0xee, ROOM);
	return h.len;
}

/* Offers it in pieces of `piece` bytes, and serves; false if nothing was used. */
static bool serve(struct fixture *f, unsigned queue, uint32_t len, uint32_t room, uint32_t piece)
{
	struct vd_buf bufs[SIZE];
	unsigned n = 0;
	uint32_t id;

	for (uint32_t off = 0; off < len; off += piece)
		bufs[n++] = (struct vd_buf){REQUEST + off, len - off < piece ? len - off : piece,
					    false};
	for (uint32_t off = 0; off < room; off += piece)
		bufs[n++] = (struct vd_buf){ANSWER + off, room - off < piece ? room - off : piece,
					    true};
	virtq_driver_offer(&f->d[queue], bufs, n);
	virtio_kick(&f->f.v, queue);
	loop_settle(f->loop);
	return virtq_driver_take_used(&f->d[queue], &id, &f->used_len);
}

static int error_of(struct fixture *f)
{
	struct fuse_out_header h;

	memcpy(&h, at(f, ANSWER), sizeof(h));
	assert_int_equal(h.len, f->used_len);
	assert_int_equal(h.unique, f->unique * 2);
	return h.error;
}

static void mount(struct fixture *f)
{
	const struct fuse_init_in in = {.major = 7, .minor = 36};

	assert_true(serve(f, 1, put(f, FUSE_INIT, 0, &in, sizeof(in)), 256, 4096));
	assert_int_equal(error_of(f), 0);
}

static uint64_t lookup(struct fixture *f, const char *name)
{
	struct fuse_entry_out entry;

	assert_true(serve(f, 1, put(f, FUSE_LOOKUP, 1, name, strlen(name) + 1), 256, 4096));
	assert_int_equal(error_of(f), 0);
	memcpy(&entry, at(f, ANSWER) + 16, sizeof(entry));
	return entry.nodeid;
}

static void test_config(void **state)
{
	struct fixture *f = *state;
	struct virtio *v = &f->f.v;
	char tag[37] = "";

	for (unsigned i = 0; i < 36; i++)
		tag[i] = (char)virtio_config_read(v, i, 1);
	assert_string_equal(tag, "the-tag");
	assert_int_equal(virtio_config_read(v, 36, 4), QUEUES - 1);
	for (unsigned size = 1; size <= 8; size *= 2)
		for (unsigned off = 0; off < 60; off++) {
			uint64_t before = virtio_config_read(v, off, size);

			if (off + size > VIRTIO_FS_CFG_LEN)
				assert_int_equal(before, 0);
			virtio_config_write(v, off, size, UINT64_MAX);
			assert_int_equal(virtio_config_read(v, off, size), before);
		}
	/* VERSION_1 and those of the ring; no notification queue. */
	assert_int_equal(virtio_offered(v, 0), 1u << 28 | 1u << 29);
	assert_int_equal(v->ops->device_id, 26);
}

/* A read in each framing, from either request queue: header and data where they belong, and
 * nothing behind them. */
static void test_framing(void **state)
{
	struct fixture *f = *state;
	const struct fuse_open_in open_in = {.flags = O_RDONLY};
	struct fuse_open_out out;
	uint64_t node;

	go(f);
	mount(f);
	node = lookup(f, "file");
	assert_true(serve(f, 1, put(f, FUSE_OPEN, node, &open_in, sizeof(open_in)), 256, 4096));
	assert_int_equal(error_of(f), 0);
	memcpy(&out, at(f, ANSWER) + 16, sizeof(out));
	for (uint32_t piece = 1; piece < 120; piece++) {
		const struct fuse_read_in in = {.fh = out.fh, .offset = 5, .size = 5};

		assert_true(serve(f, 1 + piece % 2, put(f, FUSE_READ, node, &in, sizeof(in)), 100,
				  piece));
		assert_int_equal(error_of(f), 0);
		assert_int_equal(f->used_len, 21);
		assert_memory_equal(at(f, ANSWER) + 16, "words", 5);
		assert_int_equal(at(f, ANSWER)[21], 0xee);
	}
	assert_true(fake_transport_irqs(&f->t, 1) && fake_transport_irqs(&f->t, 2));
}

/* What an answer may have been written to is logged as dirty, and no more, though the driver gives
 * it all of RAM. */
static void test_dirty(void **state)
{
	struct fixture *f = *state;
	const struct fuse_getattr_in in = {0};
	static uint64_t bits[RAM / 4096 / 64];
	const uint64_t big = 4 * MiB;
	uint32_t id, len;

	go(f);
	mount(f);
	assert_int_equal(guest_mem_log_start(&f->gm), 0);
	len = put(f, FUSE_GETATTR, 1, &in, sizeof(in));
	virtq_driver_offer(
		&f->d[1],
		(struct vd_buf[]){{REQUEST, len, false}, {big, (uint32_t)(RAM - big), true}}, 2);
	virtio_kick(&f->f.v, 1);
	loop_settle(f->loop);
	assert_true(virtq_driver_take_used(&f->d[1], &id, &f->used_len));
	assert_int_equal(guest_mem_log_fetch(&f->gm, 0, bits, ARRAY_LEN(bits)), 0);
	assert_true(bits[big / 4096 / 64] & 1);
	assert_false(bits[(RAM - 4096) / 4096 / 64] >> 63);
}

static void test_forget_on_hiprio(void **state)
{
	struct fixture *f = *state;
	struct fuse_forget_in in = {.nlookup = 1};
	uint64_t node;

	go(f);
	mount(f);
	node = lookup(f, "file");
	assert_int_equal(share_count(f->f.backend).nodes, 2);
	assert_true(serve(f, HIPRIO, put(f, FUSE_FORGET, node, &in, sizeof(in)), 0, 4096));
	assert_int_equal(f->used_len, 0);
	assert_int_equal(share_count(f->f.backend).nodes, 1);
}

/* What waits in the ring can still be interrupted: hiprio is looked at before each request. */
static void test_interrupt_overtakes(void **state)
{
	struct fixture *f = *state;
	const struct fuse_getattr_in in = {0};
	struct fuse_interrupt_in interrupt;
	uint32_t len, id;

	go(f);
	mount(f);
	len = put(f, FUSE_GETATTR, 1, &in, sizeof(in));
	virtq_driver_offer(&f->d[1], (struct vd_buf[]){{REQUEST, len, false}, {ANSWER, 256, true}},
			   2);
	interrupt.unique = f->unique * 2;
	struct fuse_in_header h = {.len = sizeof(h) + sizeof(interrupt), .opcode = FUSE_INTERRUPT};

	memcpy(at(f, REQUEST + 4096), &h, sizeof(h));
	memcpy(at(f, REQUEST + 4096) + sizeof(h), &interrupt, sizeof(interrupt));
	virtq_driver_offer(&f->d[HIPRIO], (struct vd_buf[]){{REQUEST + 4096, h.len, false}}, 1);
	virtio_kick(&f->f.v, 1);
	virtio_kick(&f->f.v, HIPRIO);
	loop_settle(f->loop);
	assert_true(virtq_driver_take_used(&f->d[1], &id, &f->used_len));
	assert_int_equal(error_of(f), -EINTR);
	assert_true(virtq_driver_take_used(&f->d[HIPRIO], &id, &f->used_len));
}

/* Where there is no way to answer, the device fails, and a reset mends it. */
static void test_no_way_to_answer(void **state)
{
	static const struct {
		uint32_t len, room;
	} bad[] = {{0, 16}, {39, 256}, {40, 0}, {40, 15}};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		go(f);
		mount(f);
		put(f, FUSE_STATFS, 1, NULL, 0);
		assert_false(serve(f, 1, bad[i].len, bad[i].room, 4096));
		assert_int_equal(virtio_status(&f->f.v), LIVE | NEEDS_RESET);
		virtio_set_status(&f->f.v, 0);
		loop_settle(f->loop);
		assert_int_equal(virtio_status(&f->f.v), 0);
		assert_false(share_mounted(f->f.backend));
	}
	go(f);
	mount(f);
	lookup(f, "file");
}

static void test_reset_forgets(void **state)
{
	struct fixture *f = *state;
	uint64_t node;

	go(f);
	mount(f);
	node = lookup(f, "file");
	virtio_set_status(&f->f.v, 0);
	loop_settle(f->loop);
	assert_int_equal(share_count(f->f.backend).nodes, 0);
	go(f);
	const struct fuse_getattr_in in = {0};

	assert_true(serve(f, 1, put(f, FUSE_GETATTR, node, &in, sizeof(in)), 256, 4096));
	assert_int_equal(error_of(f), -ENOTCONN);
}

/* A pause leaves the session as it is. */
static void test_pause(void **state)
{
	struct fixture *f = *state;

	go(f);
	mount(f);
	lookup(f, "file");
	/* Its loop has no thread here, and lets go when it is run. */
	assert_int_equal(virtio_pause(&f->f.v, 1), -ETIMEDOUT);
	loop_settle(f->loop);
	virtio_resume(&f->f.v);
	loop_settle(f->loop);
	assert_int_equal(share_count(f->f.backend).nodes, 2);
	lookup(f, "file");
}

/* The device's own part of a saved state, written now and read again. */
static int save_and_load(struct fixture *f, struct err *e)
{
	struct state_writer w;
	struct state_reader r;
	int ret;

	state_writer_init(&w);
	state_section_begin(&w, "share0", 1);
	f->f.v.ops->save(&f->f, &w);
	state_section_end(&w);
	state_reader_init(&r, w.data, w.len);
	assert_int_equal(state_section_open(&r, "share0", e), 1);
	ret = f->f.v.ops->load(&f->f, &r, e);
	state_writer_fini(&w);
	return ret;
}

static void test_saved_state(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};

	assert_int_equal(save_and_load(f, &e), 0);
	go(f);
	assert_int_equal(save_and_load(f, &e), 0);
	mount(f);
	assert_int_equal(save_and_load(f, &e), -ENOTSUP);
	assert_non_null(strstr(e.text, "share0"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
		T(test_config),
		T(test_framing),
		T(test_dirty),
		T(test_forget_on_hiprio),
		T(test_interrupt_overtakes),
		T(test_no_way_to_answer),
		T(test_reset_forgets),
		T(test_pause),
		T(test_saved_state),
#undef T
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
