/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpuid_state: a saved guest's CPUID comes back as it was, and only where the host can do what it
 * promises. The hosts are made up: no KVM is needed.
 */
#include "vmm/arch/x86_64/cpuid_state.h"

#include "vmm/base/bytes.h"
#include "vmm/base/log.h"

#include <errno.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FEATURES, EXTENDED, KVM, SIZES, LEAVES };

/* A processor with AVX, AVX2 and a kvm-clock, and 39 bits of addresses. */
static void begin(struct cpuid_model *m)
{
	static const struct kvm_cpuid_entry2 leaves[LEAVES] = {
		[FEATURES] = {.function = 0x1, .eax = 0x806f8, .ecx = 1u << 28, .edx = 0x178bfbff},
		[EXTENDED] = {.function = 0x7, .flags = 1, .ebx = 1u << 5},
		[KVM] = {.function = 0x40000001, .eax = 1u << 3},
		[SIZES] = {.function = 0x80000008, .eax = 0x3027},
	};

	*m = (struct cpuid_model){.cpus_max = 1, .address_bits = 39};
	m->list = calloc(1, sizeof(*m->list) + CPUID_ENTRIES_MAX * sizeof(m->list->entries[0]));
	assert_non_null(m->list);
	m->list->nent = LEAVES;
	memcpy(m->list->entries, leaves, sizeof(leaves));
}

/* What a guest of *m has, loaded into a host *to. */
static int carry(const struct cpuid_model *m, struct cpuid_model *to, bool any, struct err *e)
{
	struct state_writer w;
	struct state_reader r;

	state_writer_init(&w);
	cpuid_model_save(m, &w);
	state_reader_init(&r, w.data, w.len);
	int ret = cpuid_model_load(to, any, &r, e);

	state_writer_fini(&w);
	return ret;
}

static void comes_back_as_it_was(void **state)
{
	struct cpuid_model guest, host;
	struct state_writer first, second;
	struct state_reader r;

	begin(&guest);
	begin(&host);
	/* A better one, which the guest does not get to see. */
	host.list->entries[EXTENDED].ebx |= 1u << 16;
	host.list->entries[FEATURES].eax = 0xc0662;
	host.list->entries[SIZES].eax = 0x3934;
	state_writer_init(&first);
	state_writer_init(&second);
	cpuid_model_save(&guest, &first);
	state_reader_init(&r, first.data, first.len);
	assert_int_equal(cpuid_model_load(&host, false, &r, NULL), 0);
	assert_int_equal(host.address_bits, 39);
	cpuid_model_save(&host, &second);
	assert_int_equal(second.len, first.len);
	assert_memory_equal(second.data, first.data, first.len);
	state_writer_fini(&first);
	state_writer_fini(&second);
	cpuid_model_fini(&guest);
	cpuid_model_fini(&host);
}

/* Every bit that the host lacks is named, in words where there are some. */
static void what_the_host_lacks_is_named(void **state)
{
	struct cpuid_model guest, host;
	struct err e = {0};

	begin(&guest);
	begin(&host);
	host.list->entries[FEATURES].ecx = 0;
	host.list->entries[EXTENDED].ebx = 0;
	guest.list->entries[EXTENDED].edx = 1u << 11;
	assert_int_equal(carry(&guest, &host, false, &e), -ENOTSUP);
	assert_non_null(strstr(e.text, "lacks 3 features that the saved guest may use: avx avx2 "
				       "CPUID.7.0.EDX[11]; restore on another host, or with "
				       "cpu=any"));
	assert_int_equal(host.list->entries[FEATURES].ecx, 0);
	log_set_level(LOG_QUIET);
	assert_int_equal(carry(&guest, &host, true, &e), 0);
	assert_int_equal(host.list->entries[FEATURES].ecx, 1u << 28);
	cpuid_model_fini(&guest);
	cpuid_model_fini(&host);
}

/* A leaf that is not there has no features; and what follows the guest's CR4 is none. */
static void leaves_and_bits_that_do_not_count(void **state)
{
	struct cpuid_model guest, host;
	struct err e = {0};

	begin(&guest);
	begin(&host);
	guest.list->entries[FEATURES].ecx |= 1u << 27;
	guest.list->entries[EXTENDED].ecx |= 1u << 4;
	assert_int_equal(carry(&guest, &host, false, &e), 0);
	cpuid_model_fini(&host);
	begin(&host);
	host.list->entries[KVM].function = 0x40000000;
	assert_int_equal(carry(&guest, &host, false, &e), -ENOTSUP);
	assert_non_null(strstr(e.text, "lacks 1 features that the saved guest may use: kvmclock;"));
	cpuid_model_fini(&guest);
	cpuid_model_fini(&host);
}

static void addresses_must_fit(void **state)
{
	struct cpuid_model guest, host;
	struct err e = {0};

	begin(&guest);
	begin(&host);
	guest.list->entries[SIZES].eax = 0x3030;
	assert_int_equal(carry(&guest, &host, true, &e), -ENOTSUP);
	assert_non_null(strstr(e.text, "48 bits of physical addresses"));
	cpuid_model_fini(&guest);
	cpuid_model_fini(&host);
}

static void junk_is_refused(void **state)
{
	struct cpuid_model guest, host;
	struct state_writer w;
	struct err e = {0};

	begin(&guest);
	begin(&host);
	state_writer_init(&w);
	cpuid_model_save(&guest, &w);
	for (size_t len = 0; len < w.len; len++) {
		struct state_reader r;

		state_reader_init(&r, w.data, len);
		assert_int_equal(cpuid_model_load(&host, true, &r, &e), -EBADMSG);
	}
	/* More leaves than there is room for. */
	w.data[32] = 0xff;
	w.data[33] = 0xff;
	struct state_reader r;

	state_reader_init(&r, w.data, w.len);
	assert_int_equal(cpuid_model_load(&host, true, &r, &e), -EBADMSG);
	assert_int_equal(host.list->nent, LEAVES);
	state_writer_fini(&w);
	cpuid_model_fini(&guest);
	cpuid_model_fini(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_back_as_it_was),
		cmocka_unit_test(what_the_host_lacks_is_named),
		cmocka_unit_test(leaves_and_bits_that_do_not_count),
		cmocka_unit_test(addresses_must_fit),
		cmocka_unit_test(junk_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
