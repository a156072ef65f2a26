/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kvm/vcpu_rig.h"

#include "vmm/arch/x86_64/layout.h"
#include "vmm/arch/x86_64/regs.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* These run on vCPU threads: they count, the main thread asserts. */
static void step(struct vcpu_rig_tally *t, enum vcpu_rig_step s, uint64_t val)
{
	static const enum vcpu_rig_step before[] = {[VCPU_RIG_OUT] = VCPU_RIG_LOAD,
						    [VCPU_RIG_IN] = VCPU_RIG_OUT,
						    [VCPU_RIG_STORE] = VCPU_RIG_IN,
						    [VCPU_RIG_LOAD] = VCPU_RIG_STORE};

	t->wrong += t->last != before[s];
	if (s == VCPU_RIG_OUT) {
		t->wrong += val != (uint32_t)(t->round + 1);
		t->round++;
	} else if (s == VCPU_RIG_STORE) {
		t->wrong += val != t->round;
	}
	t->last = s;
}

static uint64_t port_read(void *dev, uint64_t off, unsigned size)
{
	struct vcpu_rig *f = dev;
	struct vcpu_rig_tally *t = &f->tallies[off / 16];

	step(t, VCPU_RIG_IN, 0);
	return ~t->round;
}

static void port_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct vcpu_rig *f = dev;
	struct vcpu_rig_tally *t = &f->tallies[off / 16];

	if (off % 16)
		t->wrong++; /* the guest did not like an answer */
	else
		step(t, VCPU_RIG_OUT, val);
}

static const struct io_ops port_ops = {port_read, port_write};

static uint64_t page_read(void *dev, uint64_t off, unsigned size)
{
	struct vcpu_rig *f = dev;
	struct vcpu_rig_tally *t = &f->tallies[off / 0x1000];

	step(t, VCPU_RIG_LOAD, 0);
	return ~t->round;
}

static void page_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct vcpu_rig *f = dev;

	step(&f->tallies[off / 0x1000], VCPU_RIG_STORE, val);
}

const struct io_ops vcpu_rig_page_ops = {page_read, page_write};

static uint64_t reg_read(void *dev, uint64_t off, unsigned size)
{
	return ((struct vcpu_rig *)dev)->reg;
}

static void reg_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct vcpu_rig *f = dev;

	f->reg = val;
	f->mmio_writes++;
}

const struct io_ops vcpu_rig_reg_ops = {reg_read, reg_write};

static uint64_t signal_read(void *dev, uint64_t off, unsigned size)
{
	return 0;
}

static void signal_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct vcpu_rig *f = dev;

	if (off == 0) {
		if (f->n_done < ARRAY_LEN(f->done_values))
			f->done_values[f->n_done] = (uint32_t)val;
		f->n_done++;
		sem_post(&f->done);
		if (f->hold)
			sem_wait(&f->go);
	} else {
		f->irqs[val & 0xff]++;
		if (f->lower_after && f->irqs[val & 0xff] == f->lower_after) {
			f->eoi_first = f->eois == f->lower_after;
			ioapic_set(&f->ioapic, 9, false);
		}
		sem_post(&f->irq);
	}
}

static const struct io_ops signal_ops = {signal_read, signal_write};

static void on_stop(void *ctx, enum stop_reason reason, const char *detail)
{
	struct vcpu_rig *f = ctx;
	unsigned none = STOP_NONE;

	atomic_compare_exchange_strong(&f->reason, &none, reason);
	sem_post(&f->stopped);
}

static void on_eoi(void *ctx, uint8_t vector)
{
	struct vcpu_rig *f = container_of(ctx, struct vcpu_rig, ioapic);

	f->eois++;
	ioapic_eoi(ctx, vector);
}

static void on_exit_seen(void *ctx, unsigned cpu, uint32_t reason, const struct exit_access *access)
{
	((struct vcpu_rig *)ctx)->hooked++;
}

/* --- making one ----------------------------------------------------------------------- */

static void write_tables(struct vcpu_rig *f)
{
	uint8_t *low = guest_mem_hva(&f->ram, 0, MiB);

	le64_put(low + LAYOUT_PML4, LAYOUT_PDPT | 3);
	for (uint64_t i = 0; i < 4; i++)
		le64_put(low + LAYOUT_PDPT + i * 8, (LAYOUT_PD + i * 0x1000) | 3);
	for (uint64_t i = 0; i < 2048; i++) /* 2 MiB pages */
		le64_put(low + LAYOUT_PD + i * 8, i << 21 | 0x83);
	le64_put(low + LAYOUT_GDT + VCPU_RIG_SELECTOR_CODE, 0x00af9b000000ffff);
	le64_put(low + LAYOUT_GDT + VCPU_RIG_SELECTOR_DATA, 0x00cf93000000ffff);
}

