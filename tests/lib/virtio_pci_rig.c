/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/virtio_pci_rig.h"

#include <errno.h>
#include <string.h>

/* --- the device: answers every request with one word ------------------- */

static uint64_t echo_config_read(void *dev, uint32_t off, unsigned size)
{
	struct vpci_echo *d = dev;
	uint64_t val = 0;

	assert_true(off + size <= VPCI_CONFIG_LEN);
	memcpy(&val, d->config + off, size);
	return val;
}

static void echo_config_write(void *dev, uint32_t off, unsigned size, uint64_t val)
{
	struct vpci_echo *d = dev;

	assert_true(off + size <= VPCI_CONFIG_LEN);
	memcpy(d->config + off, &val, size);
}

static void echo_ready(void *dev, unsigned index)
{
	struct vpci_echo *d = dev;
	struct virtq_chain c;
	unsigned taken = 0;

	d->ready[index]++;
	while (virtio_pop(&d->v, index, &taken, &c)) {
		virtq_chain_write(&c, d->v.gm, 0, "echo", 4);
		virtq_push(&d->v.queues[index], c.head, 4);
	}
	virtio_publish(&d->v, index);
}

static void echo_reset(void *dev)
{
	((struct vpci_echo *)dev)->resets++;
}

static void echo_save(void *dev, struct state_writer *w)
{
	state_put_u32(w, ((struct vpci_echo *)dev)->extra);
}

static int echo_load(void *dev, struct state_reader *r, struct err *e)
{
	uint32_t extra = state_get_u32(r);

	if (r->error || extra > 1000)
		return err_host(e, -EBADMSG, "saved state: echo's own is bad");
	((struct vpci_echo *)dev)->extra = extra;
	return 0;
}

const struct virtio_ops vpci_echo_ops = {
	.device_id = 42,
	.config_read = echo_config_read,
	.config_write = echo_config_write,
	.queue_ready = echo_ready,
	.reset = echo_reset,
	.save = echo_save,
	.load = echo_load,
};

/* --- the machine ------------------------------------------------------------------ */

void vpci_build(struct vpci *r, int attach_errno)
{
	const struct pci_layout layout = {VPCI_ECAM, VPCI_MMIO32, 16 * MiB, 4 * GiB, 16 * MiB};
	const uint16_t sizes[VPCI_QUEUES] = {64, 16};
	int ret;

	memset(r, 0, sizeof(*r));
	bus_init(&r->mmio, "mmio");
	guest_mem_init(&r->gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_add(&r->gm, 0, VPCI_RAM, -1, 0, NULL), 0);
	fake_msi_init(&r->msi);
	fake_doorbell_init(&r->bell);
	r->bell.fail_attach = attach_errno;
	r->thread = io_thread_create("echo", &ret);
	assert_non_null(r->thread);
	assert_int_equal(pci_host_init(&r->host, &r->mmio, &layout), 0);
	ret = virtio_init(&r->echo.v, &vpci_echo_ops, &r->echo, "echo0", &r->gm,
			  io_thread_loop(r->thread), 1ull << 5, VPCI_CONFIG_LEN, VPCI_QUEUES,
			  sizes);
	assert_int_equal(ret, 0);
	for (unsigned i = 0; i < VPCI_CONFIG_LEN; i++)
		r->echo.config[i] = (uint8_t)(0x10 + i);
	const struct virtio_pci_env env = {
		.msi = fake_msi_wire(&r->msi),
		.doorbell = fake_doorbell_wire(&r->bell),
	};

	assert_int_equal(virtio_pci_init(&r->dev, &r->echo.v, &env), 0);
	assert_int_equal(pci_host_add(&r->host, -1, &r->dev.pci), VPCI_SLOT);
	assert_int_equal(pci_host_assign(&r->host, NULL), 0);
}

void vpci_unbuild(struct vpci *r)
{
	virtio_pci_device_ops.fini(&r->dev);
	virtio_fini(&r->echo.v);
	pci_host_fini(&r->host);
	io_thread_destroy(r->thread);
	/* Nothing is left behind on the host or on the bus. */
	assert_int_equal(fake_doorbell_count(&r->bell), 0);
	assert_int_equal(r->bell.strays, 0);
	assert_int_equal(fake_msi_routes(&r->msi), 0);
	assert_int_equal(r->msi.lost, 0);
	assert_int_equal(r->mmio.n, 0);
	fake_doorbell_fini(&r->bell);
	fake_msi_fini(&r->msi);
	guest_mem_fini(&r->gm);
	bus_fini(&r->mmio);
}

/* --- the driver --------------------------------------------------------------------- */

uint64_t vpci_ld(struct vpci *r, uint64_t addr, unsigned size)
{
	uint64_t val;

	bus_read(&r->mmio, addr, size, &val);
	return val;
}

