/* SPDX-License-Identifier: Apache-2.0 */
/* disk: one --disk, or one [disk.NAME] of a file: the keys of spec.h that a disk has. */
#include "vmm/config/size.h"
#include "vmm/config/spec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int set_path(void *thing, const char *value, const struct origin *o, struct err *e)
{
	struct disk_config *d = thing;

	return option_path(&d->path, value, o, e);
}

static int set_id(void *thing, const char *value, const struct origin *o, struct err *e)
{
	struct disk_config *d = thing;

	return spec_id(&d->id, value, o, e);
}

bool config_is_serial(const char *text)
{
	size_t len = strlen(text), good = 0;

	while (text[good] > ' ' && text[good] < 0x7f)
		good++;
	return len >= 1 && len <= CONFIG_ID_MAX && good == len;
}

static int set_serial(void *thing, const char *value, const struct origin *o, struct err *e)
{
	struct disk_config *d = thing;

	if (!config_is_serial(value))
		return option_refuse(o, value, -EINVAL, e,
				     "not a serial number; give 1 to %d printable ASCII characters "
				     "without blanks",
				     CONFIG_ID_MAX);
	return spec_text(&d->serial, value, o, e);
}

static int set_readonly(void *thing, const char *value, const struct origin *o, struct err *e)
{
	struct disk_config *d = thing;

	return option_on_off(&d->readonly, value, o, e);
}

static int set_number(unsigned *number, const char *what, const char *value, const struct origin *o,
		      struct err *e)
{
	uint64_t n = 0;

	if (number_parse(value, CONFIG_DISK_QUEUES_MAX, &n) || !n)
		return option_refuse(o, value, -EINVAL, e, "not a number of %s; give 1 to %d", what,
				     CONFIG_DISK_QUEUES_MAX);
	*number = (unsigned)n;
	return 0;
}

static int set_queues(void *thing, const char *value, const struct origin *o, struct err *e)
{
	struct disk_config *d = thing;

	return set_number(&d->queues, "queues", value, o, e);
}

static int set_threads(void *thing, const char *value, const struct origin *o, struct err *e)
{
	struct disk_config *d = thing;

	return set_number(&d->threads, "threads", value, o, e);
}

static int set_cache(void *thing, const char *value, const struct origin *o, struct err *e)
{
	struct disk_config *d = thing;

	d->direct = !strcmp(value, "none");
	if (!d->direct && strcmp(value, "writeback"))
		return option_refuse(o, value, -EINVAL, e, "give writeback or none");
	return 0;
}

static int set_slot(void *thing, const char *value, const struct origin *o, struct err *e)
{
	return spec_slot(&((struct disk_config *)thing)->slot, value, o, e);
}

static int set_bps(void *thing, const char *value, const struct origin *o, struct err *e)
{
	return spec_rate_bytes(&((struct disk_config *)thing)->limit.bps, value, o, e);
}

static int set_burst(void *thing, const char *value, const struct origin *o, struct err *e)
{
	return spec_rate_bytes(&((struct disk_config *)thing)->limit.burst, value, o, e);
}

static int set_iops(void *thing, const char *value, const struct origin *o, struct err *e)
{
	return spec_rate_ops(&((struct disk_config *)thing)->limit.ops, value, o, e);
}

static int set_iops_burst(void *thing, const char *value, const struct origin *o, struct err *e)
{
	return spec_rate_ops(&((struct disk_config *)thing)->limit.ops_burst, value, o, e);
}

static const struct spec_key keys[] = {
	{.name = "path", .set = set_path},
	{.name = "readonly", .set = set_readonly},
	{.name = "id", .set = set_id},
	{.name = "serial", .set = set_serial},
	{.name = "queues", .set = set_queues},
	{.name = "threads", .set = set_threads},
	{.name = "cache", .set = set_cache},
	{.name = "slot", .set = set_slot},
	{.name = "bps", .set = set_bps},
	{.name = "burst", .set = set_burst},
	{.name = "iops", .set = set_iops},
	{.name = "iops-burst", .set = set_iops_burst},
	{.name = NULL},
};
static const struct spec spec = {
	.keys = keys,
	.keys_text = "a disk has path, readonly, id, serial, queues, threads, cache, slot, bps, "
		     "burst, iops and iops-burst",
	.bare_text = "write a comma within a value as \",,\"",
	.first_is_value = true,
};

int disk_set_key(struct disk_config *d, const char *key, const char *value, const struct origin *o,
		 struct err *e)
{
	return spec_set_key(&spec, d, key, value, o, e);
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
	while (c->n_late_disks)
		disk_fini(&c->disks[c->n_disks + --c->n_late_disks]);
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
	err = id ? spec_id(&d.id, id, o, e) : 0;
	if (err)
		return err;
	c->disks[c->n_disks++] = d;
	return 0;
}

int disk_check(const struct disk_config *d, const struct origin *o, const char *value,
	       struct err *e)
{
	return spec_rate_check(&d->limit, "iops", o, value, e);
}

int disk_set_spec(struct vm_config *c, const char *word, const struct origin *o, struct err *e)
{
	int err = disk_begin(c, NULL, o, e);

	if (err)
		return err;
	err = spec_set_word(&spec, &c->disks[c->n_disks - 1], word, o, e);
	if (!err)
		err = disk_check(&c->disks[c->n_disks - 1], o, word, e);
	if (err)
		disk_fini(&c->disks[--c->n_disks]);
	return err;
}
