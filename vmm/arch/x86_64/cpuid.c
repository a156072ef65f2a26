/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux builds its picture of packages, cores and caches from several leaves
 * that overlap: 1, 4 (Intel), 0xb and 0x1f, 0x80000008, 0x8000001d and
 * 0x8000001e (AMD). KVM passes the host's through, which describe the host's
 * APIC ids. Here they all tell the same simple story: one package, every
 * processor a core of its own, the APIC id is the processor's number, the
 * last-level cache is shared by all.
 */
#include "vmm/arch/x86_64/cpuid.h"

#include "vmm/arch/x86_64/board.h"
#include "vmm/base/bytes.h"
#include "vmm/kvm/vm.h"

#include <cpuid.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

enum {
	LEAF_VENDOR = 0x0,
	LEAF_FEATURES = 0x1,
	LEAF_CACHES_INTEL = 0x4,
	LEAF_TOPOLOGY = 0xb,
	LEAF_TOPOLOGY_V2 = 0x1f,
};

#define LEAF_HYPERVISOR     0x40000000u
#define LEAF_KVM_FEATURES   0x40000001u
#define LEAF_HV_FREQUENCIES 0x40000010u
#define LEAF_AMD_FEATURES   0x80000001u
#define LEAF_AMD_SIZES      0x80000008u
#define LEAF_AMD_CACHES     0x8000001du
#define LEAF_AMD_TOPOLOGY   0x8000001eu
#define LEAF_AMD_TOPOLOGY_X 0x80000026u

/* Leaf 1 */
#define F1_ECX_TSC_DEADLINE (1u << 24)
#define F1_ECX_HYPERVISOR   (1u << 31)
#define F1_EDX_HTT          (1u << 28)
/* Leaf 0x80000001 ECX */
#define F81_ECX_CMP_LEGACY  (1u << 1)

static struct kvm_cpuid_entry2 *find(struct kvm_cpuid2 *list, uint32_t leaf, uint32_t subleaf)
{
	for (uint32_t i = 0; i < list->nent; i++) {
		struct kvm_cpuid_entry2 *l = &list->entries[i];

		if (l->function == leaf &&
		    (!(l->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || l->index == subleaf))
			return l;
	}
	return NULL;
}

/* The entry for a leaf, made if there is room; NULL if not. */
static struct kvm_cpuid_entry2 *add(struct kvm_cpuid2 *list, uint32_t leaf, uint32_t subleaf,
				    uint32_t flags)
{
	struct kvm_cpuid_entry2 *l = find(list, leaf, subleaf);

	if (!l && list->nent < CPUID_ENTRIES_MAX) {
		l = &list->entries[list->nent++];
		*l = (struct kvm_cpuid_entry2){.function = leaf, .index = subleaf, .flags = flags};
	}
	return l;
}

static void drop(struct kvm_cpuid2 *list, uint32_t leaf)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < list->nent; i++)
		if (list->entries[i].function != leaf)
			list->entries[kept++] = list->entries[i];
	list->nent = kept;
}

/* Bits that an APIC id needs for `n` processors. */
static unsigned id_bits(unsigned n)
{
	unsigned bits = 0;

	while ((1u << bits) < n)
		bits++;
	return bits;
}

static void set_features(struct cpuid_model *m, bool tsc_deadline)
{
	struct kvm_cpuid_entry2 *l = find(m->list, LEAF_FEATURES, 0);

	if (!l)
		return;
	/* KVM may leave both clear, since it is we who decide them. */
	l->ecx |= F1_ECX_HYPERVISOR;
	if (tsc_deadline)
		l->ecx |= F1_ECX_TSC_DEADLINE;
	/* EBX[23:16] is how many ids the package has; it counts only with HTT. */
	l->ebx &= 0x0000ffffu;
	l->ebx |= (1u << id_bits(m->cpus_max)) << 16;
	if (m->cpus_max > 1)
		l->edx |= F1_EDX_HTT;
	else
		l->edx &= ~F1_EDX_HTT;
}

/* [SDM 2A CPUID leaf 4]: ids sharing each cache, cores in the package. The top
 * level is shared by all, the others belong to one core. */
static void set_intel_caches(struct cpuid_model *m)
{
	uint32_t ids = (1u << id_bits(m->cpus_max)) - 1;

	for (uint32_t i = 0; i < m->list->nent; i++) {
		struct kvm_cpuid_entry2 *l = &m->list->entries[i];

		if (l->function != LEAF_CACHES_INTEL || !(l->eax & 0x1f))
			continue;
		bool shared = ((l->eax >> 5) & 7) >= 3;

		l->eax &= 0x3fff;
		l->eax |= (shared ? ids : 0) << 14 | (ids > 63 ? 63 : ids) << 26;
	}
}

/* [SDM 2A CPUID leaves 0xb and 0x1f]: level 0 is the thread, level 1 the core. */
static void set_topology(struct cpuid_model *m, uint32_t leaf)
{
	enum { LEVEL_SMT = 1 << 8, LEVEL_CORE = 2 << 8 };
	uint32_t flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
	bool offered = find(m->list, leaf, 0);
	struct kvm_cpuid_entry2 *l;

	drop(m->list, leaf);
	if (!offered)
		return;
	l = add(m->list, leaf, 0, flags);
	if (l) {
		l->eax = 0;
		l->ebx = 1;
		l->ecx = LEVEL_SMT | 0;
	}
	l = add(m->list, leaf, 1, flags);
	if (l) {
		l->eax = id_bits(m->cpus_max);
		l->ebx = m->cpus_max;
		l->ecx = LEVEL_CORE | 1;
	}
	l = add(m->list, leaf, 2, flags);
	if (l)
		l->ecx = 2;
}

