/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-pci driven as a driver would: everything goes through ECAM, the BAR that
 * enumeration found, guest RAM, and stores that may ring a doorbell. Offsets come
 * from the capabilities, expected values from the specification. Behind it is
 * the real virtio core with a device of two queues on a thread of its own.
 */
#include "devices/pci/host.h"
#include "devices/virtio/pci.h"
#include "tests/lib/fake_irq.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define ECAM   0xe8000000ull
#define MMIO32 0xc0000000ull
#define RAM    (2 * MiB)

enum { SLOT = 1, QUEUES = 2, CONFIG_LEN = 12, BUFFER = 0x40000 };

/* --- the device: fills what is writable with its letter ------------------------- */

struct echo {
	struct virtio v;
	uint8_t config[CONFIG_LEN];
	_Atomic unsigned ready[QUEUES], resets;
	uint32_t extra; /* state beside the queues */
};

static uint64_t echo_config_read(void *dev, uint32_t off, unsigned size)
{
	struct echo *d = dev;
	uint64_t val = 0;

	assert_true(off + size <= CONFIG_LEN);
	memcpy(&val, d->config + off, size);
	return val;
}

static void echo_config_write(void *dev, uint32_t off, unsigned size, uint64_t val)
{
	struct echo *d = dev;

	assert_true(off + size <= CONFIG_LEN);
	memcpy(d->config + off, &val, size);
}

static void echo_ready(void *dev, unsigned index)
{
	struct echo *d = dev;
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
	((struct echo *)dev)->resets++;
}

static const struct virtio_ops echo_ops = {
	.device_id = 42,
	.config_read = echo_config_read,
	.config_write = echo_config_write,
	.queue_ready = echo_ready,
	.reset = echo_reset,
};

static void echo_save(void *dev, struct state_writer *w)
{
	state_put_u32(w, ((struct echo *)dev)->extra);
}

static int echo_load(void *dev, struct state_reader *r, struct err *e)
{
	uint32_t extra = state_get_u32(r);

	if (r->error || extra > 1000)
		return err_host(e, -EBADMSG, "saved state: echo's own is bad");
	((struct echo *)dev)->extra = extra;
	return 0;
}

/* --- the machine ------------------------------------------------------------------ */

struct rig {
	struct bus mmio;
	struct guest_mem gm;
	struct fake_msi msi;
	struct fake_doorbell bell;
	struct io_thread *thread;
	struct pci_host host;
	struct echo echo;
	struct virtio_pci dev;
	struct virtq_driver q[QUEUES];

	/* What enumeration found. */
	uint64_t bar, common, isr, device, notify;
	uint32_t multiplier, notify_len, device_len;
	unsigned msix_cap, window;
	uint64_t table, pba;
	unsigned trapped; /* kicks that caused an exit */
};

static void build(struct rig *r, int attach_errno)
{
	const struct pci_layout layout = {ECAM, MMIO32, 16 * MiB, 4 * GiB, 16 * MiB};
	const uint16_t sizes[QUEUES] = {64, 16};
	int ret;

	memset(r, 0, sizeof(*r));
	bus_init(&r->mmio, "mmio");
	guest_mem_init(&r->gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_add(&r->gm, 0, RAM, -1, 0, NULL), 0);
	fake_msi_init(&r->msi);
	fake_doorbell_init(&r->bell);
	r->bell.fail_attach = attach_errno;
	r->thread = io_thread_create("echo", &ret);
	assert_non_null(r->thread);
	assert_int_equal(pci_host_init(&r->host, &r->mmio, &layout), 0);
	ret = virtio_init(&r->echo.v, &echo_ops, &r->echo, "echo0", &r->gm,
			  io_thread_loop(r->thread), 1ull << 5, CONFIG_LEN, QUEUES, sizes);
	assert_int_equal(ret, 0);
	for (unsigned i = 0; i < CONFIG_LEN; i++)
		r->echo.config[i] = (uint8_t)(0x10 + i);
	const struct virtio_pci_env env = {
		.msi = fake_msi_wire(&r->msi),
		.doorbell = fake_doorbell_wire(&r->bell),
		.type_save = echo_save,
		.type_load = echo_load,
	};

	assert_int_equal(virtio_pci_init(&r->dev, &r->echo.v, &env), 0);
	assert_int_equal(pci_host_add(&r->host, -1, &r->dev.pci), SLOT);
	assert_int_equal(pci_host_assign(&r->host, NULL), 0);
}

static void unbuild(struct rig *r)
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

static uint64_t ld(struct rig *r, uint64_t addr, unsigned size)
{
	uint64_t val;

	bus_read(&r->mmio, addr, size, &val);
	return val;
}

static void st(struct rig *r, uint64_t addr, unsigned size, uint64_t val)
{
	if (!fake_doorbell_store(&r->bell, addr, size, val)) {
		r->trapped++;
		bus_write(&r->mmio, addr, size, val);
	}
}

static uint64_t cfg_ld(struct rig *r, unsigned reg, unsigned size)
{
	return ld(r, ECAM + SLOT * 0x8000 + reg, size);
}

static void cfg_st(struct rig *r, unsigned reg, unsigned size, uint64_t val)
{
	st(r, ECAM + SLOT * 0x8000 + reg, size, val);
}

static uint64_t bar_address(struct rig *r)
{
	return cfg_ld(r, 0x14, 4) << 32 | (cfg_ld(r, 0x10, 4) & ~0xfull);
}

