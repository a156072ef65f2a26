/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_console: its queues both ways, its configuration space, and the register for a
 * last word [virtio 1.3 5.3]. With --hvc tty there is no serial port, so all that the
 * guest says here goes through the device.
 *
 * RUN: --hvc tty
 * INPUT: hello\n
 * EXPECT: !
 * EXPECT: ready
 * EXPECT: you typed: hello
 * EXPECT: split in three
 * RUN: --hvc tty --transport mmio
 * INPUT: hello\n
 * EXPECT: !
 * EXPECT: ready
 * EXPECT: you typed: hello
 * EXPECT: split in three
 * QEMU: -device virtio-serial-pci,disable-legacy=on,max_ports=1
 * QEMU: MICROVM -device virtio-serial-device,max_ports=1
 */
#include "virtio.h"

enum { VIRTIO_CONSOLE = 3, VECTOR = 0x51, F_SIZE = 1, F_EMERG_WRITE = 4 };
enum { MAX_NR_PORTS = 4, EMERG_WR = 8 };

static struct virtio_dev d;
static struct virtq rx, tx;

static void on_interrupt(struct frame *f)
{
	virtio_acknowledge(&d);
}

static void say(const char *text)
{
	const struct virtio_buf b = {text, (uint32_t)strlen(text), false};

	expect_equal(virtio_request(&tx, &b, 1), 0);
}

static void echo_a_line(void)
{
	char line[64];
	uint32_t n = 0;

	while (!n || line[n - 1] != '\n') {
		const struct virtio_buf b = {line + n, (uint32_t)sizeof(line) - n, true};
		uint32_t len = virtio_request(&rx, &b, 1);

		expect(len && n + len < sizeof(line));
		n += len;
	}
	line[n] = '\0';
	say("you typed: ");
	say(line);
}

void guest_main(void)
{
	static const struct virtio_buf pieces[] = {
		{"split ", 6, false}, {"in ", 3, false}, {"three\n", 6, false}};
	apic_enable();
	idt_set(VECTOR, on_interrupt);
	expect(virtio_open(&d, VIRTIO_CONSOLE, F_SIZE | F_EMERG_WRITE));
	expect(d.features & F_EMERG_WRITE);
	expect_equal(read32(d.device + MAX_NR_PORTS), 1);
	virtio_queue(&d, 0, &rx, VECTOR);
	virtio_queue(&d, 1, &tx, VECTOR);
	write32(d.device + EMERG_WR, '!'); /* before the driver is ready */
	virtio_go(&d);
	say("\nready\n");
	if (!booted_by_pvh())
		echo_a_line();
	expect_equal(virtio_request(&tx, pieces, 3), 0);
}
