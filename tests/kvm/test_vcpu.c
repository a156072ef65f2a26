/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vcpu, vm: what comes out of the guest, and how it is stopped and parked, on a real /dev/kvm.
 *
 * SKIP (77) where there is no KVM. Every wait is bounded: SIGALRM ends the test.
 */
#include "tests/kvm/vcpu_rig.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* --- the guests ------------------------------------------------------------------ */

VCPU_RIG_GUEST(guest_ports, "	mov $0x1000, %edx\n"
			    "	mov $0x44332211, %eax\n"
			    "	out %al, %dx\n"
			    "	out %ax, %dx\n"
			    "	out %eax, %dx\n"
			    "	xor %eax, %eax\n"
			    "	in (%dx), %al\n"
			    "	mov $0x2000, %edx\n"
			    "	out %eax, %dx\n"
			    "	mov $0x1000, %edx\n"
			    "	in (%dx), %ax\n"
			    "	mov $0x2000, %edx\n"
			    "	out %eax, %dx\n"
			    "	mov $0x5000, %edx\n" /* nobody's */
			    "	in (%dx), %eax\n"
			    "	mov $0x2000, %edx\n"
			    "	out %eax, %dx\n"
			    "1:	cli; hlt; jmp 1b");

/* Read-modify-write, and each size. */
VCPU_RIG_GUEST(guest_mmio, "	mov $0xd0000000, %ebx\n"
			   "	movl $40, (%rbx)\n"
			   "	addl $2, (%rbx)\n"
			   "	mov (%rbx), %eax\n"
			   "	mov $0x2000, %edx\n"
			   "	out %eax, %dx\n"
			   "	mov $0x1122334455667788, %rax\n"
			   "	mov %rax, (%rbx)\n"
			   "	movzbl (%rbx), %eax\n"
			   "	out %eax, %dx\n"
			   "	movzwl (%rbx), %eax\n"
			   "	out %eax, %dx\n"
			   "	mov (%rbx), %rax\n"
			   "	shr $32, %rax\n"
			   "	out %eax, %dx\n"
			   "	mov $0xd8000000, %ebx\n" /* nobody's */
			   "	mov (%rbx), %eax\n"
			   "	out %eax, %dx\n"
			   "1:	cli; hlt; jmp 1b");

VCPU_RIG_GUEST(guest_halt, "1:	cli; hlt; jmp 1b");
VCPU_RIG_GUEST(guest_spin, "1:	jmp 1b");
VCPU_RIG_GUEST(guest_touch, "	mov $0x1000000, %ebx\n"
			    "	mov (%rbx), %eax\n"
			    "1:	cli; hlt; jmp 1b");
VCPU_RIG_GUEST(guest_crash, "	ud2"); /* without an IDT */

/* RSI is the CPU's number. Four accesses a round, all with the round's number in
 * ECX; reads must come back as its complement. */
extern const uint8_t site_out[], site_in[], site_store[], site_load[];
VCPU_RIG_GUEST(guest_count, "	mov %esi, %ebx\n"
			    "	shl $4, %ebx\n"
			    "	lea 0x1000(%rbx), %edx\n"
			    "	shl $8, %ebx\n"
			    "	add $0xd0000000, %ebx\n"
			    "	xor %ecx, %ecx\n"
			    "1:	inc %ecx\n"
			    "	mov %ecx, %eax\n"
			    "site_out:\n"
			    "	out %eax, %dx\n"
			    "site_in:\n"
			    "	in (%dx), %eax\n"
			    "	not %eax\n"
			    "	cmp %ecx, %eax\n"
			    "	jne 2f\n"
			    "site_store:\n"
			    "	mov %ecx, (%rbx)\n"
			    "site_load:\n"
			    "	mov (%rbx), %eax\n"
			    "	not %eax\n"
			    "	cmp %ecx, %eax\n"
			    "	je 1b\n"
			    "2:	add $4, %edx\n"
			    "	out %eax, %dx\n"
			    "3:	cli; hlt; jmp 3b");

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* --- exits ------------------------------------------------------------------------------ */

