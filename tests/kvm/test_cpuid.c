/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpuid: lists as KVM gives them on hosts with many processors go in; what comes
 * out is read as Linux reads it (arch/x86/kernel/cpu/topology_*.c, cacheinfo.c).
 * No KVM is needed.
 */
#include "vmm/arch/x86_64/cpuid.h"

#include "vmm/base/bytes.h"

#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const unsigned counts[] = {1, 2, 3, 8, 64};

/* --- the host ---------------------------------------------------------------------- */

static void put(struct cpuid_model *m, uint32_t leaf, int subleaf, uint32_t a, uint32_t b,
		uint32_t c, uint32_t d)
{
	m->list->entries[m->list->nent++] = (struct kvm_cpuid_entry2){
		.function = leaf,
		.index = subleaf < 0 ? 0 : (uint32_t)subleaf,
		.flags = subleaf < 0 ? 0 : KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
		.eax = a,
		.ebx = b,
		.ecx = c,
		.edx = d,
	};
}

static uint32_t four(const char *s)
{
	uint32_t v;

	memcpy(&v, s, 4);
	return v;
}

/* One level of cache as leaves 4 and 0x8000001d have it; `sharing` - 1 ids share it. */
static uint32_t cache(unsigned type, unsigned level, unsigned sharing, unsigned cores)
{
	return type | level << 5 | 1 << 8 | (sharing - 1) << 14 | (cores - 1) << 26;
}

static void begin(struct cpuid_model *m, unsigned n)
{
	*m = (struct cpuid_model){.cpus_max = n};
	m->list = calloc(1, sizeof(*m->list) + CPUID_ENTRIES_MAX * sizeof(m->list->entries[0]));
	assert_non_null(m->list);
}

/* 32 cores of two threads, of which this is APIC id 0x2b. */
static void intel_host(struct cpuid_model *m, unsigned n)
{
	begin(m, n);
	put(m, 0, -1, 0x1f, four("Genu"), four("ntel"), four("ineI"));
	put(m, 1, -1, 0x606a6, 0x2b400800, 0x76fa3203, 0x178bfbff);
	put(m, 4, 0, cache(1, 1, 2, 32), 0, 63, 0);
	put(m, 4, 1, cache(2, 1, 2, 32), 0, 63, 0);
	put(m, 4, 2, cache(3, 2, 2, 32), 0, 1023, 0);
	put(m, 4, 3, cache(3, 3, 64, 32), 0, 65535, 0);
	put(m, 4, 4, 0, 0, 0, 0);
	put(m, 0xb, 0, 1, 2, 0x100, 0x2b);
	put(m, 0xb, 1, 6, 64, 0x201, 0x2b);
	put(m, 0x1f, 0, 1, 2, 0x100, 0x2b);
	put(m, 0x1f, 1, 6, 64, 0x201, 0x2b);
	put(m, 0x1f, 2, 7, 128, 0x502, 0x2b);
	put(m, 0x40000000, -1, 0x40000001, four("KVMK"), four("VMKV"), four("M\0\0"));
	put(m, 0x80000001, -1, 0, 0, 0x121, 0x2c100800);
	put(m, 0x80000008, -1, 0x302e, 0, 0, 0);
}

/* The same of AMD's kind; `ext`: with leaf 0xb, as Zen has it, and 0x80000026. */
static void amd_host(struct cpuid_model *m, unsigned n, bool ext)
{
	begin(m, n);
	put(m, 0, -1, ext ? 0x10 : 0x7, four("Auth"), four("cAMD"), four("enti"));
	put(m, 1, -1, 0xa00f11, 0x2b400800, 0x76f83203, 0x178bfbff);
	if (ext) {
		put(m, 0xb, 0, 1, 2, 0x100, 0x2b);
		put(m, 0xb, 1, 6, 64, 0x201, 0x2b);
		put(m, 0x80000026, 0, 1, 2, 0x100, 0x2b);
		put(m, 0x80000026, 1, 6, 64, 0x201, 0x2b);
	}
	put(m, 0x80000001, -1, 0, 0, 0x75c237ff, 0x2fd3fbff);
	put(m, 0x80000008, -1, 0x3030, 0, 0x703f, 0);
	put(m, 0x8000001d, 0, cache(1, 1, 2, 1), 0, 63, 0);
	put(m, 0x8000001d, 1, cache(2, 1, 2, 1), 0, 63, 0);
	put(m, 0x8000001d, 2, cache(3, 2, 2, 1), 0, 1023, 0);
	put(m, 0x8000001d, 3, cache(3, 3, 16, 1), 0, 32767, 0);
	put(m, 0x8000001d, 4, 0, 0, 0, 0);
	put(m, 0x8000001e, -1, 0x2b, 0x115, 0x100, 0);
}

/* --- Linux -------------------------------------------------------------------------- */

static const struct kvm_cpuid_entry2 *leaf(const struct cpuid_model *m, uint32_t function,
					   uint32_t subleaf)
{
	const struct kvm_cpuid_entry2 *found = NULL;

	for (unsigned i = 0; i < m->list->nent; i++) {
		const struct kvm_cpuid_entry2 *l = &m->list->entries[i];

		if (l->function != function ||
		    (l->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX && l->index != subleaf))
			continue;
		if (found)
			fail_msg("leaf %#x.%u is there twice", function, subleaf);
		found = l;
	}
	return found;
}

/* get_count_order() */
static unsigned order(unsigned n)
{
	unsigned bits = 0;

	for (unsigned v = n - 1; v; v >>= 1)
		bits++;
	return bits;
}