/* Walk the capability list [virtio 1.3 4.1.5.1.1]; `seen` has a bit for each type. */
static unsigned find_structures(struct rig *r)
{
	unsigned seen = 0, cap = (unsigned)cfg_ld(r, 0x34, 1);

	r->bar = bar_address(r);
	for (unsigned steps = 0; cap; cap = (unsigned)cfg_ld(r, cap + 1, 1)) {
		assert_true(++steps < 48 && cap >= 0x40 && cap % 4 == 0);
		if (cfg_ld(r, cap, 1) == 0x11) {
			r->msix_cap = cap;
			r->table = r->bar + (cfg_ld(r, cap + 4, 4) & ~7ull);
			r->pba = r->bar + (cfg_ld(r, cap + 8, 4) & ~7ull);
			continue;
		}
		assert_int_equal(cfg_ld(r, cap, 1), 0x09);
		unsigned type = (unsigned)cfg_ld(r, cap + 3, 1);
		uint64_t at = r->bar + cfg_ld(r, cap + 8, 4), len = cfg_ld(r, cap + 12, 4);

		assert_in_range(type, 1, 5);
		assert_int_equal(cfg_ld(r, cap + 2, 1), type == 2 || type == 5 ? 20 : 16);
		assert_int_equal(cfg_ld(r, cap + 4, 1), 0);
		seen |= 1u << type;
		if (type == 1) {
			r->common = at;
			assert_true(len >= 56);
			assert_int_equal(at % 4, 0);
		} else if (type == 2) {
			r->notify = at;
			r->notify_len = (uint32_t)len;
			r->multiplier = (uint32_t)cfg_ld(r, cap + 16, 4);
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

static void enable_memory(struct rig *r)
{
	cfg_st(r, 0x04, 2, 0x0006);
}

/* Vectors: configuration 0, queue i: i + 1; message data 0x50 + vector. */
static void set_up_msix(struct rig *r)
{
	cfg_st(r, r->msix_cap + 2, 2, 0xc000);
	for (unsigned i = 0; i <= QUEUES; i++) {
		st(r, r->table + i * 16 + 0, 4, 0xfee00000);
		st(r, r->table + i * 16 + 4, 4, 0);
		st(r, r->table + i * 16 + 8, 4, 0x50 + i);
		st(r, r->table + i * 16 + 12, 4, 0);
	}
	cfg_st(r, r->msix_cap + 2, 2, 0x8000);
	st(r, r->common + 0x10, 2, 0);
	assert_int_equal(ld(r, r->common + 0x10, 2), 0);
}

static void negotiate(struct rig *r)
{
	st(r, r->common + 0x14, 1, 0);
	while (ld(r, r->common + 0x14, 1))
		usleep(100);
	st(r, r->common + 0x14, 1, 1);
	st(r, r->common + 0x14, 1, 3);
	st(r, r->common + 0x08, 4, 0);
	st(r, r->common + 0x0c, 4, 0);
	st(r, r->common + 0x08, 4, 1);
	st(r, r->common + 0x0c, 4, 1); /* VERSION_1 */
	st(r, r->common + 0x14, 1, 0x0b);
	assert_int_equal(ld(r, r->common + 0x14, 1), 0x0b);
}

static void set_up_queues(struct rig *r, bool vectors)
{
	for (unsigned i = 0; i < QUEUES; i++) {
		struct virtq_driver *q = &r->q[i];

		st(r, r->common + 0x16, 2, i);
		virtq_driver_init(q, &r->gm, 0x10000 + i * 0x10000ull,
				  (uint16_t)ld(r, r->common + 0x18, 2));
		st(r, r->common + 0x18, 2, q->size);
		for (unsigned half = 0; half < 2; half++) {
			st(r, r->common + 0x20 + 4 * half, 4, q->desc >> (32 * half));
			st(r, r->common + 0x28 + 4 * half, 4, q->avail >> (32 * half));
			st(r, r->common + 0x30 + 4 * half, 4, q->used >> (32 * half));
		}
		if (vectors) {
			st(r, r->common + 0x1a, 2, i + 1);
			assert_int_equal(ld(r, r->common + 0x1a, 2), i + 1);
		}
		st(r, r->common + 0x1c, 2, 1);
	}
}

static void bring_up(struct rig *r, bool vectors)
{
	find_structures(r);
	enable_memory(r);
	negotiate(r);
	if (vectors)
		set_up_msix(r);
	set_up_queues(r, vectors);
	st(r, r->common + 0x14, 1, 0x0f);
	assert_int_equal(ld(r, r->common + 0x14, 1), 0x0f);
}

static uint64_t doorbell(struct rig *r, unsigned queue)
{
	st(r, r->common + 0x16, 2, queue);
	return r->notify + ld(r, r->common + 0x1e, 2) * r->multiplier;
}

static bool delivered(struct rig *r, uint32_t data)
{
	bool found = false;

	pthread_mutex_lock(&r->msi.lock);
	for (unsigned i = 0; i < r->msi.delivered && i < FAKE_MSI_LOG; i++)
		found |= r->msi.log[i].data == data;
	pthread_mutex_unlock(&r->msi.lock);
	return found;
}

#define wait_until(condition)                                                                      \
	do {                                                                                       \
		unsigned tries_ = 0;                                                               \
		while (!(condition)) {                                                             \
			usleep(200);                                                               \
			assert_true(++tries_ < 25000);                                             \
		}                                                                                  \
	} while (0)

/* One request on `queue`: the answer is there when the used index says so. */
static void transact(struct rig *r, unsigned queue)
{
	const struct vd_buf buf = {BUFFER + queue * 64, 16, true};
	uint32_t id = 0, len = 0;
	char answer[5] = "";

	assert_int_equal(guest_mem_write(&r->gm, buf.gpa, "----", 4), 0);
	uint16_t head = virtq_driver_offer(&r->q[queue], &buf, 1);

	st(r, doorbell(r, queue), 2, queue);
	wait_until(virtq_driver_take_used(&r->q[queue], &id, &len));
	assert_int_equal(id, head);
	assert_int_equal(len, 4);
	assert_int_equal(guest_mem_read(&r->gm, buf.gpa, answer, 4), 0);
	assert_string_equal(answer, "echo");
}

static int setup(void **state)
{
	static struct rig rig;

	build(&rig, 0);
	*state = &rig;
	return 0;
}

static int setup_trapped(void **state)
{
	static struct rig rig;

	build(&rig, -ENOTSUP);
	*state = &rig;
	return 0;
}

static int teardown(void **state)
{
	unbuild(*state);
	return 0;
}

/* --- discovery ------------------------------------------------------------------------ */

static void driver_finds_the_device(void **state)
{
	struct rig *r = *state;

	assert_int_equal(cfg_ld(r, 0x00, 4), 0x106a1af4);
	assert_int_equal(cfg_ld(r, 0x08, 4) >> 8, 0x00ff00);
	assert_int_equal(cfg_ld(r, 0x08, 1), 1);
	assert_int_equal(cfg_ld(r, 0x2c, 4), 0x106a1af4);
	assert_int_equal(cfg_ld(r, 0x3d, 1), 0);
	assert_int_equal(find_structures(r), 0x3e); /* types 1 to 5 */
	assert_int_equal(cfg_ld(r, r->msix_cap + 2, 2) & 0x7ff, QUEUES);
	assert_int_equal(r->device_len, CONFIG_LEN);
	assert_true(r->notify_len >= (QUEUES - 1) * r->multiplier + 2);

	/* Size the BAR as Linux does, decoding off. */
	cfg_st(r, 0x10, 4, 0xffffffff);
	cfg_st(r, 0x14, 4, 0xffffffff);
	assert_int_equal(cfg_ld(r, 0x14, 4), 0xffffffff);
	assert_int_equal(~(uint32_t)(cfg_ld(r, 0x10, 4) & ~0xfull) + 1, 0x4000);
	cfg_st(r, 0x10, 4, (uint32_t)r->bar);
	cfg_st(r, 0x14, 4, r->bar >> 32);
	assert_int_equal(bar_address(r), r->bar);
	enable_memory(r);
	assert_int_equal(ld(r, r->common + 0x12, 2), QUEUES);
}

static uint16_t class_of(uint32_t device_id)
{
	struct virtio_ops ops = echo_ops;
	const struct virtio_pci_env env = {0};
	struct guest_mem gm = {0};
	struct virtio_pci p;
	const uint16_t size = 8;
	struct virtio v;

	ops.device_id = device_id;
	ops.reset = NULL;
	assert_int_equal(virtio_init(&v, &ops, NULL, "x", &gm, NULL, 0, 0, 1, &size), 0);
	assert_int_equal(virtio_pci_init(&p, &v, &env), 0);
	uint16_t class_code = pci_config_get16(&p.pci, 0x0a);

	assert_int_equal(pci_config_get16(&p.pci, 0x02), 0x1040 + device_id);
	virtio_pci_fini(&p);
	virtio_fini(&v);
	return class_code;
}

static void class_follows_the_type(void **state)
{
	assert_int_equal(class_of(1), 0x0200);
	assert_int_equal(class_of(2), 0x0100);
	assert_int_equal(class_of(3), 0x0780);
	assert_int_equal(class_of(4), 0x00ff);
}

static void too_large_a_config_is_refused(void **state)
{
	const struct virtio_pci_env env = {0};
	struct guest_mem gm = {0};
	struct echo d = {0};
	struct virtio_pci p;
	const uint16_t size = 8;
	int ret = virtio_init(&d.v, &echo_ops, &d, "x", &gm, NULL, 0, 4097, 1, &size);

	assert_int_equal(ret, 0);
	assert_int_equal(virtio_pci_init(&p, &d.v, &env), -EINVAL);
	virtio_pci_fini(&p);
	virtio_fini(&d.v);
}

/* --- working -------------------------------------------------------------------------- */

static void driver_brings_it_up_and_uses_it(void **state)
{
	struct rig *r = *state;

	bring_up(r, true);
	for (unsigned round = 0; round < 100; round++)
		transact(r, round % QUEUES);
	wait_until(delivered(r, 0x51) && delivered(r, 0x52));
	assert_false(delivered(r, 0x50));
	assert_true(r->echo.ready[0] > 0 && r->echo.ready[1] > 0);
	/* Neither the kicks nor the interrupts went through the device model. */
	unsigned before = r->trapped;

	st(r, r->notify, 2, 0);
	st(r, r->notify + r->multiplier, 4, 1);
	assert_int_equal(r->trapped, before);
	assert_int_equal(r->msi.sends, 0);
}

static void doorbell_without_ioeventfd_is_trapped(void **state)
{
	struct rig *r = *state;

	bring_up(r, true);
	assert_int_equal(fake_doorbell_count(&r->bell), 0);
	for (unsigned round = 0; round < 20; round++)
		transact(r, round % QUEUES);
	wait_until(delivered(r, 0x51) && delivered(r, 0x52));
}

static void queue_without_vector_is_silent(void **state)
{
	struct rig *r = *state;

	bring_up(r, true);
	st(r, r->common + 0x16, 2, 1);
	st(r, r->common + 0x1a, 2, 0xffff);
	transact(r, 1);
	transact(r, 0);
	wait_until(delivered(r, 0x51));
	assert_false(delivered(r, 0x52));
	assert_int_equal(ld(r, r->isr, 1), 0);
}

static void isr_tells_without_msix(void **state)
{
	struct rig *r = *state;

	bring_up(r, false);
	assert_int_equal(cfg_ld(r, 0x06, 2) & 8, 0);
	transact(r, 0);
	wait_until(cfg_ld(r, 0x06, 2) & 8); /* Interrupt Status */
	assert_int_equal(ld(r, r->isr, 4), 0); /* wrong size: nothing is cleared */
	assert_int_equal(ld(r, r->isr + 1, 1), 0);
	assert_int_equal(ld(r, r->isr, 1), 1);
	assert_int_equal(ld(r, r->isr, 1), 0);
	assert_int_equal(cfg_ld(r, 0x06, 2) & 8, 0);
	virtio_notify_config(&r->echo.v);
	assert_int_equal(ld(r, r->isr, 1), 2);
	assert_int_equal(fake_msi_delivered(&r->msi), 0);
}

static void config_change_interrupts(void **state)
{
	struct rig *r = *state;

	bring_up(r, true);
	uint64_t generation = ld(r, r->common + 0x15, 1);

	virtio_notify_config(&r->echo.v);
	assert_true(delivered(r, 0x50));
	assert_int_not_equal(ld(r, r->common + 0x15, 1), generation);
	assert_int_equal(cfg_ld(r, 0x06, 2) & 8, 0); /* MSI-X is on */
	assert_int_equal(ld(r, r->isr, 1), 2);
	assert_int_equal(ld(r, r->isr, 1), 0);
}

static void broken_ring_needs_reset_and_says_so(void **state)
{
	struct rig *r = *state;

	bring_up(r, true);
	virtq_driver_set_avail_idx(&r->q[0], 1000);
	st(r, doorbell(r, 0), 2, 0);
	wait_until(delivered(r, 0x50));
	assert_int_equal(ld(r, r->common + 0x14, 1), 0x4f);
	assert_int_equal(ld(r, r->isr, 1), 2);
	bring_up(r, true);
	transact(r, 0);
}

static void reset_unmaps_vectors_and_queues(void **state)
{
	struct rig *r = *state;

	bring_up(r, true);
	transact(r, 0);
	st(r, r->common + 0x00, 4, 1);
	st(r, r->common + 0x14, 1, 0);
	wait_until(!ld(r, r->common + 0x14, 1));
	assert_int_equal(ld(r, r->common + 0x10, 2), 0xffff);
	for (unsigned i = 0; i < QUEUES; i++) {
		st(r, r->common + 0x16, 2, i);
		assert_int_equal(ld(r, r->common + 0x1a, 2), 0xffff);
		assert_int_equal(ld(r, r->common + 0x1c, 2), 0);
		assert_int_equal(ld(r, r->common + 0x20, 4), 0);
		assert_int_equal(ld(r, r->common + 0x18, 2), i ? 16 : 64);
	}
	assert_int_equal(ld(r, r->isr, 1), 0);
	bring_up(r, true);
	transact(r, 1);
}

static void reset_a_thousand_times_under_load(void **state)
{
	struct rig *r = *state;

	bring_up(r, true);
	for (unsigned round = 0; round < 1000; round++) {
		const struct vd_buf buf = {BUFFER, 16, true};

		for (unsigned i = 0; i < 8; i++)
			virtq_driver_offer(&r->q[0], &buf, 1);
		st(r, r->notify, 2, 0);
		negotiate(r);
		/* Acknowledged: not one more write to the old ring. */
		uint16_t used = virtq_driver_used_idx(&r->q[0]);

		if (round % 64 == 0)
			usleep(1000);
		assert_int_equal(virtq_driver_used_idx(&r->q[0]), used);
		set_up_queues(r, true);
		st(r, r->common + 0x14, 1, 0x0f);
	}
	bring_up(r, true);
	transact(r, 0);
}

/* --- registers -------------------------------------------------------------------------- */

static void feature_select_above_1_reads_0(void **state)
{
	struct rig *r = *state;
	static const uint32_t beyond[] = {2, 3, 31, 0x80000000, UINT32_MAX};

	find_structures(r);
	enable_memory(r);
	st(r, r->common + 0x00, 4, 0);
	assert_int_equal(ld(r, r->common + 0x04, 4), 1u << 5 | 1u << 28 | 1u << 29);
	st(r, r->common + 0x00, 4, 1);
	assert_int_equal(ld(r, r->common + 0x04, 4), 1);
	negotiate(r);
	for (unsigned i = 0; i < ARRAY_LEN(beyond); i++) {
		st(r, r->common + 0x00, 4, beyond[i]);
		assert_int_equal(ld(r, r->common + 0x00, 4), beyond[i]);
		assert_int_equal(ld(r, r->common + 0x04, 4), 0);
		st(r, r->common + 0x08, 4, beyond[i]);
		st(r, r->common + 0x0c, 4, UINT32_MAX);
		assert_int_equal(ld(r, r->common + 0x0c, 4), 0);
	}
	st(r, r->common + 0x08, 4, 1);
	assert_int_equal(ld(r, r->common + 0x0c, 4), 1);
}

static void queue_select_out_of_range(void **state)
{
	struct rig *r = *state;
	static const uint16_t absent[] = {QUEUES, 63, 64, 65, 0x7fff, 0xffff};

	find_structures(r);
	enable_memory(r);
	negotiate(r);
	for (unsigned i = 0; i < ARRAY_LEN(absent); i++) {
		st(r, r->common + 0x16, 2, absent[i]);
		for (unsigned off = 0x18; off < 0x38; off += off < 0x20 ? 2 : 4) {
			unsigned size = off < 0x20 ? 2 : 4;

			st(r, r->common + off, size, 1);
			/* No vector: the mapping failed. */
			assert_int_equal(ld(r, r->common + off, size), off == 0x1a ? 0xffff : 0);
		}
	}
}

static void addresses_are_two_halves(void **state)
{
	struct rig *r = *state;

	find_structures(r);
	enable_memory(r);
	negotiate(r);
	for (unsigned off = 0x20; off < 0x38; off += 8) {
		st(r, r->common + off + 4, 4, 0x11223344);
		assert_int_equal(ld(r, r->common + off, 4), 0);
		st(r, r->common + off, 4, 0x55667788 + off);
		assert_int_equal(ld(r, r->common + off + 4, 4), 0x11223344);
		assert_int_equal(ld(r, r->common + off, 4), 0x55667788 + off);
		st(r, r->common + off, 8, 0);
		assert_int_equal(ld(r, r->common + off, 8), 0);
		assert_int_equal(ld(r, r->common + off, 4), 0x55667788 + off);
	}
}

static void vectors_beyond_the_table_fail(void **state)
{
	struct rig *r = *state;
	static const uint16_t bad[] = {QUEUES + 1, 64, 0x7ff, 0x800, 0xfffe, 0xffff};

	find_structures(r);
	enable_memory(r);
	assert_int_equal(ld(r, r->common + 0x10, 2), 0xffff);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		st(r, r->common + 0x10, 2, QUEUES);
		assert_int_equal(ld(r, r->common + 0x10, 2), QUEUES);
		st(r, r->common + 0x10, 2, bad[i]);
		assert_int_equal(ld(r, r->common + 0x10, 2), 0xffff);
		st(r, r->common + 0x1a, 2, QUEUES);
		assert_int_equal(ld(r, r->common + 0x1a, 2), QUEUES);
		st(r, r->common + 0x1a, 2, bad[i]);
		assert_int_equal(ld(r, r->common + 0x1a, 2), 0xffff);
	}
}

static void queue_fields_written_after_driver_ok(void **state)
{
	struct rig *r = *state;
	uint64_t before[16];

	bring_up(r, true);
	for (unsigned i = 0; i < QUEUES; i++) {
		st(r, r->common + 0x16, 2, i);
		for (unsigned off = 0x18, n = 0; off < 0x38; off += off < 0x20 ? 2 : 4, n++)
			before[n] = ld(r, r->common + off, off < 0x20 ? 2 : 4);
		for (unsigned off = 0x18; off < 0x38; off += off < 0x20 ? 2 : 4) {
			if (off == 0x1a)
				continue; /* the vector may change at any time */
			st(r, r->common + off, off < 0x20 ? 2 : 4, 0);
			st(r, r->common + off, off < 0x20 ? 2 : 4, 0x1008);
		}
		for (unsigned off = 0x18, n = 0; off < 0x38; off += off < 0x20 ? 2 : 4, n++)
			assert_int_equal(ld(r, r->common + off, off < 0x20 ? 2 : 4), before[n]);
		transact(r, i);
	}
}

/* Each register's own offset and width, from the specification's structure. */
static bool is_register(unsigned off, unsigned size)
{
	static const struct {
		unsigned off, size;
	} regs[] = {{0x00, 4}, {0x04, 4}, {0x08, 4}, {0x0c, 4}, {0x10, 2}, {0x12, 2}, {0x14, 1},
		    {0x15, 1}, {0x16, 2}, {0x18, 2}, {0x1a, 2}, {0x1c, 2}, {0x1e, 2}, {0x20, 4},
		    {0x24, 4}, {0x28, 4}, {0x2c, 4}, {0x30, 4}, {0x34, 4}};

	for (unsigned i = 0; i < ARRAY_LEN(regs); i++)
		if (regs[i].off == off && regs[i].size == size)
			return true;
	return false;
}

static void common_registers_of_the_wrong_width(void **state)
{
	struct rig *r = *state;

	bring_up(r, true);
	st(r, r->common + 0x16, 2, 1);
	for (unsigned size = 1; size <= 8; size *= 2)
		for (unsigned off = 0; off < 0x80; off++) {
			if (is_register(off, size))
				continue;
			st(r, r->common + off, size, 0);
			st(r, r->common + off, size, UINT64_MAX);
			assert_int_equal(ld(r, r->common + off, size), 0);
		}
	assert_int_equal(ld(r, r->common + 0x14, 1), 0x0f);
	assert_int_equal(ld(r, r->common + 0x16, 2), 1);
	assert_int_equal(ld(r, r->common + 0x10, 2), 0);
	transact(r, 0);
}

static void device_config_at_every_offset(void **state)
{
	struct rig *r = *state;

	find_structures(r);
	enable_memory(r);
	assert_int_equal(ld(r, r->device, 4), 0x13121110);
	assert_int_equal(ld(r, r->device + 4, 8), 0x1b1a191817161514);
	assert_int_equal(ld(r, r->device + 11, 1), 0x1b);
	st(r, r->device + 2, 2, 0xbeef);
	assert_int_equal(ld(r, r->device, 4), 0xbeef1110);
	for (unsigned size = 1; size <= 8; size *= 2)
		for (unsigned off = 0; off < 0x1000; off++) {
			if (off + size <= CONFIG_LEN) {
				ld(r, r->device + off, size);
				continue;
			}
			st(r, r->device + off, size, UINT64_MAX);
			assert_int_equal(ld(r, r->device + off, size), 0);
		}
	assert_int_equal(ld(r, r->device + 4, 8), 0x1b1a191817161514);
}

static void notify_out_of_range(void **state)
{
	struct rig *r = *state;

	bring_up(r, true);
	transact(r, 0);
	transact(r, 1);
	unsigned served[QUEUES] = {r->echo.ready[0], r->echo.ready[1]};

	for (uint64_t off = 1; off < 0x1000; off++)
		if (off != r->multiplier)
			for (unsigned size = 1; size <= 8; size *= 2) {
				st(r, r->notify + off, size, 0);
				assert_int_equal(ld(r, r->notify + off, size), 0);
			}
	usleep(20000);
	assert_int_equal(r->echo.ready[0], served[0]);
	assert_int_equal(r->echo.ready[1], served[1]);
	assert_int_equal(ld(r, r->common + 0x14, 1), 0x0f);
	/* The address says which queue; the value may be any. */
	st(r, r->notify, 4, 0xffffffff);
	wait_until(r->echo.ready[0] > served[0]);
	assert_int_equal(r->echo.ready[1], served[1]);
}

static void whole_bar_at_every_offset(void **state)
{
	struct rig *r = *state;

	bring_up(r, true);
	for (unsigned size = 1; size <= 8; size *= 2)
		for (unsigned off = 0; off < 0x4000; off++) {
			if (off == 0x14)
				continue; /* status: the driver would give up */
			st(r, r->bar + off, size, UINT64_MAX);
			st(r, r->bar + off, size, 0x0101010101010101);
			ld(r, r->bar + off, size);
		}
	assert_int_equal(ld(r, r->bar + 0x4000 - 2, 4), 0xffffffff);
	bring_up(r, true);
	transact(r, 0);
	transact(r, 1);
}

static void msix_table_is_in_the_bar(void **state)
{
	struct rig *r = *state;

	find_structures(r);
	enable_memory(r);
	assert_int_equal(ld(r, r->table + 8, 8), 1ull << 32);
	st(r, r->table, 8, 0x1fee00000);
	assert_int_equal(ld(r, r->table + 4, 4), 1);
	for (unsigned size = 1; size <= 8; size *= 2)
		for (unsigned off = 0; off < 0x1000; off++) {
			bool good = size >= 4 && off % size == 0 && off < (QUEUES + 1) * 16;

			if (good)
				continue;
			st(r, r->table + off, size, UINT64_MAX);
			assert_int_equal(ld(r, r->table + off, size), 0);
		}
	assert_int_equal(ld(r, r->table + 32, 8), 0);
	cfg_st(r, r->msix_cap + 2, 2, 0x8000);
	st(r, r->common + 0x10, 2, 2);
	negotiate(r);
	st(r, r->common + 0x10, 2, 2);
	st(r, r->common + 0x14, 1, 0x0f);
	virtio_notify_config(&r->echo.v);
	assert_int_equal(ld(r, r->pba, 8), 4); /* masked: pending */
}

/* --- doorbells and the BAR -------------------------------------------------------------- */

static void doorbells_follow_the_bar(void **state)
{
	struct rig *r = *state;

	find_structures(r);
	assert_int_equal(fake_doorbell_count(&r->bell), 0);
	bring_up(r, true);
	assert_int_equal(fake_doorbell_count(&r->bell), QUEUES);
	assert_int_equal(r->bell.attaches, QUEUES);

	cfg_st(r, 0x14, 4, 1); /* above 4 GiB */
	cfg_st(r, 0x10, 4, 0x8000);
	uint64_t old = r->notify;

	find_structures(r);
	assert_int_equal(r->bar, 0x100008000);
	assert_int_equal(fake_doorbell_count(&r->bell), QUEUES);
	assert_false(fake_doorbell_store(&r->bell, old, 2, 0));
	transact(r, 0);
	transact(r, 1);
	cfg_st(r, 0x04, 2, 0);
	assert_int_equal(fake_doorbell_count(&r->bell), 0);
	assert_int_equal(ld(r, r->common + 0x14, 1), 0xff);
	assert_int_equal(ld(r, r->common, 4), 0xffffffff);
	enable_memory(r);
	transact(r, 0);
}

static void bar_moved_over_ram_or_ecam(void **state)
{
	struct rig *r = *state;
	static const uint64_t bad[] = {0, 0x10000, 0x100000, ECAM, ECAM + 0x8000,
				       MMIO32 + 16 * MiB, UINT64_MAX & ~0x3fffull};

	bring_up(r, true);
	uint64_t home = r->bar;

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		cfg_st(r, 0x10, 4, (uint32_t)bad[i]);
		cfg_st(r, 0x14, 4, bad[i] >> 32);
		assert_int_equal(fake_doorbell_count(&r->bell), 0);
		assert_int_equal(cfg_ld(r, 0x00, 4), 0x106a1af4);
	}
	cfg_st(r, 0x10, 4, (uint32_t)home);
	cfg_st(r, 0x14, 4, home >> 32);
	assert_int_equal(fake_doorbell_count(&r->bell), QUEUES);
	transact(r, 0);
}

/* --- the PCI_CFG window -------------------------------------------------------------------- */

static void aim(struct rig *r, unsigned bar, uint32_t off, uint32_t len)
{
	cfg_st(r, r->window + 4, 1, bar);
	cfg_st(r, r->window + 8, 4, off);
	cfg_st(r, r->window + 12, 4, len);
}

static uint64_t peek(struct rig *r, uint32_t off, uint32_t len)
{
	aim(r, 0, off, len);
	return cfg_ld(r, r->window + 16, 4);
}

static void poke(struct rig *r, uint32_t off, uint32_t len, uint32_t val)
{
	aim(r, 0, off, len);
	cfg_st(r, r->window + 16, 4, val);
}

static void window_reaches_the_structures(void **state)
{
	struct rig *r = *state;

	bring_up(r, false);
	uint32_t common = (uint32_t)(r->common - r->bar), device = (uint32_t)(r->device - r->bar);
	uint32_t notify = (uint32_t)(r->notify - r->bar), isr = (uint32_t)(r->isr - r->bar);

	/* It needs no mapping. */
	cfg_st(r, 0x04, 2, 0);
	assert_int_equal(peek(r, common + 0x12, 2), QUEUES);
	assert_int_equal(peek(r, common + 0x14, 1), 0x0f);
	poke(r, common + 0x00, 4, 1);
	assert_int_equal(peek(r, common + 0x04, 4), 1);
	poke(r, common + 0x16, 2, 0xdead0001); /* only `length` bytes count */
	assert_int_equal(peek(r, common + 0x16, 2), 1);
	assert_int_equal(peek(r, common + 0x18, 2), 16);
	assert_int_equal(peek(r, device + 8, 4), 0x1b1a1918);
	assert_int_equal(peek(r, device + 2, 2), 0x1312);
	poke(r, device + 3, 1, 0x99);
	assert_int_equal(r->echo.config[3], 0x99);
	/* A part of the data register: the access is the same. */
	aim(r, 0, device, 4);
	assert_int_equal(cfg_ld(r, r->window + 18, 2), 0x9912);
	assert_int_equal(cfg_ld(r, r->window + 12, 8), 0x9912111000000004ull);

	const struct vd_buf buf = {BUFFER, 16, true};
	uint32_t id, len;

	virtq_driver_offer(&r->q[0], &buf, 1);
	poke(r, notify, 2, 0);
	wait_until(virtq_driver_take_used(&r->q[0], &id, &len));
	wait_until(cfg_ld(r, 0x06, 2) & 8);
	assert_int_equal(peek(r, isr, 1), 1);
	assert_int_equal(peek(r, isr, 1), 0);
}

static void window_abuse_reads_0_and_writes_nothing(void **state)
{
	struct rig *r = *state;
	static const uint32_t lens[] = {0, 3, 5, 8, 16, 0x80000000, UINT32_MAX};

	bring_up(r, true);
	uint32_t common = (uint32_t)(r->common - r->bar), device = (uint32_t)(r->device - r->bar);
	const struct {
		unsigned bar;
		uint32_t off, len;
	} bad[] = {
		{1, common + 0x14, 1},
		{5, common + 0x14, 1},
		{255, common + 0x14, 1},
		{0, common + 0x13, 2},
		{0, common + 0x12, 4},
		{0, common + 0x38, 4},
		{0, device + CONFIG_LEN, 4},
		{0, device + CONFIG_LEN - 1, 2},
		{0, 0x3000, 4}, /* the MSI-X table is none of virtio's structures */
		{0, 0x3800, 4},
		{0, 0x3ffc, 4},
		{0, 0x4000, 4},
		{0, 0xfffffffc, 4},
		{0, UINT32_MAX, 1},
	};

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		aim(r, bad[i].bar, bad[i].off, bad[i].len);
		cfg_st(r, r->window + 16, 4, 0);
		assert_int_equal(cfg_ld(r, r->window + 16, 4), 0);
	}
	for (unsigned i = 0; i < ARRAY_LEN(lens); i++) {
		aim(r, 0, common + 0x14, lens[i]);
		cfg_st(r, r->window + 16, 4, 0);
		assert_int_equal(cfg_ld(r, r->window + 16, 4), 0);
	}
	assert_int_equal(ld(r, r->common + 0x14, 1), 0x0f);
	assert_int_equal(ld(r, r->table + 12, 4), 0);
	assert_int_equal(ld(r, r->device + 8, 4), 0x1b1a1918);
	transact(r, 0);
}

