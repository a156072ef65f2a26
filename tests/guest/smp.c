/* SPDX-License-Identifier: Apache-2.0 */
/*
 * smp: every processor that the MADT calls enabled can be started, runs in long
 * mode, has the APIC id that the MADT says, and adds to a counter without losing
 * an increment. The boot processor leaves its own local APIC as it is: nothing but the
 * monitor has told KVM of the last processor's then.
 *
 * QEMU: -smp 4
 * PVH:
 * RUN:
 * EXPECT: 1 of 1 processors, counter 1000
 * RUN: --cpus 2
 * EXPECT: 2 of 2 processors, counter 2000
 * RUN: --cpus 4
 * EXPECT: 4 of 4 processors, counter 4000
 * RUN: --cpus 16
 * EXPECT: 16 of 16 processors, counter 16000
 */
#include "guest.h"

enum { CPUS = 64, ROUNDS = 1000 };

static volatile uint32_t counter, arrived;
static volatile bool seen[256];

static void count(void)
{
	for (unsigned i = 0; i < ROUNDS; i++)
		__atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
}

static void on_ap(unsigned ticket)
{
	uint32_t r[4];

	seen[apic_read(APIC_ID) >> 24] = true;
	/* CPUID and the local APIC must agree [SDM 3A 8.9]. */
	cpuid(1, 0, r);
	if (r[1] >> 24 != apic_read(APIC_ID) >> 24)
		seen[0] = false;
	count();
	__atomic_fetch_add(&arrived, 1, __ATOMIC_SEQ_CST);
}

void guest_main(void)
{
	const uint8_t *madt = acpi_table("APIC");
	uint32_t self = apic_read(APIC_ID) >> 24;
	unsigned n = 0;
	bool enabled[256] = {0};

	expect(madt);
	seen[0] = true;
	for (uint64_t at = (uint64_t)madt + 44; at < (uint64_t)madt + read32((uint64_t)madt + 4);
	     at += read8(at + 1)) {
		expect(read8(at + 1) >= 2);
		if (read8(at) == 0 && read32(at + 4) & 1) { /* a local APIC, enabled */
			enabled[read8(at + 3)] = true;
			n++;
		} else if (read8(at) == 9 && read32(at + 8) & 1) { /* a local x2APIC */
			enabled[read32(at + 4)] = true;
			n++;
		}
	}
	expect(enabled[self] && n <= CPUS);
	for (unsigned id = 0; id < 256; id++)
		if (enabled[id] && id != self)
			ap_start(id, on_ap);
	count();
	for (unsigned ms = 0; arrived < n - 1 && ms < 20000; ms++)
		delay_ms(1);
	for (unsigned id = 0; id < 256; id++)
		if (enabled[id] != (seen[id] || id == self))
			fail("processor %u did not arrive", id);
	printf("%u of %u processors, counter %u\n", arrived + 1, n, counter);
}
