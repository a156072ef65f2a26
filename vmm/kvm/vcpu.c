/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvm/vcpu.h"

#include "vmm/base/fd.h"
#include "vmm/base/log.h"
#include "vmm/base/thread.h"

#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

enum {
	STACK_BYTES = 128 * 1024,
	/* How long a held vCPU does not look whether it is wanted elsewhere. */
	HOLD_MS = 10,
};

int vcpus_create(struct vcpu_group *g, const struct kvm_vm *vm, unsigned n, unsigned max,
		 const struct exit_env *env, struct err *e)
{
	*g = (struct vcpu_group){.run_size = vm->run_size, .wish = VCPU_RUN, .max = max};
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->changed, NULL);
	if (max > vm->cpus_max)
		return err_usage(e, -EINVAL, "--cpus %u: this host's KVM runs at most %u in a VM",
				 max, vm->cpus_max);
	g->vcpus = calloc(max, sizeof(*g->vcpus));
	if (!g->vcpus)
		return err_host(e, -ENOMEM, "--cpus %u: out of memory", max);
	for (unsigned i = 0; i < max; i++)
		g->vcpus[i] = (struct vcpu){.index = i, .env = env, .group = g};
	return vcpus_make(g, vm, n, e);
}

int vcpus_make(struct vcpu_group *g, const struct kvm_vm *vm, unsigned n, struct err *e)
{
	while (g->n < n) {
		struct vcpu *v = &g->vcpus[g->n];

		v->fd = kvm_ioctl(vm->vm_fd, KVM_CREATE_VCPU, (void *)(uintptr_t)g->n);
		if (v->fd < 0)
			return err_host(e, v->fd, "--cpus: KVM cannot make CPU %u: %s", g->n,
					strerror(-v->fd));
		v->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
		if (v->run == MAP_FAILED) {
			int ret = -errno;

			fd_close(&v->fd);
			return err_host(e, ret, "--cpus: cannot map CPU %u: %s", g->n,
					strerror(-ret));
		}
		pthread_mutex_lock(&g->lock);
		g->n++;
		pthread_mutex_unlock(&g->lock);
	}
	return 0;
}

/* With the group's lock: have it look what is wanted of it. */
static void call_out(struct vcpu *v)
{
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	if (v->started)
		pthread_kill(v->thread, VCPU_KICK);
}

/* With the group's lock: the wish, and out of KVM_RUN with everybody. The wish to quit is
 * the last. */
static void wish_for(struct vcpu_group *g, enum vcpu_wish wish)
{
	if (g->wish == VCPU_QUIT)
		return;
	atomic_store(&g->wish, wish);
	if (wish != VCPU_RUN) {
		for (unsigned i = 0; i < g->n; i++)
			if (g->vcpus[i].started)
				call_out(&g->vcpus[i]);
	}
	pthread_cond_broadcast(&g->changed);
}

/* After an I/O exit the instruction is only half done: KVM takes our answer at
 * the next KVM_RUN [KVM api 5, KVM_EXIT_MMIO]. immediate_exit is set already, so
 * that one takes the answer and comes straight back, unless the instruction has
 * another part for a device. */
static enum exit_verdict complete_io(struct vcpu *v)
{
	while (ioctl(v->fd, KVM_RUN, 0) == 0)
		if (exit_dispatch(v) == EXIT_LEAVE)
			return EXIT_LEAVE;
	return EXIT_RESUME;
}

/* With the group's lock, which it gives back meanwhile: at an end, until another beginning. */
static void stand_at_end(struct vcpu *v)
{
	struct vcpu_group *g = v->group;

	g->ended++;
	pthread_cond_broadcast(&g->changed);
	while ((g->dismissed || v->left) && g->wish != VCPU_QUIT)
		pthread_cond_wait(&g->changed, &g->lock);
	g->ended--;
	v->held_until = NULL;
}

/* Likewise, until it is resumed or brought in. */
static void stand_parked(struct vcpu *v)
{
	struct vcpu_group *g = v->group;

	g->parked++;
	pthread_cond_broadcast(&g->changed);
	while (!g->dismissed && (g->wish == VCPU_PARK || (g->wish == VCPU_RUN && v->out)))
		pthread_cond_wait(&g->changed, &g->lock);
	g->parked--;
}

