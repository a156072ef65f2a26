/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request is one chain [virtio 1.3 5.2.6]:
 *
 *	device reads:   type u32, reserved u32, sector u64, data (of a write)
 *	device writes:  data (of a read), status u8
 *
 * with no rule about where one descriptor ends and the next begins. So the
 * header is the first 16 readable bytes, the status the last writable one, and
 * what lies between them is data, wherever it is.
 *
 *	queue_ready:  pop -> parse -> start -> backend ... done -> answer -> publish
 *
 * parse() judges what the guest wrote and decides: fail the device (no place for
 * an answer), answer now (an error, or nothing to do), or hand over to the backend.
 * Answers are collected and shown to the driver once for each batch.
 */
#include "devices/virtio/blk.h"

#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	SECTOR = 512,
	HEADER_LEN = 16,
	RANGE_LEN = 16, /* struct virtio_blk_discard_write_zeroes */
	/* Header and status take up two of a chain's descriptors at most. */
	SEG_MAX = VIRTQ_SIZE_MAX - 2,
	/* One range a request; zeroing is bounded since it may come down to writing. */
	RANGES_MAX = 1,
	DISCARD_SECTORS_MAX = 4 * GiB / SECTOR,
	WRITE_ZEROES_SECTORS_MAX = 128 * MiB / SECTOR,
};

/* What the driver made of CONFIG_WCE. */
enum { CACHE_DEFAULT, CACHE_WRITETHROUGH, CACHE_WRITEBACK };

/* --- the write cache ------------------------------------------------------------- */

/* Reading `writeback`: 0 from the start for a driver that can set the mode but
 * not flush [virtio 1.3 5.2.5.2]. */
static bool writeback(const struct virtio_blk *b)
{
	uint8_t mode = __atomic_load_n(&b->cache_mode, __ATOMIC_RELAXED);
	bool can_set = b->v.features & VIRTIO_BLK_F_CONFIG_WCE;

	if (mode == CACHE_DEFAULT)
		return !can_set || b->v.features & VIRTIO_BLK_F_FLUSH;
	return mode == CACHE_WRITEBACK;
}

/* Does a write have to be durable when it completes [virtio 1.3 5.2.6.2]? */
static bool stable(const struct virtio_blk *b)
{
	if (b->v.features & VIRTIO_BLK_F_CONFIG_WCE)
		return !writeback(b);
	return !(b->v.features & VIRTIO_BLK_F_FLUSH);
}

/* --- configuration space ----------------------------------------------------------- */

static uint64_t config_read(void *dev, uint32_t off, unsigned size)
{
	struct virtio_blk *b = dev;
	const struct block *disk = virtio_blk_disk(b);
	uint8_t cfg[VIRTIO_BLK_CFG_LEN] = {0};
	uint64_t val = 0;

	le64_put(cfg + VIRTIO_BLK_CFG_CAPACITY, virtio_blk_size(b) / SECTOR);
	le32_put(cfg + VIRTIO_BLK_CFG_SEG_MAX, SEG_MAX);
	le32_put(cfg + VIRTIO_BLK_CFG_BLK_SIZE, disk->block_size);
	cfg[VIRTIO_BLK_CFG_WRITEBACK] = writeback(b);
	le16_put(cfg + VIRTIO_BLK_CFG_NUM_QUEUES, (uint16_t)b->v.n_queues);
	if (b->v.offered & VIRTIO_BLK_F_DISCARD) {
		le32_put(cfg + VIRTIO_BLK_CFG_MAX_DISCARD_SECTORS, DISCARD_SECTORS_MAX);
		le32_put(cfg + VIRTIO_BLK_CFG_MAX_DISCARD_SEG, RANGES_MAX);
		le32_put(cfg + VIRTIO_BLK_CFG_DISCARD_SECTOR_ALIGNMENT,
			 disk->discard_align / SECTOR);
	}
	if (b->v.offered & VIRTIO_BLK_F_WRITE_ZEROES) {
		le32_put(cfg + VIRTIO_BLK_CFG_MAX_WRITE_ZEROES_SECTORS, WRITE_ZEROES_SECTORS_MAX);
		le32_put(cfg + VIRTIO_BLK_CFG_MAX_WRITE_ZEROES_SEG, RANGES_MAX);
		cfg[VIRTIO_BLK_CFG_WRITE_ZEROES_MAY_UNMAP] = 1;
	}
	memcpy(&val, cfg + off, size);
	return le64toh(val);
}

