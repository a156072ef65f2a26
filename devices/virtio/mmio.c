/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/mmio.h"

#include <errno.h>
#include <string.h>

enum {
	MAGIC = 0x74726976, /* "virt" */
	VERSION = 2,
	VENDOR = 0x4d564d4d, /* "MMVM"; no list of them exists */
	PAUSE_TIMEOUT_MS = 10000,
	STATE_VERSION = 1,
};

/* Registers [virtio 1.3 4.2.2]. */
enum {
	MAGIC_VALUE = 0x000,
	VERSION_REG = 0x004,
	DEVICE_ID = 0x008,
	VENDOR_ID = 0x00c,
	DEVICE_FEATURES = 0x010,
	DEVICE_FEATURES_SEL = 0x014,
	DRIVER_FEATURES = 0x020,
	DRIVER_FEATURES_SEL = 0x024,
	QUEUE_SEL = 0x030,
	QUEUE_SIZE_MAX = 0x034,
	QUEUE_SIZE = 0x038,
	QUEUE_READY = 0x044,
	QUEUE_NOTIFY = 0x050,
	INTERRUPT_STATUS = 0x060,
	INTERRUPT_ACK = 0x064,
	STATUS = 0x070,
	QUEUE_DESC_LOW = 0x080,
	QUEUE_DESC_HIGH = 0x084,
	QUEUE_DRIVER_LOW = 0x090,
	QUEUE_DRIVER_HIGH = 0x094,
	QUEUE_DEVICE_LOW = 0x0a0,
	QUEUE_DEVICE_HIGH = 0x0a4,
	SHM_LEN_LOW = 0x0b0,
	SHM_LEN_HIGH = 0x0b4,
	SHM_BASE_LOW = 0x0b8,
	SHM_BASE_HIGH = 0x0bc,
	CONFIG_GENERATION = 0x0fc,
	CONFIG = 0x100,
	/* QueueReset (0x0c0) exists only with RING_RESET, which is not offered. */
};

/* Interrupt status. */
enum { USED_BUFFER = 1, CONFIGURATION = 2 };

_Static_assert(VIRTIO_QUEUES_MAX <= 64, "one bit for each doorbell");

/* --- interrupts -------------------------------------------------------------------- */

static void raise_interrupt(struct virtio_mmio *m, uint32_t event)
{
	pthread_mutex_lock(&m->lock);
	if (m->interrupt_status)
		irq_line_set(&m->env.irq, false);
	m->interrupt_status |= event;
	irq_line_set(&m->env.irq, true);
	pthread_mutex_unlock(&m->lock);
}

static void acknowledge(struct virtio_mmio *m, uint32_t events)
{
	pthread_mutex_lock(&m->lock);
	m->interrupt_status &= ~events;
	if (!m->interrupt_status)
		irq_line_set(&m->env.irq, false);
	pthread_mutex_unlock(&m->lock);
}

static uint32_t pending(struct virtio_mmio *m)
{
	pthread_mutex_lock(&m->lock);
	uint32_t status = m->interrupt_status;

	pthread_mutex_unlock(&m->lock);
	return status;
}

static void notify_queue(void *transport, unsigned index)
{
	raise_interrupt(transport, USED_BUFFER);
}

static void notify_config(void *transport)
{
	raise_interrupt(transport, CONFIGURATION);
}

static void reset_registers(void *transport)
{
	struct virtio_mmio *m = transport;

	m->device_features_sel = m->driver_features_sel = m->queue_sel = 0;
	acknowledge(m, USED_BUFFER | CONFIGURATION);
}

static const struct virtio_transport_ops transport_ops = {
	.notify_queue = notify_queue,
	.notify_config = notify_config,
	.reset = reset_registers,
};

/* --- registers ----------------------------------------------------------------------- */

/* A queue's address registers, which only write; others give false. */
static bool address_field(uint64_t off, enum virtio_queue_field *field)
{
	switch (off) {
	case QUEUE_DESC_LOW:
		*field = VIRTIO_QUEUE_DESC_LO;
		return true;
	case QUEUE_DESC_HIGH:
		*field = VIRTIO_QUEUE_DESC_HI;
		return true;
	case QUEUE_DRIVER_LOW:
		*field = VIRTIO_QUEUE_AVAIL_LO;
		return true;
	case QUEUE_DRIVER_HIGH:
		*field = VIRTIO_QUEUE_AVAIL_HI;
		return true;
	case QUEUE_DEVICE_LOW:
		*field = VIRTIO_QUEUE_USED_LO;
		return true;
	case QUEUE_DEVICE_HIGH:
		*field = VIRTIO_QUEUE_USED_HI;
		return true;
	default:
		return false;
	}
}

static uint64_t mmio_read(void *dev, uint64_t off, unsigned size)
{
	struct virtio_mmio *m = dev;
	struct virtio *v = m->v;

	if (off >= CONFIG)
		return virtio_config_read(v, off - CONFIG, size);
	/* Control registers know one width only [virtio 1.3 4.2.2.2]. */
	if (size != 4)
		return 0;
	switch (off) {
	case MAGIC_VALUE:
		return MAGIC;
	case VERSION_REG:
		return VERSION;
	case DEVICE_ID:
		return v->ops->device_id;
	case VENDOR_ID:
		return VENDOR;
	case DEVICE_FEATURES:
		return virtio_offered(v, m->device_features_sel);
	case QUEUE_SIZE_MAX:
		return virtio_queue_get(v, m->queue_sel, VIRTIO_QUEUE_SIZE_MAX);
	case QUEUE_READY:
		return virtio_queue_get(v, m->queue_sel, VIRTIO_QUEUE_ENABLE);
	case INTERRUPT_STATUS:
		return pending(m);
	case STATUS:
		return virtio_status(v);
	case SHM_LEN_LOW:
	case SHM_LEN_HIGH:
	case SHM_BASE_LOW:
	case SHM_BASE_HIGH:
		return UINT32_MAX; /* there is no such region */
	case CONFIG_GENERATION:
		return virtio_config_generation(v);
	default:
		return 0;
	}
}

