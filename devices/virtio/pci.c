/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/pci.h"

#include "devices/pci/host.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

enum {
	VIRTIO_PCI_VENDOR = 0x1af4,
	VIRTIO_PCI_DEVICE = 0x1040, /* + device id */
	VIRTIO_MSI_NO_VECTOR = 0xffff,
	PAUSE_TIMEOUT_MS = 10000,
	STATE_VERSION = 1,
};

/* Structures and their capabilities [virtio 1.3 4.1.4]. */
enum { CAP_COMMON = 1, CAP_NOTIFY = 2, CAP_ISR = 3, CAP_DEVICE = 4, CAP_PCI = 5 };
enum {
	CAP_LEN = 16,
	CAP_CFG_TYPE = 3,
	CAP_BAR = 4,
	CAP_OFFSET = 8,
	CAP_LENGTH = 12,
	CAP_NOTIFY_MULTIPLIER = 16,
	CAP_PCI_DATA = 16,
};

/* The BAR's layout. */
enum {
	COMMON_OFF = 0x0000,
	COMMON_LEN = 0x38,
	ISR_OFF = 0x0800,
	ISR_LEN = 4,
	DEVICE_OFF = 0x1000,
	DEVICE_LEN_MAX = 0x1000,
	NOTIFY_OFF = 0x2000,
	NOTIFY_MULTIPLIER = 4,
	TABLE_OFF = 0x3000,
	PBA_OFF = 0x3800,
};

/* Common configuration [virtio 1.3 4.1.4.3]. */
enum {
	DEVICE_FEATURE_SELECT = 0x00,
	DEVICE_FEATURE = 0x04,
	DRIVER_FEATURE_SELECT = 0x08,
	DRIVER_FEATURE = 0x0c,
	CONFIG_MSIX_VECTOR = 0x10,
	NUM_QUEUES = 0x12,
	DEVICE_STATUS = 0x14,
	CONFIG_GENERATION = 0x15,
	QUEUE_SELECT = 0x16,
	QUEUE_SIZE = 0x18,
	QUEUE_MSIX_VECTOR = 0x1a,
	QUEUE_ENABLE = 0x1c,
	QUEUE_NOTIFY_OFF = 0x1e,
	QUEUE_DESC = 0x20, /* queue_driver and queue_device follow, 8 bytes each */
};

/* Interrupt status [virtio 1.3 4.1.4.5]. */
enum { ISR_QUEUE = 1, ISR_CONFIG = 2 };

_Static_assert((VIRTIO_QUEUES_MAX + 1) * MSIX_ENTRY_LEN <= PBA_OFF - TABLE_OFF, "MSI-X table");
_Static_assert(COMMON_LEN == QUEUE_DESC + 4 * (VIRTIO_QUEUE_USED_HI - VIRTIO_QUEUE_DESC_LO + 1),
	       "three addresses end the structure");

/* --- common configuration ------------------------------------------------------- */

/* A register answers to its own width at its own offset and to nothing else; a
 * 64-bit one is two of 32 bits [virtio 1.3 4.1.3.1]. */
#define REG(off, size) ((unsigned)(off) << 4 | (size))

/* The six address registers stand in the order of the enumeration. */
static bool address_field(unsigned off, unsigned size, enum virtio_queue_field *field)
{
	if (off < QUEUE_DESC || off % 4 || size != 4)
		return false;
	*field = VIRTIO_QUEUE_DESC_LO + (off - QUEUE_DESC) / 4;
	return true;
}

