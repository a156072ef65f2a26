/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpus: a guest that follows processors that come and go, as a system's ACPI code does
 * (devices/cpu/hotplug.h): starts those that come, lets go of those that it is asked for. Each that
 * runs counts, those that are there from the start too; what it says:
 *
 *   ready              it listens
 *   CPU n runs         it came, and counts
 *   CPU n goes         it was asked for, and is ejected
 *
 * It ends at the power button. With refuse=N it does not give processor N up, and says so.
 * With rude=1 it ejects what nobody asked for, itself included, once four are there: "rude".
 * With deaf=1 it looks at nothing but the button.
 *
 * RUN: -c 1,max=4
 * SIGNAL: TERM
 * EXPECT: ready
 * EXPECT: the end
 */
#include "guest.h"

enum {
	GED_GSI = 5,
	GED_VECTOR = 0x25,
	GED_EVENTS = 0x602,
	BUTTON = 1,
	CPUS = 8,
	PORTS = 0x620,
	HERE = PORTS,
	UP = PORTS + 8,
	DOWN = PORTS + 16,
	EJECT = PORTS + 24,
	EVENT = PORTS + 25,
	STATUS = PORTS + 26,
	TOLD = PORTS + 27,
	DEVICE_CHECK = 1,
	EJECT_REQUEST = 3,
	FAILURE = 0x80,
	MAX = 64,
};

static volatile bool pressed, news;
static volatile uint64_t beats[MAX];
static volatile bool stop[MAX];
static volatile unsigned starting;

static void on_event(struct frame *f)
{
	uint8_t events = inb(GED_EVENTS);

	if (events & BUTTON)
		pressed = true;
	if (events & CPUS)
		news = true;
}

/* Counts until it is told to stop; then it halts, as one that is about to be ejected does. */
static void beat(unsigned ticket)
{
	unsigned id = starting;

	starting = 0;
	while (!stop[id]) {
		beats[id]++;
		barrier();
	}
	stop[id] = false;
}

static bool counts(unsigned id)
{
	uint64_t from = beats[id], end = rdtsc() + 2000 * tsc_per_ms();

	while (beats[id] == from)
		if (rdtsc() > end)
			return false;
	return true;
}

static void told(unsigned event, unsigned status, unsigned id)
{
	outb(EVENT, (uint8_t)event);
	outb(STATUS, (uint8_t)status);
	outb(TOLD, (uint8_t)id);
}

/* All ones: there are no such registers. */
static bool is_here(unsigned id)
{
	return !inb(TOLD) && inb((uint16_t)(HERE + id / 8)) >> id % 8 & 1;
}

static void take(unsigned id)
{
	expect(is_here(id));
	starting = id;
	ap_start(id, beat);
	if (!counts(id))
		fail("it does not run");
	told(DEVICE_CHECK, 0, id);
	printf("CPU %u runs\n", id);
}

static void give_up(unsigned id)
{
	if (id == option("refuse", MAX)) {
		printf("CPU %u stays\n", id);
		told(EJECT_REQUEST, FAILURE, id);
		return;
	}
	printf("CPU %u goes\n", id);
	/* With wild=1 it is still at it. */
	if (!option("wild", 0)) {
		stop[id] = true;
		while (stop[id])
			barrier();
	}
	outb(EJECT, (uint8_t)id);
	expect(!is_here(id));
	nap_ms(20);
	uint64_t at = beats[id];

	nap_ms(20);
	if (beats[id] != at)
		fail("it runs on");
}

static void look(void)
{
	for (unsigned byte = 0; byte < MAX / 8; byte++) {
		uint8_t up = inb((uint16_t)(UP + byte)), down = inb((uint16_t)(DOWN + byte));

		for (unsigned bit = 0; bit < 8; bit++) {
			if (up >> bit & 1)
				take(byte * 8 + bit);
			if (down >> bit & 1)
				give_up(byte * 8 + bit);
		}
	}
}

static void eject_me(unsigned ticket)
{
	unsigned id = starting;

	starting = 0;
	for (;;) {
		outb(EJECT, (uint8_t)id);
		beats[id]++;
	}
}

/* All at once, the first and those that never were; twice; one ejects itself, which is no more than
 * the others do. */
static void be_rude(void)
{
	for (unsigned off = 0; off < 28; off++)
		for (unsigned val = 0; val < 256; val += off == 24 ? 256 : 1)
			outb((uint16_t)(PORTS + off), (uint8_t)val);
	expect(is_here(0) && is_here(1) && is_here(2) && is_here(3));
	starting = 3;
	stop[3] = true;
	while (stop[3])
		barrier();
	ap_start(3, eject_me);
	nap_ms(20);
	expect(!is_here(3) && beats[3] && is_here(2));
	for (unsigned round = 0; round < 2; round++)
		for (unsigned id = 256; id--;)
			outb(EJECT, (uint8_t)id);
	expect(is_here(0) && !is_here(1) && !is_here(2));
	/* Those that are away cannot be started. */
	ap_start(1, beat);
	starting = 1;
	nap_ms(20);
	expect(starting == 1);
	starting = 0;
	puts("rude\n");
}

void guest_main(void)
{
	bool rude = option("rude", 0), deaf = option("deaf", 0);

	apic_enable();
	idt_set(GED_VECTOR, on_event);
	ioapic_route(GED_GSI, GED_VECTOR, false);
	for (unsigned id = 1; id < MAX && is_here(id); id++)
		take(id);
	puts("ready\n");
	while (!pressed) {
		if (news && !deaf) {
			news = false;
			look();
		}
		if (rude && is_here(3) && beats[3]) {
			rude = false;
			be_rude();
		}
		if (!pressed && !(news && !deaf))
			wait_for_interrupt();
	}
	puts("the end\n");
}
