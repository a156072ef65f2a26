/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command: plays the guest of `minivmm run -- COMMAND`, whatever the command: it connects to
 * the streams, tells that the command begins, says a line as its stdout, and tells its
 * status [virtio 1.3 5.10.6; vmm/core/command_wire.h].
 *
 *   status=N  with this status (default 0)
 *   each=1    with the number of processors less one
 *   after=MS  that long after it began
 *   then=1    panics instead, as the command runs; then=2 spins; then=3 powers off
 *   typed=1   goes on only once its stdin has said something
 *
 * RUN: -- anything
 * EXPECT: said by the command
 * RUN: --transport mmio --append status=7 -- anything
 * EXPECT: said by the command
 * STATUS: 7
 * RUN: --append each=1 -c 4 -- anything
 * EXPECT: said by the command
 * STATUS: 3
 * RUN: --append then=1 -- anything
 * EXPECT: said by the command
 * STATUS: 125
 * RUN: --append then=2 --timeout 1 -- anything
 * EXPECT: said by the command
 * STATUS: 124
 * RUN: --append then=3 -- anything
 * EXPECT: said by the command
 * STATUS: 125
 */
#include "virtio.h"

enum { VIRTIO_VSOCK = 19, VECTOR = 0x51, HOST = 2, STREAM = 1 };
enum { OP_REQUEST = 1, OP_RESPONSE, OP_RST, OP_SHUTDOWN, OP_RW };
enum { CONTROL = 5330, IN, OUT, OURS = 1000 };
enum { STARTED = 1, EXITED = 2 };

struct header {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));

static struct virtio_dev d;
static struct virtq rx, tx, events;

static void on_interrupt(struct frame *f)
{
	virtio_acknowledge(&d);
}

static void send(uint32_t port, uint16_t op, const void *bytes, uint32_t len)
{
	const struct header h = {
		.src_cid = read64(d.device),
		.dst_cid = HOST,
		.src_port = OURS + port,
		.dst_port = port,
		.len = len,
		.type = STREAM,
		.op = op,
		.buf_alloc = 4096,
	};
	const struct virtio_buf bufs[] = {{&h, sizeof(h), false}, {bytes, len, false}};

	virtio_request(&tx, bufs, len ? 2 : 1);
}

/* Until the host says that on this port, whatever else it says. */
static void await(uint32_t port, uint16_t op)
{
	static uint8_t packet[sizeof(struct header) + 4096];
	const struct virtio_buf b = {packet, sizeof(packet), true};
	const struct header *h = (const struct header *)packet;

	do {
		expect(virtio_request(&rx, &b, 1) >= sizeof(*h));
		expect(h->op != OP_RST);
	} while (h->op != op || h->src_port != port);
}

static void connect(uint32_t port)
{
	send(port, OP_REQUEST, NULL, 0);
	await(port, OP_RESPONSE);
}

static void tell(uint32_t what, uint32_t value)
{
	const uint32_t message[] = {what, value};

	send(CONTROL, OP_RW, message, sizeof(message));
}

static unsigned processors(void)
{
	enum { MADT_ENTRIES = 44, LOCAL_APIC = 0 };
	uint64_t madt = (uint64_t)acpi_table("APIC");
	unsigned n = 0;

	expect(madt);
	for (uint64_t at = madt + MADT_ENTRIES; at < madt + read32(madt + 4); at += read8(at + 1))
		n += read8(at) == LOCAL_APIC && read32(at + 4) & 1;
	return n;
}

static void end_otherwise(uint64_t how)
{
	switch (how) {
	case 1:
		puts("[    0.5] Kernel panic - not syncing: amid the command\n");
		triple_fault();
	case 2:
		for (;;)
			barrier();
	}
}

void guest_main(void)
{
	static const char words[] = "said by the command\n";

	apic_enable();
	idt_set(VECTOR, on_interrupt);
	expect(virtio_open(&d, VIRTIO_VSOCK, 0));
	virtio_queue(&d, 0, &rx, VECTOR);
	virtio_queue(&d, 1, &tx, VECTOR);
	virtio_queue(&d, 2, &events, VECTOR);
	virtio_go(&d);
	connect(CONTROL);
	connect(OUT);
	if (option("typed", 0))
		connect(IN);
	tell(STARTED, 0);
	send(OUT, OP_RW, words, sizeof(words) - 1);
	if (option("typed", 0))
		await(IN, OP_RW);
	if (option("then", 0)) {
		end_otherwise(option("then", 0));
		return;
	}
	nap_ms((unsigned)option("after", 0));
	tell(EXITED, option("each", 0) ? processors() - 1 : (uint32_t)option("status", 0));
	await(CONTROL, OP_SHUTDOWN);
}