static uint64_t common_read(struct virtio_pci *p, unsigned off, unsigned size)
{
	unsigned queue = p->queue_select;
	enum virtio_queue_field field;
	struct virtio *v = p->v;

	if (address_field(off, size, &field))
		return virtio_queue_get(v, queue, field);
	switch (REG(off, size)) {
	case REG(DEVICE_FEATURE_SELECT, 4):
		return p->device_feature_select;
	case REG(DEVICE_FEATURE, 4):
		return virtio_offered(v, p->device_feature_select);
	case REG(DRIVER_FEATURE_SELECT, 4):
		return p->driver_feature_select;
	case REG(DRIVER_FEATURE, 4):
		return virtio_driver_features(v, p->driver_feature_select);
	case REG(CONFIG_MSIX_VECTOR, 2):
		return p->config_msix_vector;
	case REG(NUM_QUEUES, 2):
		return v->n_queues;
	case REG(DEVICE_STATUS, 1):
		return virtio_status(v);
	case REG(CONFIG_GENERATION, 1):
		return virtio_config_generation(v);
	case REG(QUEUE_SELECT, 2):
		return queue;
	case REG(QUEUE_SIZE, 2):
		return virtio_queue_get(v, queue, VIRTIO_QUEUE_SIZE);
	case REG(QUEUE_MSIX_VECTOR, 2):
		/* Of an absent queue: mapping it has failed. */
		return queue < v->n_queues ? p->queue_msix_vector[queue] : VIRTIO_MSI_NO_VECTOR;
	case REG(QUEUE_ENABLE, 2):
		return virtio_queue_get(v, queue, VIRTIO_QUEUE_ENABLE);
	case REG(QUEUE_NOTIFY_OFF, 2):
		return queue < v->n_queues ? queue : 0;
	default:
		return 0;
	}
}

/* What a reset of the device does to the transport [virtio 1.3 4.1.5.1.2.1]. */
static void reset_registers(struct virtio_pci *p)
{
	p->device_feature_select = p->driver_feature_select = 0;
	p->queue_select = 0;
	p->config_msix_vector = VIRTIO_MSI_NO_VECTOR;
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		p->queue_msix_vector[i] = VIRTIO_MSI_NO_VECTOR;
	p->isr = 0;
}

static uint16_t vector_or_none(const struct virtio_pci *p, uint32_t vector)
{
	return vector < p->msix.n ? (uint16_t)vector : VIRTIO_MSI_NO_VECTOR;
}

static void set_queue_vector(struct virtio_pci *p, unsigned queue, uint16_t vector)
{
	pthread_mutex_lock(&p->calls_lock);
	p->queue_msix_vector[queue] = vector;
	if (p->calls[queue] >= 0)
		msix_source_set(&p->msix, p->calls[queue], vector);
	pthread_mutex_unlock(&p->calls_lock);
}

static void common_write(struct virtio_pci *p, unsigned off, unsigned size, uint32_t val)
{
	unsigned queue = p->queue_select;
	enum virtio_queue_field field;
	struct virtio *v = p->v;

	if (address_field(off, size, &field)) {
		virtio_queue_set(v, queue, field, val);
		return;
	}
	switch (REG(off, size)) {
	case REG(DEVICE_FEATURE_SELECT, 4):
		p->device_feature_select = val;
		break;
	case REG(DRIVER_FEATURE_SELECT, 4):
		p->driver_feature_select = val;
		break;
	case REG(DRIVER_FEATURE, 4):
		virtio_set_driver_features(v, p->driver_feature_select, val);
		break;
	case REG(CONFIG_MSIX_VECTOR, 2):
		p->config_msix_vector = vector_or_none(p, val);
		break;
	case REG(DEVICE_STATUS, 1):
		virtio_set_status(v, (uint8_t)val);
		break;
	case REG(QUEUE_SELECT, 2):
		p->queue_select = (uint16_t)val;
		break;
	case REG(QUEUE_SIZE, 2):
		virtio_queue_set(v, queue, VIRTIO_QUEUE_SIZE, val);
		break;
	case REG(QUEUE_MSIX_VECTOR, 2):
		if (queue < v->n_queues)
			set_queue_vector(p, queue, vector_or_none(p, val));
		break;
	case REG(QUEUE_ENABLE, 2):
		/* A driver must not write 0 [virtio 1.3 4.1.4.3.2]. */
		if (val == 1)
			virtio_queue_set(v, queue, VIRTIO_QUEUE_ENABLE, 1);
		break;
	default:
		break;
	}
}

