/* SPDX-License-Identifier: Apache-2.0 */
/* origin: who said a value, as an error names it; and the values that many settings share. */
#include "vmm/config/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How much of a refused value an error line repeats. */
enum { SHOWN_MAX = 80 };

void option_env_name(const struct option_def *def, char buf[ENV_NAME_MAX])
{
	snprintf(buf, ENV_NAME_MAX, "MINIVMM_%s", def->name);
	for (char *p = buf; *p; p++)
		*p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
}

/* Where the value came from, as the user would point at it. */
static void describe(const struct origin *o, const char *value, char *buf, size_t size)
{
	char env[ENV_NAME_MAX];
	size_t n = 0;

	if (o->level->kind == LEVEL_ENV)
		option_env_name(o->def, env);
	if (o->level->kind == LEVEL_FILE)
		n = (size_t)snprintf(buf, size, "%.200s [%.60s]%s%s", o->level->file, o->section,
				     o->def ? " " : "", o->def ? o->def->name : "");
	else if (o->level->kind == LEVEL_ENV)
		n = (size_t)snprintf(buf, size, "%s", env);
	else
		n = (size_t)snprintf(buf, size, "--%s", o->def->name);
	if (o->part)
		n += (size_t)snprintf(buf + n, size - n, " %.60s", o->part);
	if (value)
		snprintf(buf + n, size - n, "%s%.*s%s",
			 o->level->kind != LEVEL_CLI ? ": "
			 : o->part                   ? "="
						     : " ",
			 SHOWN_MAX, *value ? value : "\"\"",
			 strlen(value) > SHOWN_MAX ? "..." : "");
}

int option_refuse(const struct origin *o, const char *value, int code, struct err *e,
		  const char *fmt, ...)
{
	char where[400], why[256];
	va_list ap;

	describe(o, value, where, sizeof(where));
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return err_usage(e, code, "%s: %s", where, why);
}

int option_nomem(const struct origin *o, struct err *e)
{
	char where[400];

	describe(o, NULL, where, sizeof(where));
	return err_host(e, -ENOMEM, "%s: out of memory", where);
}

int option_path(char **out, const char *value, const struct origin *o, struct err *e)
{
	const char *dir = *value == '/' || !o->level->dir ? "" : o->level->dir;
	char *path;

	if (!*value)
		return option_refuse(o, value, -EINVAL, e, "an empty path; name a file");
	if (asprintf(&path, "%s%s", dir, value) < 0)
		return option_nomem(o, e);
	free(*out);
	*out = path;
	return 0;
}

int option_on_off(bool *out, const char *value, const struct origin *o, struct err *e)
{
	bool on = strcmp(value, "on") == 0;

	if (!on && strcmp(value, "off") != 0)
		return option_refuse(o, value, -EINVAL, e, "give on or off");
	*out = on;
	return 0;
}
