/* SPDX-License-Identifier: Apache-2.0 */
/*
 * alive: a guest that notices when anything of it is not as it left it, for the tests of
 * saved machines (tests/cli/snapshot). Each round it looks at mib=N MiB of RAM, the FPU, an MSR, a
 * debug register, the TSC, the chips' registers and the other of cpus=N processors, sleeps by the
 * APIC's timer, writes a sector of the disk, if there is one, and reads the one before; and says
 * which round it was. It ends after rounds=N, or at the power button.
 * With generation=1 each round also says the VM generation ID, and how often its event has come.
 * With away=1 it only looks whether it has been away for half a second, says "!" when it has, and
 * ends by a reset, or with stay=1 halts for ever.
 *
 * RUN: --append rounds=3
 * EXPECT: round 3
 * RUN: --append rounds=3 --append generation=1
 * EXPECT: round 3
 * RUN: --append rounds=3 --append cpus=2 --cpus 2 --disk DISK --append mib=8
 * DISK: 1M
 * EXPECT: round 3
 * AFTER: test "$(dd if=disk bs=512 skip=3 count=1 status=none | head -c 8)" = sector03
 * RUN: --append rounds=3 --disk DISK --transport mmio
 * DISK: 1M
 * EXPECT: round 3
 */
#include "virtio.h"

enum {
	COM1_SCRATCH = 0x3f8 + 7,
	EVENTS = 0x602,
	BUTTON = 1 << 0,
	GENERATION = 1 << 2,
	IOAPIC_ENTRY = 0x10 + 2 * 11,
	CMOS_FREE = 0x40,
	DISK_VECTOR = 0x50,
	IN = 0,
	OUT = 1,
	SECTORS = 64,
	RAM = 16 << 20,
};

#define GENERATION_ID  0xef000ull
#define KERNEL_GS_BASE 0xc0000102u
#define MARK           0x17ed0ddba11ull /* a canonical address as well */

static uint64_t tsc_last;
static volatile unsigned beats[64]; /* of the other processors */
static unsigned n_others, disk_sectors;

/* --- the processor -------------------------------------------------------------------------- */

static uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (uint64_t)hi << 32 | lo;
}

/* By MOVDQU, which is one of the few that KVM's emulator knows. */
static const uint64_t marks[2] = {MARK, ~MARK};

static void set_processor(void)
{
	uint64_t cr0, cr4;

	__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("mov %0, %%cr0" : : "r"((cr0 & ~4ull) | 2)); /* no EM, but MP */
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | 3ull << 9));   /* OSFXSR, OSXMMEXCPT */
	__asm__ volatile("movdqu %0, %%xmm7" : : "m"(marks));
	__asm__ volatile("mov %0, %%dr0" : : "r"(MARK));
	wrmsr(KERNEL_GS_BASE, MARK);
}

static void check_processor(void)
{
	uint64_t xmm[2], dr0, now = rdtsc();

	__asm__ volatile("movdqu %%xmm7, %0" : "=m"(xmm));
	__asm__ volatile("mov %%dr0, %0" : "=r"(dr0));
	expect_equal(xmm[0], marks[0]);
	expect_equal(xmm[1], marks[1]);
	expect_equal(dr0, MARK);
	expect_equal(rdmsr(KERNEL_GS_BASE), MARK);
	expect(now > tsc_last);
	tsc_last = now;
}

static void beat(unsigned ticket)
{
	for (;;)
		beats[ticket] = beats[ticket] + 1;
}

static void check_others(void)
{
	for (unsigned i = 0; i < n_others; i++) {
		unsigned before = beats[i];
		/* A busy host may leave a processor out for seconds. */
		uint64_t until = rdtsc() + 20000ull * tsc_per_ms();

		while (beats[i] == before && rdtsc() < until)
			barrier();
		expect(beats[i] != before);
	}
}

/* --- RAM and chips ---------------------------------------------------------------------------- */

/* One word in each page, a page of zeroes now and then. */
static uint64_t word_of(uint64_t page)
{
	return page % 8 ? page * MARK : 0;
}

static void set_memory(uint64_t pages)
{
	for (uint64_t i = 0; i < pages; i++)
		write64(RAM + i * 4096 + i % 512 * 8, word_of(i));
}

