/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attack: a guest that attacks the machine around it, by random numbers that follow from seed=N.
 * ops=N accesses in all, in rounds, by cpus=N processors (1 to 4) at once: ports, registers,
 * holes, configuration space, MSRs, and virtio devices of every kind over either transport. The
 * first disk and COM1 are left alone; after each round the disk has to give what was
 * written to it at the start, and COM1 to print.
 *
 *   wait=1   says "ready" and "over", and goes on when it is sent a byte: for those who look at
 *            minivmm before and after (tests/cli/attack)
 *   end=N    how it ends, with the others still attacking: 0 it powers off when they are done,
 *            1 it powers off, 2 and 3 it resets by port 0xcf9 and by the keyboard controller, 4 it
 *            tells of a panic, 5 a triple fault
 *   steps=N  of each processor in a round (4000; 400 in ring 0)
 *   ms=N     no further round after so many milliseconds
 *   loud=1   names each round before it begins
 *
 * The processors beside the first attack from ring 3: a KVM that emulates ring 0 (see
 * vmm/README.md) runs that a hundred times as fast. The first one begins the rounds and takes its
 * part in them; what wants ring 0, ports and MSRs, it has for itself then.
 *
 * LINK: 0x2d5a0000
 * RUN: -m 3328M --disk DISK --balloon --append seed=1 --append ops=1500
 * DISK: 1M
 * EXPECT: seed 1: * operations *
 * RUN: -m 3328M --disk DISK --balloon --transport mmio --append seed=2 --append ops=1500
 * DISK: 1M
 * EXPECT: seed 2: * operations *
 */
#include "attack/attack.h"
#include "pci.h"
#include "virtio.h"

enum {
	COM1 = 0x3f8,
	LSR = 5,
	LSR_DR = 1,
	IN = 0,
	OUT = 1,
	SECTORS = 16,
	LINE = 32,
	STEPS = 4000,
	STEPS_RING0 = 400,
	STEPS_FIRST = 300,
	TICK_VECTOR = 0xf5,
	PATIENCE_MS = 60000,
};

struct prey prey;
static struct attacker attackers[ATTACKERS_MAX];
static unsigned n_attackers;
static uint64_t seed, steps;
static volatile uint64_t go;   /* the round that all may begin */
static volatile bool for_ever; /* and no end of it */
static bool waits, loud;

/* --- one attacker ------------------------------------------------------------ */

static void step(struct attacker *a)
{
	const struct victim *v = &prey.victims[below(a, prey.n_victims)];
	uint64_t which = below(a, 64);

	if (which < 8 && !a->ring3)
		attack_ports(a);
	else if (which < 18)
		attack_registers(a);
	else if (which < 20)
		attack_hole(a);
	else if (which < 22)
		attack_ioapic(a);
	else if (which < 24 && !a->ring3)
		attack_msrs(a);
	else if (which < 28 && !prey.mmio)
		attack_config(a);
	else if (which < 30)
		attack_set_up(a, v);
	else if (which < 33)
		bring_up(a, v);
	else if (which < 40)
		attack_ring(a, v);
	else
		attack_queue(a, v);
}

static bool others_done(uint64_t round)
{
	for (unsigned i = 1; i < n_attackers; i++)
		if (attackers[i].round < round)
			return false;
	return true;
}

/* Numbers of its own in each round: so what one does in it is the same however far the others
 * have come, and in whichever run; but for how much of it the first one does. */
static void one_round(unsigned cpu, uint64_t round)
{
	struct attacker *a = &attackers[cpu];

	a->random = (seed * 0x9e3779b97f4a7c15ull) ^ (round << 8 | (cpu + 1));
	if (!a->random)
		a->random = 1;
	for (unsigned i = 0; i < 8; i++)
		any(a);
	/* The first one may be slow, and then the others do not wait for it. */
	uint64_t n = cpu || steps < STEPS_FIRST ? steps : STEPS_FIRST;

	for (uint64_t i = 0; i < n || for_ever; i++) {
		if (!cpu && n_attackers > 1 && others_done(round))
			break;
		step(a);
	}
	a->round = round;
}

static _Noreturn void attacker(unsigned cpu)
{
	for (uint64_t round = 1;; round++) {
		while (go < round)
			barrier();
		one_round(cpu, round);
	}
}

