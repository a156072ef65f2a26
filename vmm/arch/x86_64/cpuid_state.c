/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/arch/x86_64/cpuid_state.h"

#include "vmm/base/bytes.h"
#include "vmm/base/log.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 1, NAMES_ROOM = 200 };

enum reg { EAX, EBX, ECX, EDX };

/* The leaves that list features, a bit for each [SDM 2A CPUID; AMD APM 3 E]. What changes while a
 * guest runs is left out by `mask`. */
static const struct feature_word {
	uint32_t leaf, subleaf;
	enum reg reg;
	uint32_t mask;
} words[] = {
	{0x1, 0, ECX, ~(1u << 27)}, /* OSXSAVE follows CR4 */
	{0x1, 0, EDX, ~(1u << 28)}, /* HTT: how many processors there are */
	{0x6, 0, EAX, ~0u},
	{0x7, 0, EBX, ~0u},
	{0x7, 0, ECX, ~(1u << 4)}, /* OSPKE follows CR4 */
	{0x7, 0, EDX, ~0u},
	{0x7, 1, EAX, ~0u},
	{0x7, 1, EDX, ~0u},
	{0x7, 2, EDX, ~0u},
	{0xd, 0, EAX, ~0u},
	{0xd, 0, EDX, ~0u},
	{0xd, 1, EAX, ~0u},
	{0x40000001, 0, EAX, ~0u},
	{0x80000001, 0, ECX, ~(1u << 1)}, /* CMP_LEGACY: likewise */
	{0x80000001, 0, EDX, ~0u},
	{0x80000007, 0, EDX, ~0u},
	{0x80000008, 0, EBX, ~0u},
	{0x8000000a, 0, EDX, ~0u},
	{0x80000021, 0, EAX, ~0u},
};

static const struct feature_word address_bits = {0x80000008, 0, EAX, 0xff};

/* Those that people know by name. */
static const struct feature_name {
	uint32_t leaf, subleaf;
	enum reg reg;
	unsigned bit;
	const char *name;
} names[] = {
	{0x1, 0, ECX, 0, "sse3"},
	{0x1, 0, ECX, 9, "ssse3"},
	{0x1, 0, ECX, 12, "fma"},
	{0x1, 0, ECX, 19, "sse4_1"},
	{0x1, 0, ECX, 20, "sse4_2"},
	{0x1, 0, ECX, 21, "x2apic"},
	{0x1, 0, ECX, 23, "popcnt"},
	{0x1, 0, ECX, 24, "tsc_deadline"},
	{0x1, 0, ECX, 25, "aes"},
	{0x1, 0, ECX, 26, "xsave"},
	{0x1, 0, ECX, 28, "avx"},
	{0x1, 0, ECX, 29, "f16c"},
	{0x1, 0, ECX, 30, "rdrand"},
	{0x7, 0, EBX, 0, "fsgsbase"},
	{0x7, 0, EBX, 3, "bmi1"},
	{0x7, 0, EBX, 5, "avx2"},
	{0x7, 0, EBX, 7, "smep"},
	{0x7, 0, EBX, 8, "bmi2"},
	{0x7, 0, EBX, 9, "erms"},
	{0x7, 0, EBX, 10, "invpcid"},
	{0x7, 0, EBX, 16, "avx512f"},
	{0x7, 0, EBX, 18, "rdseed"},
	{0x7, 0, EBX, 19, "adx"},
	{0x7, 0, EBX, 20, "smap"},
	{0x7, 0, EBX, 29, "sha_ni"},
	{0x7, 0, ECX, 2, "umip"},
	{0x7, 0, ECX, 3, "pku"},
	{0x7, 0, ECX, 16, "la57"},
	{0x7, 0, ECX, 22, "rdpid"},
	{0x7, 0, EDX, 4, "fsrm"},
	{0x7, 0, EDX, 24, "amx_tile"},
	{0x7, 0, EDX, 26, "ibrs"},
	{0x40000001, 0, EAX, 3, "kvmclock"},
	{0x80000001, 0, ECX, 2, "svm"},
	{0x80000001, 0, EDX, 20, "nx"},
	{0x80000001, 0, EDX, 26, "pdpe1gb"},
	{0x80000001, 0, EDX, 27, "rdtscp"},
	{0x80000007, 0, EDX, 8, "constant_tsc"},
};

static uint32_t reg_of(const struct kvm_cpuid_entry2 *l, enum reg reg)
{
	const uint32_t regs[] = {[EAX] = l->eax, [EBX] = l->ebx, [ECX] = l->ecx, [EDX] = l->edx};

	return regs[reg];
}

