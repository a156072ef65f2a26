/* SPDX-License-Identifier: Apache-2.0 */
/* The command line and the environment. The input is strings, each ended by a 0: one
 * that begins with a byte of 0x80 or more is the environment's value of the option with
 * that number, all others are arguments. */
#include "tests/fuzz/lib/config_check.h"
#include "tests/fuzz/lib/fuzz.h"
#include "vmm/config/options.h"

#include <stdlib.h>
#include <string.h>

enum { ARGS = 24, TEXT = 2048 };

static unsigned n_options(void)
{
	unsigned n = 0;

	while (options[n].name)
		n++;
	return n;
}

static void clear_environment(void)
{
	char name[ENV_NAME_MAX];

	for (unsigned i = 0; options[i].name; i++) {
		option_env_name(&options[i], name);
		unsetenv(name);
	}
}

void fuzz_one(struct fuzz_in *in)
{
	char text[TEXT], *argv[ARGS + 1] = {"minivmm"}, name[ENV_NAME_MAX];
	const uint8_t *bytes;
	size_t len = fuzz_bytes(in, TEXT - 1, &bytes);
	int argc = 1;

	memcpy(text, bytes, len);
	text[len] = 0;
	clear_environment();
	for (char *at = text; at < text + len && argc < ARGS; at += strlen(at) + 1) {
		if ((uint8_t)*at < 0x80) {
			argv[argc++] = at;
			continue;
		}
		option_env_name(&options[((uint8_t)*at - 0x80u) % n_options()], name);
		setenv(name, at + 1, 1);
	}
	config_check(argc, argv);
	clear_environment();
}
