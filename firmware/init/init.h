/* SPDX-License-Identifier: Apache-2.0 */
/* init: the steps of the guest's init, one file each. It runs as one thread, once. */
#ifndef FIRMWARE_INIT_INIT_H
#define FIRMWARE_INIT_INIT_H

#include "firmware/init/boot_options.h"

#include <stdbool.h>

#define NEW_ROOT "/root"

/* Load what /m/list names, in its order. Ends init if a needed one fails. */
void load_modules(const char *cmdline);

/* Find the root, wait for it if need be, and mount it on NEW_ROOT. */
void mount_root(const struct boot_options *o);

/* Mount the shares that /m/mounts names, each on its place on NEW_ROOT. One that cannot
 * be is complained of, no more. */
void mount_shares(void);

/* Is there an init on NEW_ROOT, seen with its own idea of "/"? */
bool root_has_init(const struct boot_options *o);

/* Make NEW_ROOT the root, with /dev, /proc and /sys in it. What the initramfs held is gone. */
void enter_root(void);

/* Do so and become its init. A command, if it is not NULL, is left behind with it. */
struct command;
_Noreturn void switch_root(const struct boot_options *o, char **argv, const struct command *c);

#endif