/* May this vCPU enter the guest? Waits here while it should stand. */
static bool may_run(struct vcpu *v)
{
	struct vcpu_group *g = v->group;
	bool completed = false;

	if (atomic_load_explicit(&g->wish, memory_order_acquire) == VCPU_RUN &&
	    !__atomic_load_n(&v->run->immediate_exit, __ATOMIC_RELAXED))
		return true;
	pthread_mutex_lock(&g->lock);
	while (g->wish != VCPU_QUIT) {
		if (g->dismissed || v->left) {
			stand_at_end(v);
			completed = false;
		} else if (g->wish == VCPU_RUN && !v->out) {
			__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
			break;
		} else if (completed) {
			stand_parked(v);
		} else {
			pthread_mutex_unlock(&g->lock);
			enum exit_verdict verdict = complete_io(v);

			pthread_mutex_lock(&g->lock);
			v->left = verdict == EXIT_LEAVE && !g->renewing;
			completed = true;
		}
	}
	bool run = g->wish != VCPU_QUIT;

	pthread_mutex_unlock(&g->lock);
	return run;
}

/* Its guest, or the host, has come to an end that it met. */
static void leave_guest(struct vcpu *v)
{
	pthread_mutex_lock(&v->group->lock);
	v->left = true;
	v->run->immediate_exit = 1;
	pthread_mutex_unlock(&v->group->lock);
}

/* Wait until the vCPU is not held any more, or something is wanted of it: then false. */
static bool wait_while_held(struct vcpu *v)
{
	while (!v->held_until(v->held_by, HOLD_MS))
		if (v->group->dismissed ||
		    atomic_load_explicit(&v->group->wish, memory_order_acquire) != VCPU_RUN)
			return false;
	v->held_until = NULL;
	return true;
}

static void hold(void *ctx, bool (*done)(void *dev, unsigned timeout_ms), void *dev)
{
	struct vcpu_group *g = ctx;

	/* The lock: a thread may be here before its creator has noted its name. */
	pthread_mutex_lock(&g->lock);
	for (unsigned i = 0; i < g->n; i++) {
		struct vcpu *v = &g->vcpus[i];

		if (v->started && pthread_equal(v->thread, pthread_self())) {
			v->held_until = done;
			v->held_by = dev;
		}
	}
	pthread_mutex_unlock(&g->lock);
}

struct cpu_hold vcpus_hold(struct vcpu_group *g)
{
	return (struct cpu_hold){hold, g};
}

static void report_failed_run(struct vcpu *v, int error)
{
	char detail[160];

	snprintf(detail, sizeof(detail), "KVM_RUN on CPU %u: %s", v->index, strerror(error));
	stop_request(&v->env->stop, STOP_KVM_ERROR, detail);
}

/* The trap loop. */
static void run_guest(struct vcpu *v)
{
	while (may_run(v)) {
		if (v->held_until && !wait_while_held(v))
			continue;
		if (ioctl(v->fd, KVM_RUN, 0) == 0) {
			if (exit_dispatch(v) == EXIT_LEAVE)
				leave_guest(v);
		} else if (errno == EFAULT) {
			exit_lost_ram(v);
			leave_guest(v);
		} else if (errno != EINTR && errno != EAGAIN) {
			report_failed_run(v, errno);
			leave_guest(v);
		}
	}
}

static void *vcpu_main(void *arg)
{
	struct vcpu *v = arg;
	struct vcpu_group *g = v->group;
	sigset_t kick;

	/* One that came before has stated its wish already: run_guest() sees it. */
	sigemptyset(&kick);
	sigaddset(&kick, VCPU_KICK);
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
	run_guest(v);
	pthread_mutex_lock(&g->lock);
	g->alive--;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
	return NULL;
}

static void on_kick(int signum)
{
}

int vcpus_start(struct vcpu_group *g, struct err *e)
{
	struct sigaction kick = {.sa_handler = on_kick};
	char name[THREAD_NAME_BYTES];
	int ret = 0;

	/* No SA_RESTART: the signal's only purpose is that KVM_RUN gives EINTR. */
	sigaction(VCPU_KICK, &kick, NULL);
	pthread_mutex_lock(&g->lock);
	for (unsigned i = 0; i < g->n && !ret; i++) {
		struct vcpu *v = &g->vcpus[i];

		if (v->started)
			continue;
		/* It stands before it has ever been in the guest. */
		if (g->wish != VCPU_RUN || g->dismissed || v->out)
			v->run->immediate_exit = 1;
		snprintf(name, sizeof(name), "vcpu%u", i);
		ret = thread_start(&v->thread, THREAD_VCPU, name, STACK_BYTES, vcpu_main, v);
		if (ret)
			break;
		v->started = true;
		g->alive++;
	}
	while (!ret && g->wish == VCPU_PARK && g->parked + g->ended < g->alive)
		pthread_cond_wait(&g->changed, &g->lock);
	pthread_mutex_unlock(&g->lock);
	if (ret)
		return err_host(e, ret, "--cpus %u: cannot start a thread: %s", g->n,
				strerror(-ret));
	return 0;
}

