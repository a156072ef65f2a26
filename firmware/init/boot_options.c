/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_options: /proc/cmdline, word by word, split as lib/cmdline.c of the
 * kernel splits it: blanks part words, double quotes keep blanks.
 */
#include "firmware/init/boot_options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

size_t boot_options_word(const char **at, char *word, size_t size)
{
	const char *p = *at;
	size_t n = 0;

	/* A word of no length ("") is skipped: 0 is kept for the end. */
	while (*p && !n) {
		bool quoted = false;

		while (is_blank(*p))
			p++;
		if (p[0] == '-' && p[1] == '-' && (!p[2] || is_blank(p[2]))) {
			p += strlen(p);
			break;
		}
		for (; *p && (quoted || !is_blank(*p)); p++) {
			if (*p == '"') {
				quoted = !quoted;
				continue;
			}
			if (n + 1 < size)
				word[n] = *p;
			n++;
		}
	}
	word[n < size ? n : size - 1] = '\0';
	*at = p;
	return n;
}

static unsigned seconds(const char *text)
{
	unsigned long v = strtoul(text, NULL, 10);

	return v > 3600 ? 3600 : (unsigned)v;
}

void boot_options_parse(struct boot_options *o, const char *cmdline)
{
	char word[640];
	size_t len;

	memset(o, 0, sizeof(*o));
	o->read_only = true;
	const struct {
		const char *name;
		char *out;
		size_t size;
	} texts[] = {
		{"root", o->root, sizeof(o->root)},
		{"rootfstype", o->rootfstype, sizeof(o->rootfstype)},
		{"rootflags", o->rootflags, sizeof(o->rootflags)},
		{"init", o->init, sizeof(o->init)},
	};

	while ((len = boot_options_word(&cmdline, word, sizeof(word)))) {
		char *value = strchr(word, '=');
		size_t name = value ? (size_t)(value - word) : strlen(word);

		if (!strcmp(word, "ro"))
			o->read_only = true;
		else if (!strcmp(word, "rw"))
			o->read_only = false;
		else if (!strcmp(word, "rootwait"))
			o->wait_for_ever = true;
		if (!value)
			continue;
		value++;
		if (!strncmp(word, "rootwait=", 9))
			o->wait_s = seconds(value);
		else if (!strncmp(word, "rootdelay=", 10))
			o->delay_s = seconds(value);
		for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
			size_t n = strlen(value);

			if (name != strlen(texts[i].name) || strncmp(word, texts[i].name, name))
				continue;
			if (len >= sizeof(word) || n >= texts[i].size) {
				o->too_long = texts[i].name;
				continue;
			}
			memcpy(texts[i].out, value, n + 1);
		}
	}
}

bool boot_options_same_name(const char *name, size_t len, const char *module)
{
	if (strlen(module) != len)
		return false;
	for (size_t i = 0; i < len; i++) {
		char a = name[i] == '-' ? '_' : name[i];
		char b = module[i] == '-' ? '_' : module[i];

		if (a != b)
			return false;
	}
	return true;
}

int boot_options_module(char *out, size_t size, const char *cmdline, const char *module)
{
	char word[512];
	size_t used = 0, len;

	out[0] = '\0';
	while ((len = boot_options_word(&cmdline, word, sizeof(word)))) {
		char *dot = strchr(word, '.'), *equals = strchr(word, '=');
		bool quote;
		int n;

		if (!dot || (equals && equals < dot) ||
		    !boot_options_same_name(word, (size_t)(dot - word), module))
			continue;
		quote = equals && strpbrk(equals, " \t");
		if (len >= sizeof(word))
			return -E2BIG;
		if (quote)
			*equals = '\0';
		n = snprintf(out + used, size - used, "%s%s%s%s%s", used ? " " : "", dot + 1,
			     quote ? "=\"" : "", quote ? equals + 1 : "", quote ? "\"" : "");
		if (n < 0 || (size_t)n >= size - used)
			return -E2BIG;
		used += (size_t)n;
	}
	return 0;
}
