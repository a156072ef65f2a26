/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nothing in the guest changes rings or returns to where it came from: the host puts the
 * processor into the ring that is to be timed, at the loop that is to be timed, and looks
 * at what comes out. So a step that a KVM cannot do spoils none of the others.
 */
#include "vmm/arch/x86_64/probe.h"

#include "vmm/arch/x86_64/cpuid.h"
#include "vmm/arch/x86_64/layout.h"
#include "vmm/arch/x86_64/regs.h"
#include "vmm/base/fd.h"
#include "vmm/base/le.h"
#include "vmm/core/clock.h"
#include "vmm/core/guest_mem.h"
#include "vmm/kvm/exit.h"
#include "vmm/kvm/irqchip.h"

#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>

extern const uint8_t probe_guest[], probe_guest_end[], probe_ring0[], probe_ring3[], probe_ports[],
	probe_mmio[], probe_kernel[], probe_breakpoint[], probe_wake[], probe_interrupt[];

/* Where things lie in the guest's 2 MiB. */
enum {
	RAM = 2 << 20,
	GDT = 0x1000,
	IDT = 0x2000,
	STATE = 0x3000, /* for XRSTOR: zeroes, which are the processor's first state */
	PML4 = 0x4000,
	PDPT = 0x5000,
	PD = 0x6000, /* four pages: 4 GiB in 2 MiB pages */
	CODE = 0x10000,
	STACK = 0x20000,
};
#define NOT_RAM UINT64_C(0xd0000000)

enum { CODE0 = 1 << 3, DATA0 = 2 << 3, CODE3 = 3 << 3 | 3, DATA3 = 4 << 3 | 3 };
enum { VECTOR_BREAKPOINT = 3, VECTOR_WAKE = 0x40 };
enum { PTE_P = 1 << 0, PTE_RW = 1 << 1, PTE_US = 1 << 2, PTE_PS = 1 << 7 };
enum { RFLAGS_FIXED = 1 << 1, TICK_MS = 10, MS_NS = 1000000 };
/* What takes that long will not come: hosts stand still for moments, but not for these. */
enum { PATIENCE_MS = 3000 };

#define CR0_PE      (1ull << 0)
#define CR0_ET      (1ull << 4)
#define CR0_PG      (1ull << 31)
#define CR4_PAE     (1ull << 5)
#define CR4_OSFXSR  (1ull << 9)
#define CR4_OSXSAVE (1ull << 18)
#define EFER_LME    (1ull << 8)
#define EFER_LMA    (1ull << 10)

struct prober {
	struct kvm_vm *vm;
	struct guest_mem ram;
	struct irqchip irqchip;
	struct cpuid_model cpuid;
	bool xsave; /* the guest's processor has it */
	int fd;     /* the vCPU */
	struct kvm_run *run;
	uint64_t end_ns; /* of all */
};

static uint64_t now_ns(void)
{
	return clock_monotonic_ns(&clock_host);
}

/* --- making it --------------------------------------------------------------------- */

static void put_gate(uint8_t *low, unsigned vector, const uint8_t *handler)
{
	uint64_t rip = CODE + (uint64_t)(handler - probe_guest);
	uint8_t *gate = low + IDT + vector * 16;

	le16_put(gate, (uint16_t)rip);
	le16_put(gate + 2, CODE0);
	le16_put(gate + 4, 0x8e00); /* present, interrupt gate [SDM 3A 7.14.1] */
	le16_put(gate + 6, (uint16_t)(rip >> 16));
	le64_put(gate + 8, rip >> 32);
}