/* parse_topology_leaf(): one thread a core, then the package. */
static void expect_extended(const struct cpuid_model *m, uint32_t function, unsigned n)
{
	const struct kvm_cpuid_entry2 *smt = leaf(m, function, 0), *core = leaf(m, function, 1),
				      *end = leaf(m, function, 2);

	assert_true(smt && core && end);
	assert_int_equal(smt->ecx, 1 << 8 | 0);
	assert_int_equal(smt->eax, 0);
	assert_int_equal(smt->ebx, 1);
	assert_int_equal(core->ecx, 2 << 8 | 1);
	assert_int_equal(core->eax, order(n));
	assert_int_equal(core->ebx, n);
	assert_int_equal(end->ebx & 0xffff, 0);
	assert_int_equal(end->ecx, 2);
	assert_null(leaf(m, function, 3));
}

/* topo_scan.ebx1_nproc_shift and X86_FEATURE_HT. */
static void expect_leaf_1(const struct cpuid_model *m, unsigned n)
{
	const struct kvm_cpuid_entry2 *l = leaf(m, 1, 0);

	assert_int_equal(order(l->ebx >> 16 & 0xff), order(n));
	assert_int_equal(l->edx >> 28 & 1, n > 1);
	assert_int_equal(l->ebx >> 8 & 0xff, 8); /* the size of a line: the host's */
	assert_true(l->ecx & 1u << 31);
}

/* Level by level, how many ids share a cache: 1, but for the last one. */
static void expect_caches(const struct cpuid_model *m, uint32_t function, unsigned n)
{
	for (unsigned i = 0; i < 4; i++) {
		unsigned sharing = (leaf(m, function, i)->eax >> 14 & 0xfff) + 1;

		assert_int_equal(order(sharing), i < 3 ? 0 : order(n));
	}
	assert_int_equal(leaf(m, function, 4)->eax & 0x1f, 0);
}

static void intel_is_one_package_of_cores(void **state)
{
	for (unsigned i = 0; i < ARRAY_LEN(counts); i++) {
		unsigned n = counts[i];
		struct cpuid_model m;

		intel_host(&m, n);
		cpuid_model_adapt(&m, true);
		expect_leaf_1(&m, n);
		expect_extended(&m, 0xb, n);
		expect_extended(&m, 0x1f, n);
		expect_caches(&m, 4, n);
		/* parse_legacy(): cores of leaf 4 times threads are the ids of leaf 1. */
		assert_int_equal(order((leaf(&m, 4, 0)->eax >> 26) + 1), order(n));
		assert_string_equal(m.vendor, "GenuineIntel");
		assert_int_equal(m.address_bits, 0x2e);
		/* What only AMD defines stays as it was. */
		assert_int_equal(leaf(&m, 0x80000001, 0)->ecx, 0x121);
		assert_int_equal(leaf(&m, 0x80000008, 0)->ecx, 0);
		cpuid_model_fini(&m);
	}
}

static void amd_is_one_package_of_cores(void **state)
{
	for (unsigned i = 0; i < ARRAY_LEN(counts) * 2; i++) {
		unsigned n = counts[i / 2];
		bool ext = i % 2;
		struct cpuid_model m;

		amd_host(&m, n, ext);
		cpuid_model_adapt(&m, true);
		expect_leaf_1(&m, n);
		if (ext)
			expect_extended(&m, 0xb, n);
		else
			assert_null(leaf(&m, 0xb, 0)); /* beyond the highest leaf */
		assert_null(leaf(&m, 0x1f, 0));
		assert_null(leaf(&m, 0x80000026, 0));
		/* parse_8000_0008() */
		const struct kvm_cpuid_entry2 *sizes = leaf(&m, 0x80000008, 0);

		assert_int_equal((sizes->ecx & 0xff) + 1, n);
		assert_int_equal(sizes->ecx >> 12 & 0xf, order(n));
		expect_caches(&m, 0x8000001d, n);
		assert_int_equal(leaf(&m, 0x80000001, 0)->ecx >> 1 & 1, n > 1);
		assert_int_equal(m.address_bits, 0x30);
		cpuid_model_fini(&m);
	}
}

static void frequency_leaf_extends_the_hypervisors(void **state)
{
	struct cpuid_model m;

	intel_host(&m, 1);
	cpuid_model_adapt(&m, true);
	cpuid_model_set_tsc(&m, 0); /* unknown: none */
	assert_null(leaf(&m, 0x40000010, 0));
	cpuid_model_set_tsc(&m, 2600000);
	assert_int_equal(leaf(&m, 0x40000010, 0)->eax, 2600000);
	assert_int_equal(leaf(&m, 0x40000000, 0)->eax, 0x40000010);
	cpuid_model_fini(&m);
}

static void deadline_timer_is_told_where_kvm_has_it(void **state)
{
	for (int has = 0; has < 2; has++) {
		struct cpuid_model m;

		intel_host(&m, 1);
		m.list->entries[1].ecx &= ~(1u << 24);
		cpuid_model_adapt(&m, has);
		assert_int_equal(leaf(&m, 1, 0)->ecx >> 24 & 1, has);
		cpuid_model_fini(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(intel_is_one_package_of_cores),
		cmocka_unit_test(amd_is_one_package_of_cores),
		cmocka_unit_test(frequency_leaf_extends_the_hypervisors),
		cmocka_unit_test(deadline_timer_is_told_where_kvm_has_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
