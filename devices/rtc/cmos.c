/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clock as a function of the host's clock.
 *
 * While it runs, the ten time registers (and the century) are a view of
 * host time + offset. The guest stops it to set it, by B.SET or by holding the
 * divider in reset: the view is then copied into RAM, where the guest edits it,
 * and on release the edited registers are turned into a new offset. A write to a
 * time register of a running clock is the same three steps at once.
 *
 * Fractions of a second: releasing the divider starts the first second half a
 * second in, which Linux's set_time counts on [MC146818A "Divider control"];
 * SET alone leaves the divider running, so the fraction goes on undisturbed.
 *
 * UIP is up for the last 244 us of each second, the warning that the chip gives
 * before its registers change; they change when the second does. So no reader
 * waits longer than that, and Linux's probe (which gives up on a UIP that stays)
 * has its answer at the first or second look.
 *
 * Bits of a guest that makes no sense (month 0, second 0x7f) are taken as the
 * numbers they are and carried over into the next larger unit.
 */
#include "devices/rtc/cmos.h"

#include "devices/byte_lanes.h"

#include <errno.h>
#include <string.h>

enum {
	SECONDS = 0,
	SECONDS_ALARM = 1,
	MINUTES = 2,
	MINUTES_ALARM = 3,
	HOURS = 4,
	HOURS_ALARM = 5,
	DAY_OF_WEEK = 6,
	DAY_OF_MONTH = 7,
	MONTH = 8,
	YEAR = 9,
	REG_A = 10,
	REG_B = 11,
	REG_C = 12,
	REG_D = 13
};

enum { A_UIP = 0x80, A_DV = 0x70, A_DV_RUN = 0x20, A_RS = 0x0f, A_POWER_ON = 0x26 };

enum {
	B_SET = 0x80,
	B_PIE = 0x40,
	B_AIE = 0x20,
	B_UIE = 0x10,
	B_SQWE = 0x08,
	B_DM = 0x04, /* binary rather than BCD */
	B_24H = 0x02
};

enum { C_IRQF = 0x80, C_PF = 0x40, C_AF = 0x20, C_UF = 0x10 };
enum { D_VRT = 0x80 };
enum { ALARM_ANY = 0xc0, HOUR_PM = 0x80 };

#define NS_PER_S 1000000000ll
#define UIP_NS   244141ll /* eight periods of 32.768 kHz [MC146818A table 5] */

enum { S_PER_DAY = 86400 };

/* What fits into 64 bits of nanoseconds with room to add to: 1678 to 2261. */
#define TIME_MAX (9200000000ll * NS_PER_S)
#define TIME_MIN (-TIME_MAX)

struct fields {
	int64_t year; /* with the century */
	unsigned month, day, weekday, hour, minute, second;
};

/* --- calendar ---------------------------------------------------------------- */

/* Division that rounds down, for instants before 1970. */
static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

/* Days since 1970-01-01 of a proleptic Gregorian date. Counting years from
 * March puts the leap day last, so that the lengths of the months before it
 * follow one formula. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
	int64_t y = year - (month <= 2);
	int64_t era = floor_div(y, 400);
	int64_t year_of_era = y - era * 400;
	int64_t month_from_march = (month + 9) % 12;
	int64_t day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
	int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

	return era * 146097 + day_of_era - 719468;
}

static void fields_of(int64_t seconds, struct fields *f)
{
	int64_t days = floor_div(seconds, S_PER_DAY);
	int64_t rest = seconds - days * S_PER_DAY;
	int64_t z = days + 719468;
	int64_t era = floor_div(z, 146097);
	int64_t day_of_era = z - era * 146097;
	int64_t year_of_era =
		(day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	int64_t day_of_year =
		day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	int64_t m = (5 * day_of_year + 2) / 153;

	f->day = (unsigned)(day_of_year - (153 * m + 2) / 5 + 1);
	f->month = (unsigned)(m < 10 ? m + 3 : m - 9);
	f->year = year_of_era + era * 400 + (f->month <= 2);
	f->weekday = (unsigned)((((days + 4) % 7) + 7) % 7) + 1; /* 1: Sunday */
	f->hour = (unsigned)(rest / 3600);
	f->minute = (unsigned)(rest / 60 % 60);
	f->second = (unsigned)(rest % 60);
}

