/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three ways out of the machine and one way to ask for it.
 *
 * Power-off: the guest's ACPI code writes SLP_TYP 5 with SLP_EN. Sleep states
 * that firmware does not offer are ignored. WAK_STS never gets set: nothing ever
 * sleeps here, so nothing wakes.
 *
 * Reset: bit 2 of 0xcf9 (RST_CPU) going up; bits 1 and 3 say how hard, which
 * makes no difference to a machine that is taken down as a whole. ACPI writes
 * 6 at once; Linux's reboot=p first writes 2 to a register that it has read,
 * so the register keeps its value.
 *
 * Power button: sets a bit in the event byte and gives the GED's line an edge.
 * The AML behind that interrupt reads the byte, which clears it, and notifies
 * PWRB. Hot-plug has the bit beside it, and what it is about in registers of its own; the VM
 * generation ID has the next, and lies in RAM. The bit outlives an edge that finds no listener:
 * whichever edge comes next delivers both.
 */
#include "devices/power/power.h"

#include "devices/byte_lanes.h"

#include <errno.h>
#include <string.h>

enum { SLEEP_CONTROL = 0, SLEEP_STATUS = 1, GED_EVENTS = 2 };
enum { SLP_TYP_SHIFT = 2, SLP_TYP = 0x1c, SLP_EN = 0x20 };
enum { RST_SYS = 0x02, RST_CPU = 0x04, RST_FULL = 0x08, RST_BITS = RST_SYS | RST_CPU | RST_FULL };
enum {
	EVENT_BITS =
		POWER_EVENT_BUTTON | POWER_EVENT_HOTPLUG | POWER_EVENT_VMGENID | POWER_EVENT_CPUS
};

/* --- ACPI -------------------------------------------------------------------- */

static uint8_t acpi_read8(void *dev, uint64_t off)
{
	struct power *p = dev;
	uint8_t val = 0;

	pthread_mutex_lock(&p->lock);
	if (off == SLEEP_CONTROL) {
		val = p->sleep_control; /* SLP_EN is write-only */
	} else if (off == GED_EVENTS) {
		val = p->events;
		p->events = 0;
	}
	pthread_mutex_unlock(&p->lock);
	return val;
}

static void acpi_write8(void *dev, uint64_t off, uint8_t val)
{
	struct power *p = dev;
	unsigned type = (val & SLP_TYP) >> SLP_TYP_SHIFT;

	if (off != SLEEP_CONTROL) /* WAK_STS is never set, the event byte is read-only */
		return;
	pthread_mutex_lock(&p->lock);
	p->sleep_control = val & SLP_TYP;
	pthread_mutex_unlock(&p->lock);
	if (!(val & SLP_EN))
		return;
	if (type == POWER_SLP_TYP_S5)
		stop_request(&p->stop, STOP_POWEROFF, NULL);
	else
		log_guest(&p->complaints,
			  "power: the guest asked for sleep type %u, which this "
			  "machine does not have",
			  type);
}

static uint64_t acpi_read(void *dev, uint64_t off, unsigned size)
{
	return byte_lanes_read(dev, off, size, acpi_read8);
}

static void acpi_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	byte_lanes_write(dev, off, size, val, acpi_write8);
}

const struct io_ops power_acpi_io_ops = {acpi_read, acpi_write};

static void tell(struct power *p, uint8_t event)
{
	pthread_mutex_lock(&p->lock);
	p->events |= event;
	irq_line_pulse(&p->ged);
	pthread_mutex_unlock(&p->lock);
}

void power_button_press(struct power *p)
{
	tell(p, POWER_EVENT_BUTTON);
}

void power_hotplug_event(struct power *p)
{
	tell(p, POWER_EVENT_HOTPLUG);
}

void power_vmgenid_event(struct power *p)
{
	tell(p, POWER_EVENT_VMGENID);
}

void power_cpus_event(struct power *p)
{
	tell(p, POWER_EVENT_CPUS);
}

/* --- 0xcf9 ------------------------------------------------------------------- */

static uint64_t reset_read(void *dev, uint64_t off, unsigned size)
{
	struct power *p = dev;

	pthread_mutex_lock(&p->lock);
	uint8_t val = p->reset_control;

	pthread_mutex_unlock(&p->lock);
	return val;
}

static void reset_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct power *p = dev;

	pthread_mutex_lock(&p->lock);
	bool fires = val & ~(uint64_t)p->reset_control & RST_CPU;

	p->reset_control = val & RST_BITS;
	pthread_mutex_unlock(&p->lock);
	if (fires)
		stop_request(&p->stop, STOP_RESET, "by the reset control register");
}

const struct io_ops power_reset_io_ops = {reset_read, reset_write};

/* --- life -------------------------------------------------------------------- */

void power_init(struct power *p, const struct irq_line *ged, const struct stop_sink *stop)
{
	memset(p, 0, sizeof(*p));
	pthread_mutex_init(&p->lock, NULL);
	p->ged = *ged;
	p->stop = *stop;
}

static void power_reset(void *dev)
{
	struct power *p = dev;

	pthread_mutex_lock(&p->lock);
	p->sleep_control = p->events = p->reset_control = 0;
	pthread_mutex_unlock(&p->lock);
}

static void power_fini(void *dev)
{
	struct power *p = dev;

	pthread_mutex_destroy(&p->lock);
}

static void power_save(void *dev, struct state_writer *w)
{
	struct power *p = dev;

	pthread_mutex_lock(&p->lock);
	state_section_begin(w, "power", 1);
	state_put_u8(w, p->sleep_control);
	state_put_u8(w, p->events);
	state_put_u8(w, p->reset_control);
	state_section_end(w);
	pthread_mutex_unlock(&p->lock);
}

static int power_load(void *dev, struct state_reader *r, struct err *e)
{
	struct power *p = dev;
	int ret = state_section_expect(r, "power", 1, e);

	if (ret)
		return ret;
	uint8_t sleep_control = state_get_u8(r);
	uint8_t events = state_get_u8(r);
	uint8_t reset_control = state_get_u8(r);

	ret = state_section_close(r, e);
	if (ret)
		return ret;
	if (sleep_control & ~SLP_TYP || events & ~EVENT_BITS || reset_control & ~RST_BITS)
		return err_host(e, -EBADMSG, "saved state: power that cannot be");
	pthread_mutex_lock(&p->lock);
	p->sleep_control = sleep_control;
	p->events = events;
	p->reset_control = reset_control;
	pthread_mutex_unlock(&p->lock);
	return 0;
}

const struct device_ops power_device_ops = {
	.reset = power_reset,
	.save = power_save,
	.load = power_load,
	.fini = power_fini,
};
