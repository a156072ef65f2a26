/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_blk: a driver of a page: reads the first sector, writes the second,
 * flushes, reads it back; errors for what is past the end; each completion by an
 * interrupt. What was written is in the file afterwards. Over PCI, and over MMIO with a
 * pin that is edge-triggered or level-triggered.
 *
 * RUN: --disk DISK
 * DISK: 1M
 * EXPECT: capacity 2048 sectors
 * EXPECT: read: sector zero
 * EXPECT: written, flushed and read back
 * EXPECT: past the end: refused
 * AFTER: test "$(dd if=disk bs=512 skip=1 count=1 status=none | head -c 16)" = "0123456789abcdef"
 * RUN: --disk DISK --transport mmio
 * DISK: 1M
 * EXPECT: capacity 2048 sectors
 * EXPECT: read: sector zero
 * EXPECT: written, flushed and read back
 * EXPECT: past the end: refused
 * AFTER: test "$(dd if=disk bs=512 skip=1 count=1 status=none | head -c 16)" = "0123456789abcdef"
 * RUN: --disk DISK --transport mmio --append level=1
 * DISK: 1M
 * EXPECT: capacity 2048 sectors
 * EXPECT: read: sector zero
 * EXPECT: written, flushed and read back
 * EXPECT: past the end: refused
 * AFTER: test "$(dd if=disk bs=512 skip=1 count=1 status=none | head -c 16)" = "0123456789abcdef"
 * RUN: --disk DISK,readonly=on
 * DISK: 1M
 * EXPECT: read: sector zero
 * EXPECT: read-only: refused
 * AFTER: test "$(dd if=disk bs=512 skip=1 count=1 status=none | tr -d '\0' | wc -c)" = 0
 * RUN: --disk DISK,readonly=on --transport mmio
 * DISK: 1M
 * EXPECT: read: sector zero
 * EXPECT: read-only: refused
 * AFTER: test "$(dd if=disk bs=512 skip=1 count=1 status=none | tr -d '\0' | wc -c)" = 0
 * QEMU: -drive file=DISK,if=none,id=d,format=raw -device virtio-blk-pci,drive=d,disable-legacy=on
 * QEMU: MICROVM -drive file=DISK,if=none,id=d,format=raw -device virtio-blk-device,drive=d
 * QEMU: MICROVM -append level=1 -drive file=DISK,if=none,id=d -device virtio-blk-device,drive=d
 */
#include "virtio.h"

enum { VECTOR = 0x50, IN = 0, OUT = 1, FLUSH = 4, OK = 0, IOERR = 1 };
#define F_RO    (1ull << 5)
#define F_FLUSH (1ull << 9)

static struct virtio_dev d;
static struct virtq queue;
static volatile unsigned interrupts;

static void on_interrupt(struct frame *f)
{
	virtio_acknowledge(&d);
	interrupts = interrupts + 1;
}

static struct {
	uint32_t type, reserved;
	uint64_t sector;
} header;
static uint8_t data[512], status;

static uint8_t request(uint32_t type, uint64_t sector)
{
	unsigned before = interrupts;
	struct virtio_buf bufs[3] = {
		{&header, 16, false}, {data, 512, type == IN}, {&status, 1, true}};
	unsigned n = 3;

	if (type == FLUSH) {
		bufs[1] = bufs[2];
		n = 2;
	}
	header.type = type;
	header.sector = sector;
	status = 0xff;
	uint32_t len = virtio_request(&queue, bufs, n);

	barrier();
	/* The status byte counts as written [virtio 1.3 2.7.8.2]. */
	if (status == OK)
		expect_equal(len, type == IN ? 513 : 1);
	/* It may come after the used index was seen to move, but it comes. */
	expect(wait_for_change(&interrupts, before));
	return status;
}

void guest_main(void)
{
	uint64_t sectors;

	apic_enable();
	idt_set(VECTOR, on_interrupt);
	expect(virtio_open(&d, VIRTIO_BLK, F_RO | F_FLUSH));
	virtio_queue(&d, 0, &queue, VECTOR);
	virtio_go(&d);
	sectors = read32(d.device) | (uint64_t)read32(d.device + 4) << 32;
	printf("capacity %lu sectors\n", sectors);

	expect_equal(request(IN, 0), OK);
	printf("read: %s\n", data);
	memcpy(data, "0123456789abcdef", 16);
	if (d.features & F_RO) {
		expect_equal(request(OUT, 1), IOERR);
		puts("read-only: refused\n");
		return;
	}
	expect(d.features & F_FLUSH);
	expect_equal(request(OUT, 1), OK);
	expect_equal(request(FLUSH, 0), OK);
	memset(data, 0, sizeof(data));
	expect_equal(request(IN, 1), OK);
	expect(!memcmp(data, "0123456789abcdef", 16));
	puts("written, flushed and read back\n");

	expect_equal(request(IN, sectors - 1), OK);
	expect_equal(request(IN, sectors), IOERR);
	expect_equal(request(OUT, sectors), IOERR);
	expect_equal(request(IN, UINT64_MAX), IOERR);
	expect_equal(request(OUT, UINT64_MAX / 512), IOERR);
	expect_equal(request(IN, 0), OK); /* and the device is alive */
	puts("past the end: refused\n");
}