/* --- register format --------------------------------------------------------- */

static uint8_t encode(uint8_t reg_b, unsigned v)
{
	return (uint8_t)(reg_b & B_DM ? v : v / 10 << 4 | v % 10);
}

static unsigned decode(uint8_t reg_b, uint8_t v)
{
	return reg_b & B_DM ? v : (v >> 4) * 10u + (v & 15);
}

static uint8_t encode_hour(uint8_t reg_b, unsigned hour)
{
	if (reg_b & B_24H)
		return encode(reg_b, hour);
	return encode(reg_b, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static unsigned decode_hour(uint8_t reg_b, uint8_t v)
{
	if (reg_b & B_24H)
		return decode(reg_b, v);
	return decode(reg_b, v & ~HOUR_PM) % 12 + (v & HOUR_PM ? 12 : 0);
}

static bool is_time_register(uint8_t reg)
{
	return reg == SECONDS || reg == MINUTES || reg == HOURS ||
	       (reg >= DAY_OF_WEEK && reg <= YEAR) || reg == CMOS_CENTURY;
}

/* --- time -------------------------------------------------------------------- */

static int64_t clamp_time(int64_t now)
{
	return now > TIME_MAX ? TIME_MAX : now < TIME_MIN ? TIME_MIN : now;
}

static int64_t fraction_of(int64_t now)
{
	return now - floor_div(now, NS_PER_S) * NS_PER_S;
}

static int64_t guest_now(const struct cmos *c)
{
	int64_t now;

	if (__builtin_add_overflow(clock_wall_ns(&c->clock), c->offset_ns, &now))
		now = c->offset_ns < 0 ? TIME_MIN : TIME_MAX;
	return clamp_time(now);
}

static void show_time(struct cmos *c, int64_t now)
{
	uint8_t b = c->ram[REG_B];
	struct fields f;

	fields_of(floor_div(now, NS_PER_S), &f);
	c->ram[SECONDS] = encode(b, f.second);
	c->ram[MINUTES] = encode(b, f.minute);
	c->ram[HOURS] = encode_hour(b, f.hour);
	c->ram[DAY_OF_WEEK] = encode(b, f.weekday);
	c->ram[DAY_OF_MONTH] = encode(b, f.day);
	c->ram[MONTH] = encode(b, f.month);
	c->ram[YEAR] = encode(b, (unsigned)(f.year % 100));
	/* Firmware's byte, not the chip's: always BCD but with B.DM, as Linux reads it. */
	c->ram[CMOS_CENTURY] = encode(b, (unsigned)(f.year / 100));
}

/* The registers say what time it is, `fraction` nanoseconds into the second. */
static void take_time(struct cmos *c, int64_t fraction)
{
	uint8_t b = c->ram[REG_B];
	int64_t month = decode(b, c->ram[MONTH]);
	int64_t seconds;

	month = month < 1 ? 1 : month > 12 ? 12 : month;
	seconds = days_of(decode(b, c->ram[CMOS_CENTURY]) * 100ll + decode(b, c->ram[YEAR]), month,
			  decode(b, c->ram[DAY_OF_MONTH])) *
			  S_PER_DAY +
		  decode_hour(b, c->ram[HOURS]) * 3600ll + decode(b, c->ram[MINUTES]) * 60ll +
		  decode(b, c->ram[SECONDS]);
	int64_t now;

	if (__builtin_mul_overflow(seconds, NS_PER_S, &now) ||
	    __builtin_add_overflow(now, fraction, &now))
		now = seconds < 0 ? TIME_MIN : TIME_MAX;
	now = clamp_time(now);
	if (__builtin_sub_overflow(now, clock_wall_ns(&c->clock), &c->offset_ns))
		c->offset_ns = 0;
	/* A time that was set is not an update that happened. */
	c->flags_seen_ns = now;
}

static bool runs(uint8_t reg_a, uint8_t reg_b)
{
	return (reg_a & A_DV) == A_DV_RUN && !(reg_b & B_SET);
}

static void write_time_register(struct cmos *c, uint8_t reg, uint8_t val)
{
	int64_t now = guest_now(c);

	if (!c->halted)
		show_time(c, now);
	c->ram[reg] = val;
	if (!c->halted)
		take_time(c, fraction_of(now));
}

/* Registers A and B start and stop the clock. */
static void write_control(struct cmos *c, uint8_t reg, uint8_t val)
{
	uint8_t a = reg == REG_A ? val & ~A_UIP : c->ram[REG_A];
	uint8_t b = reg == REG_B ? val : c->ram[REG_B];
	bool divider_starts = (c->ram[REG_A] & A_DV) != A_DV_RUN;
	int64_t now = guest_now(c);

	/* The chip does not convert what is in its registers when the format changes
	 * [MC146818A "Data mode"]: shown in the old one, read back in the new one. */
	if (!c->halted && !runs(a, b))
		show_time(c, now);
	c->ram[REG_A] = a;
	c->ram[REG_B] = b;
	if (c->halted && runs(a, b))
		take_time(c, divider_starts ? NS_PER_S / 2 : fraction_of(now));
	c->halted = !runs(a, b);
}

/* --- flags ------------------------------------------------------------------- */

static bool alarm_matches(const struct cmos *c, int64_t seconds)
{
	uint8_t b = c->ram[REG_B];
	struct fields f;

	fields_of(seconds, &f);
	return (c->ram[SECONDS_ALARM] >= ALARM_ANY ||
		c->ram[SECONDS_ALARM] == encode(b, f.second)) &&
	       (c->ram[MINUTES_ALARM] >= ALARM_ANY ||
		c->ram[MINUTES_ALARM] == encode(b, f.minute)) &&
	       (c->ram[HOURS_ALARM] >= ALARM_ANY || c->ram[HOURS_ALARM] == encode_hour(b, f.hour));
}

/* Did a second in (from, to] match the alarm? Alarms repeat daily, so a day's
 * worth of looks is enough; a guest pays for them with the time that passed. */
static bool alarm_passed(const struct cmos *c, int64_t from, int64_t to)
{
	if (to - from > S_PER_DAY)
		from = to - S_PER_DAY;
	while (from < to)
		if (alarm_matches(c, ++from))
			return true;
	return false;
}

/* What happened since register C was last read, which clears it. */
static uint8_t read_reg_c(struct cmos *c)
{
	int64_t now = guest_now(c), seen = c->flags_seen_ns;
	unsigned rate = c->ram[REG_A] & A_RS;
	uint8_t flags = 0;

	if (c->halted || now <= seen) {
		/* A host's clock that was set back makes nothing happen twice. */
		c->flags_seen_ns = now;
		return 0;
	}
	if (floor_div(now, NS_PER_S) != floor_div(seen, NS_PER_S)) {
		flags |= C_UF;
		if (alarm_passed(c, floor_div(seen, NS_PER_S), floor_div(now, NS_PER_S)))
			flags |= C_AF;
	}
	if (rate) {
		/* Rates 1 and 2 repeat 8 and 9 with the 32.768 kHz time base. */
		int64_t period = (NS_PER_S << ((rate < 3 ? rate + 7 : rate) - 1)) / 32768;

		if (floor_div(now, period) != floor_div(seen, period))
			flags |= C_PF;
	}
	c->flags_seen_ns = now;
	if (flags & c->ram[REG_B] & (C_PF | C_AF | C_UF))
		flags |= C_IRQF;
	return flags;
}

/* --- registers --------------------------------------------------------------- */

static uint8_t read_register(struct cmos *c, uint8_t reg)
{
	int64_t now;

	if (reg == REG_C)
		return read_reg_c(c);
	if (reg == REG_A && !c->halted) {
		now = guest_now(c);
		return c->ram[REG_A] | (fraction_of(now) >= NS_PER_S - UIP_NS ? A_UIP : 0);
	}
	if (is_time_register(reg) && !c->halted)
		show_time(c, guest_now(c));
	return c->ram[reg];
}

static void write_register(struct cmos *c, uint8_t reg, uint8_t val)
{
	if (is_time_register(reg))
		write_time_register(c, reg, val);
	else if (reg == REG_A || reg == REG_B)
		write_control(c, reg, val);
	else if (reg != REG_C && reg != REG_D) /* these two are read-only */
		c->ram[reg] = val;
}

static uint8_t read8(void *dev, uint64_t off)
{
	struct cmos *c = dev;
	uint8_t val = 0xff; /* the index port cannot be read back */

	if (off == 1) {
		pthread_mutex_lock(&c->lock);
		val = read_register(c, c->index);
		pthread_mutex_unlock(&c->lock);
	}
	return val;
}

static void write8(void *dev, uint64_t off, uint8_t val)
{
	struct cmos *c = dev;

	pthread_mutex_lock(&c->lock);
	if (off == 0)
		c->index = val & (CMOS_RAM - 1); /* bit 7 masks the NMI, of which there is none */
	else if (off == 1)
		write_register(c, c->index, val);
	pthread_mutex_unlock(&c->lock);
}

static uint64_t cmos_read(void *dev, uint64_t off, unsigned size)
{
	return byte_lanes_read(dev, off, size, read8);
}

static void cmos_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	byte_lanes_write(dev, off, size, val, write8);
}

const struct io_ops cmos_io_ops = {cmos_read, cmos_write};

/* --- life -------------------------------------------------------------------- */

void cmos_init(struct cmos *c, const struct clock *clock)
{
	memset(c, 0, sizeof(*c));
	pthread_mutex_init(&c->lock, NULL);
	c->clock = *clock;
	/* As a PC's firmware leaves it. */
	c->ram[REG_A] = A_POWER_ON;
	c->ram[REG_B] = B_24H;
	c->ram[REG_D] = D_VRT;
	c->flags_seen_ns = guest_now(c);
}

/* The RESET# pin clears the interrupt enables and flags; time and RAM are on
 * the battery [MC146818A "RESET"]. */
static void cmos_reset(void *dev)
{
	struct cmos *c = dev;

	pthread_mutex_lock(&c->lock);
	c->ram[REG_B] &= ~(B_PIE | B_AIE | B_UIE | B_SQWE);
	c->flags_seen_ns = guest_now(c);
	c->index = 0;
	pthread_mutex_unlock(&c->lock);
}

static void cmos_fini(void *dev)
{
	struct cmos *c = dev;

	pthread_mutex_destroy(&c->lock);
}

static void cmos_save(void *dev, struct state_writer *w)
{
	struct cmos *c = dev;

	pthread_mutex_lock(&c->lock);
	/* While the clock runs, its registers in RAM are leftovers of a read. */
	if (!c->halted)
		show_time(c, 0);
	state_section_begin(w, "cmos", 1);
	state_put_u8(w, c->index);
	state_put_u64(w, (uint64_t)c->offset_ns);
	state_put_u64(w, (uint64_t)c->flags_seen_ns);
	state_put_bytes(w, c->ram, sizeof(c->ram));
	state_section_end(w);
	pthread_mutex_unlock(&c->lock);
}

static int cmos_load(void *dev, struct state_reader *r, struct err *e)
{
	struct cmos *c = dev, s = {0};
	int ret = state_section_expect(r, "cmos", 1, e);

	if (ret)
		return ret;
	s.index = state_get_u8(r);
	s.offset_ns = (int64_t)state_get_u64(r);
	s.flags_seen_ns = (int64_t)state_get_u64(r);
	state_get_bytes(r, s.ram, sizeof(s.ram));
	ret = state_section_close(r, e);
	if (ret)
		return ret;
	if (s.index >= CMOS_RAM || s.ram[REG_A] & A_UIP || s.ram[REG_C] || s.ram[REG_D] != D_VRT ||
	    s.flags_seen_ns < TIME_MIN || s.flags_seen_ns > TIME_MAX)
		return err_host(e, -EBADMSG, "saved state: cmos that cannot be");
	pthread_mutex_lock(&c->lock);
	c->index = s.index;
	c->offset_ns = s.offset_ns;
	c->flags_seen_ns = s.flags_seen_ns;
	memcpy(c->ram, s.ram, sizeof(c->ram));
	c->halted = !runs(s.ram[REG_A], s.ram[REG_B]);
	pthread_mutex_unlock(&c->lock);
	return 0;
}

const struct device_ops cmos_device_ops = {
	.reset = cmos_reset,
	.save = cmos_save,
	.load = cmos_load,
	.fini = cmos_fini,
};
