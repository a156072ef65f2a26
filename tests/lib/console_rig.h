/* SPDX-License-Identifier: Apache-2.0 */
/* console_rig: a virtio console between a driver and its host's ends, for tests of it. The loop
 * has no thread: what a call sets off is done when it returns. */
#ifndef TESTS_LIB_CONSOLE_RIG_H
#define TESTS_LIB_CONSOLE_RIG_H

#include "devices/virtio/console.h"
#include "tests/lib/virtq_driver.h"

#define CONSOLE_RIG_BASIC      VIRTIO_F_VERSION_1
#define CONSOLE_RIG_BASIC_SIZE (CONSOLE_RIG_BASIC | VIRTIO_CONSOLE_F_SIZE)
#define CONSOLE_RIG_MULTIPORT  (CONSOLE_RIG_BASIC_SIZE | VIRTIO_CONSOLE_F_MULTIPORT)

/* The guest's memory: the rings, and the buffers of queue q, 0x1000 bytes apart. */
#define CONSOLE_RIG_RINGS  0x10000ull
#define CONSOLE_RIG_DATA   0x100000ull
#define CONSOLE_RIG_BUF(q) (CONSOLE_RIG_DATA + (q)*0x20000ull)

enum {
	CONSOLE_RIG_QUEUE = 64, /* its size */
	CONSOLE_RIG_LIVE = 15,
	CONSOLE_RIG_NEEDS_RESET = 64,
	CONSOLE_RIG_PORTS = 3,
	CONSOLE_RIG_QUEUES = 2 * CONSOLE_RIG_PORTS + 2,
};

/* Control messages [virtio 1.3 5.3.6.2]. */
enum {
	CONSOLE_RIG_READY,
	CONSOLE_RIG_ADD,
	CONSOLE_RIG_REMOVE,
	CONSOLE_RIG_PORT_READY,
	CONSOLE_RIG_CONSOLE,
	CONSOLE_RIG_RESIZE,
	CONSOLE_RIG_OPEN,
	CONSOLE_RIG_NAME,
};

/* The host's end of a port: what it got, and how often there was room for more input. */
struct console_rig_host {
	uint8_t got[3 << 20];
	size_t n;
	unsigned rooms;
};

struct console_rig {
	struct guest_mem gm;
	struct loop *loop;
	struct virtio_console c;
	struct fake_transport t;
	struct virtq_driver q[CONSOLE_RIG_QUEUES];
	struct console_rig_host hosts[CONSOLE_RIG_PORTS];
	unsigned n_ports;
};

/* A device of `n_ports` ports, 1 to CONSOLE_RIG_PORTS, of which the first is a console; its driver
 * has not begun. */
struct console_rig *console_rig_build(unsigned n_ports);
void console_rig_destroy(struct console_rig *f);
/* The driver begins, with rings that are new. */
void console_rig_start(struct console_rig *f, uint64_t features);

/* For cmocka: *state is a rig whose driver has begun, with one port or with all. */
int console_rig_single(void **state);
int console_rig_several(void **state);
int console_rig_teardown(void **state);

uint8_t *console_rig_ram(struct console_rig *f, uint64_t gpa);
void console_rig_kick(struct console_rig *f, unsigned queue);
/* The guest offers `n` buffers of `len` bytes for input. */
void console_rig_offer(struct console_rig *f, unsigned queue, unsigned n, uint32_t len);
/* The guest sends. */
void console_rig_send(struct console_rig *f, unsigned queue, const void *bytes, size_t len);
/* The host sends, and all of it is taken. */
void console_rig_type(struct console_rig *f, unsigned port, const char *text);
/* The next input buffer that came back, which is the i-th that was offered; or there is none. */
void console_rig_expect_input(struct console_rig *f, unsigned queue, unsigned i, const char *text);
void console_rig_expect_nothing(struct console_rig *f, unsigned queue);
/* The guest's control message. */
void console_rig_control(struct console_rig *f, uint32_t port, uint16_t event, uint16_t value);
/* The device's next control message, in the i-th buffer: gives the `more` bytes behind it. */
const uint8_t *console_rig_expect_control(struct console_rig *f, unsigned i, uint32_t port,
					  uint16_t event, uint16_t value, uint32_t more);

#endif
