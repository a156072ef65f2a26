/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manners: a guest that behaves as its command line says, for the tests of how
 * minivmm behaves in turn (tests/cli). One word chooses, do=WORD:
 *
 *   echo      says "ready", then every byte that it is sent. Ends after count=N
 *             bytes, or with Ctrl-D, or at the power button unless deaf=1; and if
 *             fault=1 by a triple fault
 *             With two=1 it greets on the second serial port, too. A break is shown
 *             as <break>
 *   flood     lines=N lines of 64 bytes, the time it took, and a last line
 *   ramble    a line every millisecond, for ever
 *   spin      computes for ever
 *   halt      halts all of cpus=N processors for ever, with interrupts off
 *   panic     says so as Linux does, and resets
 *   pvpanic   tells of a panic at the port for that, after it said so if loud=1
 *   restart   says so as Linux does, and ends by a triple fault
 *   fault     ends by a triple fault
 *   reset     waits for after=MS ms, and resets by way=1, the keyboard controller,
 *             2, port 0xcf9, or 3, FADT's reset register
 *   nowhere   runs where there is no memory
 *   machine   says what the machine consists of
 *   linux     says what Linux says when it starts and when it runs its init, and powers off
 *
 * RUN: --append do=echo --append count=5
 * INPUT: hello
 * EXPECT: ready
 * EXPECT: hello*
 * RUN: --append do=flood --append lines=3
 * EXPECT: line 00000001 *
 * EXPECT: the flood took * ms
 * EXPECT: the last line
 * RUN: --append do=machine
 * EXPECT: 1 processors, 256 MiB
 */
#include "guest.h"

enum {
	COM1 = 0x3f8,
	COM2 = 0x2f8,
	IER = 1,
	LSR = 5,
	IER_RX = 1,
	LSR_DR = 0x01,
	LSR_BI = 0x10,
	LSR_THRE = 0x20,
	COM1_GSI = 4,
	COM1_VECTOR = 0x24,
	BUTTON_GSI = 5,
	BUTTON_VECTOR = 0x25,
	BUTTON_EVENTS = 0x602,
	PVPANIC = 0x505,
	CTRL_D = 4,
	LINE = 64,
};

/* --- what to do -------------------------------------------------------------------- */

static bool told(const char *word)
{
	size_t n = strlen(word);

	for (const char *p = command_line(); *p; p++)
		if (!strncmp(p, "do=", 3) && !strncmp(p + 3, word, n) &&
		    (!p[3 + n] || p[3 + n] == ' '))
			return true;
	return false;
}

/* --- echo -------------------------------------------------------------------------- */

static volatile bool pressed;

static void on_button(struct frame *f)
{
	if (inb(BUTTON_EVENTS) & 1)
		pressed = true;
}

/* It only wakes us: the line falls when the FIFO is empty, and rises again. */
static void on_input(struct frame *f)
{
}

/* A byte as it is: putc() would add a carriage return to a newline. */
static void put_byte(uint8_t byte)
{
	while (!(inb(COM1 + LSR) & LSR_THRE))
		barrier();
	outb(COM1, byte);
}

static void say_on_com2(const char *text)
{
	for (; *text; text++) {
		while (!(inb(COM2 + LSR) & LSR_THRE))
			barrier();
		outb(COM2, (uint8_t)*text);
	}
}

static void echo(void)
{
	uint64_t left = option("count", 0);
	bool counted = left;

	apic_enable();
	idt_set(COM1_VECTOR, on_input);
	ioapic_route(COM1_GSI, COM1_VECTOR, false);
	if (!option("deaf", 0)) {
		idt_set(BUTTON_VECTOR, on_button);
		ioapic_route(BUTTON_GSI, BUTTON_VECTOR, false);
	}
	puts("ready\n");
	if (option("two", 0))
		say_on_com2("the second port\n");
	outb(COM1 + IER, IER_RX);
	while (!pressed) {
		uint8_t lsr;

		/* All ones: there is no such port. */
		while ((lsr = inb(COM1 + LSR)) & LSR_DR && lsr != 0xff) {
			uint8_t byte = inb(COM1);

			if (lsr & LSR_BI) {
				puts("<break>");
				continue;
			}
			if (!counted && byte == CTRL_D)
				return;
			/* Each look costs an exit; this one serves both directions. */
			if (lsr & LSR_THRE)
				outb(COM1, byte);
			else
				put_byte(byte);
			if (counted && !--left)
				return;
		}
		wait_for_interrupt();
	}
	puts("the button was pressed\n");
}

/* --- output -------------------------------------------------------------------------- */

