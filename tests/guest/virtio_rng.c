/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_rng: bytes that are not all alike and not the same twice, and no more
 * of them than there is room.
 *
 * RUN:
 * EXPECT: random enough
 * RUN: --append again=200
 * EXPECT: random enough
 * RUN: --transport mmio --append again=200
 * EXPECT: random enough
 * QEMU: -device virtio-rng-pci,disable-legacy=on
 * QEMU: MICROVM -device virtio-rng-device
 */
#include "virtio.h"

enum { VECTOR = 0x51 };

static struct virtio_dev d;
static struct virtq queue;
static uint8_t data[3][64];
static volatile unsigned interrupts;

static void on_interrupt(struct frame *f)
{
	virtio_acknowledge(&d);
	interrupts = interrupts + 1;
}

static void fill(uint8_t *buf)
{
	for (uint32_t have = 0; have < 64;) {
		const struct virtio_buf b = {buf + have, 64 - have, true};
		uint32_t len = virtio_request(&queue, &b, 1);

		expect(len && len <= 64 - have);
		have += len;
	}
}

void guest_main(void)
{

	apic_enable();
	idt_set(VECTOR, on_interrupt);
	expect(virtio_open(&d, VIRTIO_RNG, 0));
	virtio_queue(&d, 0, &queue, VECTOR);
	virtio_go(&d);
	fill(data[0]);
	for (uint64_t i = 0; i <= option("again", 0); i++)
		fill(data[1]);
	barrier();
	expect(wait_for_change(&interrupts, 0));
	expect(memcmp(data[0], data[1], 64));
	expect(memcmp(data[0], data[2], 64));
	expect(memcmp(data[1], data[2], 64));
	puts("random enough\n");
}