/* --- the BAR --------------------------------------------------------------------- */

static unsigned notify_len(const struct virtio_pci *p)
{
	return p->v->n_queues * NOTIFY_MULTIPLIER;
}

static bool inside(uint64_t off, unsigned size, unsigned begin, unsigned len)
{
	return off >= begin && range_within(off - begin, size, len);
}

static uint64_t bar_read(void *dev, uint64_t off, unsigned size)
{
	struct virtio_pci *p = dev;

	if (inside(off, size, COMMON_OFF, COMMON_LEN))
		return common_read(p, (unsigned)off - COMMON_OFF, size);
	if (off == ISR_OFF && size == 1)
		return atomic_exchange(&p->isr, 0);
	if (inside(off, size, DEVICE_OFF, p->v->config_len))
		return virtio_config_read(p->v, off - DEVICE_OFF, size);
	if (inside(off, size, TABLE_OFF, PBA_OFF - TABLE_OFF))
		return msix_table_read(&p->msix, off - TABLE_OFF, size);
	if (inside(off, size, PBA_OFF, VIRTIO_PCI_BAR_LEN - PBA_OFF))
		return msix_pba_read(&p->msix, off - PBA_OFF, size);
	return 0;
}

static void bar_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct virtio_pci *p = dev;

	if (inside(off, size, COMMON_OFF, COMMON_LEN))
		common_write(p, (unsigned)off - COMMON_OFF, size, (uint32_t)val);
	else if (inside(off, size, DEVICE_OFF, p->v->config_len))
		virtio_config_write(p->v, off - DEVICE_OFF, size, val);
	else if (inside(off, 1, NOTIFY_OFF, notify_len(p)) && !(off % NOTIFY_MULTIPLIER))
		virtio_bells_kick(&p->bells, (unsigned)(off - NOTIFY_OFF) / NOTIFY_MULTIPLIER);
	else if (inside(off, size, TABLE_OFF, PBA_OFF - TABLE_OFF))
		msix_table_write(&p->msix, off - TABLE_OFF, size, val);
}

static const struct io_ops bar_ops = {.read = bar_read, .write = bar_write};

/* --- configuration space --------------------------------------------------------- */

/* Where the PCI_CFG window points to: true if it lies within one of the structures
 * that the other capabilities describe [virtio 1.3 4.1.4.9]. */
static bool window_target(const struct virtio_pci *p, uint32_t *off, uint32_t *len)
{
	const struct pci_dev *d = &p->pci;

	*off = pci_config_get32(d, p->window + CAP_OFFSET);
	*len = pci_config_get32(d, p->window + CAP_LENGTH);
	return d->config[p->window + CAP_BAR] == VIRTIO_PCI_BAR &&
	       (*len == 1 || *len == 2 || *len == 4) && !(*off % *len) &&
	       (inside(*off, *len, COMMON_OFF, COMMON_LEN) ||
		inside(*off, *len, ISR_OFF, ISR_LEN) ||
		inside(*off, *len, DEVICE_OFF, p->v->config_len) ||
		inside(*off, *len, NOTIFY_OFF, notify_len(p)));
}

static void config_read(void *dev, unsigned off, unsigned size, uint8_t *bytes)
{
	unsigned data = ((struct virtio_pci *)dev)->window + CAP_PCI_DATA;
	struct virtio_pci *p = dev;
	uint32_t at, len;

	/* The device has no interrupt pin, but the bit tells all the same
	 * [virtio 1.3 4.1.4.5.1]. */
	if (off <= PCI_STATUS && PCI_STATUS < off + size && p->isr && !msix_enabled(&p->msix))
		bytes[PCI_STATUS - off] |= PCI_STATUS_INTERRUPT;

	if (ranges_overlap(off, size, data, 4)) {
		uint8_t window[4] = {0};

		if (window_target(p, &at, &len))
			le32_put(window, (uint32_t)(bar_read(p, at, len) & size_mask(len)));
		for (unsigned i = 0; i < sizeof(window); i++)
			if (data + i >= off && data + i < off + size)
				bytes[data + i - off] = window[i];
	}
}

