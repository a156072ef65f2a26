/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk: one --disk, or one [disk.NAME] of a file.
 *
 * Both are the same few keys; on the command line they stand in one word behind
 * the path, separated by commas. A comma that belongs to a value is doubled, as
 * people know it from QEMU, so every path can be said.
 */
#include "vmm/config/options.h"
#include "vmm/config/size.h"
#include "vmm/config/suggest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* GET_ID answers 20 bytes [virtio 1.3 5.2.6]. An id no longer than that can always
 * stand in for a missing serial. */
enum { ID_MAX = 20, QUEUES_MAX = 16 };

static const char id_chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

static int set_text(char **out, const char *value, const struct origin *o, struct err *e)
{
	char *copy = strdup(value);

	if (!copy)
		return option_nomem(o, e);
	free(*out);
	*out = copy;
	return 0;
}

static int set_path(struct disk_config *d, const char *value, const struct origin *o, struct err *e)
{
	return option_path(&d->path, value, o, e);
}

static int set_id(struct disk_config *d, const char *value, const struct origin *o, struct err *e)
{
	size_t len = strlen(value);

	if (len < 1 || len > ID_MAX || strspn(value, id_chars) != len)
		return option_refuse(o, value, -EINVAL, e,
				     "not a name; give 1 to %d of letters, digits, '_' and '-'",
				     ID_MAX);
	return set_text(&d->id, value, o, e);
}

static int set_serial(struct disk_config *d, const char *value, const struct origin *o,
		      struct err *e)
{
	size_t len = strlen(value), good = 0;

	while (value[good] > ' ' && value[good] < 0x7f)
		good++;
	if (len < 1 || len > ID_MAX || good != len)
		return option_refuse(o, value, -EINVAL, e,
				     "not a serial number; give 1 to %d printable ASCII characters "
				     "without blanks",
				     ID_MAX);
	return set_text(&d->serial, value, o, e);
}

static int set_readonly(struct disk_config *d, const char *value, const struct origin *o,
			struct err *e)
{
	return option_on_off(&d->readonly, value, o, e);
}

static int set_queues(struct disk_config *d, const char *value, const struct origin *o,
		      struct err *e)
{
	uint64_t n = 0;

	if (number_parse(value, QUEUES_MAX, &n) || !n)
		return option_refuse(o, value, -EINVAL, e, "not a number of queues; give 1 to %d",
				     QUEUES_MAX);
	d->queues = (unsigned)n;
	return 0;
}

static const struct {
	const char *name;
	int (*set)(struct disk_config *d, const char *value, const struct origin *o, struct err *e);
} keys[] = {
	{"path", set_path},     {"readonly", set_readonly}, {"id", set_id},
	{"serial", set_serial}, {"queues", set_queues},
};

enum { N_KEYS = sizeof(keys) / sizeof(keys[0]) };

int disk_set_key(struct disk_config *d, const char *key, const char *value, const struct origin *o,
		 struct err *e)
{
	struct suggestion near = {0};
	struct origin at = *o;

	at.part = key;
	for (unsigned i = 0; i < N_KEYS; i++) {
		if (strcmp(key, keys[i].name) == 0)
			return keys[i].set(d, value, &at, e);
		suggest_offer(&near, key, keys[i].name);
	}
	if (near.name)
		return option_refuse(&at, NULL, -EINVAL, e, "unknown key; did you mean %s?",
				     near.name);
	return option_refuse(&at, NULL, -EINVAL, e,
			     "unknown key; a disk has path, readonly, id, serial and queues");
}

static void disk_fini(struct disk_config *d)
{
	free(d->path);
	free(d->id);
	free(d->serial);
	memset(d, 0, sizeof(*d));
}

void disk_clear_all(struct vm_config *c)
{
	while (c->n_disks)
		disk_fini(&c->disks[--c->n_disks]);
}

int disk_begin(struct vm_config *c, const char *id, const struct origin *o, struct err *e)
{
	struct disk_config d = {0};
	int err;

	if (c->n_disks == CONFIG_DISKS_MAX)
		return option_refuse(o, id, -E2BIG, e, "one disk too many; %d are the most",
				     CONFIG_DISKS_MAX);
	err = id ? set_id(&d, id, o, e) : 0;
	if (err)
		return err;
	c->disks[c->n_disks++] = d;
	return 0;
}

/* Cuts the next piece off *rest, in place: up to a single comma, `,,` folded into
 * one. *rest becomes NULL behind the last piece. */
static char *next_piece(char **rest)
{
	char *piece = *rest, *from = piece, *to = piece;

	*rest = NULL;
	for (; *from; from++) {
		if (*from == ',' && *++from != ',') {
			*rest = from;
			break;
		}
		*to++ = *from;
	}
	*to = '\0';
	return piece;
}

int disk_set_spec(struct vm_config *c, const char *spec, const struct origin *o, struct err *e)
{
	char *copy = strdup(spec), *rest = copy;
	int err;

	if (!copy)
		return option_nomem(o, e);
	err = disk_begin(c, NULL, o, e);
	if (err)
		goto out_free;

	struct disk_config *d = &c->disks[c->n_disks - 1];
	unsigned seen = 0;

	err = option_path(&d->path, next_piece(&rest), o, e);
	while (!err && rest) {
		char *key = next_piece(&rest), *eq = strchr(key, '=');
		unsigned i = 0;

		if (!eq) {
			err = option_refuse(o, spec, -EINVAL, e,
					    "\"%.20s\" is no key=value; write a comma within a "
					    "path as \",,\"",
					    key);
			break;
		}
		*eq = '\0';
		while (i < N_KEYS && strcmp(key, keys[i].name) != 0)
			i++;
		if (i == 0 || (i < N_KEYS && (seen & 1u << i))) {
			err = option_refuse(o, spec, -EINVAL, e, "has %s twice; give it once", key);
			break;
		}
		seen |= 1u << i;
		err = disk_set_key(d, key, eq + 1, o, e);
	}
	if (err) {
		disk_fini(d);
		c->n_disks--;
	}
out_free:
	free(copy);
	return err;
}
