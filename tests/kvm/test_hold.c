/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vCPU that a device holds (vmm/core/hold.h): it runs no further instruction, others
 * do; it parks with its I/O complete, resumes into the same wait, and can be ended. On a
 * real /dev/kvm, with a guest of five instructions in real mode. SKIP (77) without one.
 * Every wait is bounded: SIGALRM ends the test.
 */
#include "vmm/arch/x86_64/regs.h"
#include "vmm/base/bytes.h"
#include "vmm/kvm/irqchip.h"
#include "vmm/kvm/vcpu.h"

#include <errno.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { DEADLINE_S = 240, CPUS = 2, PORT = 0x1000, CODE = 0x1000, BEHIND_OUT = CODE + 1 };

/* DX is the CPU's own pair of ports: one that may hold it, and one that tells. */
static const uint8_t guest[] = {
	0xee,       /* 1: out %al, %dx */
	0x42,       /*    inc %dx */
	0xee,       /*    out %al, %dx */
	0x4a,       /*    dec %dx */
	0xeb, 0xfa, /*    jmp 1b */
};

struct fixture {
	struct kvm_vm vm;
	struct guest_mem ram;
	struct irqchip irqchip;
	struct bus pio, mmio;
	struct exit_env env;
	struct vcpu_group cpus;
	_Atomic bool stalled;
	_Atomic unsigned stores[CPUS], told[CPUS], asked;
};

static bool done(void *dev, unsigned timeout_ms)
{
	struct fixture *f = dev;

	f->asked++;
	for (unsigned i = 0; f->stalled && i < timeout_ms; i++)
		usleep(1000);
	return !f->stalled;
}

static uint64_t port_read(void *dev, uint64_t off, unsigned size)
{
	return 0;
}

/* CPU 0's first port is the device that stalls. */
static void port_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct fixture *f = dev;
	struct cpu_hold hold = vcpus_hold(&f->cpus);
	unsigned cpu = (unsigned)off / 2;

	if (off % 2) {
		f->told[cpu]++;
		return;
	}
	f->stores[cpu]++;
	if (cpu == 0 && f->stalled)
		cpu_hold_until(&hold, done, f);
}

static const struct io_ops port_ops = {port_read, port_write};

static void no_stop(void *ctx, enum stop_reason reason, const char *detail)
{
	fail_msg("the machine stops: %s", detail ? detail : "?");
}