static void config_space_at_every_offset(void **state)
{
	static const uint64_t patterns[] = {UINT64_MAX, 0, 0x0102040801020408, 0x1000000010};
	struct rig *r = *state;

	bring_up(r, true);
	for (unsigned p = 0; p < ARRAY_LEN(patterns); p++)
		for (unsigned size = 1; size <= 8; size *= 2)
			for (unsigned off = 0; off < 0x1000; off++) {
				cfg_st(r, off, size, patterns[p]);
				cfg_ld(r, off, size);
			}
	assert_int_equal(cfg_ld(r, 0x00, 4), 0x106a1af4);
	virtio_pci_device_ops.reset(&r->dev);
	bring_up(r, true);
	transact(r, 1);
}

/* --- saved state ------------------------------------------------------------------------------ */

static void save(struct rig *r, struct state_writer *w)
{
	state_writer_init(w);
	virtio_pci_device_ops.save(&r->dev, w);
	assert_int_equal(w->error, 0);
}

static int load(struct rig *r, const uint8_t *data, size_t len, struct err *e)
{
	struct state_reader reader;

	*e = (struct err){0};
	state_reader_init(&reader, data, len);
	return virtio_pci_device_ops.load(&r->dev, &reader, e);
}

/* A device in use, its BAR moved, paused; what it holds goes to *w. */
static void busy_state(struct rig *r, struct state_writer *w)
{
	bring_up(r, true);
	cfg_st(r, 0x10, 4, (uint32_t)r->bar + 0x10000);
	find_structures(r);
	transact(r, 0);
	transact(r, 1);
	st(r, r->common + 0x10, 2, 0);
	virtio_notify_config(&r->echo.v);
	r->echo.extra = 77;
	assert_int_equal(virtio_pci_device_ops.pause(&r->dev), 0);
	save(r, w);
}

