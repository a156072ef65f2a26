/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a bitmap are read one by one, as the DSDT's fields are: a processor's _STA costs the
 * guest one exit, and not one for each of eight bytes.
 *
 * A processor counts as the guest's from its _OST on: one that is not listened to would else be
 * told of as if it were in use.
 *
 * Locks: ours, then those behind the wires.
 */
#include "devices/cpu/hotplug.h"

#include "devices/byte_lanes.h"

#include <errno.h>
#include <string.h>

enum {
	HERE = 0,
	UP = 8,
	DOWN = 16,
	EJECT = 24,
	EVENT = 25,
	STATUS = 26,
	TOLD = 27,
	STATE_VERSION = 1,

	/* [ACPI 6.5 table 5.168], and of _OST [table 6.56] */
	BUS_CHECK = 0,
	DEVICE_CHECK = 1,
	EJECT_REQUEST = 3,
	SUCCESS = 0,
	IN_PROGRESS = 0x84,
};

static uint64_t bit(unsigned cpu)
{
	return 1ull << cpu;
}

static uint64_t first(unsigned n)
{
	return n < 64 ? bit(n) - 1 : UINT64_MAX;
}

/* --- the guest's side ------------------------------------------------------------------ */

static uint8_t lane(uint64_t reg, uint64_t i)
{
	return (uint8_t)(reg >> 8 * i);
}

static uint8_t take_lane(uint64_t *reg, uint64_t i)
{
	uint8_t val = lane(*reg, i);

	*reg &= ~(0xffull << 8 * i);
	return val;
}

static uint8_t hotplug_read8(void *dev, uint64_t off)
{
	struct cpu_hotplug *h = dev;
	uint8_t val = 0;

	pthread_mutex_lock(&h->lock);
	if (off < UP)
		val = lane(h->here, off - HERE);
	else if (off < DOWN)
		val = take_lane(&h->up, off - UP);
	else if (off < EJECT)
		val = take_lane(&h->down, off - DOWN);
	else if (off == EVENT)
		val = h->event;
	else if (off == STATUS)
		val = h->status;
	pthread_mutex_unlock(&h->lock);
	return val;
}

static struct cpu_hotplug_count count(const struct cpu_hotplug *h)
{
	return (struct cpu_hotplug_count){
		.has = (unsigned)__builtin_popcountll(h->here & ~h->coming),
		.target = h->target,
	};
}

static void eject(struct cpu_hotplug *h, unsigned cpu)
{
	if (!cpu || cpu >= CPU_HOTPLUG_MAX || !(h->here & bit(cpu)))
		return;
	h->here &= ~bit(cpu);
	h->coming &= ~bit(cpu);
	h->up &= ~bit(cpu);
	h->down &= ~bit(cpu);
	h->wires.ejected(h->wires.ctx, cpu);
	h->wires.changed(h->wires.ctx, count(h));
}

/* What became of what it was told of. */
static void take_word(struct cpu_hotplug *h, unsigned cpu)
{
	if (cpu >= CPU_HOTPLUG_MAX || !(h->here & bit(cpu)) || h->status == IN_PROGRESS)
		return;
	if (h->event == EJECT_REQUEST && h->status != SUCCESS) {
		log_guest(&h->complaints, "the guest does not give CPU %u up (status %#x)", cpu,
			  h->status);
	} else if ((h->event == BUS_CHECK || h->event == DEVICE_CHECK) && h->coming & bit(cpu)) {
		if (h->status != SUCCESS) {
			log_guest(&h->complaints, "the guest does not take CPU %u (status %#x)",
				  cpu, h->status);
			return;
		}
		h->coming &= ~bit(cpu);
		h->up &= ~bit(cpu);
		h->wires.changed(h->wires.ctx, count(h));
	}
}

static void hotplug_write8(void *dev, uint64_t off, uint8_t val)
{
	struct cpu_hotplug *h = dev;

	pthread_mutex_lock(&h->lock);
	switch (off) {
	case EJECT:
		eject(h, val);
		break;
	case EVENT:
		h->event = val;
		break;
	case STATUS:
		h->status = val;
		break;
	case TOLD:
		take_word(h, val);
		break;
	default:
		break;
	}
	pthread_mutex_unlock(&h->lock);
}

static uint64_t hotplug_read(void *dev, uint64_t off, unsigned size)
{
	return byte_lanes_read(dev, off, size, hotplug_read8);
}

static void hotplug_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	byte_lanes_write(dev, off, size, val, hotplug_write8);
}