static uint64_t five_read(void *dev, uint64_t off, unsigned size)
{
	return 0xa5a5a5a5;
}

static void list_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	uint64_t *list = dev;

	if (list[0] < 7)
		list[++list[0]] = (uint64_t)size << 32 | val;
}

static const struct io_ops list_ops = {five_read, list_write};

static void ports_of_each_size(void **state)
{
	struct vcpu_rig *f = *state;
	uint64_t list[8] = {0};

	assert_int_equal(bus_remove(&f->pio, VCPU_RIG_PORT, f), 0);
	assert_int_equal(bus_add(&f->pio, VCPU_RIG_PORT, 4, &list_ops, list, "list"), 0);
	vcpu_rig_start(f, 1, guest_ports);
	vcpu_rig_wait_done(f, 3);
	vcpus_quit(&f->cpus);
	assert_int_equal(list[0], 3);
	assert_true(list[1] == (1ull << 32 | 0x11));
	assert_true(list[2] == (2ull << 32 | 0x2211));
	assert_true(list[3] == (4ull << 32 | 0x44332211));
	/* What is read fills as much of EAX as was asked for. */
	assert_int_equal(f->done_values[0], 0xa5);
	assert_int_equal(f->done_values[1], 0xa5a5);
	assert_int_equal(f->done_values[2], 0xffffffff);
	assert_true(f->hooked >= 9);
}

static void mmio_read_modify_write(void **state)
{
	struct vcpu_rig *f = *state;

	assert_int_equal(bus_add(&f->mmio, VCPU_RIG_GPA, 8, &vcpu_rig_reg_ops, f, "reg"), 0);
	vcpu_rig_start(f, 1, guest_mmio);
	vcpu_rig_wait_done(f, 5);
	vcpus_quit(&f->cpus);
	assert_int_equal(f->done_values[0], 42);
	assert_int_equal(f->done_values[1], 0x88);
	assert_int_equal(f->done_values[2], 0x7788);
	assert_int_equal(f->done_values[3], 0x11223344);
	assert_int_equal(f->done_values[4], 0xffffffff);
	assert_int_equal(f->mmio_writes, 3);
}

static void a_triple_fault_stops_the_machine(void **state)
{
	struct vcpu_rig *f = *state;

	vcpu_rig_start(f, 1, guest_crash);
	assert_true(vcpu_rig_wait_ms(&f->stopped, 30000));
	assert_int_equal(f->reason, STOP_TRIPLE_FAULT);
	/* The thread is gone, and that counts as standing still. */
	vcpus_park(&f->cpus);
	vcpus_resume(&f->cpus);
	vcpus_quit(&f->cpus);
}

/* --- stopping ----------------------------------------------------------------------------- */

/* hostile-cases: "guest RAM backed by a file that is cut short": the host's fault, told
 * once, and the processor stands. */
static void ram_that_the_host_has_lost(void **state)
{
	struct vcpu_rig *f = *state;
	FILE *file = tmpfile();
	int fd = dup(fileno(file));

	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(guest_mem_add(&f->ram, 16 * MiB, 4096, fd, 0, NULL), 0);
	assert_int_equal(ftruncate(fileno(file), 0), 0);
	vcpu_rig_start(f, 1, guest_touch);
	assert_true(vcpu_rig_wait_ms(&f->stopped, 30000));
	assert_int_equal(f->reason, STOP_HOST_ERROR);
	vcpus_quit(&f->cpus);
	assert_false(vcpu_rig_wait_ms(&f->stopped, 50));
	fclose(file);
}

struct last_word {
	struct vcpu_rig *rig;
	atomic_uint said, ends;
};

static void last_word_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct last_word *w = dev;

	atomic_fetch_add(&w->said, 1);
	vcpus_dismiss(&w->rig->cpus);
}