/* --- ring 3 ------------------------------------------------------------------- */

/* Of each processor in ring 3: descriptors as SYSEXIT wants them, 64-bit code 32 behind
 * SYSENTER_CS, data behind that [SDM 2B, SYSEXIT]; and the stack on which a fault there is told. */
enum { KERNEL_CODE = 0x10, TSS_SELECTOR = 0x40, SYSENTER_CS = 0x174, TSS_BYTES = 104 };
static struct {
	uint64_t gdt[10];
	uint32_t tss[TSS_BYTES / 4]; /* RSP0 at 4 [SDM 3A 8.7] */
	uint8_t stack[4096] __attribute__((aligned(16)));
} sides[ATTACKERS_MAX];

static void set_side(unsigned cpu)
{
	static const uint64_t segments[] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff,
					    0, 0, 0x00affb000000ffff, 0x00cff3000000ffff};
	uint64_t tss = (uint64_t)sides[cpu].tss, *gdt = sides[cpu].gdt;
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) pointer = {sizeof(sides[cpu].gdt) - 1, (uint64_t)gdt};

	for (unsigned i = 0; i < ARRAY_LEN(segments); i++)
		gdt[i] = segments[i];
	gdt[TSS_SELECTOR / 8] =
		(TSS_BYTES - 1) | (tss & 0xffffff) << 16 | 0x89ull << 40 | (tss >> 24 & 0xff) << 56;
	gdt[TSS_SELECTOR / 8 + 1] = tss >> 32;
	sides[cpu].tss[1] = (uint32_t)(uint64_t)(sides[cpu].stack + sizeof(sides[cpu].stack));
	sides[cpu].tss[TSS_BYTES / 4 - 1] = TSS_BYTES << 16; /* no I/O map */
	__asm__ volatile("lgdt %0" : : "m"(pointer));
	__asm__ volatile("ltr %w0" : : "r"(TSS_SELECTOR));
}

/* SYSEXIT is what leads to ring 3 and what such a KVM knows; AMD's processors do not, in long
 * mode: there it is ring 0. */
static bool has_ring3(void)
{
	uint32_t r[4];

	cpuid(0, 0, r);
	return r[1] == 0x756e6547; /* Genu */
}

/* All pages are everybody's. */
static void open_pages(void)
{
	extern uint64_t pml4[512], pdpt[512];
	enum { USER = 4 };

	pml4[0] |= USER;
	for (unsigned i = 0; i < 512; i++) {
		uint64_t *pd = (uint64_t *)(pdpt[i] & ~0xfffull);

		if (!pd)
			continue;
		pdpt[i] |= USER;
		for (unsigned k = 0; k < 512; k++)
			pd[k] |= USER;
	}
	__asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" : : : "rax", "memory");
}

static void begin(unsigned ticket)
{
	if (!has_ring3())
		attacker(ticket + 1);
	wrmsr(SYSENTER_CS, KERNEL_CODE);
	set_side(ticket + 1);
	attackers[ticket + 1].ring3 = true;
	/* A stack as after a call, so that it is aligned. */
	__asm__ volatile("mov %%rsp, %%rcx; and $-16, %%rcx; sub $8, %%rcx; rex.w sysexit"
			 :
			 : "d"(attacker), "D"(ticket + 1)
			 : "rcx", "memory");
	__builtin_unreachable();
}

static void on_tick(struct frame *f)
{
}

/* Messages that the attack makes have no vectors of the classes 15 and 13, see tamed(): so with
 * this priority none but the tick comes to the first processor. */
static void tick_init(void)
{
	enum { APIC_TPR = 0x80, DIVIDE_BY_16 = 3 };

	apic_enable();
	apic_write(APIC_TPR, 0xe0);
	idt_set(TICK_VECTOR, on_tick);
	apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_16);
	apic_write(APIC_LVT_TIMER, TICK_VECTOR);
}

/* A millisecond asleep. */
static void nap(void)
{
	apic_write(APIC_TIMER_INITIAL, 1000000000 / 16 / 1000);
	wait_for_interrupt();
}

static uint64_t operations(void)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < n_attackers; i++)
		n += attackers[i].done;
	return n;
}

/* --- the sibling ------------------------------------------------------------- */

static struct virtio_dev disk;
static struct virtq queue;
static struct {
	uint32_t type, reserved;
	uint64_t sector;
} header;
static uint64_t data[512 / 8];
static uint8_t status;