static void fill_ram(struct prober *p)
{
	uint8_t *low = guest_mem_hva(&p->ram, 0, RAM);

	/* Flat descriptors [SDM 3A 3.4.5]. */
	le64_put(low + GDT + CODE0, 0x00af9b000000ffff);
	le64_put(low + GDT + DATA0, 0x00cf93000000ffff);
	le64_put(low + GDT + (CODE3 & ~7), 0x00affb000000ffff);
	le64_put(low + GDT + (DATA3 & ~7), 0x00cff3000000ffff);
	put_gate(low, VECTOR_BREAKPOINT, probe_breakpoint);
	put_gate(low, VECTOR_WAKE, probe_interrupt);
	le64_put(low + PML4, PDPT | PTE_P | PTE_RW | PTE_US);
	for (uint64_t i = 0; i < 4; i++)
		le64_put(low + PDPT + i * 8, (PD + i * 4096) | PTE_P | PTE_RW | PTE_US);
	for (uint64_t i = 0; i < 4 * 512; i++)
		le64_put(low + PD + i * 8, i << 21 | PTE_P | PTE_RW | PTE_US | PTE_PS);
	memcpy(low + CODE, probe_guest, (size_t)(probe_guest_end - probe_guest));
}

static bool has_xsave(const struct cpuid_model *m)
{
	enum { LEAF1_ECX_XSAVE = 1 << 26 };

	for (uint32_t i = 0; i < m->list->nent; i++)
		if (m->list->entries[i].function == 1)
			return m->list->entries[i].ecx & LEAF1_ECX_XSAVE;
	return false;
}

static int make_vcpu(struct prober *p)
{
	p->fd = kvm_ioctl(p->vm->vm_fd, KVM_CREATE_VCPU, 0);
	if (p->fd < 0)
		return p->fd;
	p->run = mmap(NULL, p->vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, 0);
	if (p->run == MAP_FAILED)
		return -errno;
	int ret = cpuid_model_apply(&p->cpuid, p->fd, 0);

	return ret ? ret : regs_set_msrs(p->fd);
}

static int make(struct prober *p, struct err *e)
{
	int ret = guest_mem_add(&p->ram, 0, RAM, -1, 0, e);

	if (!ret)
		ret = kvm_vm_attach_ram(p->vm, &p->ram, e);
	if (!ret)
		ret = irqchip_init(&p->irqchip, p->vm, e);
	if (!ret)
		ret = cpuid_model_init(&p->cpuid, p->vm, 1, e);
	if (ret)
		return ret;
	p->xsave = has_xsave(&p->cpuid);
	fill_ram(p);
	ret = regs_reserve_real_mode(p->vm, p->cpuid.vendor);
	if (!ret)
		ret = make_vcpu(p);
	if (ret)
		return err_host(e, ret, "/dev/kvm: cannot make a CPU: %s", strerror(-ret));
	return 0;
}

static void unmake(struct prober *p)
{
	if (p->run && p->run != MAP_FAILED)
		munmap(p->run, p->vm->run_size);
	fd_close(&p->fd);
	cpuid_model_fini(&p->cpuid);
	irqchip_fini(&p->irqchip);
	guest_mem_fini(&p->ram);
}

/* --- one run -------------------------------------------------------------------------- */

/* An access that came out is only half done until the next KVM_RUN: with immediate_exit
 * that does this much and comes straight back [KVM api 5, KVM_EXIT_MMIO]. */
static void complete_io(struct prober *p)
{
	p->run->immediate_exit = 1;
	(void)!ioctl(p->fd, KVM_RUN, 0);
	p->run->immediate_exit = 0;
}

static struct kvm_segment segment(uint16_t selector, bool code)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = code ? 0xb : 0x3,
		.present = 1,
		.dpl = selector & 3,
		.s = 1,
		.g = 1,
		.db = !code,
		.l = code,
	};
}