static void copy_ram(struct rig *to, struct rig *from)
{
	memcpy(guest_mem_hva(&to->gm, 0, RAM), guest_mem_hva(&from->gm, 0, RAM), RAM);
}

static void state_survives_a_round_trip(void **state)
{
	struct state_writer w, again;
	struct rig *r = *state;
	static struct rig clone;
	struct err e;

	busy_state(r, &w);
	build(&clone, 0);
	copy_ram(&clone, r);
	assert_int_equal(load(&clone, w.data, w.len, &e), 0);
	save(&clone, &again);
	assert_int_equal(w.len, again.len);
	assert_memory_equal(w.data, again.data, w.len);
	assert_int_equal(clone.echo.extra, 77);

	/* The driver goes on as if nothing had happened. */
	assert_int_equal(fake_doorbell_count(&clone.bell), QUEUES);
	virtio_pci_device_ops.resume(&clone.dev);
	find_structures(&clone);
	assert_int_equal(clone.bar, r->bar);
	memcpy(clone.q, r->q, sizeof(clone.q));
	for (unsigned i = 0; i < QUEUES; i++)
		clone.q[i].gm = &clone.gm;
	assert_int_equal(ld(&clone, clone.isr, 1), 2);
	transact(&clone, 0);
	transact(&clone, 1);
	wait_until(delivered(&clone, 0x51) && delivered(&clone, 0x52));

	/* So does the original. */
	virtio_pci_device_ops.resume(&r->dev);
	transact(r, 0);
	unbuild(&clone);
	state_writer_fini(&w);
	state_writer_fini(&again);
}

