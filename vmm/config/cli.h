/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli: the command line, by argp.
 *
 * It is read twice. The first look finds whether help was asked for and which file
 * to read, and refuses what is no option at all; the second one applies the values,
 * after those of the file and the environment. Internal to vmm/config.
 */
#ifndef VMM_CONFIG_CLI_H
#define VMM_CONFIG_CLI_H

#include "vmm/config/options.h"

/* Gives a config_action with *config_file set to what --config says (borrowed from
 * argv; untouched without one), or a negative errno with *e filled. */
int cli_scan(int argc, char **argv, const char **config_file, struct err *e);

/* Applies every value in argv. 0, or a negative errno with *e filled. */
int cli_apply(struct vm_config *c, int argc, char **argv, struct err *e);

/* --help on stdout. Gives 0 or a negative errno with *e filled. */
int cli_help(struct err *e);

#endif
