/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock_command: the streams of a command that runs in the guest (`minivmm run -- COMMAND`),
 * as a backend of the vsock device. The guest's half is firmware/init/run.c.
 *
 *	stdin  -> pump thread -> socket pair -> vsock -> guest
 *	stdout <- pump thread <- socket pair <- vsock <- guest, and stderr likewise
 *	main loop <------------> socket pair <- vsock -> control
 *
 * The pumps are threads because what they read and write is inherited: it may be a file,
 * which no loop can wait for, and must not be made non-blocking, for others share it.
 * Everything else here is for the main thread.
 */
#ifndef DEVICES_BACKEND_VSOCK_COMMAND_H
#define DEVICES_BACKEND_VSOCK_COMMAND_H

#include "devices/backend/vsock.h"
#include "vmm/base/err.h"
#include "vmm/core/char_port.h"
#include "vmm/core/loop.h"

#include <stdbool.h>

struct command;

/* The streams, with nothing in them yet. NULL with *e filled on failure. */
struct command *command_create(struct err *e);
/* With the device gone: wait until stdout and stderr have what the guest sent, and give up
 * when their readers take nothing for two seconds. NULL is fine. */
void command_destroy(struct command *c);

/* For the vsock device, which takes it over. The command outlives the device. All ports but the
 * command's are the business of `rest`, which goes with it; with NULL they are refused. */
struct vsock_backend *command_backend(struct command *c, struct vsock_backend *rest);

/* The guest is about to run: start the pumps, and listen to it on `loop`. `fds`: what its
 * stdin, stdout and stderr are here, borrowed, and never made non-blocking. `changed` is
 * called when it begins with the command, and when that has ended: the guest should power off
 * then. 0, or a negative errno with *e filled. */
int command_start(struct command *c, struct loop *loop, const int fds[3],
		  void (*changed)(void *ctx, bool running), void *ctx, struct err *e);

/* With a terminal there is no pump for stdin (fds[0] is -1): what is typed comes by this, and
 * `room` is called when there is room again. */
struct char_in command_input(struct command *c, const struct char_room *room);
/* The terminal's size, from the beginning on. */
void command_resize(struct command *c, uint16_t columns, uint16_t rows);

/* Hand a signal on; false: the command has not begun, or has ended. */
bool command_signal(struct command *c, int signum);

/* Its status as a shell has it, or -1: the guest has not said one. */
int command_status(const struct command *c);

#endif
