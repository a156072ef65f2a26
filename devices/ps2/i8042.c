/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A controller that answers every command at once and has no keyboard.
 *
 * Two readers decide how it must look:
 *
 *  - Linux's kb_wait(), before it pulls the reset line, polls status until IBF
 *    is clear, for up to 130 ms: IBF never is set here, every write is taken at
 *    once.
 *  - Linux's i8042 driver, where no ACPI tells it to stay away, waits half a
 *    second for each answer that does not come. So each command that has an
 *    answer gets it in the same exit, and the aux port fails its loop test in
 *    the way that says "there is none" (the byte comes back without AUXDATA).
 *
 * Bytes for the keyboard vanish: nobody is there to acknowledge them.
 */
#include "devices/ps2/i8042.h"

#include "devices/byte_lanes.h"

#include <errno.h>
#include <string.h>

enum { PORT_DATA = 0, PORT_NMI_SC = 1, PORT_COMMAND = 4 };

/* SERR# and IOCHK# (bits 7, 6) never happen; the timer is not there. Whoever takes an
 * NMI asks here for its source, and all ones would blame both [ICH9 13.7.1]. */
enum { NMI_SC_WRITABLE = 0x0f };

enum { STATUS_OBF = 0x01, STATUS_SYSTEM = 0x04, STATUS_COMMAND = 0x08, STATUS_UNLOCKED = 0x10 };

enum {
	CMD_READ_CTR = 0x20,
	CMD_WRITE_CTR = 0x60,
	CMD_AUX_TEST = 0xa9,
	CMD_SELF_TEST = 0xaa,
	CMD_KBD_TEST = 0xab,
	CMD_KBD_DISABLE = 0xad,
	CMD_KBD_ENABLE = 0xae,
	CMD_READ_INPUT = 0xc0,
	CMD_READ_OUTPUT = 0xd0,
	CMD_WRITE_OUTPUT = 0xd1,
	CMD_KBD_LOOP = 0xd2,
	CMD_AUX_LOOP = 0xd3,
	CMD_AUX_SEND = 0xd4,
	CMD_PULSE = 0xf0 /* to 0xff: the low nibble's zero bits go low for 6 us */
};

enum { CTR_SYSTEM = 0x04, CTR_KBD_DISABLED = 0x10, CTR_AUX_DISABLED = 0x20 };
enum { OUTPUT_NOT_RESET = 0x01, OUTPUT_A20 = 0x02, OUTPUT_OBF = 0x10 };

enum { SELF_TEST_PASSED = 0x55, AUX_CLOCK_STUCK = 0x01, INPUT_UNLOCKED = 0x80 };

static void answer(struct i8042 *k, uint8_t val)
{
	k->out = val;
	k->obf = true;
}

/* Give whether the machine is to be reset. */
static bool write_command(struct i8042 *k, uint8_t cmd)
{
	k->after_cmd = true;
	k->pending = 0;
	switch (cmd) {
	case CMD_READ_CTR:
		answer(k, k->ctr);
		break;
	case CMD_WRITE_CTR:
	case CMD_WRITE_OUTPUT:
	case CMD_KBD_LOOP:
	case CMD_AUX_LOOP:
	case CMD_AUX_SEND:
		k->pending = cmd;
		break;
	case CMD_SELF_TEST:
		k->ctr |= CTR_SYSTEM;
		answer(k, SELF_TEST_PASSED);
		break;
	case CMD_KBD_TEST:
		answer(k, 0);
		break;
	case CMD_AUX_TEST:
		answer(k, AUX_CLOCK_STUCK);
		break;
	case CMD_KBD_DISABLE:
		k->ctr |= CTR_KBD_DISABLED;
		break;
	case CMD_KBD_ENABLE:
		k->ctr &= ~CTR_KBD_DISABLED;
		break;
	case CMD_READ_INPUT:
		answer(k, INPUT_UNLOCKED);
		break;
	case CMD_READ_OUTPUT:
		answer(k, OUTPUT_NOT_RESET | OUTPUT_A20 | (k->obf ? OUTPUT_OBF : 0));
		break;
	default:
		return cmd >= CMD_PULSE && !(cmd & OUTPUT_NOT_RESET);
	}
	return false;
}

static bool write_data(struct i8042 *k, uint8_t val)
{
	uint8_t cmd = k->pending;

	k->after_cmd = false;
	k->pending = 0;
	switch (cmd) {
	case CMD_WRITE_CTR:
		k->ctr = val | CTR_AUX_DISABLED;
		break;
	case CMD_WRITE_OUTPUT:
		return !(val & OUTPUT_NOT_RESET);
	case CMD_KBD_LOOP:
	case CMD_AUX_LOOP:
		answer(k, val);
		break;
	default: /* for the keyboard, or for what would be on the aux port */
		break;
	}
	return false;
}

