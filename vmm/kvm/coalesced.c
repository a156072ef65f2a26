/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvm/coalesced.h"

#include "vmm/base/bytes.h"
#include "vmm/base/log.h"

#include <assert.h>
#include <linux/kvm.h>
#include <string.h>
#include <unistd.h>

void coalesced_init(struct coalesced *c, const struct kvm_vm *vm, void *run_area)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t at = page * (size_t)kvm_vm_capability(vm, KVM_CAP_COALESCED_MMIO);

	*c = (struct coalesced){.vm = vm};
	pthread_mutex_init(&c->lock, NULL);
	if (!at || at + page > vm->run_size)
		return;
	c->ring = (struct kvm_coalesced_mmio_ring *)(void *)((char *)run_area + at);
	c->entries = (unsigned)((page - sizeof(*c->ring)) / sizeof(c->ring->coalesced_mmio[0]));
	c->pio = kvm_vm_capability(vm, KVM_CAP_COALESCED_PIO);
}

void coalesced_fini(struct coalesced *c)
{
	if (c->vm)
		pthread_mutex_destroy(&c->lock);
	*c = (struct coalesced){0};
}

void coalesced_add(struct coalesced *c, bool pio, uint64_t addr, uint32_t len)
{
	if (!c->ring || (pio && !c->pio))
		return;
	assert(c->n_zones < COALESCED_ZONES_MAX);
	c->zones[c->n_zones++] = (struct coalesced_zone){.addr = addr, .len = len, .pio = pio};
}

void coalesced_saw(struct coalesced *c, bool pio, uint64_t addr)
{
	for (unsigned i = 0; i < c->n_zones; i++) {
		struct coalesced_zone *z = &c->zones[i];
		struct kvm_coalesced_mmio_zone zone = {.addr = z->addr, .size = z->len, .pio = pio};

		if (z->pio == pio && addr - z->addr < z->len &&
		    atomic_fetch_add_explicit(&z->seen, 1, memory_order_relaxed) + 1 ==
			    COALESCED_AFTER)
			kvm_ioctl(c->vm->vm_fd, KVM_REGISTER_COALESCED_MMIO, &zone);
	}
}

static void carry_out(const struct kvm_coalesced_mmio *w, struct bus *pio, struct bus *mmio)
{
	uint64_t val = 0;

	if (!is_power_of_2(w->len) || w->len > sizeof(val))
		return; /* as exit_mmio() has it: no register is that wide */
	memcpy(&val, w->data, w->len);
	bus_write(w->pio ? pio : mmio, w->phys_addr, w->len, val);
}

/* KVM adds at `last` under a lock of its own, and never overtakes `first`, which is ours:
 * it moves on only when a write has been carried out, so who finds the ring empty need not
 * wait for anybody. */
void coalesced_drain(struct coalesced *c, struct bus *pio, struct bus *mmio)
{
	struct kvm_coalesced_mmio_ring *ring = c->ring;

	if (!ring || __atomic_load_n(&ring->first, __ATOMIC_ACQUIRE) ==
			     __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE))
		return;
	pthread_mutex_lock(&c->lock);
	for (uint32_t first = ring->first;
	     first != __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE);) {
		struct kvm_coalesced_mmio w = ring->coalesced_mmio[first];

		carry_out(&w, pio, mmio);
		first = (first + 1) % c->entries;
		__atomic_store_n(&ring->first, first, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&c->lock);
}
