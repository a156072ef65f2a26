/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/virtio_mmio_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct vmmio *vmmio(struct rig *r)
{
	return (struct vmmio *)r;
}

/* --- the machine ------------------------------------------------------------------ */

static void hold(void *ctx, bool (*done)(void *dev, unsigned timeout_ms), void *dev)
{
	struct vmmio *r = ctx;

	r->held_until = done;
	r->held_by = dev;
	r->holds++;
}

static struct rig *create(int attach_errno)
{
	struct vmmio *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	rig_init(&r->m, &rig_mmio, attach_errno);
	fake_irq_init(&r->irq);
	const struct virtio_mmio_env env = {
		.base = VMMIO_BASE,
		.irq = fake_irq_line(&r->irq, VMMIO_PIN),
		.doorbell = fake_doorbell_wire(&r->m.bell),
		.hold = {hold, r},
	};

	assert_int_equal(virtio_mmio_init(&r->dev, &r->m.echo.v, &env), 0);
	assert_int_equal(bus_add(&r->m.mmio, VMMIO_BASE, VIRTIO_MMIO_LEN, &virtio_mmio_io_ops,
				 &r->dev, "echo0"),
			 0);
	return &r->m;
}

static void destroy(struct rig *rig)
{
	struct vmmio *r = vmmio(rig);

	virtio_mmio_device_ops.fini(&r->dev);
	assert_int_equal(bus_remove(&rig->mmio, VMMIO_BASE, &r->dev), 0);
	assert_false(vmmio_line(r));
	fake_irq_fini(&r->irq);
	rig_fini(rig);
}

int vmmio_setup(void **state)
{
	*state = create(0);
	return 0;
}

int vmmio_setup_trapped(void **state)
{
	*state = create(-ENOTSUP);
	return 0;
}

int vmmio_teardown(void **state)
{
	destroy(*state);
	return 0;
}

/* --- the driver --------------------------------------------------------------------- */

uint64_t vmmio_ld(struct vmmio *r, unsigned off, unsigned size)
{
	return rig_ld(&r->m, VMMIO_BASE + off, size);
}

void vmmio_st(struct vmmio *r, unsigned off, unsigned size, uint64_t val)
{
	rig_st(&r->m, VMMIO_BASE + off, size, val);
}

uint32_t vmmio_get(struct vmmio *r, unsigned reg)
{
	return (uint32_t)vmmio_ld(r, reg, 4);
}

void vmmio_set(struct vmmio *r, unsigned reg, uint32_t val)
{
	vmmio_st(r, reg, 4, val);
}

bool vmmio_line(struct vmmio *r)
{
	return fake_irq_level(&r->irq, VMMIO_PIN);
}

unsigned vmmio_edges(struct vmmio *r)
{
	return fake_irq_raised(&r->irq, VMMIO_PIN);
}

/* --- the same in words that all transports know ---------------------------------------- */

static void *device(struct rig *r)
{
	return &vmmio(r)->dev;
}

/* [virtio 1.3 4.2.3.1] */
static void find(struct rig *rig)
{
	struct vmmio *r = vmmio(rig);

	assert_int_equal(vmmio_get(r, VMMIO_MAGIC), 0x74726976);
	assert_int_equal(vmmio_get(r, VMMIO_VERSION), 2);
	assert_int_equal(vmmio_get(r, VMMIO_DEVICE_ID), RIG_DEVICE_ID);
}

static uint8_t status(struct rig *r)
{
	return (uint8_t)vmmio_get(vmmio(r), VMMIO_STATUS);
}

static void set_status(struct rig *r, uint8_t val)
{
	vmmio_set(vmmio(r), VMMIO_STATUS, val);
}

/* Drivers do not poll here: once the processor goes on, the reset is complete. */
static void reset(struct rig *rig)
{
	struct vmmio *r = vmmio(rig);
	unsigned tries = 0;

	set_status(rig, 0);
	while (r->held_until && !r->held_until(r->held_by, 10))
		assert_true(++tries < 1000);
	r->held_until = NULL;
	assert_int_equal(status(rig), 0);
}

