/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Single accesses of every kind. Left out is only what ends the machine at once, as it should
 * (power-off, resets, a panic told of), what brings a processor out of the attack (INIT, SMI and
 * NMI by a message, MSRs that this guest itself stands on), and the sibling.
 */
#include "attack/attack.h"

enum {
	COM1 = 0x3f8,
	COM2 = 0x2f8,
	I8042_DATA = 0x60,
	I8042_COMMAND = 0x64,
	PVPANIC = 0x505,
	ACPI_SLEEP = 0x600,
	CONFIG_ADDRESS = 0xcf8,
	RESET_CONTROL = 0xcf9,
	CONFIG_DATA = 0xcfc,
	BAR0 = 0x10,
	COMMAND = 0x04,
	MSIX_TABLE = 0x3000,
	ECAM_BYTES = 0x100000,
};

#define HOLE       0xc0000000ull
#define IOAPIC     0xfec00000ull
#define LOCAL_APIC 0xfee00000ull

/* Bits 9 and 10 of any word: what is left of a message's delivery modes are fixed and lowest
 * priority, which do nothing to a processor whose interrupts are off. And bit 4: vectors of the
 * classes 15 and 13 are the guest's own. */
#define NO_DELIVERY 0xe9e9e9e9e9e9e9e9ull

/* --- numbers ----------------------------------------------------------------- */

/* xorshift64* [Vigna, An experimental exploration of Marsaglia's xorshift generators]. */
uint64_t any(struct attacker *a)
{
	a->random ^= a->random >> 12;
	a->random ^= a->random << 25;
	a->random ^= a->random >> 27;
	return a->random * 0x2545f4914f6cdd1dull;
}

uint64_t below(struct attacker *a, uint64_t n)
{
	return (any(a) >> 24) % n;
}

uint64_t any_value(struct attacker *a)
{
	switch (below(a, 8)) {
	case 0:
		return 0;
	case 1:
		return below(a, 2) ? UINT64_MAX : UINT32_MAX;
	case 2:
		return 1ull << below(a, 64);
	case 3:
		return (1ull << below(a, 64)) - 1;
	case 4:
	case 5:
		return below(a, 32);
	case 6:
		return below(a, 0x10000);
	default:
		return any(a);
	}
}

uint64_t any_address(struct attacker *a)
{
	/* None of them below the arena. */
	static const uint64_t edges[] = {
		HOLE,
		0xd0000000ull,
		0xe8000000ull,
		IOAPIC,
		LOCAL_APIC,
		1ull << 32,
		0x110000000ull /* RAM's end */,
		1ull << 36,
		1ull << 46,
		1ull << 52,
		1ull << 63,
		UINT64_MAX - 0xfff,
	};

	switch (below(a, 8)) {
	case 0: /* at an edge, or across; RAM before 3 GiB is nobody's */
		return edges[below(a, ARRAY_LEN(edges))] - (one_in(a, 2) ? below(a, 64) : 0);
	case 1: /* a device */
		return (prey.n_victims && one_in(a, 2) ? prey.victims[below(a, prey.n_victims)].regs
						       : prey.sibling) +
		       below(a, BAR_BYTES);
	case 2:
		return any(a) | 1ull << 50;
	case 3:
		return ARENA + below(a, ARENA_END - ARENA);
	default:
		return BUFFERS + (below(a, BUFFERS_LEN) & ~0xfull);
	}
}

/* --- memory ------------------------------------------------------------------ */

static unsigned any_size(struct attacker *a)
{
	return 1u << below(a, 4);
}

/* May this be written there? Where messages are kept, not all of it. */
static uint64_t tamed(uint64_t addr, uint64_t val)
{
	bool in_table = !prey.mmio && addr % BAR_BYTES >= MSIX_TABLE - 8;

	return in_table || addr >= IOAPIC - 8 ? val & NO_DELIVERY : val;
}

void poke(struct attacker *a, uint64_t addr, unsigned size, uint64_t val)
{
	a->done++;
	val = tamed(addr, val);
	switch (size) {
	case 1:
		write8(addr, (uint8_t)val);
		break;
	case 2:
		write16(addr, (uint16_t)val);
		break;
	case 4:
		write32(addr, (uint32_t)val);
		break;
	default:
		write64(addr, val);
		break;
	}
}

void peek(struct attacker *a, uint64_t addr, unsigned size)
{
	a->done++;
	switch (size) {
	case 1:
		read8(addr);
		break;
	case 2:
		read16(addr);
		break;
	case 4:
		read32(addr);
		break;
	default:
		read64(addr);
		break;
	}
}

static void poke_or_peek(struct attacker *a, uint64_t addr, unsigned size)
{
	if (one_in(a, 3))
		peek(a, addr, size);
	else
		poke(a, addr, size, any_value(a));
}

