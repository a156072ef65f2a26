/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtio from the side of a driver without manners, over either transport: set up as it should be
 * or nearly so, requests that the device type knows or nearly so, rings that change while
 * they are read, resets in flight.
 */
#include "attack/attack.h"

enum { NET = 1, BLK = 2, CONSOLE = 3, RNG = 4, BALLOON = 5, VSOCK = 19, MEM = 24, FS = 26 };
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 };
enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };
enum { PARTS_MAX = 6, HEADER_BYTES = 64, DESC_BYTES = 16 };

/* Where a queue's parts lie in its RING_BYTES. */
enum { AVAIL = 0x1000, USED = 0x1800, TABLES = 0x2400, HEADERS = 0x3000 };

/* Registers by their offsets on PCI and MMIO [virtio 1.3 4.1.4.3, 4.2.2]. */
enum reg {
	DRIVER_FEATURE_SELECT,
	DRIVER_FEATURE,
	STATUS,
	QUEUE_SELECT,
	QUEUE_SIZE,
	QUEUE_ENABLE,
	QUEUE_RESET,
	QUEUE_DESC,
	QUEUE_DRIVER,
	QUEUE_DEVICE,
	QUEUE_VECTOR,
	CONFIG_VECTOR,
	REGS,
};

static const struct {
	uint16_t pci, pci_size, mmio; /* MMIO 0: it has none */
} regs[REGS] = {
	[DRIVER_FEATURE_SELECT] = {0x08, 4, 0x24},
	[DRIVER_FEATURE] = {0x0c, 4, 0x20},
	[STATUS] = {0x14, 1, 0x70},
	[QUEUE_SELECT] = {0x16, 2, 0x30},
	[QUEUE_SIZE] = {0x18, 2, 0x38},
	[QUEUE_ENABLE] = {0x1c, 2, 0x44},
	[QUEUE_RESET] = {0x3a, 2, 0xc0},
	[QUEUE_DESC] = {0x20, 4, 0x80},
	[QUEUE_DRIVER] = {0x28, 4, 0x90},
	[QUEUE_DEVICE] = {0x30, 4, 0xa0},
	[QUEUE_VECTOR] = {0x1a, 2, 0},
	[CONFIG_VECTOR] = {0x10, 2, 0},
};

static void set(struct attacker *a, const struct victim *v, enum reg reg, uint32_t val)
{
	if (!prey.mmio)
		poke(a, v->regs + regs[reg].pci, regs[reg].pci_size, val);
	else if (regs[reg].mmio)
		poke(a, v->regs + regs[reg].mmio, 4, val);
}

/* The two halves of an address. */
static void set_address(struct attacker *a, const struct victim *v, enum reg reg, uint64_t addr)
{
	uint64_t at = v->regs + (prey.mmio ? regs[reg].mmio : regs[reg].pci);

	poke(a, at, 4, (uint32_t)addr);
	poke(a, at + 4, 4, addr >> 32);
}

static void kick(struct attacker *a, const struct victim *v, uint64_t queue)
{
	if (prey.mmio)
		poke(a, v->regs + 0x50, 4, queue);
	else
		poke(a, v->regs + 0x2000 + 4 * (queue % 64), 2, queue);
}

static uint64_t ring(const struct victim *v, unsigned queue)
{
	return ARENA + (v->index * QUEUES_MAX + queue) * RING_BYTES;
}

/* --- set-up ------------------------------------------------------------------ */

