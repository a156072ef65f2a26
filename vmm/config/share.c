/* SPDX-License-Identifier: Apache-2.0 */
/* share: one --share, or one [share.NAME] of a file: the keys of spec.h that a shared
 * directory has. NAME is the tag by which the guest knows it. */
#include "vmm/base/bytes.h"
#include "vmm/config/spec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MOUNTPOINT_MAX = 255 };

static int set_mountpoint(void *thing, const char *value, const struct origin *o, struct err *e)
{
	struct share_config *s = thing;
	size_t len = strlen(value), good = 0;

	while ((unsigned char)value[good] > ' ' && value[good] != 0x7f)
		good++;
	if (*value != '/' || good != len || len > MOUNTPOINT_MAX || strstr(value, "/../") ||
	    (len >= 3 && !strcmp(value + len - 3, "/..")))
		return option_refuse(o, value, -EINVAL, e,
				     "not a place to mount on; give an absolute path in the guest "
				     "without blanks and \"..\", %d bytes at most",
				     MOUNTPOINT_MAX);
	return spec_text(&s->mountpoint, value, o, e);
}

/* In a word the place to mount on is behind the last ":/"; in a file it is a key. */
static int set_path(void *thing, const char *value, const struct origin *o, struct err *e)
{
	struct share_config *s = thing;
	const char *colon = NULL;
	char *dir;
	int err;

	for (const char *p = o->part ? NULL : strstr(value, ":/"); p; p = strstr(p + 1, ":/"))
		colon = p;
	if (!colon)
		return option_path(&s->path, value, o, e);
	err = set_mountpoint(s, colon + 1, o, e);
	if (err)
		return err;
	dir = strndup(value, (size_t)(colon - value));
	if (!dir)
		return option_nomem(o, e);
	err = option_path(&s->path, dir, o, e);
	free(dir);
	return err;
}

static int set_tag(void *thing, const char *value, const struct origin *o, struct err *e)
{
	struct share_config *s = thing;

	return spec_id(&s->tag, value, o, e);
}

static int set_rw(void *thing, const char *value, const struct origin *o, struct err *e)
{
	struct share_config *s = thing;

	return option_on_off(&s->rw, value, o, e);
}

static int set_cache(void *thing, const char *value, const struct origin *o, struct err *e)
{
	static const char *const names[] = {
		[CONFIG_CACHE_AUTO] = "auto",
		[CONFIG_CACHE_NONE] = "none",
		[CONFIG_CACHE_ALWAYS] = "always",
	};
	struct share_config *s = thing;

	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		if (strcmp(value, names[i]) == 0) {
			s->cache = (enum cache_choice)i;
			return 0;
		}
	}
	return option_refuse(o, value, -EINVAL, e, "give auto, none or always");
}

static const struct spec_key keys[] = {
	{.name = "path", .set = set_path},   {.name = "mountpoint", .set = set_mountpoint},
	{.name = "tag", .set = set_tag},     {.name = "rw", .set = set_rw, .flag = true},
	{.name = "cache", .set = set_cache}, {.name = NULL},
};
static const struct spec spec = {
	.keys = keys,
	.keys_text = "a share has path, mountpoint, rw, tag and cache",
	.bare_text = "write a comma within a value as \",,\"",
	.first_is_value = true,
};

int share_set_key(struct share_config *s, const char *key, const char *value,
		  const struct origin *o, struct err *e)
{
	return spec_set_key(&spec, s, key, value, o, e);
}

static void share_fini(struct share_config *s)
{
	free(s->path);
	free(s->mountpoint);
	free(s->tag);
	memset(s, 0, sizeof(*s));
}

void share_clear_all(struct vm_config *c)
{
	while (c->n_shares)
		share_fini(&c->shares[--c->n_shares]);
}

int share_begin(struct vm_config *c, const char *tag, const struct origin *o, struct err *e)
{
	struct share_config s = {0};
	int err;

	if (c->n_shares == CONFIG_SHARES_MAX)
		return option_refuse(o, tag, -E2BIG, e, "one share too many; %d are the most",
				     CONFIG_SHARES_MAX);
	err = tag ? spec_id(&s.tag, tag, o, e) : 0;
	if (err)
		return err;
	c->shares[c->n_shares++] = s;
	return 0;
}

int share_set_spec(struct vm_config *c, const char *word, const struct origin *o, struct err *e)
{
	int err = share_begin(c, NULL, o, e);

	if (err)
		return err;
	err = spec_set_word(&spec, &c->shares[c->n_shares - 1], word, o, e);
	if (err)
		share_fini(&c->shares[--c->n_shares]);
	return err;
}