/* Any register of a victim, aligned or not. */
void attack_registers(struct attacker *a)
{
	static const struct {
		uint16_t at, len;
	} blocks[] = {{0, 0x38},      {0, 0x38},           {0x800, 4}, {0x1000, 0x40},
		      {0x2000, 0x40}, {MSIX_TABLE, 0x100}, {0x3800, 8}};
	const struct victim *v = &prey.victims[below(a, prey.n_victims)];
	uint64_t bytes = prey.mmio ? PAGE_BYTES : BAR_BYTES, off;
	unsigned size = any_size(a), block = (unsigned)below(a, ARRAY_LEN(blocks));

	if (one_in(a, 8))
		off = below(a, bytes);
	else if (prey.mmio)
		off = below(a, 0x140);
	else
		off = blocks[block].at + below(a, blocks[block].len);
	if (!one_in(a, 4))
		off &= ~(uint64_t)(size - 1);
	if (off + size <= bytes)
		poke_or_peek(a, v->regs + off, size);
}

static bool near(uint64_t addr, uint64_t base, uint64_t len)
{
	return addr + 8 > base && addr < base + len;
}

void attack_hole(struct attacker *a)
{
	uint64_t addr = HOLE + below(a, LOCAL_APIC - 8 - HOLE);

	/* Near what is claimed, or anywhere. */
	if (prey.mmio && one_in(a, 2))
		addr = 0xd0000000ull + below(a, 64 * PAGE_BYTES);
	if (near(addr, prey.sibling, prey.mmio ? PAGE_BYTES : BAR_BYTES) ||
	    (prey.ecam && near(addr, prey.ecam, ECAM_BYTES)))
		return;
	poke_or_peek(a, addr, any_size(a));
}

void attack_ioapic(struct attacker *a)
{
	static const uint8_t registers[] = {0x00, 0x10, 0x10, 0x40};
	uint64_t off = one_in(a, 4) ? below(a, PAGE_BYTES - 8) : registers[below(a, 4)];
	unsigned size = one_in(a, 4) ? any_size(a) : 4;

	if (one_in(a, 3))
		poke(a, IOAPIC, 4, below(a, 0x80));
	poke_or_peek(a, IOAPIC + off, size);
}

/* --- configuration space ----------------------------------------------------- */

/* Of all that there are the sibling's is left out. */
static unsigned any_slot(struct attacker *a)
{
	unsigned slot =
		one_in(a, 4) ? (unsigned)below(a, 32) : prey.victims[below(a, prey.n_victims)].slot;

	return slot == prey.sibling_slot ? 0 : slot;
}

static void out(struct attacker *a, uint16_t port, unsigned size, uint32_t val)
{
	a->done++;
	if (size == 1)
		outb(port, (uint8_t)val);
	else if (size == 2)
		outw(port, (uint16_t)val);
	else
		outl(port, val);
}

static void in(struct attacker *a, uint16_t port, unsigned size)
{
	a->done++;
	if (size == 1)
		inb(port);
	else if (size == 2)
		inw(port);
	else
		inl(port);
}

void poke_config(struct attacker *a, unsigned slot, unsigned reg, unsigned size, uint64_t val)
{
	/* Capabilities begin at 0x40, and one is a window onto the MSI-X table. */
	if (reg + size > 0x40)
		val &= NO_DELIVERY;
	/* By ports another processor may have chosen another register meanwhile: so only what may
	 * be written to each of them. */
	bool ports = !a->ring3 && size <= 4 && reg % size == 0 && reg < 0x100 &&
		     (val & NO_DELIVERY) == val;

	if (ports && one_in(a, 2)) {
		out(a, CONFIG_ADDRESS, 4, 1u << 31 | slot << 11 | (reg & 0xfc));
		out(a, (uint16_t)(CONFIG_DATA + reg % 4), size, (uint32_t)val);
		return;
	}
	poke(a, prey.ecam + (slot << 15) + reg, size, val);
}

/* Where a BAR may be told to go: there are places for it, others' among them, and none. */
static uint64_t any_place(struct attacker *a)
{
	switch (below(a, 6)) {
	case 0:
		return prey.victims[below(a, prey.n_victims)].regs;
	case 1:
		return prey.sibling;
	case 2:
		return HOLE + BAR_BYTES * below(a, 64);
	case 3:
		return any_address(a);
	case 4:
		return any_value(a);
	default:
		return prey.sibling + BAR_BYTES * below(a, 64);
	}
}

/* A BAR that moves takes its doorbells along, for which the host's kernel may take milliseconds: so
 * that is rare. */
void attack_config(struct attacker *a)
{
	unsigned slot = any_slot(a), size = any_size(a);
	unsigned reg = (unsigned)below(a, one_in(a, 8) ? 0x1000 - 8 : 0x100 - 8);
	uint64_t place;

	switch (below(a, 16)) {
	case 0:
		place = any_place(a);
		poke_config(a, slot, BAR0, 4, (uint32_t)place);
		poke_config(a, slot, BAR0 + 4, 4, place >> 32);
		break;
	case 1:
		poke_config(a, slot, COMMAND, 2, one_in(a, 2) ? 6 : any_value(a));
		break;
	case 2 ... 9:
		poke_config(a, slot, reg & ~(size - 1), size, any_value(a));
		break;
	default:
		poke_or_peek(a, prey.ecam + (slot << 15) + (below(a, 8) << 12) + reg, size);
		break;
	}
}

