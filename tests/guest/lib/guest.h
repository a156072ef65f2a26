/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest: what a freestanding guest needs to be twenty lines long.
 *
 * Write `void guest_main(void)`, print what you find, return to power off. See
 * README.md for how the result is judged. One address space, ring 0, no heap.
 * Printing is not locked: let one processor do it.
 */
#ifndef TESTS_GUEST_LIB_GUEST_H
#define TESTS_GUEST_LIB_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* The experiment. On the boot processor, interrupts off; returning powers off. */
void guest_main(void);

/* --- talking -------------------------------------------------------------------- */

void putc(char c); /* COM1; a newline becomes CR LF */
void puts(const char *s);
/* %c %s %d %u %x %p %%, with l or ll, a width and a leading 0. */
void printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Say why and end with a triple fault, which gives exit status 3. */
_Noreturn void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
#define expect(cond)                                                       \
	do {                                                               \
		if (!(cond))                                               \
			fail("%s:%d: %s", __FILE_NAME__, __LINE__, #cond); \
	} while (0)
#define expect_equal(got, want)                                                                  \
	do {                                                                                     \
		unsigned long got_ = (unsigned long)(got), want_ = (unsigned long)(want);        \
		if (got_ != want_)                                                               \
			fail("%s:%d: %s is %#lx, not %#lx", __FILE_NAME__, __LINE__, #got, got_, \
			     want_);                                                             \
	} while (0)

void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strncmp(const char *a, const char *b, size_t n);

/* --- ports, memory, registers ----------------------------------------------------- */

static inline uint8_t inb(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint16_t inw(uint16_t port)
{
	uint16_t v;

	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint32_t inl(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void outw(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void outl(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

/* MMIO as plain MOVs of one size: KVM's emulators know those best. */
#define DEFINE_MMIO(bits)                                                 \
	static inline uint##bits##_t read##bits(uint64_t addr)            \
	{                                                                 \
		uint##bits##_t v;                                         \
                                                                          \
		__asm__ volatile("mov %1, %0"                             \
				 : "=r"(v)                                \
				 : "m"(*(volatile uint##bits##_t *)addr)  \
				 : "memory");                             \
		return v;                                                 \
	}                                                                 \
	static inline void write##bits(uint64_t addr, uint##bits##_t v)   \
	{                                                                 \
		__asm__ volatile("mov %1, %0"                             \
				 : "=m"(*(volatile uint##bits##_t *)addr) \
				 : "r"(v)                                 \
				 : "memory");                             \
	}
DEFINE_MMIO(8)
DEFINE_MMIO(16)
DEFINE_MMIO(32)
DEFINE_MMIO(64)

static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

static inline void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t r[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "a"(leaf), "c"(subleaf));
}

static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)));
}

/* Not PAUSE: it may cost an exit, and spinning here is rare. */
static inline void barrier(void)
{
	__asm__ volatile("" : : : "memory");
}

/* --- what firmware told us ---------------------------------------------------------- */

struct ram_range {
	uint64_t base, len;
	uint32_t type; /* 1 RAM, 2 reserved, as in e820 */
};

/* The i-th range of the memory map, from the zero page or PVH's start info. */
bool memory_map(unsigned i, struct ram_range *out);
const char *command_line(void);
/* The number after NAME= on the command line, or `otherwise`. */
uint64_t option(const char *name, uint64_t otherwise);
bool booted_by_pvh(void);

/* The processor at the guest's first instruction, as start.S found it. */
extern const struct entry_state {
	uint64_t cr0, cr4, efer, rflags;
	uint16_t cs, ds, es, ss;
	uint64_t info;  /* EBX or RSI */
	uint64_t width; /* 32 or 64 */
} entry_state;

/* Make [gpa, gpa+len) beyond 4 GiB addressable, one to one. */
void map_high(uint64_t gpa, uint64_t len);

/* An ACPI table by its signature, checksum verified; NULL if there is none. */
const uint8_t *acpi_table(const char *signature);

/* --- interrupts ---------------------------------------------------------------------- */

/* What the stubs leave on the stack. */
struct frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};

/* Call `handler` for `vector`, on whichever processor it comes. Interrupts are
 * off inside. From 0x20 on, the library acknowledges to the local APIC after it. */
void idt_set(unsigned vector, void (*handler)(struct frame *f));

static inline void interrupts_on(void)
{
	__asm__ volatile("sti" : : : "memory");
}

static inline void interrupts_off(void)
{
	__asm__ volatile("cli" : : : "memory");
}

/* Sleep with interrupts on until one came; back with interrupts off. Nothing is
 * lost between the caller's look at its condition and the sleep: STI lets no
 * interrupt in before the HLT that follows. */
static inline void wait_for_interrupt(void)
{
	__asm__ volatile("sti; hlt; cli" : : : "memory");
}

/* --- local APIC, I/O APIC (memory-mapped) --------------------------------------------- */

enum {
	APIC_ID = 0x20,
	APIC_EOI = 0xb0,
	APIC_SPURIOUS = 0xf0,
	APIC_ICR_LOW = 0x300,
	APIC_ICR_HIGH = 0x310,
	APIC_LVT_TIMER = 0x320,
	APIC_TIMER_INITIAL = 0x380,
	APIC_TIMER_CURRENT = 0x390,
	APIC_TIMER_DIVIDE = 0x3e0,
};

static inline uint32_t apic_read(unsigned reg)
{
	return read32(0xfee00000 + reg);
}

static inline void apic_write(unsigned reg, uint32_t v)
{
	write32(0xfee00000 + reg, v);
}

void apic_enable(void); /* this processor's */

uint32_t ioapic_read(unsigned reg);
void ioapic_write(unsigned reg, uint32_t v);
/* Route `pin` to `vector` on the processor with APIC id 0; unmasked. */
void ioapic_route(unsigned pin, uint8_t vector, bool level);
void ioapic_mask(unsigned pin);

/* --- processors ------------------------------------------------------------------------ */

/* Start the processor with this APIC id: INIT, SIPI, SIPI. It runs `fn` with its
 * ticket (0, 1, ... in the order of arrival), and then halts for ever. */
void ap_start(uint32_t apic_id, void (*fn)(unsigned ticket));

/* --- time ------------------------------------------------------------------------------- */

/* Cycles of the time stamp counter in a millisecond, measured once by the RTC's
 * or taken from CPUID leaf 0x40000010; for time-outs, not for timekeeping. */
uint64_t tsc_per_ms(void);
void delay_ms(unsigned ms);
/* The same asleep, with interrupts on: by the timer of the local APIC, of which this
 * takes hold and which is off afterwards. Vector 0x41. */
void nap_ms(unsigned ms);
/* Let interrupts in until their handler has moved *counter away from `from`; false
 * if none came in two seconds. */
bool wait_for_change(const volatile unsigned *counter, unsigned from);

/* --- ends -------------------------------------------------------------------------------- */

_Noreturn void poweroff(void); /* exit status 0 */
_Noreturn void halt(void);     /* interrupts off, for ever */
_Noreturn void triple_fault(void);

#endif
