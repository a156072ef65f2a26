/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vcpu, irqchip, vm: on a real /dev/kvm, with guests of a few instructions that
 * are assembled into this program and copied into guest RAM. They run in 64-bit
 * mode, as minivmm's guests begin. Whatever is counted is counted on both sides.
 *
 * SKIP (77) where there is no KVM. Every wait is bounded: SIGALRM ends the test.
 */
#include "vmm/kvm/vcpu.h"

#include "devices/irq/ioapic.h"
#include "vmm/arch/x86_64/cpuid.h"
#include "vmm/arch/x86_64/layout.h"
#include "vmm/arch/x86_64/regs.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"
#include "vmm/base/log.h"
#include "vmm/kvm/irqchip.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum {
	DEADLINE_S = 240,
	CPUS = 4,
	PORT = 0x1000, /* 16 ports for each CPU */
	PORT_DONE = 0x2000,
	PORT_IRQ = 0x2004,
	CODE = 0x100000,
	IDT = 0x2000,
	STACKS = 0x80000,
	SELECTOR_CODE = 0x10,
	SELECTOR_DATA = 0x18,
};
#define GPA UINT64_C(0xd0000000) /* a page for each CPU */

/* --- the guests ------------------------------------------------------------------ */

#define GUEST(name, body)                          \
	extern const uint8_t name[], name##_end[]; \
	__asm__(".pushsection .rodata\n" #name ":\n" body "\n" #name "_end:\n.popsection\n")

GUEST(guest_ports, "	mov $0x1000, %edx\n"
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
GUEST(guest_mmio, "	mov $0xd0000000, %ebx\n"
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

GUEST(guest_halt, "1:	cli; hlt; jmp 1b");
GUEST(guest_spin, "1:	jmp 1b");
GUEST(guest_touch, "	mov $0x1000000, %ebx\n"
		   "	mov (%rbx), %eax\n"
		   "1:	cli; hlt; jmp 1b");
GUEST(guest_crash, "	ud2"); /* without an IDT */

/* RSI is the CPU's number. Four accesses a round, all with the round's number in
 * ECX; reads must come back as its complement. */
extern const uint8_t site_out[], site_in[], site_store[], site_load[];
GUEST(guest_count, "	mov %esi, %ebx\n"
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

/* Sleeps; each interrupt writes its vector to PORT_IRQ and ends with an EOI. The
 * handlers jump back instead of returning: some KVMs emulate ring 0 and know no
 * IRETQ, and there is nothing here to return to. */
extern const uint8_t guest_irq_40[], guest_irq_41[];
GUEST(guest_irq, "	mov $0xfee000f0, %ebx\n"
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
GUEST(guest_bell, "	mov $0xd0000000, %ebx\n"
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

/* --- a machine around them --------------------------------------------------------- */

enum step { OUT, IN, STORE, LOAD };

/* What one CPU's guest_count did, as seen by its device. */
struct tally {
	_Atomic uint32_t round;
	_Atomic enum step last;
	_Atomic unsigned wrong;
};

struct fixture {
	struct kvm_vm vm;
	struct guest_mem ram;
	struct irqchip irqchip;
	struct cpuid_model cpuid;
	struct ioapic ioapic;
	struct bus pio, mmio;
	struct exit_env env;
	struct vcpu_group cpus;

	struct tally tallies[CPUS];
	uint64_t reg; /* what guest_mmio works on */
	_Atomic unsigned mmio_writes;
	uint32_t done_values[8];
	_Atomic unsigned n_done;
	sem_t done, irq, stopped;
	_Atomic bool hold; /* PORT_DONE waits for `go` */
	sem_t go;
	_Atomic unsigned irqs[256];
	_Atomic unsigned lower_after; /* the n-th interrupt lowers the line, as a driver would */
	_Atomic unsigned reason;
	_Atomic unsigned hooked;
};

/* These run on vCPU threads: they count, the main thread asserts. */
static void step(struct tally *t, enum step s, uint64_t val)
{
	static const enum step before[] = {[OUT] = LOAD, [IN] = OUT, [STORE] = IN, [LOAD] = STORE};

	t->wrong += t->last != before[s];
	if (s == OUT) {
		t->wrong += val != (uint32_t)(t->round + 1);
		t->round++;
	} else if (s == STORE) {
		t->wrong += val != t->round;
	}
	t->last = s;
}

static uint64_t port_read(void *dev, uint64_t off, unsigned size)
{
	struct fixture *f = dev;
	struct tally *t = &f->tallies[off / 16];

	step(t, IN, 0);
	return ~t->round;
}

static void port_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct fixture *f = dev;
	struct tally *t = &f->tallies[off / 16];

	if (off % 16)
		t->wrong++; /* the guest did not like an answer */
	else
		step(t, OUT, val);
}

static const struct io_ops port_ops = {port_read, port_write};

static uint64_t page_read(void *dev, uint64_t off, unsigned size)
{
	struct fixture *f = dev;
	struct tally *t = &f->tallies[off / 0x1000];

	step(t, LOAD, 0);
	return ~t->round;
}

static void page_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct fixture *f = dev;

	step(&f->tallies[off / 0x1000], STORE, val);
}

static const struct io_ops page_ops = {page_read, page_write};

static uint64_t reg_read(void *dev, uint64_t off, unsigned size)
{
	return ((struct fixture *)dev)->reg;
}

static void reg_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct fixture *f = dev;

	f->reg = val;
	f->mmio_writes++;
}

static const struct io_ops reg_ops = {reg_read, reg_write};

static uint64_t signal_read(void *dev, uint64_t off, unsigned size)
{
	return 0;
}

static void signal_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct fixture *f = dev;

	if (off == 0) {
		if (f->n_done < ARRAY_LEN(f->done_values))
			f->done_values[f->n_done] = (uint32_t)val;
		f->n_done++;
		sem_post(&f->done);
		if (f->hold)
			sem_wait(&f->go);
	} else {
		f->irqs[val & 0xff]++;
		if (f->lower_after && f->irqs[val & 0xff] == f->lower_after)
			ioapic_set(&f->ioapic, 9, false);
		sem_post(&f->irq);
	}
}

static const struct io_ops signal_ops = {signal_read, signal_write};

static void on_stop(void *ctx, enum stop_reason reason, const char *detail)
{
	struct fixture *f = ctx;
	unsigned none = STOP_NONE;

	atomic_compare_exchange_strong(&f->reason, &none, reason);
	sem_post(&f->stopped);
}

static void on_eoi(void *ctx, uint8_t vector)
{
	ioapic_eoi(ctx, vector);
}

static void on_exit_seen(void *ctx, unsigned cpu, uint32_t reason, const struct exit_access *access)
{
	((struct fixture *)ctx)->hooked++;
}

/* --- making one ----------------------------------------------------------------------- */

static void write_tables(struct fixture *f)
{
	uint8_t *low = guest_mem_hva(&f->ram, 0, MiB);

	le64_put(low + LAYOUT_PML4, LAYOUT_PDPT | 3);
	for (uint64_t i = 0; i < 4; i++)
		le64_put(low + LAYOUT_PDPT + i * 8, (LAYOUT_PD + i * 0x1000) | 3);
	for (uint64_t i = 0; i < 2048; i++) /* 2 MiB pages */
		le64_put(low + LAYOUT_PD + i * 8, i << 21 | 0x83);
	le64_put(low + LAYOUT_GDT + SELECTOR_CODE, 0x00af9b000000ffff);
	le64_put(low + LAYOUT_GDT + SELECTOR_DATA, 0x00cf93000000ffff);
}

static void write_gate(struct fixture *f, unsigned vector, uint64_t rip)
{
	uint8_t *gate = guest_mem_hva(&f->ram, IDT + vector * 16, 16);

	le16_put(gate, (uint16_t)rip);
	le16_put(gate + 2, SELECTOR_CODE);
	le16_put(gate + 4, 0x8e00); /* present, interrupt gate [SDM 3A 6.14.1] */
	le16_put(gate + 6, (uint16_t)(rip >> 16));
	le64_put(gate + 8, rip >> 32);
}

/* `n` CPUs that will run the same code; those from `running` on wait for SIPI. */
static void make_cpus(struct fixture *f, unsigned n, unsigned running, const uint8_t *code,
		      const uint8_t *end, uint16_t idt_limit)
{
	struct err e = {0};

	if (cpuid_model_init(&f->cpuid, &f->vm, n, &e) ||
	    regs_reserve_real_mode(&f->vm, f->cpuid.vendor) ||
	    vcpus_create(&f->cpus, &f->vm, n, &f->env, &e))
		fail_msg("%s", e.text);
	assert_int_equal(guest_mem_write(&f->ram, CODE, code, (uint64_t)(end - code)), 0);
	for (unsigned i = 0; i < n; i++) {
		struct kvm_mp_state state = {.mp_state = KVM_MP_STATE_RUNNABLE};
		struct boot_entry entry = {
			.rip = CODE,
			.rsi = i,
			.rsp = STACKS - i * 0x1000,
			.cr3 = LAYOUT_PML4,
			.gdt = LAYOUT_GDT,
			.gdt_limit = 0x1f,
			.idt = IDT,
			.idt_limit = idt_limit,
			.cs = SELECTOR_CODE,
			.ds = SELECTOR_DATA,
		};

		assert_int_equal(cpuid_model_apply(&f->cpuid, f->cpus.vcpus[i].fd, i), 0);
		assert_int_equal(regs_set_msrs(f->cpus.vcpus[i].fd), 0);
		if (i >= running)
			continue;
		assert_int_equal(regs_set_entry(f->cpus.vcpus[i].fd, &entry), 0);
		if (i)
			assert_int_equal(kvm_ioctl(f->cpus.vcpus[i].fd, KVM_SET_MP_STATE, &state),
					 0);
		f->tallies[i].last = LOAD;
	}
}

#define start_guest(f, n, name) start_code(f, n, n, name, name##_end, 0)

static void start_code(struct fixture *f, unsigned n, unsigned running, const uint8_t *code,
		       const uint8_t *end, uint16_t idt_limit)
{
	struct err e = {0};

	make_cpus(f, n, running, code, end, idt_limit);
	if (vcpus_start(&f->cpus, &e))
		fail_msg("%s", e.text);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e = {0};

	alarm(DEADLINE_S);
	*state = f;
	sem_init(&f->done, 0, 0);
	sem_init(&f->irq, 0, 0);
	sem_init(&f->stopped, 0, 0);
	sem_init(&f->go, 0, 0);
	bus_init(&f->pio, "pio");
	bus_init(&f->mmio, "mmio");
	bus_add(&f->pio, PORT, 16 * CPUS, &port_ops, f, "count");
	bus_add(&f->pio, PORT_DONE, 8, &signal_ops, f, "signal");
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

static int teardown(void **state)
{
	struct fixture *f = *state;

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

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static bool wait_ms(sem_t *s, long ms)
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

static void wait_done(struct fixture *f, unsigned n)
{
	while (n--)
		if (!wait_ms(&f->done, 30000))
			fail_msg("the guest did not get there (stop reason %u)", f->reason);
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
	struct fixture *f = *state;
	uint64_t list[8] = {0};

	assert_int_equal(bus_remove(&f->pio, PORT, f), 0);
	assert_int_equal(bus_add(&f->pio, PORT, 4, &list_ops, list, "list"), 0);
	start_guest(f, 1, guest_ports);
	wait_done(f, 3);
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
	struct fixture *f = *state;

	assert_int_equal(bus_add(&f->mmio, GPA, 8, &reg_ops, f, "reg"), 0);
	start_guest(f, 1, guest_mmio);
	wait_done(f, 5);
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
	struct fixture *f = *state;

	start_guest(f, 1, guest_crash);
	assert_true(wait_ms(&f->stopped, 30000));
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
	struct fixture *f = *state;
	FILE *file = tmpfile();
	int fd = dup(fileno(file));

	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(guest_mem_add(&f->ram, 16 * MiB, 4096, fd, 0, NULL), 0);
	assert_int_equal(ftruncate(fileno(file), 0), 0);
	start_guest(f, 1, guest_touch);
	assert_true(wait_ms(&f->stopped, 30000));
	assert_int_equal(f->reason, STOP_HOST_ERROR);
	vcpus_quit(&f->cpus);
	assert_false(wait_ms(&f->stopped, 50));
	fclose(file);
}

static void expect_prompt_control(struct fixture *f)
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
	start_guest(*state, CPUS, guest_halt);
	expect_prompt_control(*state);
}

static void spinning_cpus_can_be_stopped(void **state)
{
	start_guest(*state, CPUS, guest_spin);
	expect_prompt_control(*state);
}

static void cpus_that_never_started_can_be_stopped(void **state)
{
	start_code(*state, CPUS, 1, guest_halt, guest_halt_end, 0);
	expect_prompt_control(*state);
}

static void a_quit_ends_parked_cpus(void **state)
{
	struct fixture *f = *state;

	start_guest(f, CPUS, guest_spin);
	vcpus_park(&f->cpus);
	vcpus_quit(&f->cpus);
	vcpus_quit(&f->cpus); /* twice is harmless */
	assert_int_equal(f->cpus.alive, 0);
}

/* --- parking under load --------------------------------------------------------------------- */

/* With the CPU parked, its last access must be complete: the instruction behind
 * it comes next, and what was read is in EAX [KVM api 5, KVM_EXIT_MMIO]. */
static void expect_complete(struct fixture *f, unsigned cpu)
{
	const uint8_t *const sites[] = {site_out, site_in, site_store, site_load};
	struct tally *t = &f->tallies[cpu];
	struct kvm_regs r;
	uint64_t at[4];

	assert_int_equal(kvm_ioctl(f->cpus.vcpus[cpu].fd, KVM_GET_REGS, &r), 0);
	if (!t->round)
		return;
	for (int i = 0; i < 4; i++)
		at[i] = CODE + (uint64_t)(sites[i] - guest_count);
	bool ok;

	if (t->last == LOAD) /* behind the load, or on the way to the next round's OUT */
		ok = (r.rip > at[LOAD] && r.rcx == t->round) ||
		     (r.rip <= at[OUT] && r.rcx - t->round <= 1);
	else
		ok = r.rip > at[t->last] && r.rip <= at[t->last + 1] && r.rcx == t->round;
	if (!ok)
		fail_msg("CPU %u parked at %#llx, round %llu, after access %d of round %u: "
			 "its I/O is not complete",
			 cpu, r.rip - CODE, r.rcx, t->last, t->round);
	if ((t->last == IN && r.rip == at[IN] + 1) || (t->last == LOAD && r.rip == at[LOAD] + 2))
		assert_int_equal((uint32_t)r.rax, ~t->round);
}

static unsigned rounds(void)
{
	return getenv("MINIVMM_TEST_LONG") ? 100000 : 10000;
}

static void count_under(struct fixture *f, void (*disturb)(struct fixture *f))
{
	bus_add(&f->mmio, GPA, 0x1000 * CPUS, &page_ops, f, "count");
	start_guest(f, CPUS, guest_count);
	disturb(f);
	vcpus_park(&f->cpus);
	for (unsigned i = 0; i < CPUS; i++) {
		uint32_t round = f->tallies[i].round;

		expect_complete(f, i);
		if (f->tallies[i].wrong)
			fail_msg("CPU %u: %u accesses lost, doubled or out of order after round %u",
				 i, f->tallies[i].wrong, round);
	}
	/* And they still move. */
	uint32_t before[CPUS];

	for (unsigned i = 0; i < CPUS; i++)
		before[i] = f->tallies[i].round;
	vcpus_resume(&f->cpus);
	for (unsigned i = 0; i < CPUS; i++)
		for (uint64_t start = now_ms(); f->tallies[i].round < before[i] + 2; usleep(1000))
			assert_true(now_ms() - start < 30000);
	vcpus_quit(&f->cpus);
	assert_int_equal(f->reason, STOP_NONE);
}

static void park_and_resume(struct fixture *f)
{
	for (unsigned i = 0; i < rounds(); i++) {
		vcpus_park(&f->cpus);
		if (f->cpus.parked != CPUS)
			fail_msg("%u CPUs stand of %d", f->cpus.parked, CPUS);
		for (unsigned cpu = 0; cpu < CPUS; cpu++)
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

static void signal_storm(struct fixture *f)
{
	for (unsigned i = 0; i < 10 * rounds(); i++)
		pthread_kill(f->cpus.vcpus[i % CPUS].thread, VCPU_KICK);
}

/* hostile-cases: "signal storm on vCPU threads". */
static void no_exit_is_lost_by_signals(void **state)
{
	count_under(*state, signal_storm);
}

/* --- interrupts ------------------------------------------------------------------------------- */

static void start_irq_guest(struct fixture *f)
{
	write_gate(f, 0x40, CODE + (uint64_t)(guest_irq_40 - guest_irq));
	write_gate(f, 0x41, CODE + (uint64_t)(guest_irq_41 - guest_irq));
	start_code(f, 1, 1, guest_irq, guest_irq_end, 0xfff);
	wait_done(f, 1);
}

#define expect_irq(f, vector, n)                        \
	do {                                            \
		assert_true(wait_ms(&(f)->irq, 30000)); \
		assert_int_equal((f)->irqs[vector], n); \
	} while (0)

static void messages_reach_the_handler(void **state)
{
	struct fixture *f = *state;
	struct msi msi = irqchip_msi(&f->irqchip);
	struct msi_msg to_40 = {0xfee00000, 0x40}, to_41 = {0xfee00000, 0x41};
	int a = msi.ops->route_new(msi.ctx), b = msi.ops->route_new(msi.ctx);

	assert_true(a >= 0 && b >= 0 && a != b);
	start_irq_guest(f);
	/* Not armed yet: goes nowhere, harms nobody. */
	msi.ops->route_fire(msi.ctx, a);
	assert_false(wait_ms(&f->irq, 50));

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
	assert_false(wait_ms(&f->irq, 50));
	assert_int_equal(msi.ops->route_set(msi.ctx, a, &to_41), 0);
	msi.ops->route_fire(msi.ctx, a);
	expect_irq(f, 0x41, 3);
	assert_int_equal(f->irqs[0x40], 100);

	/* A number that was given back is given out again, unarmed. */
	msi.ops->route_free(msi.ctx, b);
	assert_int_equal(msi.ops->route_new(msi.ctx), b);
	msi.ops->route_fire(msi.ctx, b);
	assert_false(wait_ms(&f->irq, 50));
	vcpus_quit(&f->cpus);
	msi.ops->route_free(msi.ctx, a);
	msi.ops->route_free(msi.ctx, b);
}

static void routes_end_somewhere(void **state)
{
	struct fixture *f = *state;
	struct msi msi = irqchip_msi(&f->irqchip);

	for (int i = 0; i < IRQCHIP_ROUTES_MAX; i++)
		assert_int_equal(msi.ops->route_new(msi.ctx), i);
	assert_int_equal(msi.ops->route_new(msi.ctx), -ENOSPC);
	msi.ops->route_free(msi.ctx, 17);
	assert_int_equal(msi.ops->route_new(msi.ctx), 17);
}

static void write_ioapic(struct fixture *f, uint32_t reg, uint32_t val)
{
	ioapic_io_ops.write(&f->ioapic, 0x00, 4, reg);
	ioapic_io_ops.write(&f->ioapic, 0x10, 4, val);
}

/* A level pin comes again after each EOI for as long as the line is up: KVM must
 * tell us of the EOI, and only does so for pins that are in its routes. */
static void a_level_pin_comes_until_it_is_lowered(void **state)
{
	enum { PIN = 9, RTE = 0x10 + 2 * PIN, LEVEL = 1 << 15 };
	struct fixture *f = *state;

	f->lower_after = 5;
	start_irq_guest(f);
	write_ioapic(f, RTE + 1, 0);
	write_ioapic(f, RTE, LEVEL | 0x40);
	ioapic_set(&f->ioapic, PIN, true);
	for (unsigned i = 0; i < 5; i++)
		assert_true(wait_ms(&f->irq, 30000));
	assert_false(wait_ms(&f->irq, 50));
	assert_int_equal(f->irqs[0x40], 5);
	f->lower_after = 7;
	ioapic_set(&f->ioapic, PIN, true);
	assert_true(wait_ms(&f->irq, 30000) && wait_ms(&f->irq, 30000));
	assert_false(wait_ms(&f->irq, 50));
	assert_int_equal(f->irqs[0x40], 7);
	vcpus_quit(&f->cpus);
}

static void an_edge_pin_comes_once(void **state)
{
	enum { PIN = 9, RTE = 0x10 + 2 * PIN };
	struct fixture *f = *state;

	start_irq_guest(f);
	write_ioapic(f, RTE + 1, 0);
	write_ioapic(f, RTE, 0x41);
	for (unsigned i = 1; i <= 20; i++) {
		ioapic_set(&f->ioapic, PIN, true);
		expect_irq(f, 0x41, i);
		ioapic_set(&f->ioapic, PIN, false);
	}
	assert_false(wait_ms(&f->irq, 50));
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
	struct fixture *f = *state;
	struct doorbell bell = kvm_doorbell(&f->vm);
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	f->hold = true;
	assert_int_equal(bus_add(&f->mmio, GPA, 8, &reg_ops, f, "reg"), 0);
	assert_int_equal(bell.ops->attach(bell.ctx, GPA, fd, false, 0), 0);
	start_guest(f, 1, guest_bell);
	wait_done(f, 1);
	if (f->vm.ioeventfd_any_length) {
		assert_int_equal(rings(fd), 100);
		assert_int_equal(f->mmio_writes, 0);
	} else { /* two bytes, as Linux stores */
		assert_int_equal(rings(fd), 25);
		assert_int_equal(f->mmio_writes, 75);
	}
	/* Without it the same stores come to the bus. */
	f->mmio_writes = 0;
	bell.ops->detach(bell.ctx, GPA, fd, false, 0);
	sem_post(&f->go);
	wait_done(f, 1);
	assert_int_equal(rings(fd), 0);
	assert_int_equal(f->mmio_writes, 100);

	/* One value of one size: the others come to the bus. */
	f->mmio_writes = 0;
	assert_int_equal(bell.ops->attach(bell.ctx, GPA, fd, true, 8), 0);
	assert_int_equal(bell.ops->attach(bell.ctx, GPA, fd, true, 8), -EEXIST);
	sem_post(&f->go);
	wait_done(f, 1);
	assert_int_equal(rings(fd), 25);
	assert_int_equal(f->mmio_writes, 75);
	f->hold = false;
	sem_post(&f->go);
	vcpus_quit(&f->cpus);
	close(fd);
}

/* --- making and unmaking
 * ---------------------------------------------------------------------------- */

static void more_cpus_than_kvm_has_are_refused(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};

	assert_true(f->vm.cpus_max >= 1);
	assert_int_equal(vcpus_create(&f->cpus, &f->vm, f->vm.cpus_max + 1, &f->env, &e), -EINVAL);
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
	make_cpus(*state, CPUS, CPUS, guest_halt, guest_halt_end, 0);
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

		assert_int_equal(setup(&own), 0);
		struct fixture *f = own;
		struct msi msi = irqchip_msi(&f->irqchip);
		struct msi_msg msg = {0xfee00000, 0x40};

		start_guest(f, CPUS, guest_spin);
		msi.ops->route_set(msi.ctx, msi.ops->route_new(msi.ctx), &msg);
		teardown(&own);
		if (i == 0)
			before = open_descriptors();
	}
	assert_int_equal(open_descriptors(), before);
	alarm(DEADLINE_S);
}

int main(void)
{
#define VCPU_TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		VCPU_TEST(ports_of_each_size),
		VCPU_TEST(mmio_read_modify_write),
		VCPU_TEST(a_triple_fault_stops_the_machine),
		VCPU_TEST(ram_that_the_host_has_lost),
		VCPU_TEST(halted_cpus_can_be_stopped),
		VCPU_TEST(spinning_cpus_can_be_stopped),
		VCPU_TEST(cpus_that_never_started_can_be_stopped),
		VCPU_TEST(a_quit_ends_parked_cpus),
		VCPU_TEST(no_exit_is_lost_by_parking),
		VCPU_TEST(no_exit_is_lost_by_signals),
		VCPU_TEST(messages_reach_the_handler),
		VCPU_TEST(routes_end_somewhere),
		VCPU_TEST(a_level_pin_comes_until_it_is_lowered),
		VCPU_TEST(an_edge_pin_comes_once),
		VCPU_TEST(a_doorbell_takes_stores_of_every_size),
		VCPU_TEST(more_cpus_than_kvm_has_are_refused),
		VCPU_TEST(half_built_objects_can_be_destroyed),
		VCPU_TEST(a_vm_leaves_no_descriptor_behind),
	};
	struct kvm_vm vm;
	struct err e = {0};

	if (kvm_vm_open(&vm, &e)) {
		printf("SKIP: %s\n", e.text);
		kvm_vm_close(&vm);
		return 77;
	}
	kvm_vm_close(&vm);
	log_set_level(LOG_QUIET); /* registers of guests that are meant to crash */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
