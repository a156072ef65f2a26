/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between two calls nothing is in flight, so a pause has nothing to wait for. Of the statsq that
 * means: its one buffer is read and left in the queue, and only taken when somebody asks
 * [virtio 1.3 5.5.6.3]. Nobody who does not ask is told, and no timer runs.
 */
#include "devices/virtio/balloon.h"

#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <string.h>

/* Linux reports 32 ranges at a time, in a chain as long as the queue or not at all. */
enum { QUEUES = 5, QUEUE_SIZE = 32 };
enum { PFN_LEN = 4, STAT_LEN = 10, STATS_MAX = 64 };

#define PAGE VIRTIO_BALLOON_PAGE

enum kind { INFLATE, DEFLATE, STATS, REPORTING, NOTHING };

static enum kind kind_of(const struct virtio_balloon *b, unsigned index)
{
	bool stats = b->v.features & VIRTIO_BALLOON_F_STATS_VQ;
	bool reporting = b->v.features & VIRTIO_BALLOON_F_PAGE_REPORTING;

	if (index < 2)
		return index ? DEFLATE : INFLATE;
	if (index == 2 && stats)
		return STATS;
	return reporting && (index == (stats ? 3 : 2) || index == QUEUES - 1) ? REPORTING : NOTHING;
}

/* --- giving back ------------------------------------------------------------------- */

static void give_back(struct virtio_balloon *b, uint64_t gpa, uint64_t len)
{
	int ret = guest_mem_discard(b->v.gm, gpa, len);

	if (ret && ret != -EOPNOTSUPP)
		log_guest(&b->complaints, "%s: the host does not take %lu KiB back: %s", b->v.name,
			  len / KiB, strerror(-ret));
}

/* Pages of one region side by side: one call of the host's for all of them. */
struct run {
	uint64_t gpa, len;
};

static void end_run(struct virtio_balloon *b, struct run *r)
{
	if (r->len)
		give_back(b, r->gpa, r->len);
	r->len = 0;
}

/* Linux's allocator hands them out upwards as well as downwards. False: it is not RAM. */
static bool add_page(struct virtio_balloon *b, struct run *r, uint64_t gpa)
{
	if (r->len && gpa >= r->gpa && gpa < r->gpa + r->len)
		return true;
	if (r->len && gpa == r->gpa + r->len && guest_mem_hva(b->v.gm, r->gpa, r->len + PAGE)) {
		r->len += PAGE;
		return true;
	}
	if (r->len && gpa + PAGE == r->gpa && guest_mem_hva(b->v.gm, gpa, r->len + PAGE)) {
		r->gpa = gpa;
		r->len += PAGE;
		return true;
	}
	if (!guest_mem_hva(b->v.gm, gpa, PAGE))
		return false;
	end_run(b, r);
	*r = (struct run){gpa, PAGE};
	return true;
}

static void inflate_one(struct virtio_balloon *b)
{
	uint64_t all = b->chain.read_len / PFN_LEN, strays = 0;
	uint64_t n = all < VIRTIO_BALLOON_REQUEST_MAX ? all : VIRTIO_BALLOON_REQUEST_MAX;
	uint8_t pfns[256 * PFN_LEN];
	struct run run = {0};

	for (uint64_t i = 0; i < n;) {
		uint64_t left = (n - i) * PFN_LEN;
		size_t got = virtq_chain_read(&b->chain, i * PFN_LEN, pfns,
					      left < sizeof(pfns) ? left : sizeof(pfns));

		for (size_t at = 0; at < got; at += PFN_LEN, i++)
			strays += !add_page(b, &run, le32_get(pfns + at) * PAGE);
	}
	end_run(b, &run);
	if (strays)
		log_guest(&b->complaints, "%s: %lu pages for the balloon that are not RAM",
			  b->v.name, strays);
	if (n < all)
		log_guest(&b->complaints, "%s: %lu pages in one request; only the first %lu count",
			  b->v.name, all, n);
}

static void inflate(struct virtio_balloon *b, unsigned index)
{
	unsigned taken = 0;

	while (virtio_pop(&b->v, index, &taken, &b->chain)) {
		if (b->chain.read_len % PFN_LEN) {
			virtio_fail(&b->v, "a request for the balloon that ends within a page's "
					   "number");
			break;
		}
		inflate_one(b);
		virtq_push(&b->v.queues[index], b->chain.head, 0);
	}
	virtio_publish(&b->v, index);
}

