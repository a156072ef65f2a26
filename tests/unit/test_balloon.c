/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The balloon: what is given back is gone from the host, and nothing else; with how few calls; what
 * the guest says of itself, and when it is asked. The guest's memory has two regions with
 * nothing between them, and is full of 'x'.
 */
#include "devices/virtio/balloon.h"

#include "tests/lib/fake_clock.h"
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
#define LIST  0x40000ull  /* where requests are written */
#define FREE  0x100000ull /* from here on, pages are the balloon's to take */
#define SEAM  (2 * MiB)
#define END   (4 * MiB)

#define BASIC     (VIRTIO_F_VERSION_1 | VIRTIO_BALLOON_F_DEFLATE_ON_OOM)
#define REPORTING VIRTIO_BALLOON_F_PAGE_REPORTING
#define STATS     VIRTIO_BALLOON_F_STATS_VQ
#define ALL       (BASIC | STATS | REPORTING)

enum { PAGE = 4096, SIZE = 32, QUEUES = 5, LIVE = 15, NEEDS_RESET = 64 };
enum { INFLATE_Q, DEFLATE_Q, STATS_Q, REPORTING_Q, SPEC_REPORTING_Q };

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
	struct fake_clock hands;
	struct virtio_balloon b;
	struct fake_transport t;
	struct virtq_driver q[QUEUES];
};

/* What guest_mem is to believe of its RAM, which is of plain pages all the same. */
static enum guest_mem_pages pages = GUEST_MEM_PAGES_HOST;

static struct fixture *build(enum guest_mem_kind kind, int fd)
{
	struct fixture *f = calloc(1, sizeof(*f));

	log_set_level(LOG_QUIET);
	fail_calls = 0;
	guest_mem_init(&f->gm, kind);
	assert_int_equal(guest_mem_add(&f->gm, 0, SEAM, fd, 0, NULL), 0);
	if (kind != GUEST_MEM_FILE)
		assert_int_equal(guest_mem_add(&f->gm, SEAM, END - SEAM, -1, 0, NULL), 0);
	f->gm.pages = pages;
	f->loop = loop_create();
	fake_clock_init(&f->hands, 1000000000, 0);
	const struct clock clock = fake_clock_wire(&f->hands);

	assert_int_equal(virtio_balloon_init(&f->b, "balloon", &f->gm, f->loop, &clock), 0);
	fake_transport_init(&f->t, &f->b.v);
	return f;
}

/* `size` of the queues; the driver's memory is 'x' again. */
static void start_sized(struct fixture *f, uint64_t features, uint16_t size)
{
	for (unsigned i = 0; i < f->gm.n_regions; i++)
		memset(f->gm.regions[i].hva, 'x', f->gm.regions[i].len);
	for (unsigned i = 0; i < QUEUES; i++)
		virtq_driver_init(&f->q[i], &f->gm, RINGS + i * 0x4000, size);
	virtio_driver_start(&f->b.v, features, f->q, QUEUES);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(&f->b.v), LIVE);
	calls = 0;
}

static void start(struct fixture *f, uint64_t features)
{
	start_sized(f, features, SIZE);
}

static void end_driver(struct fixture *f)
{
	virtio_set_status(&f->b.v, 0);
	loop_settle(f->loop);
	assert_int_equal(virtio_status(&f->b.v), 0);
}

static void destroy(struct fixture *f)
{
	end_driver(f);
	virtio_balloon_fini(&f->b);
	loop_destroy(f->loop);
	guest_mem_fini(&f->gm);
	free(f);
}

static int setup(void **state)
{
	*state = build(GUEST_MEM_ANON, -1);
	start(*state, ALL);
	return 0;
}

static int teardown(void **state)
{
	destroy(*state);
	return 0;
}

static void kick(struct fixture *f, unsigned queue)
{
	virtio_kick(&f->b.v, queue);
	loop_settle(f->loop);
}

static void offer(struct fixture *f, unsigned queue, const struct vd_buf *bufs, unsigned n)
{
	virtq_driver_offer(&f->q[queue], bufs, n);
	kick(f, queue);
}

/* A chain came back, with nothing said to be written. */
static void expect_used(struct fixture *f, unsigned queue)
{
	uint32_t id, len = 1;

	assert_true(virtq_driver_take_used(&f->q[queue], &id, &len));
	assert_int_equal(len, 0);
}

