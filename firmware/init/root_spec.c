/* SPDX-License-Identifier: Apache-2.0 */
/*
 * root_spec: root= in the forms that people write. They come in two spellings:
 * a tag with a value (UUID=...), and the link that udev would have made
 * (/dev/disk/by-uuid/...), which does not exist yet when init runs. udev writes
 * what may not stand in a file name as \x20, so the links' names are decoded.
 */
#include "firmware/init/root_spec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static int set_value(struct root_spec *spec, enum root_kind kind, const char *text, bool escaped)
{
	size_t n = 0;

	spec->kind = kind;
	while (*text) {
		char c = *text++;

		if (escaped && c == '\\' && text[0] == 'x' && hex_digit(text[1]) >= 0 &&
		    hex_digit(text[2]) >= 0) {
			c = (char)(hex_digit(text[1]) << 4 | hex_digit(text[2]));
			text += 3;
		}
		if (n + 1 >= sizeof(spec->value))
			return -ENAMETOOLONG;
		spec->value[n++] = c;
	}
	spec->value[n] = '\0';
	return n ? 0 : -EINVAL;
}

static bool parse_number(struct root_spec *spec, const char *text)
{
	char *end;
	unsigned long major, minor;

	if (*text < '0' || *text > '9')
		return false;
	major = strtoul(text, &end, 10);
	if (*end != ':' || end[1] < '0' || end[1] > '9')
		return false;
	minor = strtoul(end + 1, &end, 10);
	if (*end || major > 0xfff || minor > 0xfffff)
		return false;
	spec->kind = ROOT_NUMBER;
	spec->major = (unsigned)major;
	spec->minor = (unsigned)minor;
	return true;
}

int root_spec_parse(struct root_spec *spec, const char *text, const char *type)
{
	static const struct {
		const char *tag, *link;
		enum root_kind kind;
	} forms[] = {
		{"UUID=", "/dev/disk/by-uuid/", ROOT_UUID},
		{"LABEL=", "/dev/disk/by-label/", ROOT_LABEL},
		{"PARTUUID=", "/dev/disk/by-partuuid/", ROOT_PARTUUID},
		{"PARTLABEL=", "/dev/disk/by-partlabel/", ROOT_PARTLABEL},
	};

	memset(spec, 0, sizeof(*spec));
	if (!*text)
		return 0;
	if (!strcmp(type, "virtiofs"))
		return set_value(spec, ROOT_TAG, text, false);
	for (unsigned i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		size_t tag = strlen(forms[i].tag), link = strlen(forms[i].link);

		if (!strncmp(text, forms[i].tag, tag))
			return set_value(spec, forms[i].kind, text + tag, false);
		if (!strncmp(text, forms[i].link, link))
			return set_value(spec, forms[i].kind, text + link, true);
	}
	/* /dev/nfs and /dev/ram are words for the kernel, no devices. */
	if (!strcmp(text, "/dev/nfs") || !strcmp(text, "/dev/ram"))
		return -EINVAL;
	if (!strncmp(text, "/dev/", 5) && !strstr(text, ".."))
		return set_value(spec, ROOT_DEVICE, text + 5, false);
	return parse_number(spec, text) ? 0 : -EINVAL;
}

bool root_spec_matches(const struct root_spec *spec, const struct root_candidate *c)
{
	switch (spec->kind) {
	case ROOT_ANY:
		return true;
	case ROOT_DEVICE:
		return !strcmp(spec->value, c->name);
	case ROOT_NUMBER:
		return spec->major == c->major && spec->minor == c->minor;
	case ROOT_UUID:
		return c->has_fs && c->sb.uuid[0] && !strcasecmp(spec->value, c->sb.uuid);
	case ROOT_LABEL:
		return c->has_fs && c->sb.label[0] && !strcmp(spec->value, c->sb.label);
	case ROOT_PARTUUID:
		return c->partuuid[0] && !strcasecmp(spec->value, c->partuuid);
	case ROOT_PARTLABEL:
		return c->partlabel[0] && !strcmp(spec->value, c->partlabel);
	case ROOT_TAG:
		return false;
	}
	return false;
}

bool root_spec_kernel_knows(const struct root_spec *spec)
{
	return spec->kind == ROOT_DEVICE || spec->kind == ROOT_NUMBER ||
	       spec->kind == ROOT_PARTUUID || spec->kind == ROOT_PARTLABEL ||
	       spec->kind == ROOT_TAG;
}
