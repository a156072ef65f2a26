/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/core/device.h"

#include "vmm/base/bytes.h"

#include <errno.h>
#include <string.h>

int device_list_add(struct device_list *l, const char *name, const struct device_ops *ops,
		    void *dev)
{
	if (l->n == ARRAY_LEN(l->items))
		return -ENOSPC;
	l->items[l->n++] = (struct device){name, ops, dev};
	return 0;
}

void device_list_remove(struct device_list *l, const void *dev)
{
	unsigned i = 0;

	while (i < l->n && l->items[i].dev != dev)
		i++;
	if (i == l->n)
		return;
	l->n--;
	memmove(&l->items[i], &l->items[i + 1], (l->n - i) * sizeof(l->items[0]));
}

void device_list_reset(struct device_list *l)
{
	for (unsigned i = 0; i < l->n; i++)
		if (l->items[i].ops->reset)
			l->items[i].ops->reset(l->items[i].dev);
}

static void resume_first(struct device_list *l, unsigned n)
{
	while (n--)
		if (l->items[n].ops->resume)
			l->items[n].ops->resume(l->items[n].dev);
}

int device_list_pause(struct device_list *l)
{
	for (unsigned i = 0; i < l->n; i++) {
		const struct device *d = &l->items[i];
		int ret = d->ops->pause ? d->ops->pause(d->dev) : 0;

		if (ret) {
			resume_first(l, i);
			return ret;
		}
	}
	return 0;
}

void device_list_resume(struct device_list *l)
{
	resume_first(l, l->n);
}

void device_list_save(struct device_list *l, struct state_writer *w)
{
	for (unsigned i = 0; i < l->n; i++)
		if (l->items[i].ops->save)
			l->items[i].ops->save(l->items[i].dev, w);
}

int device_list_load(struct device_list *l, struct state_reader *r, struct err *e)
{
	for (unsigned i = 0; i < l->n; i++) {
		const struct device *d = &l->items[i];
		int ret = d->ops->load ? d->ops->load(d->dev, r, e) : 0;

		if (ret)
			return ret;
	}
	return 0;
}

void device_list_fini(struct device_list *l)
{
	while (l->n) {
		const struct device *d = &l->items[--l->n];

		if (d->ops->fini)
			d->ops->fini(d->dev);
	}
}