static void config_written(void *dev, unsigned off, unsigned size)
{
	struct virtio_pci *p = dev;
	unsigned data = p->window + CAP_PCI_DATA;
	uint32_t at, len;

	msix_config_written(&p->msix, off, size);
	if (ranges_overlap(off, size, data, 4) && window_target(p, &at, &len))
		bar_write(p, at, len, pci_config_get32(&p->pci, data) & size_mask(len));
}

static void bar_mapped(void *dev, unsigned bar, uint64_t gpa)
{
	virtio_bells_map(&((struct virtio_pci *)dev)->bells, gpa + NOTIFY_OFF);
}

static void bar_unmapped(void *dev, unsigned bar, uint64_t gpa)
{
	virtio_bells_unmap(&((struct virtio_pci *)dev)->bells);
}

static const struct pci_dev_ops pci_ops = {
	.config_read = config_read,
	.config_written = config_written,
	.bar_mapped = bar_mapped,
	.bar_unmapped = bar_unmapped,
};

/* --- interrupts -------------------------------------------------------------------- */

static void notify_queue(void *transport, unsigned index)
{
	struct virtio_pci *p = transport;

	/* NO_VECTOR is beyond the table, where msix_notify() does nothing. */
	if (msix_enabled(&p->msix))
		msix_notify(&p->msix, p->queue_msix_vector[index]);
	else
		atomic_fetch_or(&p->isr, ISR_QUEUE);
}

static void notify_config(void *transport)
{
	struct virtio_pci *p = transport;

	atomic_fetch_or(&p->isr, ISR_CONFIG);
	if (msix_enabled(&p->msix))
		msix_notify(&p->msix, p->config_msix_vector);
}

static void set_call(void *transport, unsigned index, int eventfd)
{
	struct virtio_pci *p = transport;

	pthread_mutex_lock(&p->calls_lock);
	msix_source_del(&p->msix, p->calls[index]);
	p->calls[index] = eventfd;
	/* NO_VECTOR is beyond the table: then nobody is bound. */
	if (eventfd >= 0)
		msix_source_set(&p->msix, eventfd, p->queue_msix_vector[index]);
	pthread_mutex_unlock(&p->calls_lock);
}

static void reset(void *transport)
{
	reset_registers(transport);
}

static void power_on(void *transport)
{
	struct virtio_pci *p = transport;

	msix_reset(&p->msix);
	pci_host_reset(&p->pci);
}

static const struct virtio_transport_ops transport_ops = {
	.notify_queue = notify_queue,
	.notify_config = notify_config,
	.reset = reset,
	.power_on = power_on,
	.set_call = set_call,
};

/* --- set-up -------------------------------------------------------------------------- */

static uint16_t class_of(uint32_t device_id)
{
	switch (device_id) {
	case VIRTIO_ID_NET:
		return 0x0200; /* network, Ethernet */
	case VIRTIO_ID_BLOCK:
		return 0x0100; /* mass storage, SCSI: what drivers have always been shown */
	case VIRTIO_ID_CONSOLE:
		return 0x0780; /* communication, other */
	case VIRTIO_ID_FS:
		return 0x0180; /* mass storage, other */
	default:
		return 0x00ff; /* none that PCI knows of */
	}
}

/* Give the offset of the capability, or a negative errno. */
static int add_structure(struct virtio_pci *p, uint8_t type, unsigned cap_len, uint32_t off,
			 uint32_t len)
{
	int cap = pci_dev_add_cap(&p->pci, PCI_CAP_ID_VENDOR, cap_len);

	if (cap < 0)
		return cap;
	pci_dev_define(&p->pci, (unsigned)cap + 2, 1, cap_len, 0);
	pci_dev_define(&p->pci, (unsigned)cap + CAP_CFG_TYPE, 1, type, 0);
	pci_dev_define(&p->pci, (unsigned)cap + CAP_BAR, 1, VIRTIO_PCI_BAR, 0);
	pci_dev_define(&p->pci, (unsigned)cap + CAP_OFFSET, 4, off, 0);
	pci_dev_define(&p->pci, (unsigned)cap + CAP_LENGTH, 4, len, 0);
	return cap;
}