static void make_cpu(struct fixture *f, unsigned i)
{
	struct kvm_mp_state state = {.mp_state = KVM_MP_STATE_RUNNABLE};
	struct kvm_regs r = {.rip = CODE, .rflags = 2, .rdx = PORT + 2 * i};
	int fd = f->cpus.vcpus[i].fd;
	struct kvm_sregs s;

	assert_int_equal(kvm_ioctl(fd, KVM_GET_SREGS, &s), 0);
	s.cs.base = s.cs.selector = 0;
	assert_int_equal(kvm_ioctl(fd, KVM_SET_SREGS, &s), 0);
	assert_int_equal(kvm_ioctl(fd, KVM_SET_REGS, &r), 0);
	assert_int_equal(kvm_ioctl(fd, KVM_SET_MP_STATE, &state), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e = {0};

	alarm(DEADLINE_S);
	*state = f;
	bus_init(&f->pio, "pio");
	bus_init(&f->mmio, "mmio");
	bus_add(&f->pio, PORT, 2 * CPUS, &port_ops, f, "port");
	f->env = (struct exit_env){.pio = &f->pio, .mmio = &f->mmio, .stop = {no_stop, f}};
	guest_mem_init(&f->ram, GUEST_MEM_ANON);
	if (kvm_vm_open(&f->vm, &e) || guest_mem_add(&f->ram, 0, 2 * MiB, -1, 0, &e) ||
	    kvm_vm_attach_ram(&f->vm, &f->ram, &e) || irqchip_init(&f->irqchip, &f->vm, &e) ||
	    regs_reserve_real_mode(&f->vm, "GenuineIntel") ||
	    vcpus_create(&f->cpus, &f->vm, CPUS, CPUS, &f->env, &e)) {
		print_error("%s\n", e.text);
		return -1;
	}
	assert_int_equal(guest_mem_write(&f->ram, CODE, guest, sizeof(guest)), 0);
	for (unsigned i = 0; i < CPUS; i++)
		make_cpu(f, i);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->stalled = false;
	vcpus_destroy(&f->cpus);
	irqchip_fini(&f->irqchip);
	guest_mem_fini(&f->ram);
	kvm_vm_close(&f->vm);
	bus_fini(&f->pio);
	bus_fini(&f->mmio);
	free(f);
	alarm(0);
	return 0;
}

static void start(struct fixture *f)
{
	struct err e = {0};

	if (vcpus_start(&f->cpus, &e))
		fail_msg("%s", e.text);
}

/* CPU 0 is held, CPU 1 is not. */
static void start_held(struct fixture *f)
{
	f->stalled = true;
	start(f);
	while (!f->asked)
		usleep(1000);
}

static void moves_on(struct fixture *f, unsigned cpu)
{
	unsigned before = f->told[cpu];

	while (f->told[cpu] < before + 10)
		usleep(1000);
}

static void a_held_cpu_runs_no_instruction(void **state)
{
	struct fixture *f = *state;

	start_held(f);
	moves_on(f, 1);
	usleep(50000);
	assert_int_equal(f->stores[0], 1);
	assert_int_equal(f->told[0], 0);
	f->stalled = false;
	moves_on(f, 0);
	vcpus_quit(&f->cpus);
}

/* "counts as parked": a pause does not wait for the device, and the state is complete. */
static void a_held_cpu_parks(void **state)
{
	struct fixture *f = *state;
	struct kvm_regs r;

	start_held(f);
	for (unsigned i = 0; i < 20; i++) {
		vcpus_park(&f->cpus);
		assert_int_equal(f->cpus.parked, CPUS);
		assert_int_equal(kvm_ioctl(f->cpus.vcpus[0].fd, KVM_GET_REGS, &r), 0);
		assert_int_equal(r.rip, BEHIND_OUT);
		vcpus_resume(&f->cpus);
		usleep(i * 500);
	}
	/* It was never let go. */
	moves_on(f, 1);
	assert_int_equal(f->stores[0], 1);
	assert_int_equal(f->told[0], 0);
	f->stalled = false;
	moves_on(f, 0);
	vcpus_quit(&f->cpus);
}

/* What it waits for may come while it is parked. */
static void a_hold_may_end_while_parked(void **state)
{
	struct fixture *f = *state;

	start_held(f);
	vcpus_park(&f->cpus);
	f->stalled = false;
	usleep(20000);
	assert_int_equal(f->told[0], 0);
	vcpus_resume(&f->cpus);
	moves_on(f, 0);
	vcpus_quit(&f->cpus);
	assert_true(f->stores[0] - f->told[0] <= 1);
}

/* "One stalled disk freezes neither pause nor stop." */
static void a_held_cpu_can_be_ended(void **state)
{
	struct fixture *f = *state;

	start_held(f);
	vcpus_quit(&f->cpus);
	assert_int_equal(f->stores[0], 1);
	assert_int_equal(f->told[0], 0);

	unsigned asked = f->asked;

	usleep(30000);
	assert_int_equal(f->asked, asked); /* nobody waits any more */
}

/* Held and let go all the time, parked all the time: each store is followed by what
 * comes behind it, once. */
static void no_exit_is_lost_by_holding(void **state)
{
	struct fixture *f = *state;

	start(f);
	for (unsigned i = 0; i < 2000; i++) {
		f->stalled = i & 1;
		if (i % 3 == 0) {
			vcpus_park(&f->cpus);
			for (unsigned cpu = 0; cpu < CPUS; cpu++)
				assert_true(f->stores[cpu] - f->told[cpu] <= 1);
			vcpus_resume(&f->cpus);
		}
		usleep(i % 7 * 100);
	}
	f->stalled = false;
	moves_on(f, 0);
	moves_on(f, 1);
	vcpus_quit(&f->cpus);
	assert_true(f->asked > 0);
}

/* Whoever is no vCPU has no processor to hold. */
static void other_threads_hold_nobody(void **state)
{
	struct fixture *f = *state;
	struct cpu_hold hold = vcpus_hold(&f->cpus);

	cpu_hold_until(&hold, done, f);
	start(f);
	f->stalled = false;
	cpu_hold_until(&hold, done, f);
	moves_on(f, 0);
	moves_on(f, 1);
	assert_int_equal(f->asked, 0);
	vcpus_quit(&f->cpus);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_held_cpu_runs_no_instruction), T(a_held_cpu_parks),
		T(a_hold_may_end_while_parked),    T(a_held_cpu_can_be_ended),
		T(no_exit_is_lost_by_holding),     T(other_threads_hold_nobody),
	};

	if (access("/dev/kvm", R_OK | W_OK)) {
		print_message("SKIP: /dev/kvm cannot be opened\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