static void set_up(struct attacker *a, const struct victim *v, bool well)
{
#define WRONG(n) (!well && one_in(a, n))
	if (!prey.mmio) {
		poke_config(a, v->slot, 0x10, 4, (uint32_t)v->regs);
		poke_config(a, v->slot, 0x14, 4, v->regs >> 32);
		poke_config(a, v->slot, 0x04, 2, 6);
	}
	set(a, v, STATUS, 0);
	set(a, v, STATUS, ACKNOWLEDGE);
	set(a, v, STATUS, ACKNOWLEDGE | DRIVER);
	for (unsigned i = 0; i < 2; i++) {
		uint32_t wanted = v->offered[i];

		if (WRONG(2))
			wanted &= (uint32_t)any(a) | i; /* bit 32 is VERSION_1 */
		if (WRONG(16))
			wanted = (uint32_t)any_value(a);
		set(a, v, DRIVER_FEATURE_SELECT, i);
		set(a, v, DRIVER_FEATURE, wanted);
	}
	set(a, v, STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
	for (unsigned q = 0; q < v->n_queues; q++) {
		uint64_t at = ring(v, q);

		if (WRONG(16))
			continue;
		write32(at + AVAIL, 0);
		write32(at + USED, 0);
		set(a, v, QUEUE_SELECT, q);
		set(a, v, QUEUE_SIZE, WRONG(16) ? (uint32_t)any_value(a) : RING_SIZE);
		set_address(a, v, QUEUE_DESC, WRONG(24) ? any_address(a) : at);
		set_address(a, v, QUEUE_DRIVER, WRONG(24) ? any_address(a) : at + AVAIL);
		set_address(a, v, QUEUE_DEVICE, WRONG(24) ? any_address(a) : at + USED);
		set(a, v, QUEUE_VECTOR, WRONG(8) ? (uint32_t)any_value(a) : q);
		set(a, v, QUEUE_ENABLE, 1);
	}
	if (!WRONG(16))
		set(a, v, STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
#undef WRONG
}

void bring_up(struct attacker *a, const struct victim *v)
{
	set_up(a, v, false);
}

void bring_up_well(struct attacker *a, const struct victim *v)
{
	set_up(a, v, true);
}

void reset(struct attacker *a, const struct victim *v)
{
	set(a, v, STATUS, 0);
}

void attack_set_up(struct attacker *a, const struct victim *v)
{
	static const uint8_t states[] = {0, 1, 3, 11, 15, 15, 0x40, 0x80};
	enum reg reg = (enum reg)below(a, REGS);

	if (one_in(a, 3))
		set(a, v, STATUS, one_in(a, 8) ? (uint32_t)any(a) : states[below(a, 8)]);
	set(a, v, QUEUE_SELECT, (uint32_t)(one_in(a, 8) ? any_value(a) : below(a, QUEUES_MAX)));
	if (reg == QUEUE_DESC || reg == QUEUE_DRIVER || reg == QUEUE_DEVICE)
		set_address(a, v, reg, any_address(a));
	else
		set(a, v, reg, (uint32_t)any_value(a));
}

/* --- requests ---------------------------------------------------------------- */

struct part {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
};

struct request {
	struct part parts[PARTS_MAX];
	unsigned n;
	uint64_t header; /* of HEADER_BYTES, its own */
};

static void add(struct request *r, uint64_t addr, uint64_t len, bool write)
{
	if (r->n < PARTS_MAX)
		r->parts[r->n++] = (struct part){addr, (uint32_t)len, write ? WRITE : 0};
}

static uint64_t buffer(struct attacker *a)
{
	return BUFFERS + below(a, BUFFERS_LEN);
}

static void block_request(struct attacker *a, struct request *r)
{
	static const uint8_t types[] = {0, 0, 0, 1, 1, 1, 4, 8, 11, 13};
	uint32_t type = one_in(a, 16) ? (uint32_t)any_value(a) : types[below(a, sizeof(types))];
	bool ranges = type == 11 || type == 13;

	write32(r->header, type);
	write64(r->header + 8, one_in(a, 8) ? any_value(a) : below(a, 2048));
	write64(r->header + 16, one_in(a, 8) ? any_value(a) : below(a, 2048));
	write64(r->header + 24, below(a, 64));
	add(r, r->header, 16, false);
	if (ranges)
		add(r, r->header + 16, one_in(a, 8) ? below(a, 64) : 16, false);
	for (uint64_t n = ranges ? 0 : below(a, 3); n; n--)
		add(r, buffer(a), one_in(a, 8) ? below(a, 5000) : 512 * (1 + below(a, 16)),
		    type != 1);
	add(r, r->header + 32, 1, true);
}

static void net_request(struct attacker *a, struct request *r, unsigned queue)
{
	if (queue == 0) {
		add(r, buffer(a), one_in(a, 8) ? below(a, 20) : 1526 + below(a, 3000), true);
		return;
	}
	for (unsigned i = 0; i < 8; i++)
		write64(r->header + 8 * i, one_in(a, 2) ? 0 : any_value(a));
	if (queue == 2) {              /* or a second receive queue */
		write16(r->header, 4); /* MQ, VQ_PAIRS_SET */
		add(r, r->header, 2 + below(a, 3), false);
		add(r, r->header + 32, 1, true);
		return;
	}
	add(r, r->header, one_in(a, 2) ? 12 : below(a, HEADER_BYTES), false);
	for (uint64_t n = below(a, 4); n; n--)
		add(r, buffer(a), below(a, one_in(a, 8) ? 66000 : 1500), false);
}

static void console_request(struct attacker *a, struct request *r, unsigned queue)
{
	write32(r->header, one_in(a, 8) ? (uint32_t)any_value(a) : (uint32_t)below(a, 3));
	write32(r->header + 4, (uint32_t)below(a, 10) | (uint32_t)below(a, 3) << 16);
	if (queue & 1)
		add(r, queue == 3 ? r->header : buffer(a), queue == 3 ? 8 : below(a, 200), false);
	else
		add(r, buffer(a), below(a, 4096), true);
}

/* Page numbers, of the arena or of nothing: the guest keeps its own. */
static void balloon_request(struct attacker *a, struct request *r, unsigned queue)
{
	if (queue > 2) { /* a report: pages to take */
		add(r, BUFFERS + (below(a, BUFFERS_LEN) & ~0xfffull), 4096 * (1 + below(a, 64)),
		    true);
		return;
	}
	for (unsigned i = 0; i < HEADER_BYTES / 4; i++)
		write32(r->header + 4 * i,
			one_in(a, 8) ? (uint32_t)any(a) | 1u << 31
				     : (uint32_t)((BUFFERS + below(a, BUFFERS_LEN)) >> 12));
	add(r, r->header, one_in(a, 4) ? below(a, HEADER_BYTES + 1) : HEADER_BYTES, false);
}

static void vsock_request(struct attacker *a, struct request *r, unsigned queue)
{
	if (queue != 1) {
		add(r, buffer(a), one_in(a, 8) ? below(a, 60) : 4096, true);
		return;
	}
	uint64_t len = below(a, 2000);

	write64(r->header, one_in(a, 16) ? any_value(a) : 3);     /* src_cid */
	write64(r->header + 8, one_in(a, 16) ? any_value(a) : 2); /* dst_cid */
	write32(r->header + 16, (uint32_t)below(a, 8));           /* src_port */
	write32(r->header + 20, (uint32_t)below(a, 8));           /* dst_port */
	write32(r->header + 24, one_in(a, 8) ? (uint32_t)any_value(a) : (uint32_t)len);
	write16(r->header + 28, one_in(a, 16) ? (uint16_t)any_value(a) : 1); /* STREAM */
	write16(r->header + 30, (uint16_t)below(a, 9));                      /* op */
	write32(r->header + 32, (uint32_t)below(a, 4));                      /* flags */
	write32(r->header + 36, (uint32_t)any_value(a));                     /* buf_alloc */
	write32(r->header + 40, (uint32_t)any_value(a));                     /* fwd_cnt */
	add(r, r->header, 44, false);
	if (len && one_in(a, 2))
		add(r, buffer(a), len, false);
}

static void fs_request(struct attacker *a, struct request *r, unsigned queue)
{
	uint64_t more = below(a, HEADER_BYTES - 40);

	write32(r->header, one_in(a, 8) ? (uint32_t)any_value(a) : (uint32_t)(40 + more));
	write32(r->header + 4,
		(uint32_t)(one_in(a, 16) ? any_value(a) : below(a, 52)));       /* opcode */
	write64(r->header + 8, any(a));                                         /* unique */
	write64(r->header + 16, one_in(a, 8) ? any_value(a) : 1 + below(a, 8)); /* nodeid */
	write64(r->header + 24, 0);
	write64(r->header + 32, 0);
	write64(r->header + 40, one_in(a, 2) ? 0x61 : any_value(a)); /* a name, "a", or numbers */
	write64(r->header + 48, any_value(a));
	write64(r->header + 56, any_value(a));
	add(r, r->header, 40 + more, false);
	if (queue)
		add(r, buffer(a), 16 + below(a, 9000), true);
}

static void any_request(struct attacker *a, struct request *r)
{
	for (unsigned i = 0; i < HEADER_BYTES / 8; i++)
		write64(r->header + 8 * i, any_value(a));
	for (uint64_t n = 1 + below(a, PARTS_MAX); n; n--)
		add(r, one_in(a, 2) ? r->header : any_address(a), any_value(a), one_in(a, 2));
}

static void make(struct attacker *a, const struct victim *v, unsigned queue, struct request *r)
{
	/* Pages that any buffer would name might be the guest's own. */
	if (v->type == BALLOON) {
		balloon_request(a, r, queue);
		return;
	}
	switch (one_in(a, 8) ? 0 : v->type) {
	case NET:
		net_request(a, r, queue);
		break;
	case BLK:
		block_request(a, r);
		break;
	case CONSOLE:
		console_request(a, r, queue);
		break;
	case RNG:
		add(r, buffer(a), below(a, 9000), true);
		break;
	case VSOCK:
		vsock_request(a, r, queue);
		break;
	case FS:
		fs_request(a, r, queue);
		break;
	default:
		any_request(a, r);
		break;
	}
}

static void write_desc(uint64_t at, const struct part *p, uint16_t flags, uint16_t next)
{
	write64(at, p->addr);
	write32(at + 8, p->len);
	write16(at + 12, p->flags | flags);
	write16(at + 14, next);
}

/* Something wrong with one descriptor of the table. */
static void spoil(struct attacker *a, const struct victim *v, uint64_t table)
{
	uint64_t at = table + below(a, RING_SIZE) * DESC_BYTES;

	switch (below(a, 5)) {
	case 0:
		write64(at, any_address(a));
		break;
	case 1:
		/* In a balloon's queues lengths say which pages go. */
		write32(at + 8, (uint32_t)(v->type == BALLOON ? below(a, 65) : any_value(a)));
		break;
	case 2:
		write16(at + 12, (uint16_t)(one_in(a, 4) ? any(a) : below(a, 8)));
		break;
	case 3: /* a loop, or out of the table */
		write16(at + 14, (uint16_t)(one_in(a, 4) ? any_value(a) : below(a, RING_SIZE)));
		break;
	default:
		write16(at + 12, NEXT);
		write16(at + 14, (uint16_t)((at - table) / DESC_BYTES));
		break;
	}
}

void attack_queue(struct attacker *a, const struct victim *v)
{
	unsigned queue = (unsigned)below(a, v->n_queues), head = (unsigned)below(a, RING_SIZE);
	uint64_t at = ring(v, queue), table = at;
	struct request r;
	bool indirect = one_in(a, 4);

	/* Not an initialiser: where KVM emulates the guest, each byte of it is a step. */
	r.n = 0;
	r.header = at + HEADERS + head * HEADER_BYTES;
	make(a, v, queue, &r);
	if (indirect) {
		struct part whole = {at + TABLES + head * PARTS_MAX * DESC_BYTES,
				     (uint32_t)(r.n * DESC_BYTES), 0};

		if (one_in(a, 8))
			whole.len = (uint32_t)any_value(a);
		write_desc(table + head * DESC_BYTES, &whole, INDIRECT | (one_in(a, 16) ? NEXT : 0),
			   (uint16_t)below(a, RING_SIZE));
		table = whole.addr;
	}
	for (unsigned i = 0; i < r.n; i++) {
		unsigned here = indirect ? i : (head + i) % RING_SIZE;
		unsigned next = indirect ? i + 1 : (head + i + 1) % RING_SIZE;

		write_desc(table + here * DESC_BYTES, &r.parts[i], i + 1 < r.n ? NEXT : 0,
			   (uint16_t)next);
	}
	if (one_in(a, 4))
		spoil(a, v, table);

	uint16_t idx = read16(at + AVAIL + 2);
	uint64_t jump = one_in(a, 48) ? any_value(a) : 1;

	write16(at + AVAIL + 4 + 2 * (idx % RING_SIZE),
		(uint16_t)(one_in(a, 48) ? any_value(a) : head));
	barrier();
	write16(at + AVAIL + 2, (uint16_t)(idx + jump));
	kick(a, v, one_in(a, 32) ? any_value(a) : queue);
}

void attack_ring(struct attacker *a, const struct victim *v)
{
	uint64_t at = ring(v, (unsigned)below(a, v->n_queues));

	switch (below(a, 4)) {
	case 0:
		spoil(a, v, at);
		break;
	case 1: /* the available ring: flags, index, heads, used_event */
		write16(at + AVAIL + 2 * below(a, RING_SIZE + 3), (uint16_t)any_value(a));
		break;
	case 2:
		write16(at + USED + 2 * below(a, 4 * RING_SIZE), (uint16_t)any_value(a));
		break;
	default:
		spoil(a, v, at + TABLES + below(a, RING_SIZE) * PARTS_MAX * DESC_BYTES);
		break;
	}
}