static uint32_t offered(struct rig *r, uint32_t select)
{
	vmmio_set(vmmio(r), VMMIO_DEVICE_FEATURES_SEL, select);
	return vmmio_get(vmmio(r), VMMIO_DEVICE_FEATURES);
}

static void accept(struct rig *r, uint32_t select, uint32_t bits)
{
	vmmio_set(vmmio(r), VMMIO_DRIVER_FEATURES_SEL, select);
	vmmio_set(vmmio(r), VMMIO_DRIVER_FEATURES, bits);
}

static unsigned register_of(enum virtio_queue_field field)
{
	switch (field) {
	case VIRTIO_QUEUE_SIZE:
		return VMMIO_QUEUE_SIZE;
	case VIRTIO_QUEUE_SIZE_MAX:
		return VMMIO_QUEUE_SIZE_MAX;
	case VIRTIO_QUEUE_ENABLE:
		return VMMIO_QUEUE_READY;
	case VIRTIO_QUEUE_DESC_LO:
		return VMMIO_QUEUE_DESC;
	case VIRTIO_QUEUE_DESC_HI:
		return VMMIO_QUEUE_DESC + 4;
	case VIRTIO_QUEUE_AVAIL_LO:
		return VMMIO_QUEUE_DRIVER;
	case VIRTIO_QUEUE_AVAIL_HI:
		return VMMIO_QUEUE_DRIVER + 4;
	case VIRTIO_QUEUE_USED_LO:
		return VMMIO_QUEUE_DEVICE;
	default:
		return VMMIO_QUEUE_DEVICE + 4;
	}
}

static uint32_t queue_get(struct rig *r, unsigned index, enum virtio_queue_field field)
{
	vmmio_set(vmmio(r), VMMIO_QUEUE_SEL, index);
	return vmmio_get(vmmio(r), register_of(field));
}

static void queue_set(struct rig *r, unsigned index, enum virtio_queue_field field, uint32_t val)
{
	vmmio_set(vmmio(r), VMMIO_QUEUE_SEL, index);
	vmmio_set(vmmio(r), register_of(field), val);
}

static bool readable(enum virtio_queue_field field)
{
	return field == VIRTIO_QUEUE_SIZE_MAX || field == VIRTIO_QUEUE_ENABLE;
}

static void set_up_interrupts(struct rig *r)
{
}

static void kick(struct rig *r, unsigned index)
{
	vmmio_set(vmmio(r), VMMIO_QUEUE_NOTIFY, index);
}

static bool take(struct rig *rig, uint32_t event)
{
	struct vmmio *r = vmmio(rig);
	bool due = vmmio_get(r, VMMIO_INTERRUPT_STATUS) & event;

	if (due)
		vmmio_set(r, VMMIO_INTERRUPT_ACK, event);
	return due;
}

static bool used_interrupt(struct rig *r, unsigned index)
{
	return take(r, 1);
}

static bool config_interrupt(struct rig *r)
{
	return take(r, 2);
}

static uint64_t config_ld(struct rig *r, unsigned off, unsigned size)
{
	return vmmio_ld(vmmio(r), VMMIO_CONFIG + off, size);
}

static void config_st(struct rig *r, unsigned off, unsigned size, uint64_t val)
{
	vmmio_st(vmmio(r), VMMIO_CONFIG + off, size, val);
}

static uint32_t generation(struct rig *r)
{
	return vmmio_get(vmmio(r), VMMIO_CONFIG_GENERATION);
}

static void signal_eventfd(struct rig *r, int eventfd)
{
	const uint64_t one = 1;

	assert_int_equal(write(eventfd, &one, sizeof(one)), sizeof(one));
}

const struct rig_transport rig_mmio = {
	.name = "mmio",
	.life = &virtio_mmio_device_ops,
	.create = create,
	.destroy = destroy,
	.device = device,
	.find = find,
	.status = status,
	.set_status = set_status,
	.reset = reset,
	.offered = offered,
	.accept = accept,
	.queue_get = queue_get,
	.queue_set = queue_set,
	.readable = readable,
	.set_up_interrupts = set_up_interrupts,
	.kick = kick,
	.used_interrupt = used_interrupt,
	.config_interrupt = config_interrupt,
	.config_ld = config_ld,
	.config_st = config_st,
	.generation = generation,
	.signal = signal_eventfd,
};
