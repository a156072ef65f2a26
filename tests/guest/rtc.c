/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rtc: the CMOS clock tells the host's time, in the format that status register
 * B says [MC146818A], and goes on.
 *
 * RUN: --append epoch=NOW
 * EXPECT: within 5 s of the host
 * EXPECT: it goes on
 * QEMU: -append epoch=NOW
 */
#include "guest.h"

enum {
	SECONDS = 0,
	MINUTES = 2,
	HOURS = 4,
	DAY = 7,
	MONTH = 8,
	YEAR = 9,
	STATUS_A = 10,
	STATUS_B = 11
};

static unsigned cmos(unsigned reg)
{
	outb(0x70, (uint8_t)reg);
	return inb(0x71);
}

static unsigned field(unsigned reg)
{
	unsigned v = cmos(reg);

	if (cmos(STATUS_B) & 4) /* DM: binary */
		return v;
	return (v >> 4) * 10 + (v & 15);
}

static uint64_t read_clock(void)
{
	static const unsigned before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
	uint64_t days, year;
	unsigned second;

	do {
		while (cmos(STATUS_A) & 0x80) /* UIP */
			;
		second = field(SECONDS);
		expect(cmos(STATUS_B) & 2); /* 24 hours */
		year = 2000 + field(YEAR);
		expect(field(MONTH) >= 1 && field(MONTH) <= 12);
		days = (year - 1970) * 365 + (year - 1969) / 4 + before[field(MONTH) - 1] +
		       (field(MONTH) > 2 && year % 4 == 0) + field(DAY) - 1;
	} while (field(SECONDS) != second);
	return ((days * 24 + field(HOURS)) * 60 + field(MINUTES)) * 60 + second;
}

void guest_main(void)
{
	uint64_t host = option("epoch", 0), now = read_clock();

	printf("host %lu, clock %lu\n", host, now);
	expect(now + 5 >= host && now <= host + 5);
	puts("within 5 s of the host\n");
	for (uint64_t tries = 0; read_clock() == now; tries++)
		expect(tries < 1000000);
	expect(read_clock() <= now + 3);
	puts("it goes on\n");
}
