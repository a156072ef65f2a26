/* SPDX-License-Identifier: Apache-2.0 */
/*
 * char_out: the guest's console output on its way to a file descriptor.
 *
 * A vCPU hands over its bytes and goes on, whatever the reader does. A slow
 * reader costs the oldest bytes that wait, never the newest, and the gap is
 * marked in the output; one that closed its end costs everything.
 */
#ifndef DEVICES_BACKEND_CHAR_OUT_H
#define DEVICES_BACKEND_CHAR_OUT_H

#include "devices/backend/char_ring.h"
#include "vmm/base/err.h"
#include "vmm/core/char_port.h"

#include <stdbool.h>
#include <stdint.h>

struct char_out_fd;

/* Start the writer thread for `fd` (borrowed: it stays open until after
 * char_out_destroy, and is never made non-blocking). NULL and *e on failure. */
struct char_out_fd *char_out_create(int fd, struct err *e);

/* The device's end, for any thread; valid until char_out_destroy. */
struct char_out char_out_port(struct char_out_fd *o);

/* Wait until everything has been written; give up after `timeout_ms` in which
 * nothing moved. Gives whether all is out (or the reader is gone for good). */
bool char_out_drain(struct char_out_fd *o, unsigned timeout_ms);

/* Bytes that no reader got so far: dropped from the ring, or sent to a reader
 * that was gone. */
uint64_t char_out_lost(struct char_out_fd *o);

/* Bytes that wait for the reader: after a drain that gave up, destroy loses them. */
uint64_t char_out_waiting(struct char_out_fd *o);

/* Stop the writer and free it; what it has not written is lost (drain first). A
 * writer that is stuck in write(2) is left to itself, and `fd` with it: it cleans
 * up when the reader lets it go, or the process ends over it. NULL is fine. */
void char_out_destroy(struct char_out_fd *o);

#endif