static uint8_t read8(void *dev, uint64_t off)
{
	struct i8042 *k = dev;
	uint8_t val = 0xff;

	pthread_mutex_lock(&k->lock);
	if (off == PORT_DATA) {
		/* An empty buffer repeats what it held last. */
		val = k->out;
		k->obf = false;
	} else if (off == PORT_NMI_SC) {
		val = k->nmi_sc;
	} else if (off == PORT_COMMAND) {
		val = STATUS_UNLOCKED | (k->obf ? STATUS_OBF : 0) |
		      (k->ctr & CTR_SYSTEM ? STATUS_SYSTEM : 0) |
		      (k->after_cmd ? STATUS_COMMAND : 0);
	}
	pthread_mutex_unlock(&k->lock);
	return val;
}

static void write8(void *dev, uint64_t off, uint8_t val)
{
	struct i8042 *k = dev;
	bool reset = false;

	pthread_mutex_lock(&k->lock);
	if (off == PORT_DATA)
		reset = write_data(k, val);
	else if (off == PORT_NMI_SC)
		k->nmi_sc = val & NMI_SC_WRITABLE;
	else if (off == PORT_COMMAND)
		reset = write_command(k, val);
	pthread_mutex_unlock(&k->lock);
	if (reset)
		stop_request(&k->stop, STOP_RESET, "by the keyboard controller");
}

static uint64_t i8042_read(void *dev, uint64_t off, unsigned size)
{
	return byte_lanes_read(dev, off, size, read8);
}

static void i8042_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	byte_lanes_write(dev, off, size, val, write8);
}

const struct io_ops i8042_io_ops = {i8042_read, i8042_write};

/* --- life -------------------------------------------------------------------- */

static void set_power_on(struct i8042 *k)
{
	/* As firmware that has run its self test leaves it. */
	k->ctr = CTR_SYSTEM | CTR_AUX_DISABLED;
	k->pending = k->out = k->nmi_sc = 0;
	k->obf = k->after_cmd = false;
}

void i8042_init(struct i8042 *k, const struct stop_sink *stop)
{
	memset(k, 0, sizeof(*k));
	pthread_mutex_init(&k->lock, NULL);
	k->stop = *stop;
	set_power_on(k);
}

static void i8042_reset(void *dev)
{
	struct i8042 *k = dev;

	pthread_mutex_lock(&k->lock);
	set_power_on(k);
	pthread_mutex_unlock(&k->lock);
}

static void i8042_fini(void *dev)
{
	struct i8042 *k = dev;

	pthread_mutex_destroy(&k->lock);
}

static void i8042_save(void *dev, struct state_writer *w)
{
	struct i8042 *k = dev;

	pthread_mutex_lock(&k->lock);
	state_section_begin(w, "i8042", 2);
	state_put_u8(w, k->ctr);
	state_put_u8(w, k->pending);
	state_put_u8(w, k->out);
	state_put_bool(w, k->obf);
	state_put_bool(w, k->after_cmd);
	state_put_u8(w, k->nmi_sc);
	state_section_end(w);
	pthread_mutex_unlock(&k->lock);
}

static int i8042_load(void *dev, struct state_reader *r, struct err *e)
{
	struct i8042 *k = dev, s = {0};
	int ret = state_section_expect(r, "i8042", 2, e);

	if (ret)
		return ret;
	s.ctr = state_get_u8(r);
	s.pending = state_get_u8(r); /* an unknown command is one without effect */
	s.out = state_get_u8(r);
	s.obf = state_get_bool(r);
	s.after_cmd = state_get_bool(r);
	s.nmi_sc = state_get_u8(r);
	ret = state_section_close(r, e);
	if (ret)
		return ret;
	if (s.nmi_sc & ~NMI_SC_WRITABLE)
		return err_host(e, -EBADMSG, "saved state: i8042 that cannot be");
	pthread_mutex_lock(&k->lock);
	k->ctr = s.ctr;
	k->pending = s.pending;
	k->out = s.out;
	k->obf = s.obf;
	k->after_cmd = s.after_cmd;
	k->nmi_sc = s.nmi_sc;
	pthread_mutex_unlock(&k->lock);
	return 0;
}

const struct device_ops i8042_device_ops = {
	.reset = i8042_reset,
	.save = i8042_save,
	.load = i8042_load,
	.fini = i8042_fini,
};
