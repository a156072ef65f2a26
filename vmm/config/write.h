/* SPDX-License-Identifier: Apache-2.0 */
/*
 * write: a config as the INI file that says the same, for whoever starts the machine again.
 *
 * It has what the machine is: boot, memory, processors, devices, consoles; not what a run of it is
 * (timeouts, logs, control, events, a command). Paths are made absolute.
 */
#ifndef VMM_CONFIG_WRITE_H
#define VMM_CONFIG_WRITE_H

#include "vmm/config/config.h"

#include <stdio.h>

/* Those with a slot are written, too. `macs` has n_nets addresses, made up ones included; NULL: as
 * the config has them, which goes for those with a slot. `cmdline_file`
 * is the name, beside the file, of that which holds c->cmdline; NULL if there is none. 0, or a
 * negative errno with *e filled: -EILSEQ if a value cannot be said in such a file. Any thread. */
int config_write(const struct vm_config *c, const uint8_t (*macs)[6], const char *cmdline_file,
		 FILE *out, struct err *e);

#endif
