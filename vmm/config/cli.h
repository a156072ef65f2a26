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

/* What the first look finds. */
struct cli_scan {
	const char *config_file; /* what --config says (borrowed from argv); untouched without */
	const char *restore;     /* likewise what --restore says; NULL without */
	bool doctor;             /* the command is doctor, also where --help is the answer */
	bool json;
	bool sandbox; /* --sandbox without a value */
	bool run;     /* the word "run" is there */
	bool command; /* "--" is, and behind it what is to be run */
};

/* Gives a config_action, or a negative errno with *e filled. */
int cli_scan(int argc, char **argv, struct cli_scan *found, struct err *e);

/* Applies every value in argv. 0, or a negative errno with *e filled. */
int cli_apply(struct vm_config *c, int argc, char **argv, struct err *e);

/* --help on stdout, of doctor or of everything. Gives 0 or a negative errno with *e
 * filled. */
int cli_help(bool doctor, struct err *e);

#endif