/* Advice without a consequence: the page is the guest's from its first touch on. */
static void deflate(struct virtio_balloon *b, unsigned index)
{
	unsigned taken = 0;

	while (virtio_pop(&b->v, index, &taken, &b->chain))
		virtq_push(&b->v.queues[index], b->chain.head, 0);
	virtio_publish(&b->v, index);
}

/* What is free are the buffers themselves [virtio 1.3 5.5.6.7]. Of those that do not begin and end
 * with pages, the pages that are whole. */
static void report(struct virtio_balloon *b, unsigned index)
{
	unsigned taken = 0;

	while (virtio_pop(&b->v, index, &taken, &b->chain)) {
		const struct virtq_chain *c = &b->chain;

		for (unsigned i = c->n_read; i < c->n_read + c->n_write; i++) {
			uint64_t from = align_up(c->segs[i].gpa, PAGE);
			uint64_t to = align_down(c->segs[i].gpa + c->segs[i].len, PAGE);

			if (from < to)
				give_back(b, from, to - from);
		}
		virtq_push(&b->v.queues[index], c->head, 0);
	}
	virtio_publish(&b->v, index);
}

/* --- statistics -------------------------------------------------------------------- */

/* In any order, some of them; what is unknown to us is passed over [virtio 1.3 5.5.6.3.2]. */
static void read_stats(struct virtio_balloon *b)
{
	struct virtio_balloon_stats stats = {0};
	uint8_t bytes[STATS_MAX * STAT_LEN];
	size_t len = virtq_chain_read(&b->chain, 0, bytes, sizeof(bytes));

	for (size_t at = 0; at + STAT_LEN <= len; at += STAT_LEN) {
		uint16_t tag = le16_get(bytes + at);

		if (tag >= VIRTIO_BALLOON_S_N)
			continue;
		stats.values[tag] = le64_get(bytes + at + 2);
		stats.known |= 1u << tag;
	}
	pthread_mutex_lock(&b->lock);
	b->stats = stats;
	b->stats_ns = clock_monotonic_ns(&b->clock);
	pthread_mutex_unlock(&b->lock);
}

/* To ask is to use the buffer that was read; the driver brings another. */
static void serve_stats(struct virtio_balloon *b, unsigned index)
{
	bool wanted = __atomic_exchange_n(&b->stats_wanted, false, __ATOMIC_RELAXED);
	struct virtq *q = &b->v.queues[index];
	unsigned taken = 0;
	bool fresh = false;
	uint16_t head = 0;

	if (b->stats_read && !wanted)
		return;
	while (virtio_pop(&b->v, index, &taken, &b->chain)) {
		if (b->stats_read) {
			virtq_push(q, b->chain.head, 0);
			b->stats_read = false;
		} else if (!fresh) {
			read_stats(b);
			head = b->chain.head;
			fresh = true;
		} else {
			virtq_unpop(q, b->chain.head);
			virtio_fail(&b->v, "more than one buffer of statistics");
		}
	}
	if (fresh) {
		virtq_unpop(q, head);
		b->stats_read = true;
	}
	virtio_publish(&b->v, index);
}

void virtio_balloon_ask(struct virtio_balloon *b)
{
	__atomic_store_n(&b->stats_wanted, true, __ATOMIC_RELAXED);
	/* As if the guest had rung; where that is no queue of statistics, nothing is in it. */
	virtio_kick(&b->v, STATS);
}

bool virtio_balloon_stats(struct virtio_balloon *b, struct virtio_balloon_stats *out,
			  uint64_t *age_ms)
{
	pthread_mutex_lock(&b->lock);
	*out = b->stats;
	*age_ms = (clock_monotonic_ns(&b->clock) - b->stats_ns) / 1000000;
	pthread_mutex_unlock(&b->lock);
	return out->known;
}

static void queue_ready(void *dev, unsigned index)
{
	struct virtio_balloon *b = dev;

	switch (kind_of(b, index)) {
	case INFLATE:
		inflate(b, index);
		break;
	case DEFLATE:
		deflate(b, index);
		break;
	case STATS:
		serve_stats(b, index);
		break;
	case REPORTING:
		report(b, index);
		break;
	case NOTHING:
		break;
	}
}

/* --- configuration space ----------------------------------------------------------- */