static void expect_nothing(struct fixture *f, unsigned queue)
{
	uint32_t id, len;

	assert_false(virtq_driver_take_used(&f->q[queue], &id, &len));
}

static void put_pfns(struct fixture *f, const uint32_t *pfns, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		le32_put(guest_mem_hva(&f->gm, LIST + 4ull * i, 4), pfns[i]);
}

static void inflate(struct fixture *f, const uint32_t *pfns, unsigned n)
{
	const struct vd_buf buf = {LIST, 4 * n, false};

	put_pfns(f, pfns, n);
	offer(f, INFLATE_Q, &buf, 1);
}

/* Pages of FREE to the end of RAM: exactly those of the list are zeroes, the rest is 'x'. */
static void expect_gone(struct fixture *f, const uint32_t *pfns, unsigned n)
{
	static const uint8_t zero[PAGE];
	uint8_t full[PAGE];

	memset(full, 'x', sizeof(full));
	for (uint64_t gpa = FREE; gpa < END; gpa += PAGE) {
		bool gone = false;

		for (unsigned i = 0; i < n; i++)
			gone |= pfns[i] == gpa / PAGE;
		if (memcmp(guest_mem_hva(&f->gm, gpa, PAGE), gone ? zero : full, PAGE) != 0)
			fail_msg("page %#lx: should it be gone: %d", gpa, gone);
	}
}

/* --- inflate and deflate ---------------------------------------------------------------- */

static void test_inflate_gives_back(void **state)
{
	struct fixture *f = *state;
	static const uint32_t pfns[] = {0x103, 0x180, 0x110};

	inflate(f, pfns, 3);
	expect_used(f, INFLATE_Q);
	assert_int_equal(fake_transport_irqs(&f->t, INFLATE_Q), 1);
	expect_gone(f, pfns, 3);
	assert_int_equal(calls, 3);
	/* Out again: nothing to do but to say so. */
	const struct vd_buf buf = {LIST, 12, false};

	offer(f, DEFLATE_Q, &buf, 1);
	expect_used(f, DEFLATE_Q);
	assert_int_equal(fake_transport_irqs(&f->t, DEFLATE_Q), 1);
	memset(guest_mem_hva(&f->gm, 0x103 * PAGE, PAGE), 'x', PAGE);
	expect_gone(f, pfns + 1, 2);
	assert_int_equal(calls, 3);
}

/* As few calls as can be, in whichever direction they come. */
static void test_upwards(void **state)
{
	struct fixture *f = *state;
	uint32_t pfns[128];

	for (unsigned i = 0; i < 128; i++)
		pfns[i] = 0x120 + i;
	inflate(f, pfns, 128);
	assert_int_equal(calls, 1);
	expect_gone(f, pfns, 128);
}

static void test_downwards(void **state)
{
	struct fixture *f = *state;
	uint32_t pfns[64];

	for (unsigned i = 0; i < 64; i++)
		pfns[i] = 0x1a0 - i;
	inflate(f, pfns, 64);
	assert_int_equal(calls, 1);
	expect_gone(f, pfns, 64);
}

static void test_the_same_page_twice(void **state)
{
	struct fixture *f = *state;
	static const uint32_t pfns[] = {0x110, 0x111, 0x110, 0x111, 0x112,
					0x10f, 0x112, 0x130, 0x110};

	inflate(f, pfns, ARRAY_LEN(pfns));
	expect_used(f, INFLATE_Q);
	expect_gone(f, pfns, ARRAY_LEN(pfns));
	assert_int_equal(calls, 3);
	inflate(f, pfns, ARRAY_LEN(pfns));
	expect_used(f, INFLATE_Q);
	expect_gone(f, pfns, ARRAY_LEN(pfns));
}

static void test_over_a_seam(void **state)
{
	struct fixture *f = *state;
	uint32_t pfns[20];

	for (unsigned i = 0; i < 20; i++)
		pfns[i] = SEAM / PAGE - 10 + i;
	inflate(f, pfns, 20);
	expect_gone(f, pfns, 20);
	assert_int_equal(calls, 2);
	for (unsigned i = 0; i < 20; i++)
		pfns[i] = SEAM / PAGE + 9 - i;
	memset(guest_mem_hva(&f->gm, SEAM - 10 * PAGE, 10 * PAGE), 'x', 10 * PAGE);
	memset(guest_mem_hva(&f->gm, SEAM, 10 * PAGE), 'x', 10 * PAGE);
	inflate(f, pfns, 20);
	expect_gone(f, pfns, 20);
}

