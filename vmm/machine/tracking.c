/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pages of RAM are others than a snapshot has: those that KVM saw the guest write, and those
 * that we wrote for a device. What is fetched of the two logs is kept until a snapshot has it.
 */
#include "vmm/machine/tracking.h"

#include "vmm/machine/parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool tracking_is_on(const struct machine *m)
{
	return m->tracking.dirty[0];
}

static int start(struct machine *m)
{
	struct tracking *t = &m->tracking;
	int ret = guest_mem_log_start(&m->ram);

	if (!ret)
		ret = kvm_vm_log(&m->vm, &m->ram, true);
	for (unsigned i = 0; i < m->ram.n_regions && !ret; i++) {
		t->dirty[i] = calloc(guest_mem_log_words(&m->ram, i), sizeof(uint64_t));
		if (!t->dirty[i])
			ret = -ENOMEM;
	}
	if (ret)
		tracking_stop(m);
	return ret;
}

/* Both logs of a region, into what is kept. */
static int fetch(struct machine *m, unsigned slot)
{
	size_t n = guest_mem_log_words(&m->ram, slot);
	uint64_t *bits = calloc(2 * n, sizeof(*bits));
	int ret = bits ? kvm_vm_log_fetch(&m->vm, slot, bits) : -ENOMEM;

	if (!ret)
		ret = guest_mem_log_fetch(&m->ram, slot, bits + n, n);
	for (size_t i = 0; i < n && !ret; i++)
		m->tracking.dirty[slot][i] |= bits[i] | bits[n + i];
	free(bits);
	return ret;
}

int tracking_collect(struct machine *m)
{
	int ret = 0;

	if (!tracking_is_on(m))
		return start(m);
	for (unsigned i = 0; i < m->ram.n_regions && !ret; i++)
		ret = fetch(m, i);
	/* What was fetched and not kept is lost: nothing can be said any more. */
	if (ret)
		tracking_stop(m);
	return ret;
}

void tracking_saved(struct machine *m, uint64_t base)
{
	for (unsigned i = 0; i < m->ram.n_regions; i++)
		memset(m->tracking.dirty[i], 0, guest_mem_log_words(&m->ram, i) * sizeof(uint64_t));
	m->tracking.base = base;
}

void tracking_stop(struct machine *m)
{
	struct tracking *t = &m->tracking;

	if (m->vm.vm_fd >= 0 && guest_mem_is_logged(&m->ram))
		kvm_vm_log(&m->vm, &m->ram, false);
	guest_mem_log_stop(&m->ram);
	for (unsigned i = 0; i < GUEST_MEM_REGIONS_MAX; i++)
		free(t->dirty[i]);
	*t = (struct tracking){0};
}