static void config_write(void *dev, uint32_t off, unsigned size, uint64_t val)
{
	struct virtio_blk *b = dev;

	if (off != VIRTIO_BLK_CFG_WRITEBACK || size != 1 || val > 1 ||
	    !(b->v.status & VIRTIO_STATUS_FEATURES_OK) ||
	    !(b->v.features & VIRTIO_BLK_F_CONFIG_WCE))
		return;
	__atomic_store_n(&b->cache_mode, val ? CACHE_WRITEBACK : CACHE_WRITETHROUGH,
			 __ATOMIC_RELAXED);
}

/* --- answering ----------------------------------------------------------------------- */

static struct virtio_blk_req *take_slot(struct virtio_blk_lane *l)
{
	struct virtio_blk_req *r = l->free;

	if (r) {
		l->free = r->next_free;
		return r;
	}
	/* One for each descriptor there can be, since a head in flight is not popped
	 * again, and one for the look that finds a queue empty. */
	assert(l->fresh < l->slots);
	r = &l->pool[l->fresh++];
	r->lane = l;
	return r;
}

static void free_slot(struct virtio_blk_req *r)
{
	r->next_free = r->lane->free;
	r->lane->free = r;
}

/* The chain is done: `status`, with `written` bytes of data before it. */
static void answer(struct virtio_blk_req *r, uint8_t status, uint64_t written)
{
	struct virtio *v = &r->lane->blk->v;
	uint64_t at = r->chain.write_len - 1;

	if (!virtio_failed(v)) {
		virtq_chain_write(&r->chain, v->gm, at, &status, 1);
		/* `len` promises that many bytes from the front [virtio 1.3 2.7.8.2], so
		 * the status counts only when there is no gap before it. */
		if (written == at)
			written++;
		virtq_push(&v->queues[r->queue], r->chain.head,
			   written <= UINT32_MAX ? (uint32_t)written : UINT32_MAX);
		r->lane->unpublished |= 1ull << r->queue;
	}
	free_slot(r);
}

static void publish(struct virtio_blk_lane *l)
{
	struct virtio *v = &l->blk->v;

	for (unsigned i = l->index; i < v->n_queues; i += l->blk->n_lanes)
		if (l->unpublished >> i & 1)
			virtio_publish(v, i);
	l->unpublished = 0;
}

static const char *op_name(enum block_op op)
{
	static const char *const names[] = {
		[BLOCK_READ] = "read",
		[BLOCK_WRITE] = "write",
		[BLOCK_FLUSH] = "flush",
		[BLOCK_DISCARD] = "discard",
		[BLOCK_WRITE_ZEROES] = "write zeroes",
	};

	return names[op];
}

static void done(struct block_req *io, int result)
{
	struct virtio_blk_req *r = container_of(io, struct virtio_blk_req, io);
	struct virtio_blk_lane *l = r->lane;
	bool read = io->op == BLOCK_READ;

	/* A read that failed may have come part of the way. */
	if (read)
		virtq_chain_mark_dirty(&r->chain, l->blk->v.gm, 0, io->len);
	if (result)
		log_guest(&l->host_errors, "%s: %s of %lu bytes at %lu failed: %s", l->blk->v.name,
			  op_name(io->op), io->len, io->offset, strerror(-result));
	l->in_flight--;
	answer(r, result ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK, read && !result ? io->len : 0);
}

static void batch_end(void *ctx)
{
	struct virtio_blk_lane *l = ctx;

	publish(l);
	if (l->quiescing && !l->in_flight) {
		l->quiescing = false;
		virtio_quiesced(&l->blk->v, l->index);
	}
}

/* --- parsing -------------------------------------------------------------------------- */

enum verdict {
	ANSWER_OK = VIRTIO_BLK_S_OK,
	ANSWER_IOERR = VIRTIO_BLK_S_IOERR,
	ANSWER_UNSUPP = VIRTIO_BLK_S_UNSUPP,
	SUBMIT,
	MALFORMED, /* there is no place for an answer */
};

static bool within_disk(const struct virtio_blk *b, uint64_t sector, uint64_t n_sectors)
{
	return range_within(sector, n_sectors, virtio_blk_size(b) / SECTOR);
}

static enum verdict parse_transfer(struct virtio_blk_req *r, bool write, uint64_t sector)
{
	struct virtio_blk *b = r->lane->blk;
	uint64_t len = write ? r->chain.read_len - HEADER_LEN : r->chain.write_len - 1;
	int n;