static void test_list_in_pieces(void **state)
{
	struct fixture *f = *state;
	static const uint32_t pfns[] = {0x120, 0x140, 0x160, 0x181};
	const struct vd_buf bufs[] = {
		{LIST, 3, false}, {LIST + 3, 6, false}, {LIST + 9, 0, false}, {LIST + 9, 7, false}};

	put_pfns(f, pfns, 4);
	offer(f, INFLATE_Q, bufs, 4);
	expect_used(f, INFLATE_Q);
	expect_gone(f, pfns, 4);
}

static void test_many_lists_at_once(void **state)
{
	struct fixture *f = *state;
	uint32_t pfns[SIZE];

	for (unsigned i = 0; i < SIZE; i++) {
		const struct vd_buf buf = {LIST + 4 * i, 4, false};

		pfns[i] = 0x110 + 3 * i;
		virtq_driver_offer(&f->q[INFLATE_Q], &buf, 1);
	}
	put_pfns(f, pfns, SIZE);
	kick(f, INFLATE_Q);
	for (unsigned i = 0; i < SIZE; i++)
		expect_used(f, INFLATE_Q);
	expect_gone(f, pfns, SIZE);
}

/* The dirty log hears of it: whoever copies RAM copies zeroes. */
static void test_what_went_is_logged(void **state)
{
	struct fixture *f = *state;
	static const uint32_t pfns[] = {0x103, 0x104};
	uint64_t dirty[SEAM / PAGE / 64];

	assert_int_equal(guest_mem_log_start(&f->gm), 0);
	inflate(f, pfns, 2);
	assert_int_equal(guest_mem_log_fetch(&f->gm, 0, dirty, ARRAY_LEN(dirty)), 0);
	assert_int_equal(dirty[0x100 / 64] & 0xff, 1 << 3 | 1 << 4);
}

static void test_hostile_pages_that_are_not_ram(void **state)
{
	struct fixture *f = *state;
	static const uint32_t pfns[] = {END / PAGE, 0x150,      0xffffffff, 0x80000000,
					0x151,      0x7fffffff, 0x100000,   END / PAGE - 1};
	static const uint32_t good[] = {0x150, 0x151, END / PAGE - 1};

	inflate(f, pfns, ARRAY_LEN(pfns));
	expect_used(f, INFLATE_Q);
	expect_gone(f, good, 3);
	assert_int_equal(virtio_status(&f->b.v), LIVE);
}

static void test_hostile_length(void **state)
{
	struct fixture *f = *state;
	static const uint32_t pfns[] = {0x150, 0x151};
	const struct vd_buf buf = {LIST, 7, false};

	put_pfns(f, pfns, 2);
	offer(f, INFLATE_Q, &buf, 1);
	assert_int_equal(virtio_status(&f->b.v), LIVE | NEEDS_RESET);
	assert_int_equal(virtq_driver_used_idx(&f->q[INFLATE_Q]), 0);
	expect_gone(f, NULL, 0);
}

static void test_empty_and_unreadable_requests(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf bufs[] = {{FREE, PAGE, true}, {LIST, 0, false}};

	for (unsigned queue = INFLATE_Q; queue <= DEFLATE_Q; queue++)
		for (unsigned i = 0; i < 2; i++) {
			offer(f, queue, &bufs[i], 1);
			expect_used(f, queue);
		}
	expect_gone(f, NULL, 0);
	assert_int_equal(calls, 0);
}

/* The same list 31 times in one chain: the work for it is bounded. */
static void test_hostile_endless_request(void **state)
{
	struct fixture *f = *state;
	struct vd_buf bufs[SIZE - 1];

	for (unsigned i = 0; i < ARRAY_LEN(bufs); i++)
		bufs[i] = (struct vd_buf){LIST, 512 * KiB, false};
	/* Pages far from each other, for as many calls as can be. */
	for (unsigned i = 0; i < 512 * KiB / 4; i++)
		le32_put(guest_mem_hva(&f->gm, LIST + 4ull * i, 4), i % 2 ? 0x120 : 0x140);
	offer(f, INFLATE_Q, bufs, ARRAY_LEN(bufs));
	expect_used(f, INFLATE_Q);
	assert_int_equal(calls, VIRTIO_BALLOON_REQUEST_MAX);
	assert_int_equal(virtio_status(&f->b.v), LIVE);
}

