/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vcpu_rig: a machine of a few processors on a real /dev/kvm, around guests of a few instructions
 * that are assembled into the test and copied into guest RAM. They run in 64-bit mode, as
 * minivmm's guests begin. Whatever is counted is counted on both sides.
 */
#ifndef TESTS_KVM_VCPU_RIG_H
#define TESTS_KVM_VCPU_RIG_H

#include "devices/irq/ioapic.h"
#include "vmm/arch/x86_64/cpuid.h"
#include "vmm/kvm/irqchip.h"
#include "vmm/kvm/vcpu.h"

#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	VCPU_RIG_DEADLINE_S = 240,
	VCPU_RIG_CPUS = 4,
	VCPU_RIG_PORT = 0x1000, /* 16 ports for each CPU */
	VCPU_RIG_PORT_DONE = 0x2000,
	VCPU_RIG_PORT_IRQ = 0x2004,
	VCPU_RIG_CODE = 0x100000,
	VCPU_RIG_IDT = 0x2000,
	VCPU_RIG_STACKS = 0x80000,
	VCPU_RIG_SELECTOR_CODE = 0x10,
	VCPU_RIG_SELECTOR_DATA = 0x18,
};
#define VCPU_RIG_GPA UINT64_C(0xd0000000) /* a page for each CPU */

#define VCPU_RIG_GUEST(name, body)                 \
	extern const uint8_t name[], name##_end[]; \
	__asm__(".pushsection .rodata\n" #name ":\n" body "\n" #name "_end:\n.popsection\n")

enum vcpu_rig_step { VCPU_RIG_OUT, VCPU_RIG_IN, VCPU_RIG_STORE, VCPU_RIG_LOAD };

/* What one CPU's guest_count did, as seen by its device. */
struct vcpu_rig_tally {
	_Atomic uint32_t round;
	_Atomic enum vcpu_rig_step last;
	_Atomic unsigned wrong;
};

struct vcpu_rig {
	struct kvm_vm vm;
	struct guest_mem ram;
	struct irqchip irqchip;
	struct cpuid_model cpuid;
	struct ioapic ioapic;
	struct bus pio, mmio;
	struct exit_env env;
	struct vcpu_group cpus;

	struct vcpu_rig_tally tallies[VCPU_RIG_CPUS];
	uint64_t reg; /* what guest_mmio works on */
	_Atomic unsigned mmio_writes;
	uint32_t done_values[8];
	_Atomic unsigned n_done;
	sem_t done, irq, stopped;
	_Atomic bool hold; /* PORT_DONE waits for `go` */
	sem_t go;
	_Atomic unsigned irqs[256];
	_Atomic unsigned lower_after; /* the n-th interrupt lowers the line, as a driver would */
	_Atomic unsigned eois;        /* that KVM has told of: those of level interrupts */
	_Atomic bool eoi_first;       /* the n-th one's was told before it lowered the line */
	_Atomic unsigned reason;
	_Atomic unsigned hooked;
};

/* What stands at VCPU_RIG_GPA, if a test puts it there: the page of each CPU, which counts; the
 * register. */
extern const struct io_ops vcpu_rig_page_ops, vcpu_rig_reg_ops;

/* Is there a KVM? Says SKIP and why, if not. */
bool vcpu_rig_has_kvm(void);

/* For cmocka: *state is a rig with 4 MiB and no processors. SIGALRM ends what takes too long. */
int vcpu_rig_setup(void **state);
int vcpu_rig_teardown(void **state);

/* `n` CPUs that will run the same code; those from `running` on wait for SIPI. */
void vcpu_rig_make_cpus(struct vcpu_rig *f, unsigned n, unsigned running, const uint8_t *code,
			const uint8_t *end, uint16_t idt_limit);
/* ... and now do. */
void vcpu_rig_start_code(struct vcpu_rig *f, unsigned n, unsigned running, const uint8_t *code,
			 const uint8_t *end, uint16_t idt_limit);

#define vcpu_rig_start(f, n, name) vcpu_rig_start_code(f, n, n, name, name##_end, 0)

/* False: it was not posted in time. */
bool vcpu_rig_wait_ms(sem_t *s, long ms);
/* Until the guest has stored `n` times more at PORT_DONE. */
void vcpu_rig_wait_done(struct vcpu_rig *f, unsigned n);

#endif