static const struct io_ops last_word_ops = {five_read, last_word_write};

VCPU_RIG_GUEST(guest_talk, "	mov $0x1000, %edx\n"
			   "1:	out %al, %dx\n"
			   "	jmp 1b");

/* A guest that has powered itself off does not get a further word in, though nobody has come to
 * its thread's end yet; of others at most the one that was on its way. */
static void a_dismissed_cpu_has_said_its_last(void **state)
{
	struct vcpu_rig *f = *state;
	struct last_word word = {.rig = f};

	assert_int_equal(bus_remove(&f->pio, VCPU_RIG_PORT, f), 0);
	assert_int_equal(bus_add(&f->pio, VCPU_RIG_PORT, 1, &last_word_ops, &word, "word"), 0);
	vcpu_rig_start(f, 3, guest_talk);
	while (!word.said)
		usleep(100);
	usleep(50000);
	assert_in_range(word.said, 1, 3);
	/* Until it is renewed, it is for good. */
	vcpus_park(&f->cpus);
	vcpus_resume(&f->cpus);
	usleep(20000);
	assert_in_range(word.said, 1, 3);
	assert_int_equal(f->cpus.ended, 3);
	vcpus_quit(&f->cpus);
	assert_int_equal(f->cpus.alive, 0);
}

VCPU_RIG_GUEST(guest_last_words, "	mov $0x1000, %edx\n"
				 "	mov $1, %al\n"
				 "	out %al, %dx\n"
				 "	mov $0xd0000000, %ebx\n"
				 "	mov (%rbx), %cl\n"
				 "	mov $2, %al\n"
				 "	out %al, %dx\n"
				 "	hlt\n");

/* Ends it in the midst of a load: the answer to that is due. */
static uint64_t ending_read(void *dev, uint64_t off, unsigned size)
{
	struct last_word *w = dev;

	vcpus_dismiss(&w->rig->cpus);
	atomic_fetch_add(&w->ends, 1);
	return 5;
}

static void count_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct last_word *w = dev;

	atomic_fetch_add(&w->said, (unsigned)val);
}

static const struct io_ops counted_ops = {five_read, count_write},
			   ending_ops = {ending_read, last_word_write};

/* What was pending at its end does not come over the registers that it begins anew with. */
static void a_renewed_cpu_begins_at_the_beginning(void **state)
{
	struct vcpu_rig *f = *state;
	struct last_word word = {.rig = f};
	struct kvm_regs first;

	assert_int_equal(bus_remove(&f->pio, VCPU_RIG_PORT, f), 0);
	assert_int_equal(bus_add(&f->pio, VCPU_RIG_PORT, 1, &counted_ops, &word, "word"), 0);
	assert_int_equal(bus_add(&f->mmio, VCPU_RIG_GPA, 1, &ending_ops, &word, "end"), 0);
	vcpu_rig_make_cpus(f, 1, 1, guest_last_words, guest_last_words_end, 0);
	assert_int_equal(ioctl(f->cpus.vcpus[0].fd, KVM_GET_REGS, &first), 0);
	assert_int_equal(vcpus_start(&f->cpus, NULL), 0);
	for (unsigned life = 1; life <= 20; life++) {
		while (word.ends < life)
			usleep(100);
		vcpus_park(&f->cpus);
		assert_int_equal(word.said, life);
		vcpus_renew(&f->cpus);
		assert_int_equal(f->cpus.parked, 1);
		assert_int_equal(ioctl(f->cpus.vcpus[0].fd, KVM_SET_REGS, &first), 0);
		vcpus_resume(&f->cpus);
	}
	vcpus_quit(&f->cpus);
}

