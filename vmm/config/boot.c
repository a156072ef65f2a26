/* SPDX-License-Identifier: Apache-2.0 */
/* boot: the files that the kernel comes with, its command line, and its entry. */
#include "vmm/base/bytes.h"
#include "vmm/config/options.h"
#include "vmm/config/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void boot_clear_initrds(struct vm_config *c)
{
	for (unsigned i = 0; i < c->n_initrds; i++)
		free(c->initrds[i]);
	c->n_initrds = 0;
}

static int add_initrd(struct vm_config *c, const char *path, const struct origin *o, struct err *e)
{
	char *whole = NULL;
	int err;

	if (c->n_initrds == CONFIG_INITRDS_MAX)
		return option_refuse(o, path, -E2BIG, e, "more than %d of them; join some",
				     CONFIG_INITRDS_MAX);
	err = option_path(&whole, path, o, e);
	if (!err)
		c->initrds[c->n_initrds++] = whole;
	return err;
}

/* A list in one word, for a file and the environment have no way to repeat a key.
 * As in --disk, a comma that belongs to a name is doubled. */
int boot_set_initrd(struct vm_config *c, const char *value, const struct origin *o, struct err *e)
{
	char *word = strdup(value);
	size_t n = 0;
	int err = 0;

	if (!word)
		return option_nomem(o, e);
	for (const char *p = value;; p++) {
		if (p[0] == ',' && p[1] == ',') {
			word[n++] = *p++;
		} else if (*p && *p != ',') {
			word[n++] = *p;
		} else {
			word[n] = '\0';
			err = add_initrd(c, word, o, e);
			n = 0;
			if (err || !*p)
				break;
		}
	}
	free(word);
	return err;
}

/* "none" says that there are none to look for; ./none names a folder of that name. */
int boot_set_modules(struct vm_config *c, const char *value, const struct origin *o, struct err *e)
{
	struct level here = {.kind = o->level->kind, .file = o->level->file};
	struct origin unmoved = *o;

	unmoved.level = &here;
	return option_path(&c->modules, value, strcmp(value, "none") == 0 ? &unmoved : o, e);
}

int boot_set_cmdline(struct vm_config *c, const char *value, const struct origin *o, struct err *e)
{
	char *copy = strdup(value);

	if (!copy)
		return option_nomem(o, e);
	free(c->cmdline);
	c->cmdline = copy;
	c->cmdline_option = "--cmdline";
	return 0;
}

int boot_set_cmdline_file(struct vm_config *c, const char *value, const struct origin *o,
			  struct err *e)
{
	char *path = NULL, *text = NULL;
	struct err why = {0};
	int err = option_path(&path, value, o, e);

	if (err)
		return err;
	err = text_read(path, &text, &why);
	free(path);
	if (err)
		return option_refuse(o, value, err, e, "%s", why.text);
	/* People wrap long lines; the kernel knows one line only. */
	for (char *p = text; *p; p++) {
		if (*p == '\n' || *p == '\r' || *p == '\t')
			*p = ' ';
	}
	for (size_t n = strlen(text); n && text[n - 1] == ' ';)
		text[--n] = '\0';
	free(c->cmdline);
	c->cmdline = text;
	c->cmdline_option = "--cmdline-file";
	return 0;
}

int boot_set_append(struct vm_config *c, const char *value, const struct origin *o, struct err *e)
{
	char *joined;

	if (asprintf(&joined, "%s%s%s", c->append ? c->append : "", c->append ? " " : "", value) <
	    0)
		return option_nomem(o, e);
	free(c->append);
	c->append = joined;
	return 0;
}

void boot_clear_append(struct vm_config *c)
{
	free(c->append);
	c->append = NULL;
}

int boot_set_boot(struct vm_config *c, const char *value, const struct origin *o, struct err *e)
{
	static const char *const names[] = {
		[BOOT_CHOICE_AUTO] = "auto",
		[BOOT_CHOICE_LINUX64] = "linux64",
		[BOOT_CHOICE_LINUX32] = "linux32",
		[BOOT_CHOICE_PVH] = "pvh",
	};

	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		if (strcmp(value, names[i]) == 0) {
			c->boot = (enum boot_choice)i;
			return 0;
		}
	}
	return option_refuse(o, value, -EINVAL, e, "give auto, linux64, linux32 or pvh");
}
