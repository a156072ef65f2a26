/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_reset: a disk is reset in the middle of a read, over and over. On PCI the driver
 * polls the status; on MMIO the reset is complete when the store is. After it the device
 * has forgotten the queue and never writes to memory again [virtio 1.3 2.4].
 *
 * RUN: --disk DISK
 * DISK: 1M
 * EXPECT: 80 resets
 * RUN: --disk DISK --transport mmio
 * DISK: 1M
 * EXPECT: 80 resets
 * QEMU: -drive file=DISK,if=none,id=d,format=raw -device virtio-blk-pci,drive=d,disable-legacy=on
 * QEMU: MICROVM -drive file=DISK,if=none,id=d,format=raw -device virtio-blk-device,drive=d
 */
#include "virtio.h"

enum { VECTOR = 0x50, IN = 0, ROUNDS = 80, SECTORS = 64, UNTOUCHED = 0xa5 };

static struct virtio_dev d;
static struct virtq queue;

static void on_interrupt(struct frame *f)
{
	virtio_acknowledge(&d);
}

static struct {
	uint32_t type, reserved;
	uint64_t sector;
} header;
static uint8_t data[SECTORS * 512], status;

static void bring_up(void)
{
	expect(virtio_open(&d, VIRTIO_BLK, 0)); /* begins with a reset */
	virtio_queue(&d, 0, &queue, VECTOR);
	virtio_go(&d);
}

/* The device writes whole sectors, so of the data one byte in 64 will do:
 * where KVM emulates the guest, each step counts. */
static void mark(uint8_t *bytes, size_t n, size_t step)
{
	for (size_t i = 0; i < n; i += step)
		bytes[i] = UNTOUCHED;
}

static void expect_marked(const uint8_t *bytes, size_t n, size_t step)
{
	for (size_t i = 0; i < n; i += step)
		expect_equal(bytes[i], UNTOUCHED);
}

void guest_main(void)
{
	const struct virtio_buf bufs[3] = {
		{&header, 16, false}, {data, sizeof(data), true}, {&status, 1, true}};

	apic_enable();
	idt_set(VECTOR, on_interrupt);
	header.type = IN;
	bring_up();
	for (unsigned i = 0; i < ROUNDS; i++) {
		header.sector = i % SECTORS;
		virtio_offer(&queue, bufs, 3);
		d.bus->set_status(&d, 0);
		expect_equal(d.bus->status(&d), 0);

		/* Whatever it was about to write, it has written or never will. */
		mark(data, sizeof(data), 64);
		mark((uint8_t *)&queue, sizeof(queue), 1);
		mark(&status, 1, 1);
		for (uint64_t end = rdtsc() + i * tsc_per_ms() / 250; rdtsc() < end;)
			; /* up to 0.6 ms */
		expect_marked(data, sizeof(data), 64);
		expect_marked((const uint8_t *)&queue, sizeof(queue), 1);
		expect_marked(&status, 1, 1);
		bring_up();
	}
	expect_equal(virtio_request(&queue, bufs, 3), sizeof(data) + 1);
	expect_equal(status, 0);
	printf("%u resets\n", ROUNDS);
}