/* The processor at `code` in `ring`, with `rounds` to go. */
static int enter_at(struct prober *p, const uint8_t *code, unsigned ring, uint64_t rounds)
{
	struct kvm_mp_state runnable = {.mp_state = KVM_MP_STATE_RUNNABLE};
	struct kvm_regs r = {
		.rip = CODE + (uint64_t)(code - probe_guest),
		.rsp = STACK,
		.rcx = rounds,
		.rax = p->xsave ? 1 : 0, /* of XRSTOR's state: the x87's */
		.rbx = LAYOUT_LAPIC,
		.rsi = STATE,
		.rdi = NOT_RAM,
		.rflags = RFLAGS_FIXED,
	};
	struct kvm_sregs s;
	int ret = kvm_ioctl(p->fd, KVM_GET_SREGS, &s);

	if (ret)
		return ret;
	s.cs = segment(ring ? CODE3 : CODE0, true);
	s.ds = s.es = s.fs = s.gs = s.ss = segment(ring ? DATA3 : DATA0, false);
	s.tr = (struct kvm_segment){.limit = 0x67, .type = 0xb, .present = 1};
	s.gdt = (struct kvm_dtable){.base = GDT, .limit = 5 * 8 - 1};
	s.idt = (struct kvm_dtable){.base = IDT, .limit = (VECTOR_WAKE + 1) * 16 - 1};
	s.cr0 = CR0_PE | CR0_ET | CR0_PG;
	s.cr3 = PML4;
	s.cr4 = CR4_PAE | CR4_OSFXSR | (p->xsave ? CR4_OSXSAVE : 0);
	s.efer = EFER_LME | EFER_LMA;
	ret = kvm_ioctl(p->fd, KVM_SET_SREGS, &s);
	if (!ret)
		ret = kvm_ioctl(p->fd, KVM_SET_REGS, &r);
	/* After a sleep. It fails on KVMs without the state, where there was none. */
	kvm_ioctl(p->fd, KVM_SET_MP_STATE, &runnable);
	return ret;
}

/* Until the guest says that it is done, KVM gives up, or the time is over. SIGALRM comes
 * every TICK_MS, so a signal between the look at the clock and KVM_RUN loses one tick. */
static enum probe_state run_until(struct prober *p, uint64_t end_ns, char why[96])
{
	for (;;) {
		if (ioctl(p->fd, KVM_RUN, 0)) {
			if (errno != EINTR && errno != EAGAIN) {
				snprintf(why, 96, "KVM_RUN: %s", strerror(errno));
				return PROBE_FAILED;
			}
			if (now_ns() >= end_ns)
				return PROBE_LATE;
			continue;
		}
		if (p->run->exit_reason == KVM_EXIT_IO || p->run->exit_reason == KVM_EXIT_MMIO)
			return PROBE_OK;
		snprintf(why, 96, "%s", exit_name(p->run->exit_reason));
		return PROBE_FAILED;
	}
}

static uint64_t rounds_left(struct prober *p)
{
	struct kvm_regs r;

	return kvm_ioctl(p->fd, KVM_GET_REGS, &r) ? 0 : r.rcx;
}

/* --- the steps -------------------------------------------------------------------------- */

/* The end of a step that may take `ms`, within the end of all. */
static uint64_t end_in(const struct prober *p, unsigned ms)
{
	uint64_t end = now_ns() + (uint64_t)ms * MS_NS;

	return end < p->end_ns ? end : p->end_ns;
}

/* How fast does it run? The number of rounds grows until they take long enough for the way
 * in and out to count no more; the best attempt is the one that was disturbed least. */
static void time_loop(struct prober *p, struct probe_step *s, const uint8_t *code, unsigned ring)
{
	enum { FIRST = 4096, PER_ROUND = 4, ENOUGH_MS = 20, LIMIT_MS = 200 };
	uint64_t end_ns = end_in(p, LIMIT_MS), first_end_ns = end_in(p, PATIENCE_MS);

	for (uint64_t rounds = FIRST; rounds == FIRST || now_ns() < end_ns; rounds *= 2) {
		int ret = enter_at(p, code, ring, rounds);
		uint64_t from = now_ns(), limit_ns = rounds == FIRST ? first_end_ns : end_ns;
		enum probe_state state = ret ? PROBE_FAILED : run_until(p, limit_ns, s->why);
		uint64_t took = now_ns() - from, done = rounds;

		if (ret)
			snprintf(s->why, sizeof(s->why), "its registers: %s", strerror(-ret));
		if (state == PROBE_LATE)
			done -= rounds_left(p);
		else if (state == PROBE_OK)
			complete_io(p);
		if (state == PROBE_FAILED || s->state == PROBE_NOT_RUN ||
		    (double)done * PER_ROUND * (double)s->ns > (double)s->count * (double)took) {
			s->state = state;
			s->count = done * PER_ROUND;
			s->ns = took;
		}
		if (state != PROBE_OK || took > (uint64_t)ENOUGH_MS * MS_NS)
			return;
	}
}