static void idle_state_survives_a_round_trip(void **state)
{
	struct state_writer w, again;
	struct rig *r = *state;
	struct err e;

	save(r, &w);
	assert_int_equal(load(r, w.data, w.len, &e), 0);
	save(r, &again);
	assert_int_equal(w.len, again.len);
	assert_memory_equal(w.data, again.data, w.len);
	bring_up(r, true);
	transact(r, 0);
	state_writer_fini(&w);
	state_writer_fini(&again);
}

static void damaged_state_is_refused_or_taken_exactly(void **state)
{
	static const uint8_t flips[] = {0x01, 0x80, 0xff};
	struct state_writer w, fresh, now;
	struct rig *r = *state;
	static struct rig clone;
	unsigned refused = 0;
	struct err e;

	busy_state(r, &w);
	build(&clone, 0);
	copy_ram(&clone, r);
	save(&clone, &fresh);
	for (size_t len = 0; len < w.len; len++) {
		assert_int_equal(load(&clone, w.data, len, &e), -EBADMSG);
		assert_true(e.text[0]);
	}
	for (size_t i = 0; i < w.len; i++)
		for (unsigned f = 0; f < ARRAY_LEN(flips); f++) {
			w.data[i] ^= flips[f];
			int ret = load(&clone, w.data, w.len, &e);

			save(&clone, &now);
			assert_int_equal(now.len, fresh.len);
			if (ret) {
				refused++;
				assert_true(e.kind == ERR_HOST && e.text[0]);
				assert_memory_equal(now.data, fresh.data, now.len);
			} else {
				assert_memory_equal(now.data + 32, w.data + 32, now.len - 32);
				virtio_pci_device_ops.reset(&clone.dev);
				clone.echo.extra = 0;
			}
			state_writer_fini(&now);
			w.data[i] ^= flips[f];
		}
	assert_true(refused > w.len);
	unbuild(&clone);
	virtio_pci_device_ops.resume(&r->dev);
	transact(r, 0);
	state_writer_fini(&w);
	state_writer_fini(&fresh);
}