static void expect_prompt_control(struct vcpu_rig *f)
{
	uint64_t start = now_ms();

	usleep(20000); /* into the guest */
	vcpus_park(&f->cpus);
	assert_int_equal(f->cpus.parked, f->cpus.alive);
	vcpus_resume(&f->cpus);
	usleep(20000);
	vcpus_quit(&f->cpus);
	/* Generous for a loaded machine; without a kick it would be for ever. */
	assert_true(now_ms() - start < 10000);
	assert_int_equal(f->reason, STOP_NONE);
}

/* hostile-cases: "`cli; hlt` on every CPU". */
static void halted_cpus_can_be_stopped(void **state)
{
	vcpu_rig_start(*state, VCPU_RIG_CPUS, guest_halt);
	expect_prompt_control(*state);
}

static void spinning_cpus_can_be_stopped(void **state)
{
	vcpu_rig_start(*state, VCPU_RIG_CPUS, guest_spin);
	expect_prompt_control(*state);
}

static void cpus_that_never_started_can_be_stopped(void **state)
{
	vcpu_rig_start_code(*state, VCPU_RIG_CPUS, 1, guest_halt, guest_halt_end, 0);
	expect_prompt_control(*state);
}

static void a_quit_ends_parked_cpus(void **state)
{
	struct vcpu_rig *f = *state;

	vcpu_rig_start(f, VCPU_RIG_CPUS, guest_spin);
	vcpus_park(&f->cpus);
	vcpus_quit(&f->cpus);
	vcpus_quit(&f->cpus); /* twice is harmless */
	assert_int_equal(f->cpus.alive, 0);
}

/* --- parking under load --------------------------------------------------------------------- */

/* With the CPU parked, its last access must be complete: the instruction behind
 * it comes next, and what was read is in EAX [KVM api 5, KVM_EXIT_MMIO]. */
static void expect_complete(struct vcpu_rig *f, unsigned cpu)
{
	const uint8_t *const sites[] = {site_out, site_in, site_store, site_load};
	struct vcpu_rig_tally *t = &f->tallies[cpu];
	struct kvm_regs r;
	uint64_t at[4];

	assert_int_equal(kvm_ioctl(f->cpus.vcpus[cpu].fd, KVM_GET_REGS, &r), 0);
	if (!t->round)
		return;
	for (int i = 0; i < 4; i++)
		at[i] = VCPU_RIG_CODE + (uint64_t)(sites[i] - guest_count);
	bool ok;

	if (t->last == VCPU_RIG_LOAD) /* behind the load, or on the way to the next round's OUT */
		ok = (r.rip > at[VCPU_RIG_LOAD] && r.rcx == t->round) ||
		     (r.rip <= at[VCPU_RIG_OUT] && r.rcx - t->round <= 1);
	else
		ok = r.rip > at[t->last] && r.rip <= at[t->last + 1] && r.rcx == t->round;
	if (!ok)
		fail_msg("CPU %u parked at %#llx, round %llu, after access %d of round %u: "
			 "its I/O is not complete",
			 cpu, r.rip - VCPU_RIG_CODE, r.rcx, t->last, t->round);
	if ((t->last == VCPU_RIG_IN && r.rip == at[VCPU_RIG_IN] + 1) ||
	    (t->last == VCPU_RIG_LOAD && r.rip == at[VCPU_RIG_LOAD] + 2))
		assert_int_equal((uint32_t)r.rax, ~t->round);
}

static unsigned rounds(void)
{
	if (getenv("MINIVMM_TEST_LONG"))
		return 100000;
	/* scripts/test --quick: of its minute, ten thousand would take a quarter. */
	return getenv("MINIVMM_TEST_QUICK") ? 2000 : 10000;
}

