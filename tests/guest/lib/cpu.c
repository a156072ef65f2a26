/* SPDX-License-Identifier: Apache-2.0 */
/* guest: interrupts, APICs, the other processors, and time. */
#include "guest.h"

void idt_init(void);
void interrupt_dispatch(struct frame *f);
void guest_ap(unsigned ticket);

/* --- interrupts -------------------------------------------------------------------- */

enum { SELECTOR_CODE = 0x10, STUB_BYTES = 16, EXCEPTIONS = 32 };

struct gate {
	uint16_t offset_low, selector;
	uint8_t ist, type;
	uint16_t offset_mid;
	uint32_t offset_high, zero;
};

static struct gate idt[256] __attribute__((aligned(16)));
static void (*handlers[256])(struct frame *f);

struct {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed)) idt_pointer = {sizeof(idt) - 1, (uint64_t)idt};

extern const uint8_t interrupt_stubs[];

static void set_gate(unsigned vector)
{
	uint64_t stub = (uint64_t)interrupt_stubs + vector * STUB_BYTES;

	idt[vector] = (struct gate){
		.offset_low = (uint16_t)stub,
		.selector = SELECTOR_CODE,
		.type = 0x8e, /* present, 64-bit interrupt gate [SDM 3A 6.14.1] */
		.offset_mid = (uint16_t)(stub >> 16),
		.offset_high = (uint32_t)(stub >> 32),
	};
}

void idt_init(void)
{
	for (unsigned vector = 0; vector < EXCEPTIONS; vector++)
		set_gate(vector);
	__asm__ volatile("lidt %0" : : "m"(idt_pointer));
}

void idt_set(unsigned vector, void (*handler)(struct frame *f))
{
	handlers[vector] = handler;
	set_gate(vector);
}

void interrupt_dispatch(struct frame *f)
{
	uint64_t cr2;

	if (handlers[f->vector]) {
		handlers[f->vector](f);
		if (f->vector >= EXCEPTIONS)
			apic_write(APIC_EOI, 0);
		return;
	}
	__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
	fail("vector %#lx error %#lx at %#lx, rsp %#lx cr2 %#lx", f->vector, f->error, f->rip,
	     f->rsp, cr2);
}

/* --- APICs --------------------------------------------------------------------------- */

static void spurious(struct frame *f)
{
}

void apic_enable(void)
{
	enum { SPURIOUS_VECTOR = 0xff, SOFTWARE_ENABLE = 0x100 };

	idt_set(SPURIOUS_VECTOR, spurious);
	apic_write(APIC_SPURIOUS, SOFTWARE_ENABLE | SPURIOUS_VECTOR);
}

enum { IOAPIC_SELECT = 0xfec00000, IOAPIC_WINDOW = 0xfec00010, REDIRECTION = 0x10 };

uint32_t ioapic_read(unsigned reg)
{
	write32(IOAPIC_SELECT, reg);
	return read32(IOAPIC_WINDOW);
}

void ioapic_write(unsigned reg, uint32_t v)
{
	write32(IOAPIC_SELECT, reg);
	write32(IOAPIC_WINDOW, v);
}

void ioapic_route(unsigned pin, uint8_t vector, bool level)
{
	ioapic_write(REDIRECTION + pin * 2 + 1, 0);
	ioapic_write(REDIRECTION + pin * 2, vector | (level ? 1u << 15 : 0));
}

void ioapic_mask(unsigned pin)
{
	ioapic_write(REDIRECTION + pin * 2, ioapic_read(REDIRECTION + pin * 2) | 1u << 16);
}

/* --- processors ------------------------------------------------------------------------ */

static void (*ap_function)(unsigned ticket);

void guest_ap(unsigned ticket)
{
	apic_enable();
	ap_function(ticket);
	halt();
}

static void send_ipi(uint32_t apic_id, uint32_t command)
{
	enum { DELIVERY_PENDING = 1 << 12 };

	apic_write(APIC_ICR_HIGH, apic_id << 24);
	apic_write(APIC_ICR_LOW, command);
	while (apic_read(APIC_ICR_LOW) & DELIVERY_PENDING)
		;
}

void ap_start(uint32_t apic_id, void (*fn)(unsigned ticket))
{
	enum { INIT = 0x4500, SIPI = 0x4600, TRAMPOLINE = 0x10000 };
	extern const uint8_t ap_trampoline[], ap_trampoline_end[];

	ap_function = fn;
	memcpy((void *)TRAMPOLINE, ap_trampoline, (size_t)(ap_trampoline_end - ap_trampoline));
	/* [SDM 3A 8.4.4.1] asks for pauses in between, which a KVM does not need;
	 * the second SIPI is for a processor that missed the first. */
	send_ipi(apic_id, INIT);
	delay_ms(1);
	send_ipi(apic_id, SIPI | TRAMPOLINE >> 12);
	send_ipi(apic_id, SIPI | TRAMPOLINE >> 12);
}

/* --- time ------------------------------------------------------------------------------- */

static uint8_t rtc_second(void)
{
	outb(0x70, 0);
	return inb(0x71);
}

uint64_t tsc_per_ms(void)
{
	static uint64_t rate;
	uint32_t r[4];

	if (rate)
		return rate;
	cpuid(0x40000000, 0, r);
	if (r[0] >= 0x40000010) {
		cpuid(0x40000010, 0, r);
		rate = r[0]; /* kHz */
	}
	if (!rate) {
		uint8_t second = rtc_second();
		uint64_t start;

		while (rtc_second() == second)
			;
		start = rdtsc();
		second = rtc_second();
		while (rtc_second() == second)
			;
		rate = (rdtsc() - start) / 1000;
	}
	return rate;
}

void delay_ms(unsigned ms)
{
	uint64_t end = rdtsc() + ms * tsc_per_ms();

	while (rdtsc() < end)
		;
}

static void on_tick(struct frame *f)
{
}

void nap_ms(unsigned ms)
{
	enum { TICK_VECTOR = 0x41, MASKED = 1 << 16, PERIODIC = 1 << 17, DIVIDE_BY_16 = 3 };
	uint64_t end = rdtsc() + ms * tsc_per_ms();

	apic_enable();
	idt_set(TICK_VECTOR, on_tick);
	apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_16);
	apic_write(APIC_LVT_TIMER, TICK_VECTOR | PERIODIC);
	apic_write(APIC_TIMER_INITIAL, 1000000000 / 16 / 1000); /* 1 ms at KVM's 1 GHz */
	while (rdtsc() < end)
		wait_for_interrupt();
	apic_write(APIC_LVT_TIMER, MASKED);
	apic_write(APIC_TIMER_INITIAL, 0);
}

bool wait_for_change(const volatile unsigned *counter, unsigned from)
{
	uint64_t end = rdtsc() + 2000 * tsc_per_ms();

	interrupts_on();
	while (*counter == from && rdtsc() < end)
		;
	interrupts_off();
	return *counter != from;
}