/* What the list has there; nothing where the leaf is missing. */
static uint32_t word_of(const struct kvm_cpuid2 *list, const struct feature_word *f)
{
	for (uint32_t i = 0; i < list->nent; i++) {
		const struct kvm_cpuid_entry2 *l = &list->entries[i];

		if (l->function == f->leaf && l->index == f->subleaf)
			return reg_of(l, f->reg) & f->mask;
	}
	return 0;
}

void cpuid_model_save(const struct cpuid_model *m, struct state_writer *w)
{
	state_section_begin(w, "cpuid", VERSION);
	state_put_u32(w, m->list->nent);
	for (uint32_t i = 0; i < m->list->nent; i++) {
		const struct kvm_cpuid_entry2 *l = &m->list->entries[i];

		state_put_u32(w, l->function);
		state_put_u32(w, l->index);
		state_put_u32(w, l->flags);
		state_put_u32(w, l->eax);
		state_put_u32(w, l->ebx);
		state_put_u32(w, l->ecx);
		state_put_u32(w, l->edx);
	}
	state_section_end(w);
}

static void get_list(struct state_reader *r, struct kvm_cpuid2 *list)
{
	list->nent = state_get_u32(r);
	if (list->nent > CPUID_ENTRIES_MAX) {
		list->nent = 0;
		r->error = -EBADMSG;
		return;
	}
	for (uint32_t i = 0; i < list->nent; i++) {
		struct kvm_cpuid_entry2 *l = &list->entries[i];

		l->function = state_get_u32(r);
		l->index = state_get_u32(r);
		l->flags = state_get_u32(r);
		l->eax = state_get_u32(r);
		l->ebx = state_get_u32(r);
		l->ecx = state_get_u32(r);
		l->edx = state_get_u32(r);
	}
}

static void add_name(char text[NAMES_ROOM], const struct feature_word *f, unsigned bit)
{
	static const char *const regs[] = {"EAX", "EBX", "ECX", "EDX"};
	size_t used = strlen(text);

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (names[i].leaf == f->leaf && names[i].subleaf == f->subleaf &&
		    names[i].reg == f->reg && names[i].bit == bit) {
			snprintf(text + used, NAMES_ROOM - used, " %s", names[i].name);
			return;
		}
	snprintf(text + used, NAMES_ROOM - used, " CPUID.%x.%x.%s[%u]", f->leaf, f->subleaf,
		 regs[f->reg], bit);
}

/* Which features of the saved guest this host lacks, in words; gives how many. */
static unsigned compare(const struct kvm_cpuid2 *saved, const struct kvm_cpuid2 *here,
			char text[NAMES_ROOM])
{
	unsigned n = 0;

	*text = '\0';
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		uint32_t missing = word_of(saved, &words[i]) & ~word_of(here, &words[i]);

		for (unsigned bit = 0; bit < 32; bit++) {
			if (!(missing >> bit & 1))
				continue;
			add_name(text, &words[i], bit);
			n++;
		}
	}
	return n;
}

int cpuid_model_load(struct cpuid_model *m, bool any_cpu, struct state_reader *r, struct err *e)
{
	char missing[NAMES_ROOM];
	struct kvm_cpuid2 *list =
		calloc(1, sizeof(*list) + CPUID_ENTRIES_MAX * sizeof(list->entries[0]));
	int ret = state_section_expect(r, "cpuid", VERSION, e);

	if (!list && !ret)
		ret = err_host(e, -ENOMEM, "saved state: out of memory");
	if (!ret) {
		get_list(r, list);
		ret = state_section_close(r, e);
	}
	uint32_t bits = ret ? 0 : word_of(list, &address_bits);

	if (!ret && bits > word_of(m->list, &address_bits))
		ret = err_host(e, -ENOTSUP,
			       "the saved guest has %u bits of physical addresses, more than this "
			       "host's guests; restore on another host",
			       bits);
	unsigned n = ret ? 0 : compare(list, m->list, missing);

	if (n && any_cpu)
		log_warn("this host's CPU lacks %u features that the saved guest may use:%s", n,
			 missing);
	else if (n)
		ret = err_host(e, -ENOTSUP,
			       "this host's CPU lacks %u features that the saved guest may use:%s; "
			       "restore on another host, or with cpu=any if the guest can do "
			       "without",
			       n, missing);
	if (ret) {
		free(list);
		return ret;
	}
	free(m->list);
	m->list = list;
	m->address_bits = bits ? bits : m->address_bits;
	return 0;
}
