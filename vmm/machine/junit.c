/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/machine/junit.h"

#include "vmm/base/whole_file.h"
#include "vmm/results/results.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int command_junit_check(const struct vm_config *c, struct err *e)
{
	return c->command.junit ? whole_file_check("--junit", c->command.junit, e) : 0;
}

/* The command as a person would know it again. */
static char *name_of(const struct string_list *words)
{
	char *name = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&name, &len);

	if (!f)
		return NULL;
	for (unsigned i = 0; i < words->n; i++)
		fprintf(f, "%s%s", i ? " " : "", words->strings[i]);
	if (!words->n)
		fputs("a shell", f);
	if (ferror(f) | fclose(f)) {
		free(name);
		return NULL;
	}
	return name;
}

static int fill(FILE *out, void *ctx)
{
	return junit_write(out, "minivmm run", ctx, 1);
}

int command_junit_write(const struct vm_config *c, const struct machine_end *end, const char *why,
			uint64_t took_ns, struct err *e)
{
	char text[MACHINE_END_TEXT], status[32];
	struct test_result r = {.group = "minivmm", .ns = took_ns, .output = end->console};
	char *name;
	int ret;

	if (!c->command.junit)
		return 0;
	name = name_of(&c->command.words);
	if (!name)
		return err_host(e, -ENOMEM, "--junit: out of memory");
	r.name = name;
	r.output_len = end->console ? strlen(end->console) : 0;
	if (why || !end->command || end->status < 0) {
		machine_end_text(end, text);
		r.verdict = TEST_ERROR;
		r.type = machine_end_status(end) == MACHINE_STATUS_TIMEOUT ? "timeout" : "minivmm";
		r.message = why ? why : text;
	} else if (end->status) {
		snprintf(status, sizeof(status), "status %d", end->status);
		r.verdict = TEST_FAILED;
		r.type = "status";
		r.message = status;
	}
	ret = whole_file_write("--junit", c->command.junit, fill, &r, e);
	free(name);
	return ret;
}
