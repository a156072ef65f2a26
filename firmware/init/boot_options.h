/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_options: the words of the kernel's command line that concern the root.
 *
 * Their meaning is the kernel's own [Linux Documentation/admin-guide/
 * kernel-parameters.txt], so that a command line does the same with and
 * without an initramfs. The last of several wins.
 */
#ifndef FIRMWARE_INIT_BOOT_OPTIONS_H
#define FIRMWARE_INIT_BOOT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

struct boot_options {
	char root[512];       /* "": not given */
	char rootfstype[128]; /* "ext4" or a list "xfs,btrfs"; "": find out */
	char rootflags[512];
	char init[256];       /* "": try the usual ones */
	bool read_only;       /* without ro or rw: yes, as the kernel has it */
	bool wait_for_ever;   /* rootwait */
	unsigned wait_s;      /* rootwait=N; 0: not given */
	unsigned delay_s;     /* rootdelay=N */
	const char *too_long; /* a name from above whose value did not fit; NULL: none */
};

void boot_options_parse(struct boot_options *o, const char *cmdline);

/* Copy the word at *at into `word`, without its double quotes (which keep blanks
 * within a value), and move *at behind it. Gives its length, 0 at the end or at
 * "--", after which the words are init's. A word that does not fit is cut and
 * its length is >= `size`. */
size_t boot_options_word(const char **at, char *word, size_t size);

/* Does `name` name the module `module`? '-' and '_' are the same in names. */
bool boot_options_same_name(const char *name, size_t len, const char *module);

/* MODULE.PARAMETER=VALUE on the command line is meant for MODULE wherever it comes
 * from, but the kernel only serves those built in: collect what is for `module`,
 * in the form that finit_module takes. Gives 0, or -E2BIG if `out` is too small. */
int boot_options_module(char *out, size_t size, const char *cmdline, const char *module);

#endif
