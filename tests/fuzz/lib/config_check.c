/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/lib/config_check.h"

#include "tests/fuzz/lib/fuzz.h"
#include "vmm/base/bytes.h"
#include "vmm/config/config.h"

#include <string.h>

static void check_disks(const struct vm_config *c)
{
	for (unsigned i = 0; i < c->n_disks; i++) {
		const struct disk_config *d = &c->disks[i];

		fuzz_check(d->path && *d->path && d->id && *d->id && d->queues <= 16);
		fuzz_check(!d->serial || strlen(d->serial) <= 20);
		for (unsigned j = 0; j < i; j++)
			fuzz_check(strcmp(d->id, c->disks[j].id) != 0);
	}
}

static void check_consoles(const struct vm_config *c)
{
	const struct char_config *all[] = {&c->serial, &c->serial2, &c->hvc};
	unsigned terminals = 0;

	for (unsigned i = 0; i < ARRAY_LEN(all); i++) {
		bool path = all[i]->kind == CHAR_FILE || all[i]->kind == CHAR_SOCKET;

		fuzz_check(all[i]->kind != CHAR_DEFAULT);
		fuzz_check(path ? all[i]->path && *all[i]->path : !all[i]->path);
		terminals += all[i]->kind == CHAR_TTY;
	}
	fuzz_check(terminals <= 1);
}

static void check_machine(const struct vm_config *c)
{
	fuzz_check(c->kernel && *c->kernel);
	fuzz_check(c->cpus && c->cpus <= c->cpus_max && c->cpus_max <= CONFIG_CPUS_MAX);
	fuzz_check(c->memory >= CONFIG_MEMORY_MIN && c->memory <= c->memory_max);
	fuzz_check(c->memory_max <= CONFIG_MEMORY_MAX);
	fuzz_check(!(c->memory % (2 * MiB)) && !(c->memory_max % (2 * MiB)));
	fuzz_check(c->n_disks <= CONFIG_DISKS_MAX);
	check_consoles(c);
	check_disks(c);
}

void config_check(int argc, char **argv)
{
	struct vm_config c;
	struct err e = {0};
	int action = config_parse(&c, argc, argv, &e);

	if (action < 0) {
		fuzz_check(e.kind != ERR_NONE && e.code == action && *e.text);
		/* One line, fit for a terminal. */
		for (const char *t = e.text; *t; t++)
			fuzz_check((uint8_t)*t >= ' ' && *t != 0x7f);
	} else {
		fuzz_check(e.kind == ERR_NONE);
		if (action == CONFIG_RUN)
			check_machine(&c);
	}
	vm_config_fini(&c);
	vm_config_fini(&c);
}