static void count_under(struct vcpu_rig *f, void (*disturb)(struct vcpu_rig *f))
{
	bus_add(&f->mmio, VCPU_RIG_GPA, 0x1000 * VCPU_RIG_CPUS, &vcpu_rig_page_ops, f, "count");
	vcpu_rig_start(f, VCPU_RIG_CPUS, guest_count);
	disturb(f);
	vcpus_park(&f->cpus);
	for (unsigned i = 0; i < VCPU_RIG_CPUS; i++) {
		uint32_t round = f->tallies[i].round;

		expect_complete(f, i);
		if (f->tallies[i].wrong)
			fail_msg("CPU %u: %u accesses lost, doubled or out of order after round %u",
				 i, f->tallies[i].wrong, round);
	}
	/* And they still move. */
	uint32_t before[VCPU_RIG_CPUS];

	for (unsigned i = 0; i < VCPU_RIG_CPUS; i++)
		before[i] = f->tallies[i].round;
	vcpus_resume(&f->cpus);
	for (unsigned i = 0; i < VCPU_RIG_CPUS; i++)
		for (uint64_t start = now_ms(); f->tallies[i].round < before[i] + 2; usleep(1000))
			assert_true(now_ms() - start < 30000);
	vcpus_quit(&f->cpus);
	assert_int_equal(f->reason, STOP_NONE);
}

static void park_and_resume(struct vcpu_rig *f)
{
	for (unsigned i = 0; i < rounds(); i++) {
		vcpus_park(&f->cpus);
		if (f->cpus.parked != VCPU_RIG_CPUS)
			fail_msg("%u CPUs stand of %d", f->cpus.parked, VCPU_RIG_CPUS);
		for (unsigned cpu = 0; cpu < VCPU_RIG_CPUS; cpu++)
			expect_complete(f, cpu);
		vcpus_resume(&f->cpus);
		/* Sometimes at once, sometimes after the CPUs got somewhere. */
		for (volatile unsigned spin = i % 97 * 37; spin; spin--)
			;
	}
}

/* hostile-cases: "100,000 pause/resume: no lost exit". */
static void no_exit_is_lost_by_parking(void **state)
{
	count_under(*state, park_and_resume);
}

static void signal_storm(struct vcpu_rig *f)
{
	for (unsigned i = 0; i < 10 * rounds(); i++)
		pthread_kill(f->cpus.vcpus[i % VCPU_RIG_CPUS].thread, VCPU_KICK);
}

/* hostile-cases: "signal storm on vCPU threads". */
static void no_exit_is_lost_by_signals(void **state)
{
	count_under(*state, signal_storm);
}

/* One after the other is away for a while: it does not run on, the others do, and it goes on where
 * it stood. */
static void take_out_and_bring_in(struct vcpu_rig *f)
{
	for (unsigned i = 0; i < rounds() / 4; i++) {
		unsigned away = i % VCPU_RIG_CPUS;

		vcpus_take_out(&f->cpus, away);
		vcpus_take_out(&f->cpus, away);
		vcpus_park(&f->cpus);
		assert_int_equal(f->cpus.parked, VCPU_RIG_CPUS);
		expect_complete(f, away);
		uint32_t at = f->tallies[away].round;

		vcpus_resume(&f->cpus);
		for (volatile unsigned spin = i % 97 * 37; spin; spin--)
			;
		vcpus_park(&f->cpus);
		for (unsigned cpu = 0; cpu < VCPU_RIG_CPUS; cpu++)
			expect_complete(f, cpu);
		assert_int_equal(f->tallies[away].round, at);
		vcpus_bring_in(&f->cpus, away);
		vcpus_resume(&f->cpus);
	}
}

static void no_exit_is_lost_by_taking_out(void **state)
{
	count_under(*state, take_out_and_bring_in);
}

/* Out before its thread starts, and never in: the group parks and ends all the same. */
static void one_may_stay_out(void **state)
{
	struct vcpu_rig *f = *state;
	struct err e = {0};

	bus_add(&f->mmio, VCPU_RIG_GPA, 0x1000 * VCPU_RIG_CPUS, &vcpu_rig_page_ops, f, "count");
	vcpu_rig_make_cpus(f, 2, 2, guest_count, guest_count_end, 0);
	vcpus_take_out(&f->cpus, 1);
	vcpus_take_out(&f->cpus, 2); /* there is none */
	assert_int_equal(vcpus_start(&f->cpus, &e), 0);
	for (uint64_t start = now_ms(); f->tallies[0].round < 100; usleep(1000))
		assert_true(now_ms() - start < 30000);
	vcpus_park(&f->cpus);
	assert_int_equal(f->cpus.parked, 2);
	vcpus_resume(&f->cpus);
	assert_int_equal(f->tallies[1].round, 0);
	vcpus_quit(&f->cpus);
	assert_int_equal(f->cpus.alive, 0);
}