/* However often it is provoked, the log has a few lines a second. */
static void test_hostile_flood_of_complaints(void **state)
{
	struct fixture *f = *state;
	int said = memfd_create("log", MFD_CLOEXEC);
	static const uint32_t stray[] = {0xffffffff};
	static const uint32_t good[] = {0x110};
	static char text[65536];
	unsigned lines = 0;

	log_set_fd(said);
	log_set_level(LOG_WARN);
	for (unsigned i = 0; i < 2000; i++) {
		inflate(f, stray, 1);
		expect_used(f, INFLATE_Q);
		fail_calls = 1;
		inflate(f, good, 1);
		expect_used(f, INFLATE_Q);
		fail_calls = 0;
	}
	log_set_level(LOG_QUIET);
	log_set_fd(STDERR_FILENO);
	ssize_t n = pread(said, text, sizeof(text) - 1, 0);

	assert_in_range(n, 1, sizeof(text) - 2);
	for (ssize_t i = 0; i < n; i++)
		lines += text[i] == '\n';
	/* 5 a second, and this may take a minute of a slow machine. */
	assert_in_range(lines, 1, 400);
	assert_non_null(strstr(text, "balloon: 1 pages for the balloon that are not RAM"));
	assert_non_null(strstr(text, "balloon: the host does not take 4 KiB back: "));
	close(said);
	assert_int_equal(virtio_status(&f->b.v), LIVE);
}

/* --- reports --------------------------------------------------------------------------- */

static void reports(struct fixture *f, unsigned queue)
{
	const struct vd_buf bufs[] = {{0x110000, 16 * PAGE, true}, {0x180000, 2 * PAGE, true}};
	uint32_t pfns[18];

	for (unsigned i = 0; i < 16; i++)
		pfns[i] = 0x110 + i;
	pfns[16] = 0x180;
	pfns[17] = 0x181;
	offer(f, queue, bufs, 2);
	expect_used(f, queue);
	assert_int_equal(fake_transport_irqs(&f->t, queue), 1);
	assert_int_equal(calls, 2);
	expect_gone(f, pfns, 18);
}

static void test_reports(void **state)
{
	reports(*state, REPORTING_Q);
}

/* Where the specification has it. */
static void test_reports_at_its_number(void **state)
{
	reports(*state, SPEC_REPORTING_Q);
}

/* Without statistics it comes sooner. */
static void test_reports_without_statistics(void **state)
{
	struct fixture *f = *state;

	end_driver(f);
	start(f, BASIC | REPORTING);
	reports(f, STATS_Q);
}

static void test_no_reports_that_were_not_negotiated(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf buf = {FREE, PAGE, true};

	end_driver(f);
	start(f, BASIC);
	for (unsigned queue = STATS_Q; queue < QUEUES; queue++) {
		offer(f, queue, &buf, 1);
		expect_nothing(f, queue);
	}
	expect_gone(f, NULL, 0);
	assert_int_equal(virtio_status(&f->b.v), LIVE);
}

/* Parts of pages are somebody else's, and so is what is only to be read. */
static void test_hostile_reports_of_parts(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf bufs[] = {
		{0x140000, PAGE, false},
		{0x110001, 3 * PAGE, true},            /* 0x111, 0x112 */
		{0x120800, PAGE, true},                /* none */
		{0x130000, PAGE - 1, true},            /* none */
		{0x130fff, 2, true},                   /* none */
		{0x150000 - 1, PAGE + 2, true},        /* 0x150 */
		{END - PAGE - 5, PAGE + 5, true},      /* the last */
		{0x160000, 2 * PAGE + PAGE / 2, true}, /* 0x160, 0x161 */
	};
	static const uint32_t gone[] = {0x111, 0x112, 0x150, END / PAGE - 1, 0x160, 0x161};

	offer(f, REPORTING_Q, bufs, ARRAY_LEN(bufs));
	expect_used(f, REPORTING_Q);
	expect_gone(f, gone, ARRAY_LEN(gone));
	assert_int_equal(virtio_status(&f->b.v), LIVE);
}