void vcpus_park(struct vcpu_group *g)
{
	pthread_mutex_lock(&g->lock);
	wish_for(g, VCPU_PARK);
	while (g->parked + g->ended < g->alive)
		pthread_cond_wait(&g->changed, &g->lock);
	pthread_mutex_unlock(&g->lock);
	if (g->n)
		exit_settle(g->vcpus[0].env);
}

void vcpus_resume(struct vcpu_group *g)
{
	pthread_mutex_lock(&g->lock);
	wish_for(g, VCPU_RUN);
	pthread_mutex_unlock(&g->lock);
}

void vcpus_take_out(struct vcpu_group *g, unsigned i)
{
	pthread_mutex_lock(&g->lock);
	if (i < g->n) {
		atomic_store(&g->vcpus[i].out, true);
		call_out(&g->vcpus[i]);
	}
	pthread_mutex_unlock(&g->lock);
}

void vcpus_bring_in(struct vcpu_group *g, unsigned i)
{
	pthread_mutex_lock(&g->lock);
	atomic_store(&g->vcpus[i].out, false);
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

void vcpus_tell_stood(struct vcpu_group *g)
{
	/* EINVAL: the guest has no such clock. */
	for (unsigned i = 0; i < g->n; i++)
		kvm_ioctl(g->vcpus[i].fd, KVM_KVMCLOCK_CTRL, 0);
}

void vcpus_dismiss(struct vcpu_group *g)
{
	if (!g->vcpus)
		return;
	pthread_mutex_lock(&g->lock);
	g->dismissed = true;
	for (unsigned i = 0; i < g->n; i++)
		if (g->vcpus[i].started)
			call_out(&g->vcpus[i]);
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

void vcpus_renew(struct vcpu_group *g)
{
	pthread_mutex_lock(&g->lock);
	g->dismissed = false;
	g->renewing = true;
	for (unsigned i = 0; i < g->n; i++)
		g->vcpus[i].left = false;
	wish_for(g, VCPU_PARK);
	while (g->parked < g->alive)
		pthread_cond_wait(&g->changed, &g->lock);
	for (unsigned i = 0; i < g->n; i++)
		g->vcpus[i].crashed = false;
	g->renewing = false;
	pthread_mutex_unlock(&g->lock);
	exit_settle(g->vcpus[0].env);
}

void vcpus_quit(struct vcpu_group *g)
{
	if (!g->vcpus)
		return;
	pthread_mutex_lock(&g->lock);
	wish_for(g, VCPU_QUIT);
	pthread_mutex_unlock(&g->lock);
	for (unsigned i = 0; i < g->n; i++) {
		if (g->vcpus[i].started)
			pthread_join(g->vcpus[i].thread, NULL);
		g->vcpus[i].started = false;
	}
}

void vcpus_destroy(struct vcpu_group *g)
{
	if (!g->run_size)
		return;
	vcpus_quit(g);
	for (unsigned i = 0; i < g->n; i++) {
		munmap(g->vcpus[i].run, g->run_size);
		fd_close(&g->vcpus[i].fd);
	}
	free(g->vcpus);
	pthread_cond_destroy(&g->changed);
	pthread_mutex_destroy(&g->lock);
	*g = (struct vcpu_group){0};
}

uint32_t vcpu_tsc_khz(const struct vcpu *v)
{
	int khz = kvm_ioctl(v->fd, KVM_GET_TSC_KHZ, 0);

	return khz < 0 ? 0 : (uint32_t)khz;
}

int vcpu_set_tsc_khz(const struct vcpu *v, uint32_t khz)
{
	return kvm_ioctl(v->fd, KVM_SET_TSC_KHZ, (void *)(uintptr_t)khz);
}

static void log_registers(const struct vcpu *v)
{
	struct kvm_regs r;
	struct kvm_sregs s;

	if (ioctl(v->fd, KVM_GET_REGS, &r) || ioctl(v->fd, KVM_GET_SREGS, &s)) {
		log_error("CPU %u: its registers cannot be read: %s", v->index, strerror(errno));
		return;
	}
	log_error("CPU %u: RIP %016llx RSP %016llx RFLAGS %08llx CS %04x", v->index, r.rip, r.rsp,
		  r.rflags, s.cs.selector);
	log_error("CPU %u: RAX %016llx RBX %016llx RCX %016llx RDX %016llx", v->index, r.rax, r.rbx,
		  r.rcx, r.rdx);
	log_error("CPU %u: RSI %016llx RDI %016llx RBP %016llx R8  %016llx", v->index, r.rsi, r.rdi,
		  r.rbp, r.r8);
	log_error("CPU %u: R9  %016llx R10 %016llx R11 %016llx R12 %016llx", v->index, r.r9, r.r10,
		  r.r11, r.r12);
	log_error("CPU %u: R13 %016llx R14 %016llx R15 %016llx", v->index, r.r13, r.r14, r.r15);
	log_error("CPU %u: CR0 %08llx CR2 %016llx CR3 %016llx CR4 %08llx EFER %08llx", v->index,
		  s.cr0, s.cr2, s.cr3, s.cr4, s.efer);
}

void vcpus_log_crashed(const struct vcpu_group *g)
{
	for (unsigned i = 0; i < g->n; i++)
		if (g->vcpus[i].crashed)
			log_registers(&g->vcpus[i]);
}

/* The vectors in one of the local APIC's three 256-bit registers, in words
 * [SDM 3A 11.8.4]: 32 bits in each 16 bytes. */
static void append_vectors(const struct kvm_lapic_state *apic, unsigned reg, char *text,
			   size_t size)
{
	size_t used = strlen(text);
	bool none = true;

	for (unsigned vector = 0; vector < 256 && used + 8 < size; vector++) {
		unsigned byte = reg + vector / 32 * 16 + vector % 32 / 8;

		if (!((uint8_t)apic->regs[byte] >> vector % 8 & 1))
			continue;
		used += (size_t)snprintf(text + used, size - used, " %#x", vector);
		none = false;
	}
	if (none)
		snprintf(text + used, size - used, " none");
}

/* When the TSC deadline would have come; nothing where there is none. */
static void append_deadline(const struct vcpu *v, char *text, size_t size)
{
	enum { MSR_TSC = 0x10, MSR_TSC_DEADLINE = 0x6e0 };
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[2];
	} msrs = {
		.head.nmsrs = 2,
		.entries = {{.index = MSR_TSC}, {.index = MSR_TSC_DEADLINE}},
	};
	uint32_t khz = vcpu_tsc_khz(v);
	size_t used = strlen(text);

	if (ioctl(v->fd, KVM_GET_MSRS, &msrs) != 2 || !msrs.entries[1].data || !khz)
		return;
	snprintf(text + used, size - used, "; its timer in %lld ms",
		 (long long)(msrs.entries[1].data - msrs.entries[0].data) / khz);
}

static const char *activity(uint32_t mp_state)
{
	switch (mp_state) {
	case KVM_MP_STATE_RUNNABLE:
		return "running";
	case KVM_MP_STATE_HALTED:
		return "halted";
	default:
		return "not started";
	}
}

void vcpus_log_stood(const struct vcpu_group *g)
{
	enum { APIC_IRR = 0x200, RFLAGS_IF = 1 << 9 };

	for (unsigned i = 0; i < g->n && log_enabled(LOG_INFO); i++) {
		const struct vcpu *v = &g->vcpus[i];
		char text[256] = "; interrupts pending:";
		struct kvm_lapic_state apic;
		struct kvm_mp_state mp;
		struct kvm_regs r;

		if (ioctl(v->fd, KVM_GET_REGS, &r) || ioctl(v->fd, KVM_GET_MP_STATE, &mp) ||
		    ioctl(v->fd, KVM_GET_LAPIC, &apic))
			continue;
		append_vectors(&apic, APIC_IRR, text, sizeof(text));
		append_deadline(v, text, sizeof(text));
		log_info("CPU %u stood at %016llx, %s, interrupts %s%s", v->index, r.rip,
			 activity(mp.mp_state), r.rflags & RFLAGS_IF ? "on" : "off", text);
	}
}