static uint64_t config_read(void *dev, uint32_t off, unsigned size)
{
	const struct virtio_balloon *b = dev;
	uint8_t space[VIRTIO_BALLOON_CFG_LEN];
	uint64_t val = 0;

	le32_put(space + VIRTIO_BALLOON_CFG_NUM_PAGES, virtio_balloon_target(b));
	le32_put(space + VIRTIO_BALLOON_CFG_ACTUAL, virtio_balloon_actual(b));
	for (unsigned i = 0; i < size; i++)
		val |= (uint64_t)space[off + i] << 8 * i;
	return val;
}

/* Of `actual` alone, in any pieces. */
static void config_write(void *dev, uint32_t off, unsigned size, uint64_t val)
{
	struct virtio_balloon *b = dev;
	uint8_t actual[4];

	le32_put(actual, virtio_balloon_actual(b));
	for (unsigned i = 0; i < size; i++)
		if (off + i >= VIRTIO_BALLOON_CFG_ACTUAL)
			actual[off + i - VIRTIO_BALLOON_CFG_ACTUAL] = (uint8_t)(val >> 8 * i);
	__atomic_store_n(&b->actual, le32_get(actual), __ATOMIC_RELAXED);
}

void virtio_balloon_set_target(struct virtio_balloon *b, uint32_t pages)
{
	__atomic_store_n(&b->target, pages, __ATOMIC_RELAXED);
	virtio_notify_config(&b->v);
}

uint32_t virtio_balloon_target(const struct virtio_balloon *b)
{
	return __atomic_load_n(&b->target, __ATOMIC_RELAXED);
}

uint32_t virtio_balloon_actual(const struct virtio_balloon *b)
{
	return __atomic_load_n(&b->actual, __ATOMIC_RELAXED);
}

/* --- life -------------------------------------------------------------------------- */

static void set_state(struct virtio_balloon *b, uint32_t actual, bool stats_read)
{
	__atomic_store_n(&b->actual, actual, __ATOMIC_RELAXED);
	__atomic_store_n(&b->stats_wanted, false, __ATOMIC_RELAXED);
	b->stats_read = stats_read;
	pthread_mutex_lock(&b->lock);
	b->stats = (struct virtio_balloon_stats){0};
	pthread_mutex_unlock(&b->lock);
}

/* The next driver begins with an empty balloon. How large it should be is the host's affair. */
static void reset(void *dev)
{
	set_state(dev, 0, false);
}

/* Statistics are too old by the time that somebody loads them. */
static void save(void *dev, struct state_writer *w)
{
	const struct virtio_balloon *b = dev;

	state_put_u32(w, virtio_balloon_target(b));
	state_put_u32(w, virtio_balloon_actual(b));
	state_put_bool(w, b->stats_read);
}

static int load(void *dev, struct state_reader *r, struct err *e)
{
	struct virtio_balloon *b = dev;
	uint32_t target = state_get_u32(r), actual = state_get_u32(r);
	bool stats_read = state_get_bool(r);

	if (r->error || target > guest_mem_size(b->v.gm) / PAGE)
		return err_host(e, -EBADMSG, "saved state: %s: not of this balloon", b->v.name);
	__atomic_store_n(&b->target, target, __ATOMIC_RELAXED);
	set_state(b, actual, stats_read);
	return 0;
}

static const struct virtio_ops ops = {
	.device_id = VIRTIO_ID_BALLOON,
	.config_read = config_read,
	.config_write = config_write,
	.queue_ready = queue_ready,
	.reset = reset,
	.save = save,
	.load = load,
};

int virtio_balloon_init(struct virtio_balloon *b, const char *name, struct guest_mem *gm,
			struct loop *loop, const struct clock *clock)
{
	static const uint16_t sizes[QUEUES] = {QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE,
					       QUEUE_SIZE};
	uint64_t features = VIRTIO_BALLOON_F_STATS_VQ | VIRTIO_BALLOON_F_DEFLATE_ON_OOM;
	int ret;

	memset(b, 0, sizeof(*b));
	b->clock = *clock;
	if (guest_mem_discards(gm))
		features |= VIRTIO_BALLOON_F_PAGE_REPORTING;
	pthread_mutex_init(&b->lock, NULL);
	ret = virtio_init(&b->v, &ops, b, name, gm, loop, features, VIRTIO_BALLOON_CFG_LEN, QUEUES,
			  sizes);
	if (ret)
		pthread_mutex_destroy(&b->lock);
	return ret;
}

void virtio_balloon_fini(struct virtio_balloon *b)
{
	bool made = b->v.ops;

	virtio_fini(&b->v);
	if (made)
		pthread_mutex_destroy(&b->lock);
}