/* Whole lines by a string instruction: as fast as a guest can get. */
static void flood(void)
{
	uint64_t lines = option("lines", 1000), start = rdtsc();
	char line[LINE];

	memset(line, '.', sizeof(line));
	memcpy(line, "line 00000000 ", 14);
	line[LINE - 1] = '\n';
	for (uint64_t i = 1; i <= lines; i++) {
		const char *from = line;
		uint64_t v = i, n = LINE;

		for (unsigned digit = 12; digit >= 5; digit--, v /= 10)
			line[digit] = (char)('0' + v % 10);
		__asm__ volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(COM1) : "memory");
	}
	printf("the flood took %lu ms\n", (rdtsc() - start) / tsc_per_ms());
	puts("the last line\n");
}

static _Noreturn void ramble(void)
{
	for (unsigned i = 1;; i++) {
		printf("rambling on, %u\n", i);
		nap_ms(1);
	}
}

/* --- ends ---------------------------------------------------------------------------- */

static void reset(void)
{
	enum { FADT_RESET_REG = 116, FADT_RESET_VALUE = 128 };
	uint64_t fadt = (uint64_t)acpi_table("FACP");

	puts("resetting\n");
	nap_ms((unsigned)option("after", 0));
	switch (option("way", 2)) {
	case 1:
		outb(0x64, 0xfe);
		break;
	case 2:
		outb(0xcf9, 0x02);
		outb(0xcf9, 0x06);
		break;
	case 3:
		expect(fadt);
		outb((uint16_t)read64(fadt + FADT_RESET_REG + 4), read8(fadt + FADT_RESET_VALUE));
		break;
	}
	delay_ms(2000);
	fail("still here after a reset");
}

static _Noreturn void halt_all(void)
{
	for (unsigned id = 1; id < option("cpus", 1); id++)
		ap_start(id, (void (*)(unsigned))halt);
	puts("halted\n");
	halt();
}

/* --- what there is ------------------------------------------------------------------- */

static void machine(void)
{
	enum { MADT_ENTRIES = 44, LOCAL_APIC = 0, LOCAL_X2APIC = 9 };
	uint64_t madt = (uint64_t)acpi_table("APIC"), bytes = 0;
	unsigned processors = 0;
	struct ram_range range;

	expect(madt);
	for (uint64_t at = madt + MADT_ENTRIES; at < madt + read32(madt + 4); at += read8(at + 1)) {
		expect(read8(at + 1) >= 2);
		processors += read8(at) == LOCAL_APIC && read32(at + 4) & 1;
		processors += read8(at) == LOCAL_X2APIC && read32(at + 8) & 1;
	}
	for (unsigned i = 0; memory_map(i, &range); i++)
		if (range.type == 1)
			bytes += range.len;
	/* A few hundred KiB below 1 MiB are no RAM. */
	printf("%u processors, %lu MiB\n", processors, (bytes + (1 << 20) - 1) >> 20);
	printf("command line: %s\n", command_line());
}

void guest_main(void)
{
	if (told("echo")) {
		echo();
		if (option("fault", 0))
			triple_fault();
	} else if (told("flood")) {
		flood();
	} else if (told("ramble")) {
		ramble();
	} else if (told("spin")) {
		puts("spinning\n");
		for (;;)
			barrier();
	} else if (told("halt")) {
		halt_all();
	} else if (told("panic")) {
		static const char last_words[] =
			"[    0.5] Kernel panic - not syncing: Attempted to kill init!\n"
			"[    0.5] ---[ end Kernel panic - not syncing ]---\n";

		puts(last_words);
		if (option("two", 0))
			say_on_com2(last_words);
		reset();
	} else if (told("pvpanic")) {
		if (option("loud", 0))
			puts("[    0.5] Kernel panic - not syncing: Attempted to kill init!\n");
		outb(PVPANIC, 1);
		delay_ms(2000);
		fail("still here after a panic");
	} else if (told("restart")) {
		puts("[    0.5] reboot: Restarting system\n");
		triple_fault();
	} else if (told("fault")) {
		puts("about to crash\n");
		triple_fault();
	} else if (told("reset")) {
		reset();
	} else if (told("nowhere")) {
		puts("going nowhere\n");
		((void (*)(void))0xd0000000)();
	} else if (told("machine")) {
		machine();
	} else if (told("linux")) {
		/* In one piece minivmm would find it, and look for modules of that version. */
		puts("[    0.0] Linux ");
		puts("version 6.1.0-manners (us@here) #1\n"
		     "[    0.4] Run /init as init process\n");
	} else {
		fail("do what?");
	}
}
