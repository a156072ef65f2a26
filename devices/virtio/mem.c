/* SPDX-License-Identifier: Apache-2.0 */
/* A request is answered before the next one is looked at, so nothing is ever in flight and a pause
 * has nothing to wait for. */
#include "devices/virtio/mem.h"

#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Linux has one request at a time. */
enum { QUEUE_SIZE = 16 };

#define BLOCK VIRTIO_MEM_BLOCK

/* --- blocks ------------------------------------------------------------------------ */

static uint64_t blocks_of(const struct virtio_mem *m)
{
	return m->region / BLOCK;
}

static size_t bitmap_bytes(const struct virtio_mem *m)
{
	return (size_t)((blocks_of(m) + 7) / 8);
}

static bool is_plugged(const struct virtio_mem *m, uint64_t block)
{
	return m->bits[block / 8] >> block % 8 & 1;
}

static void set_blocks(struct virtio_mem *m, uint64_t first, uint64_t n, bool plugged)
{
	uint64_t bytes = n * BLOCK;

	for (uint64_t i = first; i < first + n; i++) {
		uint8_t bit = (uint8_t)(1u << i % 8);

		m->bits[i / 8] = (uint8_t)(plugged ? m->bits[i / 8] | bit : m->bits[i / 8] & ~bit);
	}
	__atomic_store_n(&m->plugged, plugged ? m->plugged + bytes : m->plugged - bytes,
			 __ATOMIC_RELEASE);
}

/* How many of the n blocks from `first` on are as that one. */
static uint64_t run_of(const struct virtio_mem *m, uint64_t first, uint64_t n)
{
	uint64_t i = 1;

	while (i < n && is_plugged(m, first + i) == is_plugged(m, first))
		i++;
	return i;
}

/* What the host does not take stays with us, and is the guest's again when it plugs the block. */
static void unplug_run(struct virtio_mem *m, uint64_t first, uint64_t n)
{
	int ret = guest_mem_discard(m->v.gm, m->addr + first * BLOCK, n * BLOCK);

	if (ret && ret != -EOPNOTSUPP)
		log_guest(&m->complaints, "%s: the host does not take %llu MiB back: %s", m->v.name,
			  n * BLOCK / MiB, strerror(-ret));
	set_blocks(m, first, n, false);
}

/* --- requests ---------------------------------------------------------------------- */

/* Blocks side by side, as a request names them. */
struct span {
	uint64_t first, n;
};

/* [virtio 1.3 5.15.6.3.2]: whole blocks, at least one, all of the region. */
static bool take_span(const struct virtio_mem *m, const uint8_t *req, struct span *s)
{
	uint64_t addr = le64_get(req + VIRTIO_MEM_REQ_ADDR);

	s->n = le16_get(req + VIRTIO_MEM_REQ_BLOCKS);
	if (addr < m->addr || addr % BLOCK || !s->n)
		return false;
	s->first = (addr - m->addr) / BLOCK;
	return range_within(s->first, s->n, blocks_of(m));
}

static uint16_t plug(struct virtio_mem *m, const struct span *s)
{
	uint64_t more = s->n * BLOCK, wanted = virtio_mem_requested(m);

	if (is_plugged(m, s->first) || run_of(m, s->first, s->n) < s->n)
		return VIRTIO_MEM_RESP_ERROR;
	if (m->plugged >= wanted || more > wanted - m->plugged)
		return VIRTIO_MEM_RESP_NACK;
	set_blocks(m, s->first, s->n, true);
	return VIRTIO_MEM_RESP_ACK;
}

static uint16_t unplug(struct virtio_mem *m, const struct span *s)
{
	if (!is_plugged(m, s->first) || run_of(m, s->first, s->n) < s->n)
		return VIRTIO_MEM_RESP_ERROR;
	unplug_run(m, s->first, s->n);
	return VIRTIO_MEM_RESP_ACK;
}

static uint16_t unplug_all(struct virtio_mem *m)
{
	uint64_t all = blocks_of(m), n;

	for (uint64_t i = 0; m->plugged && i < all; i += n) {
		n = run_of(m, i, all - i);
		if (is_plugged(m, i))
			unplug_run(m, i, n);
	}
	return VIRTIO_MEM_RESP_ACK;
}

static uint16_t state_of(const struct virtio_mem *m, const struct span *s)
{
	if (run_of(m, s->first, s->n) < s->n)
		return VIRTIO_MEM_STATE_MIXED;
	return is_plugged(m, s->first) ? VIRTIO_MEM_STATE_PLUGGED : VIRTIO_MEM_STATE_UNPLUGGED;
}

static uint16_t serve(struct virtio_mem *m, const uint8_t *req, uint16_t *state)
{
	uint16_t type = le16_get(req);
	struct span s;

	if (type == VIRTIO_MEM_REQ_UNPLUG_ALL)
		return unplug_all(m);
	if (!take_span(m, req, &s))
		return VIRTIO_MEM_RESP_ERROR;
	switch (type) {
	case VIRTIO_MEM_REQ_PLUG:
		return plug(m, &s);
	case VIRTIO_MEM_REQ_UNPLUG:
		return unplug(m, &s);
	case VIRTIO_MEM_REQ_STATE:
		*state = state_of(m, &s);
		return VIRTIO_MEM_RESP_ACK;
	}
	return VIRTIO_MEM_RESP_ERROR;
}