void vcpu_rig_make_cpus(struct vcpu_rig *f, unsigned n, unsigned running, const uint8_t *code,
			const uint8_t *end, uint16_t idt_limit)
{
	struct err e = {0};

	if (cpuid_model_init(&f->cpuid, &f->vm, n, &e) ||
	    regs_reserve_real_mode(&f->vm, f->cpuid.vendor) ||
	    vcpus_create(&f->cpus, &f->vm, n, n, &f->env, &e))
		fail_msg("%s", e.text);
	assert_int_equal(guest_mem_write(&f->ram, VCPU_RIG_CODE, code, (uint64_t)(end - code)), 0);
	for (unsigned i = 0; i < n; i++) {
		struct kvm_mp_state state = {.mp_state = KVM_MP_STATE_RUNNABLE};
		struct boot_entry entry = {
			.rip = VCPU_RIG_CODE,
			.rsi = i,
			.rsp = VCPU_RIG_STACKS - i * 0x1000,
			.cr3 = LAYOUT_PML4,
			.gdt = LAYOUT_GDT,
			.gdt_limit = 0x1f,
			.idt = VCPU_RIG_IDT,
			.idt_limit = idt_limit,
			.cs = VCPU_RIG_SELECTOR_CODE,
			.ds = VCPU_RIG_SELECTOR_DATA,
		};

		assert_int_equal(cpuid_model_apply(&f->cpuid, f->cpus.vcpus[i].fd, i), 0);
		assert_int_equal(regs_set_msrs(f->cpus.vcpus[i].fd), 0);
		if (i >= running)
			continue;
		assert_int_equal(regs_set_entry(f->cpus.vcpus[i].fd, &entry), 0);
		if (i)
			assert_int_equal(kvm_ioctl(f->cpus.vcpus[i].fd, KVM_SET_MP_STATE, &state),
					 0);
		f->tallies[i].last = VCPU_RIG_LOAD;
	}
}

void vcpu_rig_start_code(struct vcpu_rig *f, unsigned n, unsigned running, const uint8_t *code,
			 const uint8_t *end, uint16_t idt_limit)
{
	struct err e = {0};

	vcpu_rig_make_cpus(f, n, running, code, end, idt_limit);
	if (vcpus_start(&f->cpus, &e))
		fail_msg("%s", e.text);
}

int vcpu_rig_setup(void **state)
{
	struct vcpu_rig *f = calloc(1, sizeof(*f));
	struct err e = {0};

	alarm(VCPU_RIG_DEADLINE_S);
	*state = f;
	sem_init(&f->done, 0, 0);
	sem_init(&f->irq, 0, 0);
	sem_init(&f->stopped, 0, 0);
	sem_init(&f->go, 0, 0);
	bus_init(&f->pio, "pio");
	bus_init(&f->mmio, "mmio");
	bus_add(&f->pio, VCPU_RIG_PORT, 16 * VCPU_RIG_CPUS, &port_ops, f, "count");
	bus_add(&f->pio, VCPU_RIG_PORT_DONE, 8, &signal_ops, f, "signal");
	f->env = (struct exit_env){
		.pio = &f->pio,
		.mmio = &f->mmio,
		.ram = &f->ram,
		.stop = {on_stop, f},
		.ioapic_eoi = on_eoi,
		.ioapic = &f->ioapic,
		.hook = on_exit_seen,
		.hook_ctx = f,
	};
	if (kvm_vm_open(&f->vm, &e)) {
		print_error("%s\n", e.text);
		return -1;
	}
	guest_mem_init(&f->ram, GUEST_MEM_ANON);
	if (guest_mem_add(&f->ram, 0, 4 * MiB, -1, 0, &e) ||
	    kvm_vm_attach_ram(&f->vm, &f->ram, &e) || irqchip_init(&f->irqchip, &f->vm, &e)) {
		print_error("%s\n", e.text);
		return -1;
	}
	struct msi msi = irqchip_msi(&f->irqchip);

	ioapic_init(&f->ioapic, &msi, 0, 24);
	write_tables(f);
	return 0;
}

int vcpu_rig_teardown(void **state)
{
	struct vcpu_rig *f = *state;

	vcpus_destroy(&f->cpus);
	vcpus_destroy(&f->cpus); /* twice is harmless */
	cpuid_model_fini(&f->cpuid);
	irqchip_fini(&f->irqchip);
	guest_mem_fini(&f->ram);
	kvm_vm_close(&f->vm);
	bus_fini(&f->pio);
	bus_fini(&f->mmio);
	free(f);
	alarm(0);
	return 0;
}

bool vcpu_rig_wait_ms(sem_t *s, long ms)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += ms / 1000;
	ts.tv_nsec += ms % 1000 * 1000000;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_sec++;
		ts.tv_nsec -= 1000000000;
	}
	while (sem_timedwait(s, &ts))
		if (errno != EINTR)
			return false;
	return true;
}

void vcpu_rig_wait_done(struct vcpu_rig *f, unsigned n)
{
	while (n--)
		if (!vcpu_rig_wait_ms(&f->done, 30000))
			fail_msg("the guest did not get there (stop reason %u)", f->reason);
}

bool vcpu_rig_has_kvm(void)
{
	struct kvm_vm vm;
	struct err e = {0};
	int ret = kvm_vm_open(&vm, &e);

	if (ret)
		printf("SKIP: %s\n", e.text);
	kvm_vm_close(&vm);
	return !ret;
}
