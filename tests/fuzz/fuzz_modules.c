/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory of modules: the index is the input's, and so is what the modules say of
 * themselves. The input is lines: those before an empty one are modules.dep, the
 * following blocks are the .modinfo of the modules a, b, c and d.
 */
#include "firmware/initramfs/modinfo.h"
#include "firmware/initramfs/modules.h"
#include "tests/fuzz/lib/fuzz.h"
#include "tests/lib/fake_module.h"
#include "tests/lib/scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILES = 4, BLOCK_MAX = 1024 };

/* The lines up to an empty one, as a string. */
static void take_block(struct fuzz_in *in, char *block)
{
	size_t n = 0;

	while (fuzz_more(in) && n < BLOCK_MAX - 1) {
		char c = (char)fuzz_u8(in);

		if (c == '\n' && n && block[n - 1] == '\n')
			break;
		block[n++] = c;
	}
	block[n] = 0;
}

static bool listed_before(const struct modules *m, unsigned i, const char *name, size_t len)
{
	for (unsigned j = 0; j < i; j++)
		if (strlen(m->list[j].name) == len && !memcmp(m->list[j].name, name, len))
			return true;
	return false;
}

/* Each module once, and behind those that it cannot do without. */
static void check_list(const struct modules *m)
{
	fuzz_check(m->n <= MODULES_MAX && m->reads <= MODULES_READS_MAX);
	for (unsigned i = 0; i < m->n; i++) {
		const struct module *x = &m->list[i];
		struct modinfo info;
		const char *depends;

		fuzz_check(x->bytes && x->len && *x->name);
		fuzz_check(!listed_before(m, i, x->name, strlen(x->name)));
		fuzz_check(!modinfo_find(&info, x->bytes, x->len));
		depends = modinfo_next(&info, "depends", NULL);
		while (depends && *depends) {
			size_t len = strcspn(depends, ",");

			/* Those of one letter are files here; others may be built in. */
			if (len == 1 && *depends >= 'a' && *depends < 'a' + FILES)
				fuzz_check(listed_before(m, i, depends, len));
			depends += len + (depends[len] == ',');
		}
	}
}

void fuzz_one(struct fuzz_in *in)
{
	struct modules *m = calloc(1, sizeof(*m));
	char block[BLOCK_MAX], name[] = "a.ko", module[] = "a";
	struct scratch s;
	struct err e = {0};
	uint8_t packings = fuzz_u8(in);
	int ret;

	fuzz_check(m);
	scratch_init(&s);
	take_block(in, block);
	scratch_text(&s, "modules.dep", block);
	for (unsigned i = 0; i < FILES; i++) {
		size_t len;

		take_block(in, block);
		uint8_t *bytes =
			fake_module(block, 0, packings >> i & 1 ? PACK_GZ : PACK_PLAIN, &len);

		name[0] = (char)('a' + i);
		scratch_write(&s, name, bytes, len);
		free(bytes);
	}
	ret = modules_open(m, "/nonexistent/kernel", "6.1.0-test", s.path, "", &e);
	fuzz_check(ret ? ret < 0 && *e.text : e.kind == ERR_NONE);
	for (unsigned i = 0; i < FILES && !ret; i++) {
		e = (struct err){0};
		module[0] = (char)('a' + i);
		ret = modules_add(m, module, i % 2, &e);
		fuzz_check(ret ? ret < 0 && *e.text : e.kind == ERR_NONE);
		if (!ret)
			check_list(m);
	}
	modules_fini(m);
	scratch_fini(&s);
	free(m);
}