static int add_structures(struct virtio_pci *p)
{
	struct pci_dev *d = &p->pci;
	int cap;

	cap = add_structure(p, CAP_COMMON, CAP_LEN, COMMON_OFF, COMMON_LEN);
	if (cap >= 0)
		cap = add_structure(p, CAP_ISR, CAP_LEN, ISR_OFF, ISR_LEN);
	if (cap >= 0 && p->v->config_len)
		cap = add_structure(p, CAP_DEVICE, CAP_LEN, DEVICE_OFF, p->v->config_len);
	if (cap >= 0)
		cap = add_structure(p, CAP_NOTIFY, CAP_LEN + 4, NOTIFY_OFF, notify_len(p));
	if (cap < 0)
		return cap;
	pci_dev_define(d, (unsigned)cap + CAP_NOTIFY_MULTIPLIER, 4, NOTIFY_MULTIPLIER, 0);

	cap = add_structure(p, CAP_PCI, CAP_LEN + 4, 0, 0);
	if (cap < 0)
		return cap;
	p->window = (unsigned)cap;
	pci_dev_define(d, p->window + CAP_BAR, 1, 0, 0xff);
	pci_dev_define(d, p->window + CAP_OFFSET, 4, 0, UINT32_MAX);
	pci_dev_define(d, p->window + CAP_LENGTH, 4, 0, UINT32_MAX);
	pci_dev_define(d, p->window + CAP_PCI_DATA, 4, 0, UINT32_MAX);
	return 0;
}

int virtio_pci_init(struct virtio_pci *p, struct virtio *v, const struct virtio_pci_env *env)
{
	uint16_t id = (uint16_t)(VIRTIO_PCI_DEVICE + v->ops->device_id);
	const struct pci_ids ids = {
		.vendor = VIRTIO_PCI_VENDOR,
		.device = id,
		.subsystem_vendor = VIRTIO_PCI_VENDOR,
		.subsystem = id,
		.class_code = class_of(v->ops->device_id),
		.revision = 1,
	};
	int ret;

	memset(p, 0, sizeof(*p));
	if (v->config_len > DEVICE_LEN_MAX)
		return -EINVAL;
	p->v = v;
	p->env = *env;
	reset_registers(p);
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		p->calls[i] = -1;
	pci_dev_init(&p->pci, &ids, &pci_ops, p, v->name);
	ret = pci_dev_add_bar(&p->pci, VIRTIO_PCI_BAR, VIRTIO_PCI_BAR_LEN, true, &bar_ops);
	if (!ret)
		ret = msix_init(&p->msix, &p->pci, v->n_queues + 1, VIRTIO_PCI_BAR, TABLE_OFF,
				PBA_OFF, &env->msi);
	if (!ret)
		ret = add_structures(p);
	if (ret) {
		msix_fini(&p->msix);
		p->v = NULL;
		return ret;
	}
	pci_dev_seal(&p->pci);
	pthread_mutex_init(&p->calls_lock, NULL);
	virtio_bells_init(&p->bells, v, &env->doorbell, NOTIFY_MULTIPLIER);
	virtio_set_transport(v, &transport_ops, p);
	return 0;
}

void virtio_pci_fini(struct virtio_pci *p)
{
	if (!p->v)
		return;
	virtio_reset(p->v);
	pci_host_remove(&p->pci);
	virtio_set_transport(p->v, NULL, NULL);
	msix_fini(&p->msix);
	virtio_bells_fini(&p->bells);
	pthread_mutex_destroy(&p->calls_lock);
	p->v = NULL;
}

/* --- life ---------------------------------------------------------------------------- */

