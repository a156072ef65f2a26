/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/virtio_pci_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct vpci *vpci(struct rig *r)
{
	return (struct vpci *)r;
}

/* --- the machine ------------------------------------------------------------------ */

static struct rig *create(int attach_errno)
{
	const struct pci_layout layout = {VPCI_ECAM, VPCI_MMIO32, 16 * MiB, 4 * GiB, 16 * MiB};
	struct vpci *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	rig_init(&r->m, &rig_pci, attach_errno);
	fake_msi_init(&r->msi);
	assert_int_equal(pci_host_init(&r->host, &r->m.mmio, &layout), 0);
	const struct virtio_pci_env env = {
		.msi = fake_msi_wire(&r->msi),
		.doorbell = fake_doorbell_wire(&r->m.bell),
	};

	assert_int_equal(virtio_pci_init(&r->dev, &r->m.echo.v, &env), 0);
	assert_int_equal(pci_host_add(&r->host, -1, &r->dev.pci), VPCI_SLOT);
	assert_int_equal(pci_host_assign(&r->host, NULL), 0);
	return &r->m;
}

static void destroy(struct rig *rig)
{
	struct vpci *r = vpci(rig);

	virtio_pci_device_ops.fini(&r->dev);
	pci_host_fini(&r->host);
	assert_int_equal(fake_msi_routes(&r->msi), 0);
	assert_int_equal(r->msi.lost, 0);
	fake_msi_fini(&r->msi);
	rig_fini(rig);
}

int vpci_setup(void **state)
{
	*state = create(0);
	return 0;
}

int vpci_setup_trapped(void **state)
{
	*state = create(-ENOTSUP);
	return 0;
}

int vpci_teardown(void **state)
{
	destroy(*state);
	return 0;
}

/* --- the driver --------------------------------------------------------------------- */

uint64_t vpci_ld(struct vpci *r, uint64_t addr, unsigned size)
{
	return rig_ld(&r->m, addr, size);
}

void vpci_st(struct vpci *r, uint64_t addr, unsigned size, uint64_t val)
{
	rig_st(&r->m, addr, size, val);
}

uint64_t vpci_cfg_ld(struct vpci *r, unsigned reg, unsigned size)
{
	return vpci_ld(r, VPCI_ECAM + VPCI_SLOT * 0x8000 + reg, size);
}

void vpci_cfg_st(struct vpci *r, unsigned reg, unsigned size, uint64_t val)
{
	vpci_st(r, VPCI_ECAM + VPCI_SLOT * 0x8000 + reg, size, val);
}

uint64_t vpci_bar_address(struct vpci *r)
{
	return vpci_cfg_ld(r, 0x14, 4) << 32 | (vpci_cfg_ld(r, 0x10, 4) & ~0xfull);
}

unsigned vpci_find_structures(struct vpci *r)
{
	unsigned seen = 0, cap = (unsigned)vpci_cfg_ld(r, 0x34, 1);

	r->bar = vpci_bar_address(r);
	for (unsigned steps = 0; cap; cap = (unsigned)vpci_cfg_ld(r, cap + 1, 1)) {
		assert_true(++steps < 48 && cap >= 0x40 && cap % 4 == 0);
		if (vpci_cfg_ld(r, cap, 1) == 0x11) {
			r->msix_cap = cap;
			r->table = r->bar + (vpci_cfg_ld(r, cap + 4, 4) & ~7ull);
			r->pba = r->bar + (vpci_cfg_ld(r, cap + 8, 4) & ~7ull);
			continue;
		}
		assert_int_equal(vpci_cfg_ld(r, cap, 1), 0x09);
		unsigned type = (unsigned)vpci_cfg_ld(r, cap + 3, 1);
		uint64_t at = r->bar + vpci_cfg_ld(r, cap + 8, 4),
			 len = vpci_cfg_ld(r, cap + 12, 4);

		assert_in_range(type, 1, 5);
		assert_int_equal(vpci_cfg_ld(r, cap + 2, 1), type == 2 || type == 5 ? 20 : 16);
		assert_int_equal(vpci_cfg_ld(r, cap + 4, 1), 0);
		seen |= 1u << type;
		if (type == 1) {
			r->common = at;
			assert_true(len >= 56);
			assert_int_equal(at % 4, 0);
		} else if (type == 2) {
			r->notify = at;
			r->notify_len = (uint32_t)len;
			r->multiplier = (uint32_t)vpci_cfg_ld(r, cap + 16, 4);
		} else if (type == 3) {
			r->isr = at;
			assert_true(len >= 1);
		} else if (type == 4) {
			r->device = at;
			r->device_len = (uint32_t)len;
		} else {
			r->window = cap;
		}
	}
	return seen;
}

void vpci_enable_memory(struct vpci *r)
{
	vpci_cfg_st(r, 0x04, 2, 0x0006);
}

static void set_up_msix(struct vpci *r)
{
	vpci_cfg_st(r, r->msix_cap + 2, 2, 0xc000);
	for (unsigned i = 0; i <= RIG_QUEUES; i++) {
		vpci_st(r, r->table + i * 16 + 0, 4, 0xfee00000);
		vpci_st(r, r->table + i * 16 + 4, 4, 0);
		vpci_st(r, r->table + i * 16 + 8, 4, 0x50 + i);
		vpci_st(r, r->table + i * 16 + 12, 4, 0);
	}
	vpci_cfg_st(r, r->msix_cap + 2, 2, 0x8000);
}

