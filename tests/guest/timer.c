/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timer: the local APIC's timer, one shot and periodic, wakes a processor that
 * halts; the TSC deadline too where CPUID offers it; and the frequencies that
 * CPUID leaf 0x40000010 tells are those that the RTC measures.
 *
 * RUN:
 * EXPECT: one shot: woke
 * EXPECT: periodic: 5 ticks
 * EXPECT: frequencies agree
 * QEMU:
 */
#include "guest.h"

enum { VECTOR = 0x40, PERIODIC = 1 << 17, DEADLINE = 2 << 17, MASKED = 1 << 16, DIVIDE_BY_1 = 0xb };

static volatile unsigned ticks;

static void on_tick(struct frame *f)
{
	ticks = ticks + 1;
}

static uint8_t rtc_second(void)
{
	outb(0x70, 0);
	return inb(0x71);
}

void guest_main(void)
{
	uint32_t r[4];

	apic_enable();
	idt_set(VECTOR, on_tick);
	apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_1);

	apic_write(APIC_LVT_TIMER, VECTOR);
	apic_write(APIC_TIMER_INITIAL, 10000000); /* 10 ms at KVM's 1 GHz */
	while (!ticks)
		wait_for_interrupt();
	expect_equal(apic_read(APIC_TIMER_CURRENT), 0);
	puts("one shot: woke\n");

	ticks = 0;
	apic_write(APIC_LVT_TIMER, VECTOR | PERIODIC);
	apic_write(APIC_TIMER_INITIAL, 5000000);
	while (ticks < 5)
		wait_for_interrupt();
	apic_write(APIC_LVT_TIMER, MASKED);
	apic_write(APIC_TIMER_INITIAL, 0);
	puts("periodic: 5 ticks\n");

	cpuid(1, 0, r);
	if (r[2] & 1u << 24) {
		ticks = 0;
		apic_write(APIC_LVT_TIMER, VECTOR | DEADLINE);
		uint64_t due = rdtsc() + 10 * tsc_per_ms();

		wrmsr(0x6e0, due); /* IA32_TSC_DEADLINE */
		while (!ticks)
			wait_for_interrupt();
		expect(rdtsc() >= due);
		apic_write(APIC_LVT_TIMER, MASKED);
		puts("deadline: not early\n");
	}

	cpuid(0x40000000, 0, r);
	if (r[0] >= 0x40000010) {
		uint8_t second = rtc_second();
		uint64_t start, khz;

		cpuid(0x40000010, 0, r);
		while (rtc_second() == second)
			;
		start = rdtsc();
		second = rtc_second();
		while (rtc_second() == second)
			;
		khz = (rdtsc() - start) / 1000;
		printf("TSC: CPUID says %u kHz, the RTC %lu kHz; APIC bus %u kHz\n", r[0], khz,
		       r[1]);
		expect(khz > r[0] * 8ul / 10 && khz < r[0] * 12ul / 10);
	}
	puts("frequencies agree\n");
}
