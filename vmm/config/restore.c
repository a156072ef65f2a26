/* SPDX-License-Identifier: Apache-2.0 */
/* restore: --restore, one setting with the keys of spec.h. */
#include "vmm/base/bytes.h"
#include "vmm/config/size.h"
#include "vmm/config/spec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int set_dir(void *thing, const char *value, const struct origin *o, struct err *e)
{
	struct restore_config *r = thing;

	return option_path(&r->dir, value, o, e);
}

static int set_verify(void *thing, const char *value, const struct origin *o, struct err *e)
{
	struct restore_config *r = thing;

	return option_on_off(&r->verify, value, o, e);
}

/* One word is the strict one. */
static int set_any(bool *any, const char *value, const char *strict, const struct origin *o,
		   struct err *e)
{
	*any = !strcmp(value, "any");
	if (!*any && strcmp(value, strict))
		return option_refuse(o, value, -EINVAL, e, "give %s or any", strict);
	return 0;
}

static int set_cpu(void *thing, const char *value, const struct origin *o, struct err *e)
{
	struct restore_config *r = thing;

	return set_any(&r->any_cpu, value, "same", o, e);
}

static int set_disks(void *thing, const char *value, const struct origin *o, struct err *e)
{
	struct restore_config *r = thing;

	return set_any(&r->any_disks, value, "same", o, e);
}

static int set_memory(void *thing, const char *value, const struct origin *o, struct err *e)
{
	static const char *const words[] = {
		[RESTORE_MAP] = "map", [RESTORE_READ] = "read", [RESTORE_LAZY] = "lazy"};
	struct restore_config *r = thing;

	for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
		if (strcmp(value, words[i]))
			continue;
		r->memory = (enum restore_memory)i;
		return 0;
	}
	return option_refuse(o, value, -EINVAL, e, "give map, read or lazy");
}

static int set_clone(void *thing, const char *value, const struct origin *o, struct err *e)
{
	struct restore_config *r = thing;
	uint64_t number = 0;

	if (number_parse(value, UINT32_MAX, &number))
		return option_refuse(o, value, -EINVAL, e,
				     "not a clone's number; give one from 0 on");
	r->is_clone = true;
	r->clone = (uint32_t)number;
	return 0;
}

static const struct spec_key keys[] = {
	{.name = "dir", .set = set_dir},
	{.name = "verify", .set = set_verify, .flag = true},
	{.name = "cpu", .set = set_cpu},
	{.name = "disks", .set = set_disks},
	{.name = "memory", .set = set_memory},
	{.name = "clone", .set = set_clone},
	{.name = NULL},
};
static const struct spec spec = {
	.keys = keys,
	.keys_text = "a restore has verify, memory, cpu, disks and clone",
	.bare_text = "write a comma within the path as \",,\"",
	.first_is_value = true,
};

int restore_set_spec(struct vm_config *c, const char *word, const struct origin *o, struct err *e)
{
	struct restore_config r = {0};
	int err = spec_set_word(&spec, &r, word, o, e);

	if (err) {
		free(r.dir);
		return err;
	}
	free(c->restore.dir);
	c->restore = r;
	return 0;
}