static void test_hostile_reports_of_no_ram(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf buf = {END - PAGE, 2 * PAGE, true};

	offer(f, REPORTING_Q, &buf, 1);
	assert_int_equal(virtio_status(&f->b.v), LIVE | NEEDS_RESET);
	expect_gone(f, NULL, 0);
}

/* The rings themselves, and all else: the guest's own end, not ours. */
static void test_hostile_report_of_everything(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf bufs[] = {{0, SEAM, true}, {SEAM, END - SEAM, true}};

	offer(f, REPORTING_Q, bufs, 2);
	kick(f, REPORTING_Q);
	kick(f, INFLATE_Q);
	assert_int_equal(*(uint8_t *)guest_mem_hva(&f->gm, FREE, 1), 0);
	end_driver(f);
	start(f, ALL);
	test_reports(state);
}

/* Of a file mapped privately, what comes back is the file's. */
static void test_ram_of_a_file(void **state)
{
	int fd = memfd_create("saved", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, SEAM), 0);
	struct fixture *f = build(GUEST_MEM_FILE, fd);
	static const uint32_t pfns[] = {0x110};

	assert_true(f->b.v.offered & REPORTING);
	start(f, BASIC);
	inflate(f, pfns, 1);
	expect_used(f, INFLATE_Q);
	assert_int_equal(*(uint8_t *)guest_mem_hva(&f->gm, 0x110 * PAGE, 1), 0);
	assert_int_equal(*(uint8_t *)guest_mem_hva(&f->gm, 0x111 * PAGE, 1), 'x');
	destroy(f);
}

/* Where nothing goes back, no guest is made to report; balloons are acknowledged. */
static void test_ram_that_stays(void **state)
{
	pages = GUEST_MEM_PAGES_2M;
	struct fixture *f = build(GUEST_MEM_ANON, -1);
	static const uint32_t pfns[] = {0x110};

	pages = GUEST_MEM_PAGES_HOST;

	assert_false(f->b.v.offered & REPORTING);
	assert_true(f->b.v.offered & STATS);
	start(f, BASIC);
	inflate(f, pfns, 1);
	expect_used(f, INFLATE_Q);
	assert_int_equal(*(uint8_t *)guest_mem_hva(&f->gm, 0x110 * PAGE, 1), 'x');
	destroy(f);
}

static void test_shared_ram(void **state)
{
	struct fixture *f = build(GUEST_MEM_SHARED, -1);

	start(f, ALL);
	reports(f, REPORTING_Q);
	static const uint32_t pfns[] = {0x130};

	inflate(f, pfns, 1);
	expect_used(f, INFLATE_Q);
	assert_int_equal(*(uint8_t *)guest_mem_hva(&f->gm, 0x130 * PAGE, 1), 0);
	destroy(f);
}

/* --- statistics ------------------------------------------------------------------------ */

struct stat {
	uint16_t tag;
	uint64_t val;
};

/* The driver fills a buffer and offers it; `extra` bytes are behind. */
static void say_stats(struct fixture *f, const struct stat *s, unsigned n, unsigned extra)
{
	const struct vd_buf buf = {LIST, 10 * n + extra, false};
	uint8_t *p = guest_mem_hva(&f->gm, LIST, 10 * n + extra);

	for (unsigned i = 0; i < n; i++) {
		le16_put(p + 10 * i, s[i].tag);
		le64_put(p + 10 * i + 2, s[i].val);
	}
	memset(p + 10 * n, 0, extra); /* as if of tag 0 */
	offer(f, STATS_Q, &buf, 1);
}

static void say_free(struct fixture *f, uint64_t bytes)
{
	const struct stat s = {VIRTIO_BALLOON_S_MEMFREE, bytes};

	say_stats(f, &s, 1, 0);
}

static void expect_free(struct fixture *f, uint64_t bytes, uint64_t age)
{
	struct virtio_balloon_stats s;
	uint64_t age_ms;

	assert_true(virtio_balloon_stats(&f->b, &s, &age_ms));
	assert_int_equal(s.known, 1u << VIRTIO_BALLOON_S_MEMFREE);
	assert_int_equal(s.values[VIRTIO_BALLOON_S_MEMFREE], bytes);
	assert_int_equal(age_ms, age);
}

