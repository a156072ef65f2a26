/* SPDX-License-Identifier: Apache-2.0 */
/*
 * irqchip, vm: interrupts into a guest and doorbells out of it, on a real /dev/kvm.
 *
 * SKIP (77) where there is no KVM. Every wait is bounded: SIGALRM ends the test.
 */
#include "tests/kvm/vcpu_rig.h"
#include "vmm/base/le.h"
#include "vmm/base/log.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

/* --- the guests ------------------------------------------------------------------ */

/* Sleeps; each interrupt writes its vector to PORT_IRQ and ends with an EOI. The
 * handlers jump back instead of returning: some KVMs emulate ring 0 and know no
 * IRETQ, and there is nothing here to return to. */
extern const uint8_t guest_irq_40[], guest_irq_41[];
VCPU_RIG_GUEST(guest_irq, "	mov $0xfee000f0, %ebx\n"
			  "	movl $0x1ff, (%rbx)\n" /* software enable */
			  "	mov $0x2000, %edx\n"
			  "	xor %eax, %eax\n"
			  "	out %eax, %dx\n"
			  "1:	mov $0x80000, %esp\n"
			  "	sti; hlt; jmp 1b\n"
			  "guest_irq_40:\n"
			  "	mov $0x40, %eax; jmp 2f\n"
			  "guest_irq_41:\n"
			  "	mov $0x41, %eax\n"
			  "2:	mov $0x2004, %edx\n"
			  "	out %eax, %dx\n"
			  "	mov $0xfee000b0, %ebx\n"
			  "	movl $0, (%rbx)\n"
			  "	jmp 1b");

/* Stores of each size at a doorbell, 25 of each, then done; and again. */
VCPU_RIG_GUEST(guest_bell, "	mov $0xd0000000, %ebx\n"
			   "	mov $0x2000, %edx\n"
			   "1:	mov $25, %ecx\n"
			   "2:	mov $7, %eax\n"
			   "	mov %al, (%rbx)\n"
			   "	mov %ax, (%rbx)\n"
			   "	mov %eax, (%rbx)\n"
			   "	mov $8, %eax\n"
			   "	mov %eax, (%rbx)\n"
			   "	dec %ecx\n"
			   "	jnz 2b\n"
			   "	out %eax, %dx\n"
			   "	jmp 1b");

static void write_gate(struct vcpu_rig *f, unsigned vector, uint64_t rip)
{
	uint8_t *gate = guest_mem_hva(&f->ram, VCPU_RIG_IDT + vector * 16, 16);

	le16_put(gate, (uint16_t)rip);
	le16_put(gate + 2, VCPU_RIG_SELECTOR_CODE);
	le16_put(gate + 4, 0x8e00); /* present, interrupt gate [SDM 3A 6.14.1] */
	le16_put(gate + 6, (uint16_t)(rip >> 16));
	le64_put(gate + 8, rip >> 32);
}

/* --- interrupts ------------------------------------------------------------------------------- */

static void start_irq_guest(struct vcpu_rig *f)
{
	write_gate(f, 0x40, VCPU_RIG_CODE + (uint64_t)(guest_irq_40 - guest_irq));
	write_gate(f, 0x41, VCPU_RIG_CODE + (uint64_t)(guest_irq_41 - guest_irq));
	vcpu_rig_start_code(f, 1, 1, guest_irq, guest_irq_end, 0xfff);
	vcpu_rig_wait_done(f, 1);
}

#define expect_irq(f, vector, n)                                 \
	do {                                                     \
		assert_true(vcpu_rig_wait_ms(&(f)->irq, 30000)); \
		assert_int_equal((f)->irqs[vector], n);          \
	} while (0)