/* [AMD APM 3 E.4]: core counts, cache sharing, and the extended ids. On Intel these
 * fields are reserved, and CMP_LEGACY would make Linux believe that it is on AMD. */
static void set_amd_topology(struct cpuid_model *m)
{
	struct kvm_cpuid_entry2 *l = find(m->list, LEAF_AMD_SIZES, 0);

	if (strcmp(m->vendor, "AuthenticAMD") != 0 && strcmp(m->vendor, "HygonGenuine") != 0)
		return;
	if (l)
		l->ecx = id_bits(m->cpus_max) << 12 | (m->cpus_max - 1);
	l = find(m->list, LEAF_AMD_FEATURES, 0);
	if (l && m->cpus_max > 1)
		l->ecx |= F81_ECX_CMP_LEGACY;
	else if (l)
		l->ecx &= ~F81_ECX_CMP_LEGACY;
	for (uint32_t i = 0; i < m->list->nent; i++) {
		l = &m->list->entries[i];
		if (l->function != LEAF_AMD_CACHES || !(l->eax & 0x1f))
			continue;
		bool shared = ((l->eax >> 5) & 7) >= 3;

		l->eax &= ~(0xfffu << 14);
		l->eax |= (shared ? m->cpus_max - 1 : 0) << 14;
	}
}

/* The hypervisor's leaves end at 0x40000001 in KVM's list; the frequencies that
 * spare a guest its calibration are at 0x40000010, where VMware put them. */
void cpuid_model_set_tsc(struct cpuid_model *m, uint32_t tsc_khz)
{
	enum { APIC_BUS_KHZ = 1000000 }; /* KVM's local APIC timer counts nanoseconds */
	struct kvm_cpuid_entry2 *base = find(m->list, LEAF_HYPERVISOR, 0);
	struct kvm_cpuid_entry2 *l;

	if (!base || !tsc_khz)
		return;
	l = add(m->list, LEAF_HV_FREQUENCIES, 0, 0);
	if (!l)
		return;
	l->eax = tsc_khz;
	l->ebx = APIC_BUS_KHZ;
	base = find(m->list, LEAF_HYPERVISOR, 0);
	base->eax = LEAF_HV_FREQUENCIES;
}

void cpuid_model_adapt(struct cpuid_model *m, bool tsc_deadline)
{
	const struct kvm_cpuid_entry2 *l = find(m->list, LEAF_VENDOR, 0);

	if (l) {
		memcpy(m->vendor, &l->ebx, 4);
		memcpy(m->vendor + 4, &l->edx, 4);
		memcpy(m->vendor + 8, &l->ecx, 4);
	}
	l = find(m->list, LEAF_AMD_SIZES, 0);
	if (l)
		m->address_bits = l->eax & 0xff;
	set_features(m, tsc_deadline);
	set_intel_caches(m);
	set_topology(m, LEAF_TOPOLOGY);
	set_topology(m, LEAF_TOPOLOGY_V2);
	drop(m->list, LEAF_AMD_TOPOLOGY_X); /* leaf 0xb says it all */
	set_amd_topology(m);
}

int cpuid_model_init(struct cpuid_model *m, const struct kvm_vm *vm, unsigned cpus_max,
		     struct err *e)
{
	*m = (struct cpuid_model){.cpus_max = cpus_max, .address_bits = 36};
	m->list = calloc(1, sizeof(*m->list) + CPUID_ENTRIES_MAX * sizeof(m->list->entries[0]));
	if (!m->list)
		return err_host(e, -ENOMEM, "CPUID: out of memory");
	m->list->nent = CPUID_ENTRIES_MAX;
	int ret = kvm_ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, m->list);

	if (ret)
		return err_host(e, ret, "/dev/kvm: cannot list the CPU's features: %s",
				strerror(-ret));
	cpuid_model_adapt(m, vm->tsc_deadline);
	return 0;
}

unsigned cpuid_host_address_bits(void)
{
	enum { OF_MOST = 46 };
	unsigned bits = OF_MOST, eax = 0, ebx, ecx, edx;
	struct cpuid_model model = {0};
	struct kvm_vm vm;

	if (__get_cpuid(LEAF_AMD_SIZES, &eax, &ebx, &ecx, &edx) && eax & 0xff)
		bits = eax & 0xff;
	if (!kvm_vm_open(&vm, NULL) && !cpuid_model_init(&model, &vm, 1, NULL))
		bits = model.address_bits;
	cpuid_model_fini(&model);
	kvm_vm_close(&vm);
	return bits;
}

void cpuid_model_fini(struct cpuid_model *m)
{
	free(m->list);
	m->list = NULL;
}

int cpuid_model_apply(const struct cpuid_model *m, int vcpu_fd, unsigned cpu)
{
	size_t bytes = sizeof(*m->list) + m->list->nent * sizeof(m->list->entries[0]);
	struct kvm_cpuid2 *own = malloc(bytes);
	uint32_t id = board_apic_id(cpu);

	if (!own)
		return -ENOMEM;
	memcpy(own, m->list, bytes);
	for (uint32_t i = 0; i < own->nent; i++) {
		struct kvm_cpuid_entry2 *l = &own->entries[i];

		switch (l->function) {
		case LEAF_FEATURES:
			l->ebx = (l->ebx & 0x00ffffff) | id << 24;
			break;
		case LEAF_TOPOLOGY:
		case LEAF_TOPOLOGY_V2:
			l->edx = id;
			break;
		case LEAF_AMD_TOPOLOGY:
			/* [AMD APM 3 E.4.17]: one thread a core, one node */
			l->eax = id;
			l->ebx = id & 0xff;
			l->ecx = 0;
			break;
		default:
			break;
		}
	}
	int ret = kvm_ioctl(vcpu_fd, KVM_SET_CPUID2, own);

	free(own);
	return ret;
}