static void expect_no_stats(struct fixture *f)
{
	struct virtio_balloon_stats s;
	uint64_t age_ms;

	assert_false(virtio_balloon_stats(&f->b, &s, &age_ms));
}

static void ask(struct fixture *f)
{
	virtio_balloon_ask(&f->b);
	loop_settle(f->loop);
}

static void pass_ms(struct fixture *f, unsigned ms)
{
	fake_clock_advance(&f->hands, ms * 1000000ull);
}

static void test_statistics(void **state)
{
	struct fixture *f = *state;
	static const struct stat s[] = {
		{9, 109},        {0, 100}, {0xffff, 1}, {1, 101}, {2, 102}, {10, 2},
		{3, 1ull << 63}, {5, 105}, {4, 104},    {6, 106}, {7, 107}, {8, 108},
	};
	struct virtio_balloon_stats got;
	uint64_t age;

	expect_no_stats(f);
	say_stats(f, s, ARRAY_LEN(s), 9); /* and what is no whole entry */
	assert_true(virtio_balloon_stats(&f->b, &got, &age));
	assert_int_equal(got.known, 0x3ff);
	for (unsigned i = 0; i < VIRTIO_BALLOON_S_N; i++)
		assert_true(got.values[i] == (i == 3 ? 1ull << 63 : 100 + i));
	assert_int_equal(age, 0);
}

static void test_statistics_are_asked_for(void **state)
{
	struct fixture *f = *state;

	say_free(f, 1000);
	pass_ms(f, 7);
	/* Nobody asked, so the buffer stays; a doorbell more changes nothing. */
	kick(f, STATS_Q);
	expect_nothing(f, STATS_Q);
	assert_int_equal(fake_transport_irqs(&f->t, STATS_Q), 0);
	expect_free(f, 1000, 7);
	ask(f);
	expect_used(f, STATS_Q);
	assert_int_equal(fake_transport_irqs(&f->t, STATS_Q), 1);
	/* Until the driver answers the old ones hold; asking again does not hurry it. */
	pass_ms(f, 5);
	ask(f);
	expect_nothing(f, STATS_Q);
	expect_free(f, 1000, 12);
	say_free(f, 2000);
	expect_free(f, 2000, 0);
	expect_nothing(f, STATS_Q);
	for (unsigned i = 0; i < 3 * SIZE; i++) {
		ask(f);
		expect_used(f, STATS_Q);
		say_free(f, i);
		expect_free(f, i, 0);
	}
}

static void test_statistics_of_a_short_queue(void **state)
{
	struct fixture *f = *state;

	end_driver(f);
	start_sized(f, ALL, 1);
	for (unsigned i = 0; i < 5; i++) {
		say_free(f, i);
		expect_free(f, i, 0);
		expect_nothing(f, STATS_Q);
		ask(f);
		expect_used(f, STATS_Q);
		/* It is a doorbell that the device waits for. */
		assert_int_equal(virtq_driver_used_flags(&f->q[STATS_Q]), 0);
	}
}

/* Asked before there is a driver, or of one that has no statistics: no harm. */
static void test_asking_nobody(void **state)
{
	struct fixture *f = *state;

	end_driver(f);
	ask(f);
	expect_no_stats(f);
	start(f, BASIC | REPORTING);
	ask(f);
	expect_no_stats(f);
	reports(f, STATS_Q);
	end_driver(f);
	ask(f);
	start(f, ALL);
	say_free(f, 5);
	expect_free(f, 5, 0);
	expect_nothing(f, STATS_Q);
	ask(f);
	expect_used(f, STATS_Q);
	/* A driver that goes takes its word along. */
	end_driver(f);
	expect_no_stats(f);
}

static void test_hostile_second_buffer(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf buf = {LIST, 10, false};

	virtq_driver_offer(&f->q[STATS_Q], &buf, 1);
	virtq_driver_offer(&f->q[STATS_Q], &buf, 1);
	kick(f, STATS_Q);
	assert_int_equal(virtio_status(&f->b.v), LIVE | NEEDS_RESET);
	ask(f);
	expect_nothing(f, STATS_Q);
}