	if (write && virtio_blk_disk(b)->read_only)
		return ANSWER_IOERR;
	if (len % SECTOR || !within_disk(b, sector, len / SECTOR))
		return ANSWER_IOERR;
	if (!len)
		return ANSWER_OK;
	n = virtq_chain_iov(&r->chain, !write, write ? HEADER_LEN : 0, len, r->iov,
			    (int)ARRAY_LEN(r->iov));
	assert(n > 0); /* the chain has these bytes, and no more segments than this */
	r->io = (struct block_req){
		.op = write ? BLOCK_WRITE : BLOCK_READ,
		.stable = write && stable(b),
		.offset = sector * SECTOR,
		.len = len,
		.iov = r->iov,
		.n_iov = n,
	};
	return SUBMIT;
}

/* DISCARD and WRITE_ZEROES. */
static enum verdict parse_range(struct virtio_blk_req *r, bool zeroes)
{
	struct virtio_blk *b = r->lane->blk;
	uint64_t feature = zeroes ? VIRTIO_BLK_F_WRITE_ZEROES : VIRTIO_BLK_F_DISCARD;
	uint32_t sectors_max = zeroes ? WRITE_ZEROES_SECTORS_MAX : DISCARD_SECTORS_MAX;
	uint8_t range[RANGE_LEN];

	if (!(b->v.features & feature))
		return ANSWER_UNSUPP;
	if (r->chain.read_len != HEADER_LEN + RANGES_MAX * RANGE_LEN)
		return ANSWER_IOERR;
	virtq_chain_read(&r->chain, HEADER_LEN, range, sizeof(range));

	uint64_t sector = le64_get(range);
	uint32_t n_sectors = le32_get(range + 8), flags = le32_get(range + 12);

	if (flags & ~(zeroes ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0u))
		return ANSWER_UNSUPP;
	if (n_sectors > sectors_max || !within_disk(b, sector, n_sectors))
		return ANSWER_IOERR;
	if (!n_sectors)
		return ANSWER_OK;
	r->io = (struct block_req){
		.op = zeroes ? BLOCK_WRITE_ZEROES : BLOCK_DISCARD,
		.unmap = flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
		.stable = zeroes && stable(b),
		.offset = sector * SECTOR,
		.len = (uint64_t)n_sectors * SECTOR,
	};
	return SUBMIT;
}

/* Fills r->io when it says SUBMIT; *written is what it put into the data itself. */
static enum verdict parse(struct virtio_blk_req *r, uint64_t *written)
{
	const struct virtio_blk *b = r->lane->blk;
	uint8_t header[HEADER_LEN];

	if (!r->chain.write_len ||
	    virtq_chain_read(&r->chain, 0, header, sizeof(header)) != sizeof(header))
		return MALFORMED;

	uint64_t room = r->chain.write_len - 1, sector = le64_get(header + 8);

	switch (le32_get(header)) {
	case VIRTIO_BLK_T_IN:
		return parse_transfer(r, false, sector);
	case VIRTIO_BLK_T_OUT:
		return parse_transfer(r, true, sector);
	case VIRTIO_BLK_T_FLUSH:
		r->io = (struct block_req){.op = BLOCK_FLUSH};
		return SUBMIT;
	case VIRTIO_BLK_T_GET_ID:
		*written = virtq_chain_write(&r->chain, b->v.gm, 0, b->id,
					     room < VIRTIO_BLK_ID_LEN ? room : VIRTIO_BLK_ID_LEN);
		return ANSWER_OK;
	case VIRTIO_BLK_T_DISCARD:
		return parse_range(r, false);
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return parse_range(r, true);
	default:
		return ANSWER_UNSUPP;
	}
}

/* --- the limit ------------------------------------------------------------------------- */

/* Moving nothing, a discard is an operation and no bytes. A range of zeroes may come down to
 * writing them. */
static uint64_t bytes_of(const struct block_req *io)
{
	return io->op == BLOCK_FLUSH || io->op == BLOCK_DISCARD ? 0 : io->len;
}

/* Has the lane to wait before it takes a request from queue `index`, of which it has just taken
 * `taken`? Then its timer runs. Who had something goes to the end of the round. */
static bool must_wait(struct virtio_blk_lane *l, unsigned index, unsigned taken)
{
	enum { NS_PER_MS = 1000000 };

	/* In this order: a change that comes now is in the answer, or is heard. */
	__atomic_store_n(&l->limit_changed, false, __ATOMIC_SEQ_CST);
	uint64_t ns = rate_limit_wait(&l->blk->limit);

	if (!ns)
		return false;
	l->waits = true;
	l->next_queue = taken ? index + l->blk->n_lanes : index;
	virtq_disable_kick(&l->blk->v.queues[index]);
	loop_timer_start(l->timer, ns / NS_PER_MS + 1);
	return true;
}