static bool reset_done(void *dev, unsigned timeout_ms)
{
	return virtio_wait_reset(((struct virtio_mmio *)dev)->v, timeout_ms);
}

static void write_status(struct virtio_mmio *m, uint32_t val)
{
	/* Bits beyond the byte are reserved: without them it would be another value. */
	if (val > UINT8_MAX)
		return;
	virtio_set_status(m->v, (uint8_t)val);
	if (!val && !virtio_wait_reset(m->v, 0))
		cpu_hold_until(&m->env.hold, reset_done, m);
}

static void mmio_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	enum virtio_queue_field field;
	struct virtio_mmio *m = dev;
	struct virtio *v = m->v;
	uint32_t word = (uint32_t)val;

	if (off >= CONFIG) {
		virtio_config_write(v, off - CONFIG, size, val);
		return;
	}
	if (size != 4)
		return;
	if (address_field(off, &field)) {
		virtio_queue_set(v, m->queue_sel, field, word);
		return;
	}
	switch (off) {
	case DEVICE_FEATURES_SEL:
		m->device_features_sel = word;
		break;
	case DRIVER_FEATURES:
		virtio_set_driver_features(v, m->driver_features_sel, word);
		break;
	case DRIVER_FEATURES_SEL:
		m->driver_features_sel = word;
		break;
	case QUEUE_SEL:
		m->queue_sel = word;
		break;
	case QUEUE_SIZE:
		virtio_queue_set(v, m->queue_sel, VIRTIO_QUEUE_SIZE, word);
		break;
	case QUEUE_READY:
		if (word <= 1)
			virtio_queue_set(v, m->queue_sel, VIRTIO_QUEUE_ENABLE, word);
		break;
	case QUEUE_NOTIFY:
		virtio_bells_kick(&m->bells, word);
		break;
	case INTERRUPT_ACK:
		acknowledge(m, word);
		break;
	case STATUS:
		write_status(m, word);
		break;
	default:
		break;
	}
}

const struct io_ops virtio_mmio_io_ops = {.read = mmio_read, .write = mmio_write};

/* --- set-up -------------------------------------------------------------------------- */

int virtio_mmio_init(struct virtio_mmio *m, struct virtio *v, const struct virtio_mmio_env *env)
{
	memset(m, 0, sizeof(*m));
	if (v->config_len > VIRTIO_MMIO_LEN - CONFIG)
		return -EINVAL;
	m->v = v;
	m->env = *env;
	pthread_mutex_init(&m->lock, NULL);
	virtio_set_transport(v, &transport_ops, m);
	virtio_bells_init(&m->bells, v, &env->doorbell, 0);
	virtio_bells_map(&m->bells, env->base + QUEUE_NOTIFY);
	return 0;
}

void virtio_mmio_fini(struct virtio_mmio *m)
{
	if (!m->v)
		return;
	virtio_reset(m->v);
	virtio_bells_fini(&m->bells);
	virtio_set_transport(m->v, NULL, NULL);
	pthread_mutex_destroy(&m->lock);
	m->v = NULL;
}

/* --- life ---------------------------------------------------------------------------- */

static void device_reset(void *dev)
{
	virtio_reset(((struct virtio_mmio *)dev)->v);
}

static int device_pause(void *dev)
{
	return virtio_pause(((struct virtio_mmio *)dev)->v, PAUSE_TIMEOUT_MS);
}

static void device_resume(void *dev)
{
	virtio_resume(((struct virtio_mmio *)dev)->v);
}

static void device_save(void *dev, struct state_writer *w)
{
	struct virtio_mmio *m = dev;

	state_section_begin(w, m->v->name, STATE_VERSION);
	state_put_u32(w, m->device_features_sel);
	state_put_u32(w, m->driver_features_sel);
	state_put_u32(w, m->queue_sel);
	state_put_u32(w, pending(m));
	virtio_save(m->v, w);
	state_section_end(w);
}

static int device_load(void *dev, struct state_reader *r, struct err *e)
{
	uint32_t device_sel, driver_sel, queue_sel, status;
	struct virtio_mmio *m = dev;
	int ret = state_section_expect(r, m->v->name, STATE_VERSION, e);

	if (ret)
		return ret;
	device_sel = state_get_u32(r);
	driver_sel = state_get_u32(r);
	queue_sel = state_get_u32(r);
	status = state_get_u32(r);
	if (r->error)
		return err_host(e, r->error, "saved state: '%s' is cut short", m->v->name);
	if (status & ~(uint32_t)(USED_BUFFER | CONFIGURATION))
		return err_host(e, -EBADMSG,
				"saved state: '%s' has registers that are not possible",
				m->v->name);
	ret = virtio_load(m->v, r, e);
	if (ret)
		return ret;
	m->device_features_sel = device_sel;
	m->driver_features_sel = driver_sel;
	m->queue_sel = queue_sel;
	pthread_mutex_lock(&m->lock);
	m->interrupt_status = status;
	/* The pin's other end comes from the I/O APIC's section; they agree. */
	irq_line_set(&m->env.irq, status);
	pthread_mutex_unlock(&m->lock);
	return 0;
}

static void device_fini(void *dev)
{
	virtio_mmio_fini(dev);
}

const struct device_ops virtio_mmio_device_ops = {
	.reset = device_reset,
	.pause = device_pause,
	.resume = device_resume,
	.save = device_save,
	.load = device_load,
	.fini = device_fini,
};