/* --- making and unmaking
 * ---------------------------------------------------------------------------- */

static void more_cpus_than_kvm_has_are_refused(void **state)
{
	struct vcpu_rig *f = *state;
	struct err e = {0};

	assert_true(f->vm.cpus_max >= 1);
	assert_int_equal(vcpus_create(&f->cpus, &f->vm, 1, f->vm.cpus_max + 1, &f->env, &e),
			 -EINVAL);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_non_null(strstr(e.text, "--cpus"));
}

static void half_built_objects_can_be_destroyed(void **state)
{
	struct vcpu_group none = {0};
	struct irqchip no_chip = {0};
	struct kvm_vm no_vm = {.kvm_fd = -1, .vm_fd = -1};

	vcpus_quit(&none);
	vcpus_destroy(&none);
	irqchip_fini(&no_chip);
	kvm_vm_close(&no_vm);
	/* Made and never started. */
	vcpu_rig_make_cpus(*state, VCPU_RIG_CPUS, VCPU_RIG_CPUS, guest_halt, guest_halt_end, 0);
}

static unsigned open_descriptors(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void a_vm_leaves_no_descriptor_behind(void **state)
{
	unsigned before = 0;

	for (int i = 0; i < 5; i++) {
		void *own;

		assert_int_equal(vcpu_rig_setup(&own), 0);
		struct vcpu_rig *f = own;
		struct msi msi = irqchip_msi(&f->irqchip);
		struct msi_msg msg = {0xfee00000, 0x40};

		vcpu_rig_start(f, VCPU_RIG_CPUS, guest_spin);
		msi.ops->route_set(msi.ctx, msi.ops->route_new(msi.ctx), &msg);
		vcpu_rig_teardown(&own);
		if (i == 0)
			before = open_descriptors();
	}
	assert_int_equal(open_descriptors(), before);
	alarm(VCPU_RIG_DEADLINE_S);
}

int main(void)
{
#define VCPU_TEST(t) cmocka_unit_test_setup_teardown(t, vcpu_rig_setup, vcpu_rig_teardown)
	const struct CMUnitTest tests[] = {
		VCPU_TEST(ports_of_each_size),
		VCPU_TEST(mmio_read_modify_write),
		VCPU_TEST(a_triple_fault_stops_the_machine),
		VCPU_TEST(ram_that_the_host_has_lost),
		VCPU_TEST(a_dismissed_cpu_has_said_its_last),
		VCPU_TEST(a_renewed_cpu_begins_at_the_beginning),
		VCPU_TEST(halted_cpus_can_be_stopped),
		VCPU_TEST(spinning_cpus_can_be_stopped),
		VCPU_TEST(cpus_that_never_started_can_be_stopped),
		VCPU_TEST(a_quit_ends_parked_cpus),
		VCPU_TEST(no_exit_is_lost_by_parking),
		VCPU_TEST(no_exit_is_lost_by_signals),
		VCPU_TEST(no_exit_is_lost_by_taking_out),
		VCPU_TEST(one_may_stay_out),
		VCPU_TEST(more_cpus_than_kvm_has_are_refused),
		VCPU_TEST(half_built_objects_can_be_destroyed),
		VCPU_TEST(a_vm_leaves_no_descriptor_behind),
	};

	if (!vcpu_rig_has_kvm())
		return 77;
	log_set_level(LOG_QUIET); /* registers of guests that are meant to crash */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
