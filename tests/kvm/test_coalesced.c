/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coalesced: writes that wait in KVM's ring, on a real /dev/kvm: nobody reads what an earlier
 * write has not set, none is lost or out of order when there are more than the ring holds, and
 * who parks a guest finds all of them done.
 *
 * SKIP (77) where there is no KVM.
 */
#include "tests/kvm/vcpu_rig.h"
#include "vmm/base/bytes.h"
#include "vmm/kvm/coalesced.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

enum { ROUNDS = 1000, PAGE = 0x1000, DATA = 16, SILENT = 8 };

/* --- the guests ------------------------------------------------------------------ */

/* An index, and then what lies there: the index with all bits turned. */
VCPU_RIG_GUEST(guest_indexed, "	mov %esi, %ebx\n"
			      "	shl $12, %ebx\n"
			      "	add $0xd0000000, %ebx\n"
			      "	xor %ecx, %ecx\n"
			      "1:	inc %ecx\n"
			      "	mov %ecx, (%rbx)\n"
			      "	mov 16(%rbx), %eax\n"
			      "	not %eax\n"
			      "	cmp %ecx, %eax\n"
			      "	jne 2f\n"
			      "	cmp $1000, %ecx\n"
			      "	jne 1b\n"
			      "2:	mov %ecx, %eax\n"
			      "	mov $0x2000, %edx\n"
			      "	out %eax, %dx\n"
			      "3:	cli; hlt; jmp 3b");

/* Indexes and nothing else; far more than fit. */
VCPU_RIG_GUEST(guest_flood, "	mov $0xd0000000, %ebx\n"
			    "	xor %ecx, %ecx\n"
			    "1:	inc %ecx\n"
			    "	mov %ecx, (%rbx)\n"
			    "	cmp $1000, %ecx\n"
			    "	jne 1b\n"
			    "	mov %ecx, %eax\n"
			    "	mov $0x2000, %edx\n"
			    "	out %eax, %dx\n"
			    "3:	cli; hlt; jmp 3b");

/* Some, of which the last ones wait, and then nothing that would come out. */
VCPU_RIG_GUEST(guest_silent, "	mov $0xd0000000, %ebx\n"
			     "	xor %ecx, %ecx\n"
			     "1:	inc %ecx\n"
			     "	mov %ecx, (%rbx)\n"
			     "	cmp $8, %ecx\n"
			     "	jne 1b\n"
			     "2:	pause; jmp 2b");

/* --- their device ---------------------------------------------------------------- */

/* Any vCPU carries out what another has written. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

struct indexed {
	uint32_t index;
	unsigned writes, skipped;
};

static uint64_t index_read(void *dev, uint64_t off, unsigned size)
{
	const struct indexed *d = dev;

	pthread_mutex_lock(&lock);
	uint32_t index = d->index;

	pthread_mutex_unlock(&lock);
	return off == DATA ? ~index : 0;
}

static void index_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct indexed *d = dev;

	if (off)
		return;
	pthread_mutex_lock(&lock);
	d->writes++;
	d->skipped += val != d->index + 1;
	d->index = (uint32_t)val;
	pthread_mutex_unlock(&lock);
}

static const struct io_ops index_ops = {index_read, index_write};

/* --- tests ------------------------------------------------------------------------- */

static struct coalesced coalesced;
static struct indexed devices[VCPU_RIG_CPUS];

static int setup(void **state)
{
	for (unsigned i = 0; i < VCPU_RIG_CPUS; i++)
		devices[i] = (struct indexed){0};
	return vcpu_rig_setup(state);
}

static int teardown(void **state)
{
	vcpus_quit(&((struct vcpu_rig *)*state)->cpus);
	coalesced_fini(&coalesced);
	return vcpu_rig_teardown(state);
}

/* Where KVM has no ring, all of this holds as well, but for what it is good for. */
static bool begin(struct vcpu_rig *f, unsigned n, const uint8_t *code, const uint8_t *end)
{
	struct err e = {0};

	vcpu_rig_make_cpus(f, n, n, code, end, 0);
	coalesced_init(&coalesced, &f->vm, f->cpus.vcpus[0].run);
	f->env.coalesced = &coalesced;
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(bus_add(&f->mmio, VCPU_RIG_GPA + i * PAGE, PAGE, &index_ops,
					 &devices[i], "indexed"),
				 0);
		coalesced_add(&coalesced, false, VCPU_RIG_GPA + i * PAGE, 4);
	}
	assert_int_equal(vcpus_start(&f->cpus, &e), 0);
	return coalesced.ring;
}

static void nobody_reads_what_a_write_has_not_set(void **state)
{
	struct vcpu_rig *f = *state;
	bool ring = begin(f, VCPU_RIG_CPUS, guest_indexed, guest_indexed_end);

	vcpu_rig_wait_done(f, VCPU_RIG_CPUS);
	vcpus_quit(&f->cpus);
	for (unsigned i = 0; i < VCPU_RIG_CPUS; i++) {
		assert_int_equal(devices[i].index, ROUNDS);
		assert_int_equal(devices[i].writes, ROUNDS);
		assert_int_equal(devices[i].skipped, 0);
	}
	/* A read each, and an OUT each at the end; with the writes it would be twice that. */
	if (ring)
		assert_true(f->hooked < VCPU_RIG_CPUS * (ROUNDS + 100));
	else
		print_message("this KVM has no ring of writes\n");
}

static void more_than_fit_come_in_order(void **state)
{
	struct vcpu_rig *f = *state;
	bool ring = begin(f, 1, guest_flood, guest_flood_end);

	vcpu_rig_wait_done(f, 1);
	vcpus_quit(&f->cpus);
	assert_int_equal(devices[0].writes, ROUNDS);
	assert_int_equal(devices[0].skipped, 0);
	if (ring)
		assert_true(f->hooked < ROUNDS / 20);
}

static void who_parks_finds_them_done(void **state)
{
	struct vcpu_rig *f = *state;
	const struct timespec a_while = {0, 10 * 1000 * 1000};

	bool ring = begin(f, 1, guest_silent, guest_silent_end);

	for (unsigned i = 0; i < 500; i++) {
		nanosleep(&a_while, NULL);
		vcpus_park(&f->cpus);
		/* Here its state would be saved. */
		if (devices[0].writes == SILENT)
			break;
		vcpus_resume(&f->cpus);
	}
	assert_int_equal(devices[0].writes, SILENT);
	assert_int_equal(devices[0].skipped, 0);
	if (ring)
		assert_int_equal(f->hooked, COALESCED_AFTER);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(nobody_reads_what_a_write_has_not_set),
		T(more_than_fit_come_in_order),
		T(who_parks_finds_them_done),
	};

	if (!vcpu_rig_has_kvm())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