static void test_hostile_statistics(void **state)
{
	struct fixture *f = *state;
	const struct vd_buf bufs[] = {{LIST, 9, false}, {LIST, 10, true}, {LIST, 1 * MiB, false}};

	for (unsigned i = 0; i < ARRAY_LEN(bufs); i++) {
		offer(f, STATS_Q, &bufs[i], 1);
		ask(f);
		expect_used(f, STATS_Q);
		expect_no_stats(f); /* "xx" is no tag that we know */
	}
	assert_int_equal(virtio_status(&f->b.v), LIVE);
}

/* --- configuration ---------------------------------------------------------------------- */

static void test_target_and_actual(void **state)
{
	struct fixture *f = *state;
	struct virtio *v = &f->b.v;
	uint8_t generation = virtio_config_generation(v);

	assert_int_equal(v->ops->device_id, 5);
	assert_int_equal(virtio_config_read(v, 0, 8), 0);
	virtio_balloon_set_target(&f->b, 0x1234);
	assert_int_equal(fake_transport_config_irqs(&f->t), 1);
	assert_int_not_equal(virtio_config_generation(v), generation);
	assert_int_equal(virtio_config_read(v, 0, 4), 0x1234);
	virtio_config_write(v, 4, 4, 0x89abcdef);
	assert_true(virtio_balloon_actual(&f->b) == 0x89abcdef);
	assert_true(virtio_config_read(v, 0, 8) == 0x89abcdef00001234);
	/* In pieces, as well; and what is ours is not to be written. */
	virtio_config_write(v, 5, 1, 0x11);
	virtio_config_write(v, 6, 2, 0x2233);
	virtio_config_write(v, 0, 4, 0x5a5a5a5a);
	assert_true(virtio_config_read(v, 0, 8) == 0x223311ef00001234);
	virtio_config_write(v, 0, 8, UINT64_MAX);
	assert_true(virtio_config_read(v, 0, 8) == 0xffffffff00001234);
	assert_int_equal(virtio_config_read(v, 8, 4), 0);
	virtio_config_write(v, 8, 4, 1);
	/* The same again, as the driver may have let some go. */
	virtio_balloon_set_target(&f->b, 0x1234);
	assert_int_equal(fake_transport_config_irqs(&f->t), 2);
	/* What the host wants, it wants of the next driver, too. */
	end_driver(f);
	assert_int_equal(virtio_balloon_target(&f->b), 0x1234);
	assert_int_equal(virtio_balloon_actual(&f->b), 0);
	virtio_balloon_set_target(&f->b, 7);
	assert_int_equal(fake_transport_config_irqs(&f->t), 2);
	assert_int_equal(virtio_config_read(v, 0, 4), 7);
}

/* --- pause and state --------------------------------------------------------------------- */