/* --- ports ------------------------------------------------------------------- */

static bool covers(uint16_t port, unsigned size, uint16_t which)
{
	return which >= port && which < port + size;
}

/* What may be written there without an end of the machine; false: nothing. */
static bool harmless(struct attacker *a, uint16_t port, unsigned size, uint32_t *val)
{
	enum { PULSE = 0xf0, WRITE_OUTPUT = 0xd1, SLP_EN = 0x20, PANICKED = 1, RST_CPU = 4 };

	if (covers(port, size, I8042_COMMAND))
		return size == 1 && (uint8_t)*val < PULSE && (uint8_t)*val != WRITE_OUTPUT;
	if (covers(port, size, ACPI_SLEEP)) {
		*val &= ~(uint32_t)SLP_EN;
		return size == 1;
	}
	if (covers(port, size, PVPANIC)) {
		*val &= ~(uint32_t)PANICKED;
		return size == 1;
	}
	if (port == CONFIG_ADDRESS && size == 4) {
		*val = (*val & ~(31u << 11)) | any_slot(a) << 11;
		return true;
	}
	if (covers(port, size, RESET_CONTROL)) {
		*val &= ~(uint32_t)RST_CPU;
		return size == 1;
	}
	if (port + size > CONFIG_DATA && port < CONFIG_DATA + 4)
		*val &= (uint32_t)NO_DELIVERY;
	return true;
}

void attack_ports(struct attacker *a)
{
	static const struct {
		uint16_t base, len;
	} chips[] = {{COM2, 8},       {I8042_DATA, 5}, {0x70, 2},   {PVPANIC, 1},
		     {ACPI_SLEEP, 3}, {0x610, 12},     {0x620, 28}, {CONFIG_ADDRESS, 8}};
	unsigned chip = (unsigned)below(a, ARRAY_LEN(chips)), size = 1u << below(a, 3);
	uint16_t port =
		(uint16_t)(one_in(a, 4) ? below(a, 0xfff0)
					: chips[chip].base - 1u + below(a, chips[chip].len + 2u));
	uint32_t val = (uint32_t)any_value(a);
	static const char text[] = "a string instruction, to a port that may be there\n";
	const char *from = text;
	uint64_t n = below(a, sizeof(text));

	if (port + size > COM1 && port < COM1 + 8) /* the sibling */
		return;
	if (one_in(a, 3))
		in(a, port, size);
	else if (one_in(a, 16) && (port >> 3 == COM2 >> 3 || port < I8042_DATA)) {
		a->done++;
		__asm__ volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(port) : "memory");
	} else if (harmless(a, port, size, &val))
		out(a, port, size, val);
}

/* --- model-specific registers ------------------------------------------------ */

/* An MSR that is not there is #GP: go on behind the instruction. */
static void on_protection(struct frame *f)
{
	const uint8_t *at = (const uint8_t *)f->rip;

	if (f->cs & 3 || at[0] != 0x0f || (at[1] != 0x30 && at[1] != 0x32))
		fail("#GP at %#lx, error %#lx", f->rip, f->error);
	f->rip += 2;
}

void protection_init(void)
{
	enum { GENERAL_PROTECTION = 13 };

	idt_set(GENERAL_PROTECTION, on_protection);
}

/* What the guest stands on, and what would have KVM write into its memory. */
static bool spared(uint32_t msr)
{
	return msr == 0x10 || msr == 0x3b || /* the TSC */
	       msr == 0x11 || msr == 0x12 || /* KVM's clock, as it was once */
	       msr == 0x1b || (msr >= 0x800 && msr < 0x900) || msr == 0x6e0 || /* the local APIC */
	       msr == 0x1d9 ||                                                 /* single steps */
	       msr >> 8 == 0x400000 || msr >> 8 == 0x4b564d || /* Hyper-V's, KVM's */
	       msr == 0xc0000080 || (msr >= 0xc0000100 && msr <= 0xc0000102) || /* EFER, bases */
	       (msr >= 0xc0 && msr < 0xd0) || (msr >= 0x180 && msr < 0x1a0) ||  /* counters */
	       (msr >= 0x300 && msr < 0x400) || (msr >= 0xc0010000 && msr < 0xc0010010) ||
	       (msr >= 0xc0010200 && msr < 0xc0010210);
}

void attack_msrs(struct attacker *a)
{
	static const uint32_t blocks[] = {
		0,          0x170,      0x200,      0x270,      0x400,      0x480, 0xc0000080,
		0xc0000100, 0xc0010000, 0xc0010110, 0x40000000, 0x4b564d00, 0x800};
	uint32_t msr = one_in(a, 4) ? (uint32_t)any_value(a)
				    : blocks[below(a, ARRAY_LEN(blocks))] + (uint32_t)below(a, 32);
	uint32_t lo, hi;

	a->done++;
	if (one_in(a, 2) && !spared(msr))
		wrmsr(msr, any_value(a));
	else
		__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
}