/* No interrupts: the attack has them go anywhere. */
static void transfer(uint32_t type, uint64_t sector)
{
	struct virtio_buf bufs[3] = {
		{&header, 16, false}, {data, sizeof(data), type == IN}, {&status, 1, true}};
	uint64_t end = rdtsc() + PATIENCE_MS * tsc_per_ms();

	header.type = type;
	header.sector = sector;
	status = 0xff;
	virtio_offer(&queue, bufs, 3);
	for (unsigned i = 0; queue.used.idx == queue.seen; i++) {
		if (i > 100)
			nap();
		if (rdtsc() > end)
			fail("seed %lu, round %lu: the other disk stands still", seed, go);
	}
	queue.seen++;
	if (status)
		fail("seed %lu, round %lu: the other disk says %u", seed, go, status);
}

/* What a sector is made of: LINE bytes, over and over. */
static void name_sector(uint64_t line[LINE / 8], uint64_t sector)
{
	char text[LINE + 1] = "sector 00......................\n";

	text[7] = (char)(text[7] + sector / 10);
	text[8] = (char)(text[8] + sector % 10);
	memcpy(line, text, LINE);
}

static void write_sibling(void)
{
	for (unsigned s = 0; s < SECTORS; s++) {
		for (unsigned i = 0; i < ARRAY_LEN(data); i += LINE / 8)
			name_sector(data + i, s);
		transfer(OUT, s);
	}
}

static void check_sibling(uint64_t round)
{
	uint64_t line[LINE / 8];

	name_sector(line, round % SECTORS);
	for (unsigned i = 0; i < ARRAY_LEN(data); i++)
		data[i] = 0;
	transfer(IN, round % SECTORS);
	for (unsigned i = 0; i < ARRAY_LEN(data); i++)
		if (data[i] != line[i % (LINE / 8)])
			fail("seed %lu, round %lu: the other disk gave something else", seed,
			     round);
}

/* --- what there is ----------------------------------------------------------- */

static struct victim *new_victim(unsigned type, uint64_t regs)
{
	struct victim *v = &prey.victims[prey.n_victims];

	if (prey.n_victims == VICTIMS_MAX || regs == prey.sibling)
		return NULL;
	*v = (struct victim){.type = type, .index = prey.n_victims++, .regs = regs};
	return v;
}

static void find_on_pci(void)
{
	prey.ecam = read64((uint64_t)acpi_table("MCFG") + 44);
	prey.sibling = disk.common;
	prey.sibling_slot = disk.slot;
	for (unsigned slot = 1; slot < PCI_SLOTS; slot++) {
		struct virtio_dev d = {.bus = &virtio_on_pci, .slot = slot};
		uint32_t id = pci_read32(slot, 0);
		struct victim *v;

		if ((id & 0xffff) != 0x1af4 || !d.bus->find(&d, (id >> 16) - 0x1040))
			continue;
		v = new_victim((id >> 16) - 0x1040, d.common);
		if (!v)
			continue;
		v->slot = slot;
		/* rings.c and access.c know where its parts are. */
		expect_equal(d.common % BAR_BYTES, 0);
		expect_equal(d.notify - d.common, 0x2000);
		expect_equal(d.msix_table - d.common, 0x3000);
		expect_equal(d.notify_multiplier, 4);
		for (unsigned i = 0; i < 2; i++)
			v->offered[i] = d.bus->offered(&d, i);
		v->n_queues = read16(d.common + 0x12);
	}
}

static void find_on_mmio(void)
{
	enum { FIRST = 0xd0000000, MAGIC = 0x74726976, DEVICE_ID = 8, QUEUE_SEL = 0x30 };
	enum { QUEUE_SIZE_MAX = 0x34 };

	prey.mmio = true;
	prey.sibling = disk.regs;
	for (uint64_t at = FIRST; read32(at) == MAGIC; at += PAGE_BYTES) {
		struct virtio_dev d = {.bus = &virtio_on_mmio, .regs = at};
		struct victim *v = new_victim(read32(at + DEVICE_ID), at);

		if (!v)
			continue;
		for (unsigned i = 0; i < 2; i++)
			v->offered[i] = d.bus->offered(&d, i);
		for (;; v->n_queues++) {
			write32(at + QUEUE_SEL, v->n_queues);
			if (!read32(at + QUEUE_SIZE_MAX))
				break;
		}
	}
}