static void stop_waiting(struct virtio_blk_lane *l)
{
	l->waits = false;
	if (l->timer)
		loop_timer_stop(l->timer);
}

static void queue_ready(void *dev, unsigned index);

/* All queues of a lane, in their turn, until it has to wait again. */
static void on_timer(void *ctx)
{
	struct virtio_blk_lane *l = ctx;
	struct virtio *v = &l->blk->v;
	unsigned first = l->next_queue < v->n_queues ? l->next_queue : l->index, i = first;

	stop_waiting(l);
	do {
		if (!virtio_failed(v) && v->queues[i].running)
			queue_ready(l->blk, i);
		i += l->blk->n_lanes;
		if (i >= v->n_queues)
			i = l->index;
	} while (i != first && !l->waits);
}

void virtio_blk_set_limit(struct virtio_blk *b, const struct rates *limit)
{
	rate_limit_set(&b->limit, limit);
	/* Who waits has a queue that runs, and hears its doorbell. */
	for (unsigned i = 0; i < b->n_lanes; i++)
		__atomic_store_n(&b->lanes[i].limit_changed, true, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < b->v.n_queues; i++)
		virtio_kick(&b->v, i);
}

struct rates virtio_blk_limit(struct virtio_blk *b)
{
	return rate_limit_get(&b->limit);
}

/* --- the loop's calls ------------------------------------------------------------------ */

static void queue_ready(void *dev, unsigned index)
{
	struct virtio_blk *b = dev;
	struct virtio_blk_lane *l = &b->lanes[index % b->n_lanes];
	unsigned taken = 0;

	if (l->waits) {
		if (__atomic_exchange_n(&l->limit_changed, false, __ATOMIC_ACQUIRE))
			on_timer(l);
		else
			virtq_disable_kick(&b->v.queues[index]);
		return;
	}
	for (;;) {
		struct virtio_blk_req *r;
		enum verdict verdict;
		uint64_t written = 0;
		bool limited = rate_limit_on(&b->limit);

		if (limited && must_wait(l, index, taken))
			break;
		r = take_slot(l);
		if (!virtio_pop(&b->v, index, &taken, &r->chain)) {
			free_slot(r);
			break;
		}
		r->queue = index;
		verdict = parse(r, &written);
		if (verdict == MALFORMED) {
			virtio_fail(&b->v, "a request without room for header or status");
			free_slot(r);
			break;
		}
		if (verdict != SUBMIT) {
			answer(r, (uint8_t)verdict, written);
			continue;
		}
		if (limited)
			rate_limit_spend(&b->limit, bytes_of(&r->io));
		r->io.done = done;
		r->io.ctx = l;
		l->in_flight++;
		block_submit(l->backend, &r->io);
	}
	block_kick(l->backend);
	publish(l);
}

static void started(void *dev, unsigned lane)
{
	struct virtio_blk *b = dev;
	struct virtio_blk_lane *l = &b->lanes[lane];
	const struct block_ops *disk = l->backend->ops;

	l->timer = loop_timer_add(virtio_loop(&b->v, lane), on_timer, l);
	l->attached = !disk->attach || !disk->attach(l->backend, virtio_loop(&b->v, lane));
	if (!l->attached || !l->timer)
		virtio_fail(&b->v, "the host has no resources for its disk");
}

static void quiesce(void *dev, unsigned lane)
{
	struct virtio_blk *b = dev;

	stop_waiting(&b->lanes[lane]);
	/* The backend cannot be told to forget a request whose buffers the kernel may
	 * be filling; so wait for all of them. */
	b->lanes[lane].quiescing = true;
	batch_end(&b->lanes[lane]);
}

static void stopped(void *dev, unsigned lane)
{
	struct virtio_blk_lane *l = &((struct virtio_blk *)dev)->lanes[lane];

	if (l->attached && l->backend->ops->detach)
		l->backend->ops->detach(l->backend);
	l->attached = false;
	loop_timer_del(l->timer);
	l->timer = NULL;
}

static void reset(void *dev)
{
	struct virtio_blk *b = dev;

	b->cache_mode = CACHE_DEFAULT;
}

/* --- saved state ------------------------------------------------------------------------- */

static void save(void *dev, struct state_writer *w)
{
	const struct virtio_blk *b = dev;

	state_put_u64(w, virtio_blk_size(b));
	state_put_u8(w, b->cache_mode);
}

