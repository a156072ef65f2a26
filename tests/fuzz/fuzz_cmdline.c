/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's command line: put together by the host, read again for what it says of
 * the root. The input is three strings, each ended by a 0: --cmdline, --append, and a
 * module whose parameters are wanted. */
#include "firmware/cmdline.h"
#include "firmware/init/boot_options.h"
#include "firmware/init/root_spec.h"
#include "tests/fuzz/lib/fuzz.h"

#include <errno.h>
#include <string.h>

enum { TEXT = 700, MAX = 600 };

static void take_string(struct fuzz_in *in, char *text)
{
	size_t n = 0;

	do
		text[n] = (char)fuzz_u8(in);
	while (text[n] && ++n < TEXT - 1);
	text[n] = 0;
}

static void check_build(const struct cmdline_config *c, char *line, size_t size)
{
	struct err e = {0};
	int len = cmdline_build(line, size, c, MAX, &e);

	if (len < 0) {
		fuzz_check(*e.text && (len == -EINVAL || len == -E2BIG));
		return;
	}
	fuzz_check(len <= MAX && strlen(line) == (size_t)len && e.kind == ERR_NONE);
	fuzz_check(!cmdline_check(line, (size_t)len, "--cmdline", &e));
	fuzz_check(!c->append || strstr(line, c->append));
}

static void check_options(const char *line, const char *module)
{
	struct root_candidate none = {.name = "vda", .major = 254};
	struct boot_options o;
	struct root_spec spec;
	char word[32], parameters[64];
	const char *at = line;

	boot_options_parse(&o, line);
	fuzz_check(memchr(o.root, 0, sizeof(o.root)) && memchr(o.init, 0, sizeof(o.init)));
	fuzz_check(memchr(o.rootflags, 0, sizeof(o.rootflags)));
	fuzz_check(memchr(o.rootfstype, 0, sizeof(o.rootfstype)));
	if (!root_spec_parse(&spec, o.root, o.rootfstype)) {
		fuzz_check(memchr(spec.value, 0, sizeof(spec.value)));
		fuzz_check((spec.kind == ROOT_ANY) == !*o.root);
		if (root_spec_matches(&spec, &none))
			fuzz_check(spec.kind <= ROOT_NUMBER);
		root_spec_kernel_knows(&spec);
	}
	for (const char *before = at; boot_options_word(&at, word, sizeof(word)); before = at) {
		fuzz_check(at > before && at <= line + strlen(line));
		fuzz_check(memchr(word, 0, sizeof(word)));
	}
	if (!boot_options_module(parameters, sizeof(parameters), line, module))
		fuzz_check(memchr(parameters, 0, sizeof(parameters)));
}

void fuzz_one(struct fuzz_in *in)
{
	char cmdline[TEXT], append[TEXT], module[TEXT], line[2 * TEXT] = "";
	uint8_t how = fuzz_u8(in);

	take_string(in, cmdline);
	take_string(in, append);
	take_string(in, module);
	static const struct cmdline_device devices[] = {
		{0xd0000000, 0x1000, 16},
		{0xd0001000, 0x1000, 17},
	};
	const struct cmdline_config c = {
		.cmdline = how & 1 ? cmdline : NULL,
		.append = how & 2 ? append : NULL,
		.serial = how & 4,
		.root_readonly = how & 8,
		.grows = how & 8,
		.gives_back = how & 4,
		.root = how & 16   ? NULL
			: how & 32 ? ""
				   : "/dev/vda",
		.n_devices = (how >> 6) % 3,
		.devices = devices,
	};

	check_build(&c, line, sizeof(line));
	check_options(line, module);
	check_options(cmdline, module);
}