const struct io_ops cpu_hotplug_io_ops = {hotplug_read, hotplug_write};

/* --- the machine's side ---------------------------------------------------------------- */

void cpu_hotplug_init(struct cpu_hotplug *h, unsigned n, unsigned max,
		      const struct cpu_hotplug_wires *wires)
{
	memset(h, 0, sizeof(*h));
	pthread_mutex_init(&h->lock, NULL);
	h->wires = *wires;
	h->max = max;
	h->target = n;
	h->here = first(n);
}

void cpu_hotplug_renew(struct cpu_hotplug *h, unsigned n)
{
	pthread_mutex_lock(&h->lock);
	h->target = n;
	h->here = first(n);
	h->coming = h->up = h->down = 0;
	h->event = h->status = 0;
	pthread_mutex_unlock(&h->lock);
}

uint64_t cpu_hotplug_here(struct cpu_hotplug *h)
{
	pthread_mutex_lock(&h->lock);
	uint64_t here = h->here;

	pthread_mutex_unlock(&h->lock);
	return here;
}

uint64_t cpu_hotplug_missing(struct cpu_hotplug *h, unsigned n)
{
	return first(n) & ~cpu_hotplug_here(h);
}

void cpu_hotplug_want(struct cpu_hotplug *h, unsigned n)
{
	pthread_mutex_lock(&h->lock);
	uint64_t come = first(n) & ~h->here;

	h->target = n;
	h->here |= come;
	h->coming |= come;
	/* One that it has not been heard to take, it is told of again. */
	h->up = h->coming & first(n);
	h->down = h->here & ~first(n);
	if (h->up | h->down)
		h->wires.event(h->wires.ctx);
	pthread_mutex_unlock(&h->lock);
}

struct cpu_hotplug_count cpu_hotplug_count(struct cpu_hotplug *h)
{
	pthread_mutex_lock(&h->lock);
	struct cpu_hotplug_count c = count(h);

	pthread_mutex_unlock(&h->lock);
	return c;
}

/* --- life ------------------------------------------------------------------------------ */

static void hotplug_reset(void *dev)
{
	struct cpu_hotplug *h = dev;

	/* Who comes up finds what is there by looking. */
	pthread_mutex_lock(&h->lock);
	h->up = h->down = 0;
	h->event = h->status = 0;
	pthread_mutex_unlock(&h->lock);
}

static void hotplug_fini(void *dev)
{
	struct cpu_hotplug *h = dev;

	pthread_mutex_destroy(&h->lock);
}

static void hotplug_save(void *dev, struct state_writer *w)
{
	struct cpu_hotplug *h = dev;

	pthread_mutex_lock(&h->lock);
	state_section_begin(w, "cpus", STATE_VERSION);
	state_put_u32(w, h->max);
	state_put_u32(w, h->target);
	state_put_u64(w, h->here);
	state_put_u64(w, h->coming);
	state_put_u64(w, h->up);
	state_put_u64(w, h->down);
	state_put_u8(w, h->event);
	state_put_u8(w, h->status);
	state_section_end(w);
	pthread_mutex_unlock(&h->lock);
}

static int hotplug_load(void *dev, struct state_reader *r, struct err *e)
{
	struct cpu_hotplug *h = dev;
	int ret = state_section_expect(r, "cpus", STATE_VERSION, e);

	if (ret)
		return ret;
	uint32_t max = state_get_u32(r), target = state_get_u32(r);
	uint64_t here = state_get_u64(r), coming = state_get_u64(r);
	uint64_t up = state_get_u64(r), down = state_get_u64(r);
	uint8_t event = state_get_u8(r), status = state_get_u8(r);

	ret = state_section_close(r, e);
	if (ret)
		return ret;
	pthread_mutex_lock(&h->lock);
	if (max != h->max || !target || target > max || !(here & 1) || here & ~first(max) ||
	    (coming | up | down) & ~here || (coming | up | down) & 1 || up & ~coming || up & down) {
		ret = -EBADMSG;
	} else {
		h->target = target;
		h->here = here;
		h->coming = coming;
		h->up = up;
		h->down = down;
		h->event = event;
		h->status = status;
	}
	pthread_mutex_unlock(&h->lock);
	return ret ? err_host(e, ret, "saved state: 'cpus' that cannot be of this machine") : 0;
}

const struct device_ops cpu_hotplug_device_ops = {
	.reset = hotplug_reset,
	.save = hotplug_save,
	.load = hotplug_load,
	.fini = hotplug_fini,
};
