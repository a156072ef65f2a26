/* SPDX-License-Identifier: Apache-2.0 */
/*
 * char_port: where a byte-oriented device (a UART, later a virtio console)
 * sends its output and hears its input. The device implements `receive`, a
 * backend implements `send`.
 */
#ifndef VMM_CORE_CHAR_PORT_H
#define VMM_CORE_CHAR_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The host's side, called by the device on a vCPU thread. Never blocks, never
 * refuses: what does not fit is the backend's to drop, count and mark. */
struct char_out {
	void (*send)(void *ctx, const uint8_t *bytes, size_t len);
	void *ctx;
};

/* The device's side, called by the backend on the main loop's thread: give how
 * many bytes the device took. When it took fewer than it was given, it calls
 * `room` (set by the backend, any thread) once it can take more. The same holds for
 * a break, which is taken or not; NULL for devices that know no such thing. */
struct char_in {
	size_t (*receive)(void *dev, const uint8_t *bytes, size_t len);
	bool (*receive_break)(void *dev);
	void *dev;
};

struct char_room {
	void (*room)(void *ctx);
	void *ctx;
};

#endif