static void *pause_it(void *arg)
{
	struct fixture *f = arg;

	return virtio_pause(&f->b.v, 20000) ? f : NULL;
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

static void test_pause(void **state)
{
	struct fixture *f = *state;

	say_free(f, 1000);
	pass_ms(f, 3);
	stand(f);
	virtio_balloon_ask(&f->b);
	virtio_balloon_set_target(&f->b, 5);
	loop_settle(f->loop);
	expect_nothing(f, STATS_Q);
	expect_free(f, 1000, 3);
	virtio_resume(&f->b.v);
	loop_settle(f->loop);
	expect_used(f, STATS_Q);
	expect_free(f, 1000, 3);
	say_free(f, 1);
	stand(f);
	virtio_resume(&f->b.v);
	loop_settle(f->loop);
	/* The buffer that is still there has got no younger. */
	pass_ms(f, 9);
	kick(f, STATS_Q);
	expect_free(f, 1, 9);
}

static void save(struct fixture *f, struct state_writer *w)
{
	state_writer_init(w);
	state_section_begin(w, "balloon", 1);
	virtio_save(&f->b.v, w);
	state_section_end(w);
	assert_int_equal(w->error, 0);
}

static int load(struct fixture *f, const uint8_t *data, size_t len)
{
	struct state_reader r;
	struct err e = {0};
	int ret;

	state_reader_init(&r, data, len);
	ret = state_section_open(&r, "balloon", &e);
	if (ret > 0)
		ret = virtio_load(&f->b.v, &r, &e);
	assert_true(!ret || *e.text);
	return ret;
}

/* The other machine has this one's memory. */
static void copy_ram(struct fixture *to, const struct fixture *from)
{
	for (unsigned i = 0; i < to->gm.n_regions; i++)
		memcpy(to->gm.regions[i].hva, from->gm.regions[i].hva, to->gm.regions[i].len);
	memcpy(to->q, from->q, sizeof(to->q));
	for (unsigned i = 0; i < QUEUES; i++)
		to->q[i].gm = &to->gm;
}

static void test_state(void **state)
{
	struct fixture *f = *state, *other = build(GUEST_MEM_ANON, -1);
	struct state_writer w, again;
	static const uint32_t pfns[] = {0x130};

	say_free(f, 1000);
	virtio_balloon_set_target(&f->b, END / PAGE);
	virtio_config_write(&f->b.v, 4, 4, 77);
	stand(f);
	save(f, &w);
	copy_ram(other, f);
	assert_int_equal(load(other, w.data, w.len), 0);
	save(other, &again);
	assert_int_equal(again.len, w.len);
	assert_memory_equal(again.data, w.data, w.len);
	virtio_resume(&other->b.v);
	loop_settle(other->loop);
	assert_int_equal(virtio_balloon_target(&other->b), END / PAGE);
	assert_int_equal(virtio_balloon_actual(&other->b), 77);
	/* What was said before the save is not said again as if it were new; but asking helps. */
	expect_no_stats(other);
	ask(other);
	expect_used(other, STATS_Q);
	say_free(other, 2000);
	expect_free(other, 2000, 0);
	inflate(other, pfns, 1);
	expect_used(other, INFLATE_Q);
	assert_int_equal(*(uint8_t *)guest_mem_hva(&other->gm, 0x130 * PAGE, 1), 0);
	state_writer_fini(&w);
	state_writer_fini(&again);
	destroy(other);
}

static void test_hostile_state(void **state)
{
	struct fixture *f = *state, *other = build(GUEST_MEM_ANON, -1);
	struct state_writer w;

	virtio_balloon_set_target(&f->b, 0x102);
	stand(f);
	save(f, &w);
	copy_ram(other, f);
	/* The end: le32 target, le32 actual, a bool. */
	uint8_t *own = w.data + w.len - 9;

	assert_int_equal(le32_get(own), 0x102);
	le32_put(own, END / PAGE + 1);
	assert_int_equal(load(other, w.data, w.len), -EBADMSG);
	le32_put(own, 0x102);
	own[8] = 2;
	assert_int_equal(load(other, w.data, w.len), -EBADMSG);
	own[8] = 1; /* a lie: there is no such buffer */
	for (size_t len = 0; len < w.len; len++)
		assert_int_equal(load(other, w.data, len), -EBADMSG);
	assert_int_equal(virtio_status(&other->b.v), 0);
	assert_int_equal(virtio_balloon_target(&other->b), 0);
	assert_int_equal(load(other, w.data, w.len), 0);
	virtio_resume(&other->b.v);
	loop_settle(other->loop);
	ask(other);
	expect_nothing(other, STATS_Q);
	say_free(other, 3);
	ask(other);
	expect_used(other, STATS_Q);
	say_free(other, 4);
	expect_free(other, 4, 0);
	state_writer_fini(&w);
	destroy(other);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_inflate_gives_back),
		T(test_upwards),
		T(test_downwards),
		T(test_the_same_page_twice),
		T(test_over_a_seam),
		T(test_list_in_pieces),
		T(test_many_lists_at_once),
		T(test_what_went_is_logged),
		T(test_hostile_pages_that_are_not_ram),
		T(test_hostile_length),
		T(test_empty_and_unreadable_requests),
		T(test_hostile_endless_request),
		T(test_hostile_flood_of_complaints),
		T(test_reports),
		T(test_reports_at_its_number),
		T(test_reports_without_statistics),
		T(test_no_reports_that_were_not_negotiated),
		T(test_hostile_reports_of_parts),
		T(test_hostile_reports_of_no_ram),
		T(test_hostile_report_of_everything),
		cmocka_unit_test(test_ram_of_a_file),
		cmocka_unit_test(test_ram_that_stays),
		cmocka_unit_test(test_shared_ram),
		T(test_statistics),
		T(test_statistics_are_asked_for),
		T(test_statistics_of_a_short_queue),
		T(test_asking_nobody),
		T(test_hostile_second_buffer),
		T(test_hostile_statistics),
		T(test_target_and_actual),
		T(test_pause),
		T(test_state),
		T(test_hostile_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