static void find_prey(void)
{
	expect(virtio_open(&disk, VIRTIO_BLK, 0));
	virtio_queue(&disk, 0, &queue, 0x50);
	virtio_go(&disk);
	if (acpi_table("MCFG"))
		find_on_pci();
	else
		find_on_mmio();
	expect(prey.n_victims);
	for (unsigned i = 0; i < prey.n_victims; i++) {
		struct victim *v = &prey.victims[i];

		if (v->n_queues > QUEUES_MAX)
			v->n_queues = QUEUES_MAX;
		printf("victim: device type %u, %u queues\n", v->type, v->n_queues);
	}
}

/* --- the end ----------------------------------------------------------------- */

static void say_and_wait(const char *what)
{
	puts(what);
	if (!waits)
		return;
	while (!(inb(COM1 + LSR) & LSR_DR))
		barrier();
	inb(COM1);
}

static void leave(uint64_t how)
{
	enum { PVPANIC = 0x505, RESET_CONTROL = 0xcf9, I8042_COMMAND = 0x64 };
	enum { SLEEP_CONTROL = 0x600, SLEEP_S5 = 5 << 2 | 1 << 5 };

	if (how) {
		for_ever = true;
		go = go + 1;
		for (uint64_t end = rdtsc() + 20 * tsc_per_ms(); rdtsc() < end;)
			step(&attackers[0]);
	}
	switch (how) {
	case 2:
		outb(RESET_CONTROL, 2);
		outb(RESET_CONTROL, 6);
		break;
	case 3:
		outb(I8042_COMMAND, 0xfe);
		break;
	case 4:
		outb(PVPANIC, 1);
		break;
	case 5:
		triple_fault();
	default: /* not as poweroff() does: tables are where a device may have written */
		outb(SLEEP_CONTROL, SLEEP_S5);
	}
	delay_ms(2000);
	fail("still here after the end");
}

/* --- the attack -------------------------------------------------------------- */

static void all_attack(uint64_t round)
{
	uint64_t end = rdtsc() + PATIENCE_MS * tsc_per_ms(), before = 0;

	if (loud)
		printf("round %lu\n", round);
	go = round;
	one_round(0, round);
	while (!others_done(round)) {
		nap();
		/* Slow is not what is looked for: it is who does nothing any more. */
		if (operations() != before) {
			before = operations();
			end = rdtsc() + PATIENCE_MS * tsc_per_ms();
		}
		if (rdtsc() > end)
			fail("seed %lu, round %lu: another processor stands still", seed, round);
	}
}

void guest_main(void)
{
	uint64_t ops = option("ops", 10000), round = 0, how, ms, begun;

	/* Later there may be something else where the command line was. */
	seed = option("seed", 1);
	waits = option("wait", 0);
	loud = option("loud", 0);
	steps = option("steps", has_ring3() ? STEPS : STEPS_RING0);
	ms = option("ms", 0);
	how = option("end", 0);
	n_attackers = (unsigned)option("cpus", 1);
	expect(n_attackers && n_attackers <= ATTACKERS_MAX);
	tsc_per_ms();
	tick_init();
	protection_init();
	find_prey();
	write_sibling();
	attackers[0].random = seed | 1;
	for (unsigned i = 0; i < prey.n_victims; i++)
		bring_up_well(&attackers[0], &prey.victims[i]);
	if (n_attackers > 1 && has_ring3())
		open_pages();
	for (unsigned i = 1; i < n_attackers; i++)
		ap_start(i, begin);
	attackers[0].done = 0;
	say_and_wait("ready\n");

	begun = rdtsc();
	while (operations() < ops && (!ms || rdtsc() - begun < ms * tsc_per_ms())) {
		all_attack(++round);
		check_sibling(round);
	}
	uint64_t took = (rdtsc() - begun) / tsc_per_ms();

	for (unsigned i = 0; i < prey.n_victims; i++)
		bring_up_well(&attackers[0], &prey.victims[i]);
	printf("seed %lu: %lu operations in %lu rounds of %u processors took %lu ms\n", seed,
	       operations(), round, n_attackers, took);
	say_and_wait("over\n");
	leave(how);
}