static void messages_reach_the_handler(void **state)
{
	struct vcpu_rig *f = *state;
	struct msi msi = irqchip_msi(&f->irqchip);
	struct msi_msg to_40 = {0xfee00000, 0x40}, to_41 = {0xfee00000, 0x41};
	int a = msi.ops->route_new(msi.ctx), b = msi.ops->route_new(msi.ctx);

	assert_true(a >= 0 && b >= 0 && a != b);
	start_irq_guest(f);
	/* Not armed yet: goes nowhere, harms nobody. */
	msi.ops->route_fire(msi.ctx, a);
	assert_false(vcpu_rig_wait_ms(&f->irq, 50));

	assert_int_equal(msi.ops->route_set(msi.ctx, a, &to_40), 0);
	assert_int_equal(msi.ops->route_set(msi.ctx, b, &to_41), 0);
	for (unsigned i = 1; i <= 100; i++) {
		msi.ops->route_fire(msi.ctx, a);
		expect_irq(f, 0x40, i);
	}
	msi.ops->route_fire(msi.ctx, b);
	expect_irq(f, 0x41, 1);
	assert_int_equal(msi.ops->send(msi.ctx, &to_41), 0);
	expect_irq(f, 0x41, 2);

	/* Disarmed; then armed with another message. */
	assert_int_equal(msi.ops->route_set(msi.ctx, a, NULL), 0);
	msi.ops->route_fire(msi.ctx, a);
	assert_false(vcpu_rig_wait_ms(&f->irq, 50));
	assert_int_equal(msi.ops->route_set(msi.ctx, a, &to_41), 0);
	msi.ops->route_fire(msi.ctx, a);
	expect_irq(f, 0x41, 3);
	assert_int_equal(f->irqs[0x40], 100);

	/* A number that was given back is given out again, unarmed. */
	msi.ops->route_free(msi.ctx, b);
	assert_int_equal(msi.ops->route_new(msi.ctx), b);
	msi.ops->route_fire(msi.ctx, b);
	assert_false(vcpu_rig_wait_ms(&f->irq, 50));
	vcpus_quit(&f->cpus);
	msi.ops->route_free(msi.ctx, a);
	msi.ops->route_free(msi.ctx, b);
}