static void set_up_interrupts(struct rig *rig)
{
	struct vpci *r = vpci(rig);

	set_up_msix(r);
	vpci_st(r, r->common + 0x10, 2, 0);
	assert_int_equal(vpci_ld(r, r->common + 0x10, 2), 0);
	for (unsigned i = 0; i < RIG_QUEUES; i++) {
		vpci_st(r, r->common + 0x16, 2, i);
		vpci_st(r, r->common + 0x1a, 2, i + 1);
		assert_int_equal(vpci_ld(r, r->common + 0x1a, 2), i + 1);
	}
}

static void find(struct rig *rig)
{
	vpci_find_structures(vpci(rig));
	vpci_enable_memory(vpci(rig));
}

void vpci_bring_up(struct vpci *r, bool vectors)
{
	find(&r->m);
	rig_negotiate(&r->m);
	if (vectors)
		set_up_interrupts(&r->m);
	rig_set_up_queues(&r->m);
	vpci_st(r, r->common + 0x14, 1, RIG_RUNNING);
	assert_int_equal(vpci_ld(r, r->common + 0x14, 1), RIG_RUNNING);
}

uint64_t vpci_doorbell(struct vpci *r, unsigned queue)
{
	vpci_st(r, r->common + 0x16, 2, queue);
	return r->notify + vpci_ld(r, r->common + 0x1e, 2) * r->multiplier;
}

static unsigned count(struct vpci *r, uint32_t data)
{
	unsigned n = 0;

	pthread_mutex_lock(&r->msi.lock);
	for (unsigned i = 0; i < r->msi.delivered && i < FAKE_MSI_LOG; i++)
		n += r->msi.log[i].data == data;
	pthread_mutex_unlock(&r->msi.lock);
	return n;
}

bool vpci_delivered(struct vpci *r, uint32_t data)
{
	return count(r, data);
}

/* --- the same in words that all transports know ---------------------------------------- */

static void *device(struct rig *r)
{
	return &vpci(r)->dev;
}

static uint8_t status(struct rig *r)
{
	return (uint8_t)rig_ld(r, vpci(r)->common + 0x14, 1);
}

static void set_status(struct rig *r, uint8_t val)
{
	rig_st(r, vpci(r)->common + 0x14, 1, val);
}

static void reset(struct rig *r)
{
	set_status(r, 0);
	rig_wait_until(!status(r));
}

static uint32_t offered(struct rig *r, uint32_t select)
{
	rig_st(r, vpci(r)->common + 0x00, 4, select);
	return (uint32_t)rig_ld(r, vpci(r)->common + 0x04, 4);
}

static void accept(struct rig *r, uint32_t select, uint32_t bits)
{
	rig_st(r, vpci(r)->common + 0x08, 4, select);
	rig_st(r, vpci(r)->common + 0x0c, 4, bits);
}

/* Offset and width of a queue's register. The largest size is what QueueSize says
 * before anything is written there. */
static uint64_t field_at(struct rig *r, enum virtio_queue_field field, unsigned *size)
{
	uint64_t common = vpci(r)->common;

	*size = 2;
	switch (field) {
	case VIRTIO_QUEUE_SIZE:
	case VIRTIO_QUEUE_SIZE_MAX:
		return common + 0x18;
	case VIRTIO_QUEUE_ENABLE:
		return common + 0x1c;
	default:
		*size = 4;
		return common + 0x20 + 4 * (field - VIRTIO_QUEUE_DESC_LO);
	}
}

static uint32_t queue_get(struct rig *r, unsigned index, enum virtio_queue_field field)
{
	unsigned size;
	uint64_t at = field_at(r, field, &size);

	rig_st(r, vpci(r)->common + 0x16, 2, index);
	return (uint32_t)rig_ld(r, at, size);
}

static void queue_set(struct rig *r, unsigned index, enum virtio_queue_field field, uint32_t val)
{
	unsigned size;
	uint64_t at = field_at(r, field, &size);

	rig_st(r, vpci(r)->common + 0x16, 2, index);
	rig_st(r, at, size, size == 2 ? (uint16_t)val : val);
}

static bool readable(enum virtio_queue_field field)
{
	return true;
}

static void kick(struct rig *r, unsigned index)
{
	struct vpci *p = vpci(r);

	rig_st(r, p->notify + (uint64_t)index * p->multiplier, 2, index);
}

static bool news(struct vpci *r, unsigned vector)
{
	unsigned n = count(r, 0x50 + vector), before = r->taken[vector];

	r->taken[vector] = n;
	return n != before;
}

static bool used_interrupt(struct rig *r, unsigned index)
{
	return news(vpci(r), 1 + index);
}

static bool config_interrupt(struct rig *r)
{
	return news(vpci(r), 0);
}

static uint64_t config_ld(struct rig *r, unsigned off, unsigned size)
{
	return rig_ld(r, vpci(r)->device + off, size);
}

static void config_st(struct rig *r, unsigned off, unsigned size, uint64_t val)
{
	rig_st(r, vpci(r)->device + off, size, val);
}

static uint32_t generation(struct rig *r)
{
	return (uint32_t)rig_ld(r, vpci(r)->common + 0x15, 1);
}

static void signal_eventfd(struct rig *r, int eventfd)
{
	fake_msi_signal(&vpci(r)->msi, eventfd);
}

const struct rig_transport rig_pci = {
	.name = "pci",
	.life = &virtio_pci_device_ops,
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
