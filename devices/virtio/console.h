/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console: the virtio console device [virtio 1.3 5.3], with one port or several.
 *
 *	guest -> transmit queue -> char_out        never blocks; the backend drops
 *	guest <- receive queue <- FIFO <- receive()    what does not fit waits outside
 *
 * One port: two queues, no MULTIPORT, and the terminal's size in the configuration
 * space. Several: MULTIPORT with the control queues, and the size in control messages.
 * (Drivers disagree about the order of columns and rows in that message; about the
 * configuration space all agree, so a lone console has no control queues.)
 *
 * Threads: queues belong to the device's loop, receive and resize come from the main
 * loop, an emergency write from a vCPU. What they share is under `lock`.
 */
#ifndef DEVICES_VIRTIO_CONSOLE_H
#define DEVICES_VIRTIO_CONSOLE_H

#include "devices/virtio/virtio.h"
#include "vmm/core/char_port.h"

/* Feature bits [virtio 1.3 5.3.3]. */
#define VIRTIO_CONSOLE_F_SIZE        (1ull << 0)
#define VIRTIO_CONSOLE_F_MULTIPORT   (1ull << 1)
#define VIRTIO_CONSOLE_F_EMERG_WRITE (1ull << 2)

/* Configuration space: offsets of struct virtio_console_config [virtio 1.3 5.3.4]. */
enum {
	VIRTIO_CONSOLE_CFG_COLS = 0,
	VIRTIO_CONSOLE_CFG_ROWS = 2,
	VIRTIO_CONSOLE_CFG_MAX_NR_PORTS = 4,
	VIRTIO_CONSOLE_CFG_EMERG_WR = 8,
	VIRTIO_CONSOLE_CFG_LEN = 12,
};

/* Events of control messages [virtio 1.3 5.3.6.2]. */
enum {
	VIRTIO_CONSOLE_DEVICE_READY = 0,
	VIRTIO_CONSOLE_DEVICE_ADD = 1,
	VIRTIO_CONSOLE_DEVICE_REMOVE = 2,
	VIRTIO_CONSOLE_PORT_READY = 3,
	VIRTIO_CONSOLE_CONSOLE_PORT = 4,
	VIRTIO_CONSOLE_RESIZE = 5,
	VIRTIO_CONSOLE_PORT_OPEN = 6,
	VIRTIO_CONSOLE_PORT_NAME = 7,
};

enum {
	VIRTIO_CONSOLE_PORTS_MAX = 16,
	VIRTIO_CONSOLE_FIFO = 1024, /* bytes of input that were taken and wait for a buffer */
	VIRTIO_CONSOLE_NAME_MAX = 32,
	/* Of one chain, the newest. A driver's buffers are a page or a few. */
	VIRTIO_CONSOLE_CHAIN_MAX = 1 << 20,
};

/* What is connected to a port; all copied but the name. */
struct virtio_console_wire {
	const char *name; /* for the guest, with MULTIPORT; NULL: none. Borrowed */
	bool is_console;  /* a terminal (hvc), or a plain pipe of bytes (vport) */
	struct char_out out;
	struct char_room room;
};

struct virtio_console;

struct virtio_console_port {
	struct virtio_console *console;
	struct virtio_console_wire wire;

	/* Under the lock. */
	uint16_t cols, rows;
	uint8_t fifo[VIRTIO_CONSOLE_FIFO];
	size_t n_fifo;
	bool host_waits; /* was turned away: call room() */

	_Atomic uint8_t owed; /* control messages to be sent: bits of enum owed */
	/* The loop's, with MULTIPORT: what the driver said of the port. */
	bool ready, open;
};

struct virtio_console {
	struct virtio v; /* for the transport */
	pthread_mutex_t lock;
	unsigned n_ports;
	struct virtio_console_port ports[VIRTIO_CONSOLE_PORTS_MAX];

	/* The loop's. */
	struct virtq_chain chain;
	struct log_budget complaints;
};

/* 1 to VIRTIO_CONSOLE_PORTS_MAX ports. `name` (for log lines), `gm` and `loop` are
 * borrowed and outlive the device. `out` of a port is called under the device's lock,
 * so one piece comes after the other. 0 or a negative errno. */
int virtio_console_init(struct virtio_console *c, const char *name,
			const struct virtio_console_wire *wires, unsigned n_ports,
			struct guest_mem *gm, struct loop *loop);
void virtio_console_fini(struct virtio_console *c); /* as virtio_fini() */

/* struct char_in's receive; `dev` is the struct virtio_console_port. Any thread. */
size_t virtio_console_receive(void *dev, const uint8_t *bytes, size_t len);

/* The terminal at this port has that size now. Any thread, without the virtio lock. */
void virtio_console_resize(struct virtio_console *c, unsigned port, uint16_t cols, uint16_t rows);

#endif