static void check_memory(uint64_t pages)
{
	for (uint64_t i = 0; i < pages; i++)
		expect_equal(read64(RAM + i * 4096 + i % 512 * 8), word_of(i));
}

static void set_chips(void)
{
	outb(COM1_SCRATCH, 0xa5);
	ioapic_write(IOAPIC_ENTRY, 0x10000 | 0x77); /* masked */
	outb(0x70, CMOS_FREE);
	outb(0x71, 0x3c);
}

static void check_chips(void)
{
	expect_equal(inb(COM1_SCRATCH), 0xa5);
	expect_equal(ioapic_read(IOAPIC_ENTRY), 0x10000 | 0x77);
	outb(0x70, CMOS_FREE);
	expect_equal(inb(0x71), 0x3c);
}

/* --- the disk ------------------------------------------------------------------------------------
 */

static struct virtio_dev d;
static struct virtq queue;
static volatile unsigned interrupts;

static void on_interrupt(struct frame *f)
{
	virtio_acknowledge(&d);
	interrupts = interrupts + 1;
}

static struct {
	uint32_t type, reserved;
	uint64_t sector;
} header;
static uint8_t data[512], disk_status;

static void transfer(uint32_t type, uint64_t sector)
{
	unsigned before = interrupts;
	struct virtio_buf bufs[3] = {
		{&header, 16, false}, {data, 512, type == IN}, {&disk_status, 1, true}};

	header.type = type;
	header.sector = sector;
	disk_status = 0xff;
	virtio_request(&queue, bufs, 3);
	expect_equal(disk_status, 0);
	expect(wait_for_change(&interrupts, before));
}

static void set_disk(void)
{
	if (!virtio_open(&d, VIRTIO_BLK, 0))
		return;
	idt_set(DISK_VECTOR, on_interrupt);
	virtio_queue(&d, 0, &queue, DISK_VECTOR);
	virtio_go(&d);
	disk_sectors = SECTORS;
}

static void name_sector(uint8_t name[8], uint64_t sector)
{
	memcpy(name, "sector00", 8);
	name[6] = (uint8_t)(name[6] + sector / 10);
	name[7] = (uint8_t)(name[7] + sector % 10);
}

static void check_disk(uint64_t round)
{
	uint64_t sector = round % disk_sectors;
	uint8_t want[8];

	memset(data, 0, sizeof(data));
	name_sector(data, sector);
	transfer(OUT, sector);
	if (round == 1)
		return;
	sector = (round - 1) % disk_sectors;
	memset(data, 0, sizeof(data));
	transfer(IN, sector);
	name_sector(want, sector);
	expect(!memcmp(data, want, sizeof(want)));
}

/* Was the button pressed? Counts the other event. */
static bool pressed(unsigned *told)
{
	uint8_t events = inb(EVENTS);

	*told += !!(events & GENERATION);
	return events & BUTTON;
}

static _Noreturn void wait_to_be_away(void)
{
	uint64_t last = rdtsc(), now = last;

	puts("ready\n");
	for (; now - last < 500 * tsc_per_ms(); now = rdtsc())
		last = now;
	outb(0x3f8, '!');
	if (!option("stay", 0))
		outb(0x64, 0xfe); /* the shortest way out: a reset */
	halt();
}

void guest_main(void)
{
	uint64_t rounds = option("rounds", 0), pages = option("mib", 1) * 256;
	unsigned told = 0;

	apic_enable();
	n_others = (unsigned)option("cpus", 1) - 1;
	for (unsigned i = 0; i < n_others; i++)
		ap_start(i + 1, beat);
	set_processor();
	set_memory(pages);
	set_chips();
	set_disk();
	if (option("away", 0))
		wait_to_be_away();
	for (uint64_t round = 1; !pressed(&told); round++) {
		check_processor();
		check_memory(pages);
		check_chips();
		check_others();
		if (disk_sectors)
			check_disk(round);
		printf("round %lu\n", round);
		if (option("generation", 0))
			printf("generation %lx-%lx told %u\n", read64(GENERATION_ID),
			       read64(GENERATION_ID + 8), told);
		if (round == rounds)
			break;
		nap_ms((unsigned)option("nap", 10));
	}
}