static void machine_reset_brings_power_on_back(void **state)
{
	struct rig *r = *state;

	find_structures(r);
	uint64_t home = r->bar;

	bring_up(r, true);
	transact(r, 0);
	cfg_st(r, 0x10, 4, (uint32_t)r->bar + 0x10000);
	virtio_pci_device_ops.reset(&r->dev);
	assert_int_equal(bar_address(r), home);
	assert_int_equal(cfg_ld(r, 0x04, 2), 0);
	assert_int_equal(cfg_ld(r, r->msix_cap + 2, 2), QUEUES);
	assert_int_equal(fake_doorbell_count(&r->bell), 0);
	find_structures(r);
	enable_memory(r);
	assert_int_equal(ld(r, r->common + 0x14, 1), 0);
	assert_int_equal(ld(r, r->table + 8, 8), 1ull << 32);
	bring_up(r, true);
	transact(r, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(driver_finds_the_device),
		cmocka_unit_test(class_follows_the_type),
		cmocka_unit_test(too_large_a_config_is_refused),
		T(driver_brings_it_up_and_uses_it),
		cmocka_unit_test_setup_teardown(doorbell_without_ioeventfd_is_trapped,
						setup_trapped, teardown),
		T(queue_without_vector_is_silent),
		T(isr_tells_without_msix),
		T(config_change_interrupts),
		T(broken_ring_needs_reset_and_says_so),
		T(reset_unmaps_vectors_and_queues),
		T(reset_a_thousand_times_under_load),
		T(feature_select_above_1_reads_0),
		T(queue_select_out_of_range),
		T(addresses_are_two_halves),
		T(vectors_beyond_the_table_fail),
		T(queue_fields_written_after_driver_ok),
		T(common_registers_of_the_wrong_width),
		T(device_config_at_every_offset),
		T(notify_out_of_range),
		T(whole_bar_at_every_offset),
		T(msix_table_is_in_the_bar),
		T(doorbells_follow_the_bar),
		T(bar_moved_over_ram_or_ecam),
		T(window_reaches_the_structures),
		T(window_abuse_reads_0_and_writes_nothing),
		T(config_space_at_every_offset),
		T(state_survives_a_round_trip),
		T(idle_state_survives_a_round_trip),
		T(damaged_state_is_refused_or_taken_exactly),
		T(machine_reset_brings_power_on_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