static void ring(int fd)
{
	const uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

/* Signals of eventfds that are others': one route may have several. */
static void bound_eventfds_reach_the_handler(void **state)
{
	struct vcpu_rig *f = *state;
	struct msi msi = irqchip_msi(&f->irqchip);
	struct msi_msg to_40 = {0xfee00000, 0x40}, to_41 = {0xfee00000, 0x41};
	int a = msi.ops->route_new(msi.ctx), one = eventfd(0, EFD_NONBLOCK),
	    two = eventfd(0, EFD_NONBLOCK);
	uint64_t count;

	start_irq_guest(f);
	assert_int_equal(msi.ops->route_set(msi.ctx, a, &to_40), 0);
	assert_int_equal(msi.ops->route_bind(msi.ctx, a, one), 0);
	assert_int_equal(msi.ops->route_bind(msi.ctx, a, two), 0);
	for (unsigned i = 1; i <= 50; i++) {
		ring(i % 2 ? one : two);
		expect_irq(f, 0x40, i);
	}
	/* Taken by the binding, also for whoever reads the eventfd beside it. */
	assert_int_equal(read(one, &count, sizeof(count)), -1);
	assert_int_equal(msi.ops->route_set(msi.ctx, a, &to_41), 0);
	ring(one);
	expect_irq(f, 0x41, 1);

	/* Unbound, a signal stays; it counts when the eventfd is bound again. */
	msi.ops->route_unbind(msi.ctx, a, one);
	ring(one);
	assert_false(vcpu_rig_wait_ms(&f->irq, 50));
	assert_int_equal(msi.ops->route_bind(msi.ctx, a, one), 0);
	expect_irq(f, 0x41, 2);
	msi.ops->route_unbind(msi.ctx, a, one);
	msi.ops->route_unbind(msi.ctx, a, two);
	vcpus_quit(&f->cpus);
	msi.ops->route_free(msi.ctx, a);
	close(one);
	close(two);
}

static void routes_end_somewhere(void **state)
{
	struct vcpu_rig *f = *state;
	struct msi msi = irqchip_msi(&f->irqchip);

	for (int i = 0; i < IRQCHIP_ROUTES_MAX; i++)
		assert_int_equal(msi.ops->route_new(msi.ctx), i);
	assert_int_equal(msi.ops->route_new(msi.ctx), -ENOSPC);
	msi.ops->route_free(msi.ctx, 17);
	assert_int_equal(msi.ops->route_new(msi.ctx), 17);
}

static void write_ioapic(struct vcpu_rig *f, uint32_t reg, uint32_t val)
{
	ioapic_io_ops.write(&f->ioapic, 0x00, 4, reg);
	ioapic_io_ops.write(&f->ioapic, 0x10, 4, val);
}

/* That was the last one, whose handler has lowered the line. But if KVM told of its end before
 * the handler's own exit, as PVM may, the line was still up then, and one more is due. */
static void expect_quiet(struct vcpu_rig *f)
{
	unsigned count = f->lower_after + f->eoi_first;

	if (f->eoi_first)
		assert_true(vcpu_rig_wait_ms(&f->irq, 30000));
	assert_false(vcpu_rig_wait_ms(&f->irq, 50));
	assert_int_equal(f->irqs[0x40], count);
}

/* A level pin comes again after each EOI for as long as the line is up: KVM must
 * tell us of the EOI, and only does so for pins that are in its routes. */
static void a_level_pin_comes_until_it_is_lowered(void **state)
{
	enum { PIN = 9, RTE = 0x10 + 2 * PIN, LEVEL = 1 << 15 };
	struct vcpu_rig *f = *state;

	f->lower_after = 5;
	start_irq_guest(f);
	write_ioapic(f, RTE + 1, 0);
	write_ioapic(f, RTE, LEVEL | 0x40);
	ioapic_set(&f->ioapic, PIN, true);
	for (unsigned i = 0; i < 5; i++)
		assert_true(vcpu_rig_wait_ms(&f->irq, 30000));
	expect_quiet(f);
	f->lower_after = f->irqs[0x40] + 2;
	ioapic_set(&f->ioapic, PIN, true);
	assert_true(vcpu_rig_wait_ms(&f->irq, 30000) && vcpu_rig_wait_ms(&f->irq, 30000));
	expect_quiet(f);
	vcpus_quit(&f->cpus);
}

static void an_edge_pin_comes_once(void **state)
{
	enum { PIN = 9, RTE = 0x10 + 2 * PIN };
	struct vcpu_rig *f = *state;

	start_irq_guest(f);
	write_ioapic(f, RTE + 1, 0);
	write_ioapic(f, RTE, 0x41);
	for (unsigned i = 1; i <= 20; i++) {
		ioapic_set(&f->ioapic, PIN, true);
		expect_irq(f, 0x41, i);
		ioapic_set(&f->ioapic, PIN, false);
	}
	assert_false(vcpu_rig_wait_ms(&f->irq, 50));
	vcpus_quit(&f->cpus);
}

/* --- doorbells -----------------------------------------------------------------------------------
 */

static uint64_t rings(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static void a_doorbell_takes_stores_of_every_size(void **state)
{
	struct vcpu_rig *f = *state;
	struct doorbell bell = kvm_doorbell(&f->vm);
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	f->hold = true;
	assert_int_equal(bus_add(&f->mmio, VCPU_RIG_GPA, 8, &vcpu_rig_reg_ops, f, "reg"), 0);
	assert_int_equal(bell.ops->attach(bell.ctx, VCPU_RIG_GPA, fd, false, 0), 0);
	vcpu_rig_start(f, 1, guest_bell);
	vcpu_rig_wait_done(f, 1);
	if (f->vm.ioeventfd_any_length) {
		assert_int_equal(rings(fd), 100);
		assert_int_equal(f->mmio_writes, 0);
	} else { /* two bytes, as Linux stores */
		assert_int_equal(rings(fd), 25);
		assert_int_equal(f->mmio_writes, 75);
	}
	/* Without it the same stores come to the bus. */
	f->mmio_writes = 0;
	bell.ops->detach(bell.ctx, VCPU_RIG_GPA, fd, false, 0);
	sem_post(&f->go);
	vcpu_rig_wait_done(f, 1);
	assert_int_equal(rings(fd), 0);
	assert_int_equal(f->mmio_writes, 100);

	/* One value of one size: the others come to the bus. */
	f->mmio_writes = 0;
	assert_int_equal(bell.ops->attach(bell.ctx, VCPU_RIG_GPA, fd, true, 8), 0);
	assert_int_equal(bell.ops->attach(bell.ctx, VCPU_RIG_GPA, fd, true, 8), -EEXIST);
	sem_post(&f->go);
	vcpu_rig_wait_done(f, 1);
	assert_int_equal(rings(fd), 25);
	assert_int_equal(f->mmio_writes, 75);
	f->hold = false;
	sem_post(&f->go);
	vcpus_quit(&f->cpus);
	close(fd);
}

int main(void)
{
#define VCPU_TEST(t) cmocka_unit_test_setup_teardown(t, vcpu_rig_setup, vcpu_rig_teardown)
	const struct CMUnitTest tests[] = {
		VCPU_TEST(messages_reach_the_handler),
		VCPU_TEST(bound_eventfds_reach_the_handler),
		VCPU_TEST(routes_end_somewhere),
		VCPU_TEST(a_level_pin_comes_until_it_is_lowered),
		VCPU_TEST(an_edge_pin_comes_once),
		VCPU_TEST(a_doorbell_takes_stores_of_every_size),
	};

	if (!vcpu_rig_has_kvm())
		return 77;
	log_set_level(LOG_QUIET); /* registers of guests that are meant to crash */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
