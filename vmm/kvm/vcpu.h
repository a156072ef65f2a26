/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vcpu: the processors, one thread each, and the trap loop.
 *
 *	          vcpus_start            vcpus_park
 *	(created) ----------> running <-------------> parked
 *	                      |  ^   vcpus_resume       |
 *	          a device's  |  | done                 |
 *	          wish        v  |   vcpus_park         |
 *	                      held <------------------> |
 *	                      |      vcpus_resume       ^
 *	         vcpus_dismiss|                         | vcpus_renew
 *	                      v                         |
 *	                  dismissed --------------------+
 *	                      |
 *	                      +---- vcpus_quit (from any) --> joined
 *
 * Held: a device has asked that this vCPU runs no instruction until something is
 * done (vmm/core/hold.h). It parks and quits like any other, its last I/O completed,
 * and goes on waiting when it is resumed.
 *
 * Dismissed: the guest has come to an end. It stands where it is, its last I/O not completed,
 * until it is ended too, or renewed for another beginning.
 *
 * Out: the machine has taken it away. It stands as one that is parked does, whatever the
 * group's wish, until it is brought in again: KVM has no way to unmake a vCPU.
 *
 * A thread inside KVM_RUN hears nothing, so whoever wants something of it sets
 * the wish, sets run->immediate_exit and sends VCPU_KICK. If the signal comes
 * before the thread entered KVM_RUN, immediate_exit makes that entry return at
 * once; if it comes later, the signal does. So no wake-up is lost.
 *
 * The signal is a standard one and not a realtime one: those are queued, and at
 * RLIMIT_SIGPENDING, which all processes of a user share, the kernel refuses them.
 */
#ifndef VMM_KVM_VCPU_H
#define VMM_KVM_VCPU_H

#include "vmm/base/err.h"
#include "vmm/core/hold.h"
#include "vmm/kvm/exit.h"
#include "vmm/kvm/vm.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

struct kvm_run;
struct vcpu_group;

#define VCPU_KICK SIGUSR1

struct vcpu {
	unsigned index;
	int fd;
	struct kvm_run *run; /* shared with KVM; ours while the vCPU is out of KVM_RUN */
	const struct exit_env *env;
	struct vcpu_group *group;
	pthread_t thread;
	bool started;
	bool left;        /* it has met its end, and stands; with the group's lock */
	_Atomic bool out; /* changes with the group's lock */
	bool crashed;     /* its registers are worth a look; its thread's, until that is joined */

	/* What it is held for; NULL: it is not. Own thread. */
	bool (*held_until)(void *dev, unsigned timeout_ms);
	void *held_by;
};

enum vcpu_wish { VCPU_RUN, VCPU_PARK, VCPU_QUIT };

struct vcpu_group {
	unsigned n;         /* changes with the lock: those that were made */
	unsigned max;       /* that can be */
	struct vcpu *vcpus; /* owned: `max` of them */
	size_t run_size;
	_Atomic enum vcpu_wish wish;
	pthread_mutex_t lock;   /* orders all below, wish and immediate_exit */
	pthread_cond_t changed; /* any of that did */
	_Atomic bool dismissed; /* changes with the lock */
	bool renewing;          /* an end that is met meanwhile is the former guest's */
	/* Of the threads that there are: those that are parked, and those that stand at an end. */
	unsigned alive, parked, ended;
};

/* Make `n` vCPUs, with room for `max` (main thread). `env` is borrowed and outlives the group. */
int vcpus_create(struct vcpu_group *g, const struct kvm_vm *vm, unsigned n, unsigned max,
		 const struct exit_env *env, struct err *e);
/* Make more, up to `n` (<= max): they wait for INIT and SIPI, and have no threads yet. Those that
 * were made stay on a failure. Main thread, also while others run. */
int vcpus_make(struct vcpu_group *g, const struct kvm_vm *vm, unsigned n, struct err *e);

/* Start the threads; the guest runs from here on. Again, for those that were made since: while
 * others are parked, they are too. */
int vcpus_start(struct vcpu_group *g, struct err *e);

/* vCPU `i` runs no further instruction once it has come out of the guest, which is soon. Any
 * thread, its own as well; nobody is waited for. Before the threads start, too. */
void vcpus_take_out(struct vcpu_group *g, unsigned i);
/* It may run again, with what its registers are by then. While all are parked. */
void vcpus_bring_in(struct vcpu_group *g, unsigned i);

/* Get every vCPU out of the guest, with its last I/O completed so that its
 * state can be read, and the devices', and wait until all stand. vcpus_resume lets them go. Park,
 * resume and quit are for one controlling thread: the group holds a single wish. */
void vcpus_park(struct vcpu_group *g);
void vcpus_resume(struct vcpu_group *g);
/* While they are parked: have their kernel's watchdogs know that no time has passed, where it
 * has KVM's clock [KVM api 4.70 KVM_KVMCLOCK_CTRL]. */
void vcpus_tell_stood(struct vcpu_group *g);

/* No vCPU enters the guest any more: the one whose thread calls does not, and others come out
 * soon. Any thread, a vCPU's in the midst of an exit as well; nobody is waited for. What the guest
 * was doing is not completed. Fine on zeroes. */
void vcpus_dismiss(struct vcpu_group *g);
/* Those that were dismissed are parked when this returns, their last I/O completed: so that KVM has
 * nothing more to do to registers that are set now. None is held, and none has crashed. By the
 * thread that parks. */
void vcpus_renew(struct vcpu_group *g);

/* End the threads and join them; then free all. Both are fine on what
 * vcpus_create left half-built, and on zeroes. */
void vcpus_quit(struct vcpu_group *g);
void vcpus_destroy(struct vcpu_group *g);

/* For devices: holds the vCPU whose thread calls. Valid as long as *g is. */
struct cpu_hold vcpus_hold(struct vcpu_group *g);

/* The guest's TSC in kHz, or 0 if KVM does not know. */
uint32_t vcpu_tsc_khz(const struct vcpu *v);
/* Have it run at that rate, before it runs: 0 or a negative errno if the host cannot scale it. */
int vcpu_set_tsc_khz(const struct vcpu *v, uint32_t khz);

/* The registers of those that crashed, in a few log lines at level error. After
 * vcpus_quit, by a thread that may wait for the log's reader. */
void vcpus_log_crashed(const struct vcpu_group *g);

/* Where each of them stood and what could have woken it, a log line each at level info:
 * for a guest that was ended from outside. As above. */
void vcpus_log_stood(const struct vcpu_group *g);

#endif