static int load(void *dev, struct state_reader *r, struct err *e)
{
	struct virtio_blk *b = dev;
	uint64_t size = state_get_u64(r);
	uint8_t mode = state_get_u8(r);
	uint64_t now = virtio_blk_size(b);

	if (r->error || mode > CACHE_WRITEBACK)
		return err_host(e, -EBADMSG, "saved state: %s: not of a disk", b->v.name);
	if (size != now)
		return err_host(e, -EINVAL,
				"saved state: %s: the disk had %lu bytes then and has %lu now; "
				"give the same disk",
				b->v.name, size, now);
	b->cache_mode = mode;
	return 0;
}

static const struct virtio_ops ops = {
	.device_id = VIRTIO_ID_BLOCK,
	.config_read = config_read,
	.config_write = config_write,
	.started = started,
	.queue_ready = queue_ready,
	.quiesce = quiesce,
	.stopped = stopped,
	.reset = reset,
	.save = save,
	.load = load,
};

/* --- life -------------------------------------------------------------------------------- */

static uint64_t features_of(const struct block *disk, unsigned n_queues)
{
	uint64_t f = VIRTIO_BLK_F_SEG_MAX | VIRTIO_BLK_F_BLK_SIZE | VIRTIO_BLK_F_FLUSH;

	if (n_queues > 1)
		f |= VIRTIO_BLK_F_MQ;
	if (disk->read_only)
		return f | VIRTIO_BLK_F_RO;
	f |= VIRTIO_BLK_F_CONFIG_WCE;
	if (disk->discard_align)
		f |= VIRTIO_BLK_F_DISCARD;
	if (disk->can_write_zeroes)
		f |= VIRTIO_BLK_F_WRITE_ZEROES;
	return f;
}

/* Slots are used from the front, so a quiet disk touches few of these pages. */
static int make_pool(struct virtio_blk_lane *l, unsigned n_queues)
{
	l->slots = n_queues * VIRTQ_SIZE_MAX + 1;
	l->pool = calloc(l->slots, sizeof(*l->pool));
	return l->pool ? 0 : -ENOMEM;
}

int virtio_blk_init(struct virtio_blk *b, const struct virtio_blk_options *options,
		    struct guest_mem *gm, const struct virtio_blk_host *hosts, unsigned n_hosts)
{
	unsigned n = options->n_queues;
	uint16_t sizes[VIRTIO_QUEUES_MAX];

	assert(n && n <= VIRTIO_QUEUES_MAX);
	assert(n_hosts && n_hosts <= n && n_hosts <= VIRTIO_BLK_LANES_MAX);
	*b = (struct virtio_blk){.n_lanes = n_hosts, .size = hosts[0].backend->size};
	rate_limit_init(&b->limit, options->clock);
	rate_limit_set(&b->limit, &options->limit);
	if (options->serial)
		memcpy(b->id, options->serial, strnlen(options->serial, sizeof(b->id)));
	for (unsigned i = 0; i < n; i++)
		sizes[i] = VIRTQ_SIZE_MAX;
	int ret = virtio_init(&b->v, &ops, b, options->name, gm, hosts[0].loop,
			      features_of(hosts[0].backend, n), VIRTIO_BLK_CFG_LEN, n, sizes);

	for (unsigned i = 0; i < n_hosts; i++) {
		struct virtio_blk_lane *l = &b->lanes[i];

		*l = (struct virtio_blk_lane){.blk = b, .index = i, .backend = hosts[i].backend};
		l->backend->batch_end = batch_end;
		l->backend->batch_ctx = l;
		if (!ret && i)
			ret = virtio_add_lane(&b->v, hosts[i].loop);
		if (!ret)
			ret = make_pool(l, (n - i + n_hosts - 1) / n_hosts);
	}
	if (ret)
		virtio_blk_fini(b);
	return ret;
}

int virtio_blk_resize(struct virtio_blk *b, uint64_t want, struct err *e)
{
	uint64_t now = virtio_blk_size(b), size;
	int ret = block_resize(b->lanes[0].backend, now, want, &size, e);

	if (!ret && size != now)
		virtio_change_config(&b->v, &b->size, size);
	return ret;
}

void virtio_blk_fini(struct virtio_blk *b)
{
	virtio_fini(&b->v);
	for (unsigned i = 0; i < b->n_lanes; i++) {
		block_destroy(b->lanes[i].backend);
		free(b->lanes[i].pool);
	}
	b->n_lanes = 0;
	rate_limit_fini(&b->limit);
}