void vpci_st(struct vpci *r, uint64_t addr, unsigned size, uint64_t val)
{
	if (!fake_doorbell_store(&r->bell, addr, size, val)) {
		r->trapped++;
		bus_write(&r->mmio, addr, size, val);
	}
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
	for (unsigned i = 0; i <= VPCI_QUEUES; i++) {
		vpci_st(r, r->table + i * 16 + 0, 4, 0xfee00000);
		vpci_st(r, r->table + i * 16 + 4, 4, 0);
		vpci_st(r, r->table + i * 16 + 8, 4, 0x50 + i);
		vpci_st(r, r->table + i * 16 + 12, 4, 0);
	}
	vpci_cfg_st(r, r->msix_cap + 2, 2, 0x8000);
	vpci_st(r, r->common + 0x10, 2, 0);
	assert_int_equal(vpci_ld(r, r->common + 0x10, 2), 0);
}

void vpci_negotiate(struct vpci *r)
{
	vpci_st(r, r->common + 0x14, 1, 0);
	while (vpci_ld(r, r->common + 0x14, 1))
		usleep(100);
	vpci_st(r, r->common + 0x14, 1, 1);
	vpci_st(r, r->common + 0x14, 1, 3);
	vpci_st(r, r->common + 0x08, 4, 0);
	vpci_st(r, r->common + 0x0c, 4, 0);
	vpci_st(r, r->common + 0x08, 4, 1);
	vpci_st(r, r->common + 0x0c, 4, 1); /* VERSION_1 */
	vpci_st(r, r->common + 0x14, 1, 0x0b);
	assert_int_equal(vpci_ld(r, r->common + 0x14, 1), 0x0b);
}

void vpci_set_up_queues(struct vpci *r, bool vectors)
{
	for (unsigned i = 0; i < VPCI_QUEUES; i++) {
		struct virtq_driver *q = &r->q[i];

		vpci_st(r, r->common + 0x16, 2, i);
		virtq_driver_init(q, &r->gm, 0x10000 + i * 0x10000ull,
				  (uint16_t)vpci_ld(r, r->common + 0x18, 2));
		vpci_st(r, r->common + 0x18, 2, q->size);
		for (unsigned half = 0; half < 2; half++) {
			vpci_st(r, r->common + 0x20 + 4 * half, 4, q->desc >> (32 * half));
			vpci_st(r, r->common + 0x28 + 4 * half, 4, q->avail >> (32 * half));
			vpci_st(r, r->common + 0x30 + 4 * half, 4, q->used >> (32 * half));
		}
		if (vectors) {
			vpci_st(r, r->common + 0x1a, 2, i + 1);
			assert_int_equal(vpci_ld(r, r->common + 0x1a, 2), i + 1);
		}
		vpci_st(r, r->common + 0x1c, 2, 1);
	}
}

void vpci_bring_up(struct vpci *r, bool vectors)
{
	vpci_find_structures(r);
	vpci_enable_memory(r);
	vpci_negotiate(r);
	if (vectors)
		set_up_msix(r);
	vpci_set_up_queues(r, vectors);
	vpci_st(r, r->common + 0x14, 1, 0x0f);
	assert_int_equal(vpci_ld(r, r->common + 0x14, 1), 0x0f);
}

uint64_t vpci_doorbell(struct vpci *r, unsigned queue)
{
	vpci_st(r, r->common + 0x16, 2, queue);
	return r->notify + vpci_ld(r, r->common + 0x1e, 2) * r->multiplier;
}

bool vpci_delivered(struct vpci *r, uint32_t data)
{
	bool found = false;

	pthread_mutex_lock(&r->msi.lock);
	for (unsigned i = 0; i < r->msi.delivered && i < FAKE_MSI_LOG; i++)
		found |= r->msi.log[i].data == data;
	pthread_mutex_unlock(&r->msi.lock);
	return found;
}

void vpci_transact(struct vpci *r, unsigned queue)
{
	const struct vd_buf buf = {VPCI_BUFFER + queue * 64, 16, true};
	uint32_t id = 0, len = 0;
	char answer[5] = "";

	assert_int_equal(guest_mem_write(&r->gm, buf.gpa, "----", 4), 0);
	uint16_t head = virtq_driver_offer(&r->q[queue], &buf, 1);

	vpci_st(r, vpci_doorbell(r, queue), 2, queue);
	vpci_wait_until(virtq_driver_take_used(&r->q[queue], &id, &len));
	assert_int_equal(id, head);
	assert_int_equal(len, 4);
	assert_int_equal(guest_mem_read(&r->gm, buf.gpa, answer, 4), 0);
	assert_string_equal(answer, "echo");
}

int vpci_setup(void **state)
{
	static struct vpci rig;

	vpci_build(&rig, 0);
	*state = &rig;
	return 0;
}

int vpci_setup_trapped(void **state)
{
	static struct vpci rig;

	vpci_build(&rig, -ENOTSUP);
	*state = &rig;
	return 0;
}

int vpci_teardown(void **state)
{
	vpci_unbuild(*state);
	return 0;
}