static void queue_ready(void *dev, unsigned index)
{
	struct virtio_mem *m = dev;
	unsigned taken = 0;

	while (virtio_pop(&m->v, index, &taken, &m->chain)) {
		uint8_t req[VIRTIO_MEM_REQ_LEN], resp[VIRTIO_MEM_RESP_LEN] = {0};
		uint16_t state = 0;

		if (virtq_chain_read(&m->chain, 0, req, sizeof(req)) < sizeof(req) ||
		    m->chain.write_len < sizeof(resp)) {
			virtio_fail(&m->v, "a request for memory that is cut short");
			break;
		}
		le16_put(resp, serve(m, req, &state));
		le16_put(resp + VIRTIO_MEM_RESP_STATE, state);
		virtq_chain_write(&m->chain, m->v.gm, 0, resp, sizeof(resp));
		virtq_push(&m->v.queues[index], m->chain.head, sizeof(resp));
	}
	virtio_publish(&m->v, index);
}

/* --- configuration space ----------------------------------------------------------- */

/* What is plugged changes while a request is served, and the driver waits for that. */
static uint64_t config_read(void *dev, uint32_t off, unsigned size)
{
	const struct virtio_mem *m = dev;
	uint8_t space[VIRTIO_MEM_CFG_LEN] = {0};
	uint64_t val = 0;

	le64_put(space + VIRTIO_MEM_CFG_BLOCK_SIZE, BLOCK);
	le64_put(space + VIRTIO_MEM_CFG_ADDR, m->addr);
	le64_put(space + VIRTIO_MEM_CFG_REGION_SIZE, m->region);
	le64_put(space + VIRTIO_MEM_CFG_USABLE_SIZE, m->region);
	le64_put(space + VIRTIO_MEM_CFG_PLUGGED_SIZE, virtio_mem_plugged(m));
	le64_put(space + VIRTIO_MEM_CFG_REQUESTED_SIZE, virtio_mem_requested(m));
	for (unsigned i = 0; i < size; i++)
		val |= (uint64_t)space[off + i] << 8 * i;
	return val;
}

void virtio_mem_request(struct virtio_mem *m, uint64_t bytes)
{
	assert(bytes % BLOCK == 0 && bytes <= m->region);
	virtio_change_config(&m->v, &m->requested, bytes);
}

uint64_t virtio_mem_requested(const struct virtio_mem *m)
{
	return __atomic_load_n(&m->requested, __ATOMIC_ACQUIRE);
}

uint64_t virtio_mem_plugged(const struct virtio_mem *m)
{
	return __atomic_load_n(&m->plugged, __ATOMIC_ACQUIRE);
}

/* --- life -------------------------------------------------------------------------- */

static void save(void *dev, struct state_writer *w)
{
	const struct virtio_mem *m = dev;

	state_put_u64(w, m->addr);
	state_put_u64(w, m->region);
	state_put_u64(w, virtio_mem_requested(m));
	state_put_bytes(w, m->bits, bitmap_bytes(m));
}

/* Neither a reset nor anything else takes blocks back that were loaded: so the section has to be
 * whole, and at its end, before any is. */
static int load(void *dev, struct state_reader *r, struct err *e)
{
	struct virtio_mem *m = dev;
	size_t n = bitmap_bytes(m);
	uint64_t addr = state_get_u64(r), region = state_get_u64(r), requested = state_get_u64(r);
	uint64_t plugged = 0;

	if (r->error || addr != m->addr || region != m->region || requested % BLOCK ||
	    requested > region || r->end - r->pos != n)
		return err_host(e, -EBADMSG, "saved state: %s: not of this memory", m->v.name);
	const uint8_t *bits = r->data + r->pos;

	for (size_t i = 0; i < n; i++)
		plugged += (uint64_t)__builtin_popcount(bits[i]) * BLOCK;
	if (blocks_of(m) % 8 && bits[n - 1] >> blocks_of(m) % 8)
		return err_host(e, -EBADMSG, "saved state: %s: blocks beyond its end", m->v.name);
	state_get_bytes(r, m->bits, n);
	__atomic_store_n(&m->requested, requested, __ATOMIC_RELEASE);
	__atomic_store_n(&m->plugged, plugged, __ATOMIC_RELEASE);
	return 0;
}

void virtio_mem_renew(struct virtio_mem *m)
{
	unplug_all(m);
	virtio_mem_request(m, 0);
}

static const struct virtio_ops ops = {
	.device_id = VIRTIO_ID_MEM,
	.config_read = config_read,
	.queue_ready = queue_ready,
	.save = save,
	.load = load,
};

int virtio_mem_init(struct virtio_mem *m, const char *name, struct guest_mem *gm, struct loop *loop,
		    uint64_t addr, uint64_t region)
{
	memset(m, 0, sizeof(*m));
	assert(region && !(addr % BLOCK) && !(region % BLOCK));
	m->addr = addr;
	m->region = region;
	m->bits = calloc(bitmap_bytes(m), 1);
	if (!m->bits)
		return -ENOMEM;
	int ret = virtio_init(&m->v, &ops, m, name, gm, loop, VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE,
			      VIRTIO_MEM_CFG_LEN, 1, (const uint16_t[]){QUEUE_SIZE});

	if (ret) {
		free(m->bits);
		m->bits = NULL;
	}
	return ret;
}

void virtio_mem_fini(struct virtio_mem *m)
{
	virtio_fini(&m->v);
	free(m->bits);
	m->bits = NULL;
}