static void device_reset(void *dev)
{
	struct virtio_pci *p = dev;

	virtio_reset(p->v);
	power_on(p);
}

static int device_pause(void *dev)
{
	return virtio_pause(((struct virtio_pci *)dev)->v, PAUSE_TIMEOUT_MS);
}

static void device_resume(void *dev)
{
	virtio_resume(((struct virtio_pci *)dev)->v);
}

static void device_save(void *dev, struct state_writer *w)
{
	struct virtio_pci *p = dev;

	state_section_begin(w, p->v->name, STATE_VERSION);
	pci_dev_save(&p->pci, w);
	msix_save(&p->msix, w);
	state_put_u32(w, p->device_feature_select);
	state_put_u32(w, p->driver_feature_select);
	state_put_u16(w, p->queue_select);
	state_put_u16(w, p->config_msix_vector);
	state_put_u8(w, p->isr);
	for (unsigned i = 0; i < p->v->n_queues; i++)
		state_put_u16(w, p->queue_msix_vector[i]);
	virtio_save(p->v, w);
	state_section_end(w);
}

/* The registers of this file, while they are judged. */
struct saved_registers {
	uint32_t device_feature_select, driver_feature_select;
	uint16_t queue_select, config_msix_vector;
	uint16_t queue_msix_vector[VIRTIO_QUEUES_MAX];
	uint8_t isr;
};

static int check_registers(const struct virtio_pci *p, struct state_reader *r,
			   struct saved_registers *out, struct err *e)
{
	bool possible;

	out->device_feature_select = state_get_u32(r);
	out->driver_feature_select = state_get_u32(r);
	out->queue_select = state_get_u16(r);
	out->config_msix_vector = state_get_u16(r);
	out->isr = state_get_u8(r);
	possible = out->config_msix_vector == vector_or_none(p, out->config_msix_vector) &&
		   !(out->isr & ~(ISR_QUEUE | ISR_CONFIG));
	for (unsigned i = 0; i < p->v->n_queues; i++) {
		uint16_t vector = state_get_u16(r);

		out->queue_msix_vector[i] = vector;
		possible = possible && vector == vector_or_none(p, vector);
	}
	if (r->error)
		return err_host(e, r->error, "saved state: '%s' is cut short", p->v->name);
	if (!possible)
		return err_host(e, -EBADMSG,
				"saved state: '%s' has registers that are not possible",
				p->v->name);
	return 0;
}

static void restore_registers(struct virtio_pci *p, const struct saved_registers *s)
{
	p->device_feature_select = s->device_feature_select;
	p->driver_feature_select = s->driver_feature_select;
	p->queue_select = s->queue_select;
	p->config_msix_vector = s->config_msix_vector;
	for (unsigned i = 0; i < p->v->n_queues; i++)
		p->queue_msix_vector[i] = s->queue_msix_vector[i];
	p->isr = s->isr;
}

static int device_load(void *dev, struct state_reader *r, struct err *e)
{
	struct msix_saved vectors[VIRTIO_QUEUES_MAX + 1];
	struct saved_registers registers;
	struct virtio_pci *p = dev;
	struct pci_saved config;
	int ret = state_section_expect(r, p->v->name, STATE_VERSION, e);

	if (ret)
		return ret;
	ret = pci_dev_load_check(&p->pci, r, &config, e);
	if (!ret)
		ret = msix_load_check(&p->msix, r, &config, vectors, e);
	if (!ret)
		ret = check_registers(p, r, &registers, e);
	if (!ret)
		ret = virtio_load(p->v, r, e);
	if (ret)
		return ret;
	restore_registers(p, &registers);
	msix_restore(&p->msix, &config, vectors);
	pci_host_restore(&p->pci, &config);
	return 0;
}

static void device_fini(void *dev)
{
	virtio_pci_fini(dev);
}

const struct device_ops virtio_pci_device_ops = {
	.reset = device_reset,
	.pause = device_pause,
	.resume = device_resume,
	.save = device_save,
	.load = device_load,
	.fini = device_fini,
};