/* How long does the way out to us and back take? */
static void time_exits(struct prober *p, struct probe_step *s, const uint8_t *code)
{
	enum { MOST = 5000, LIMIT_MS = 60 };
	uint64_t hard_end_ns = end_in(p, PATIENCE_MS), end_ns = end_in(p, LIMIT_MS);
	int ret = enter_at(p, code, 0, 0);

	if (ret) {
		s->state = PROBE_FAILED;
		snprintf(s->why, sizeof(s->why), "its registers: %s", strerror(-ret));
		return;
	}
	/* The first one pays for what is set up once. */
	s->state = run_until(p, hard_end_ns, s->why);
	uint64_t from = now_ns();

	while (s->state == PROBE_OK && s->count < MOST && (!s->count || now_ns() < end_ns)) {
		s->state = run_until(p, hard_end_ns, s->why);
		s->count += s->state == PROBE_OK;
	}
	s->ns = now_ns() - from;
	if (s->count && s->state == PROBE_LATE)
		s->state = PROBE_OK; /* of an exit that was under way */
	if (s->state == PROBE_OK)
		complete_io(p);
}

static void try_kernel(struct prober *p, struct probe_step *s)
{
	int ret = enter_at(p, probe_kernel, 0, 0);
	uint64_t from = now_ns();

	s->state = ret ? PROBE_FAILED : run_until(p, end_in(p, PATIENCE_MS), s->why);
	s->ns = now_ns() - from;
	if (ret)
		snprintf(s->why, sizeof(s->why), "its registers: %s", strerror(-ret));
	if (s->state == PROBE_OK) {
		s->count = 1;
		complete_io(p);
	}
}

static void on_tick(int signum)
{
}

static void run_steps(struct prober *p, struct probe_step s[PROBE_KINDS])
{
	time_loop(p, &s[PROBE_RING0], probe_ring0, 0);
	time_loop(p, &s[PROBE_RING3], probe_ring3, 3);
	time_exits(p, &s[PROBE_PORT], probe_ports);
	time_exits(p, &s[PROBE_MMIO], probe_mmio);
	try_kernel(p, &s[PROBE_KERNEL]);
	time_exits(p, &s[PROBE_WAKE], probe_wake); /* the last: its timer may still come */
}

int probe_run(struct probe_step steps[PROBE_KINDS], struct kvm_vm *vm, unsigned limit_ms,
	      struct err *e)
{
	/* No SA_RESTART: the signal's only purpose is that KVM_RUN gives EINTR. */
	struct sigaction tick = {.sa_handler = on_tick}, before;
	struct itimerval every = {{0, TICK_MS * 1000}, {0, TICK_MS * 1000}}, none = {0};
	struct prober p = {.vm = vm, .fd = -1};

	memset(steps, 0, PROBE_KINDS * sizeof(*steps));
	guest_mem_init(&p.ram, GUEST_MEM_ANON);
	int ret = make(&p, e);

	if (!ret) {
		p.end_ns = now_ns() + (uint64_t)limit_ms * MS_NS;
		sigaction(SIGALRM, &tick, &before);
		setitimer(ITIMER_REAL, &every, NULL);
		run_steps(&p, steps);
		setitimer(ITIMER_REAL, &none, NULL);
		sigaction(SIGALRM, &before, NULL);
	}
	unmake(&p);
	return ret;
}

double probe_per_second(const struct probe_step *s)
{
	return s->ns ? (double)s->count * 1e9 / (double)s->ns : 0;
}

double probe_ns_each(const struct probe_step *s)
{
	return s->count ? (double)s->ns / (double)s->count : 0;
}
