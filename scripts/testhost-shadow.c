// SPDX-License-Identifier: GPL-2.0
/*
 * A module for the test host's kernel: brings the interrupt shadow of a guest back at VMRUN.
 *
 * The instruction behind STI is not interrupted, so that `sti; hlt` cannot sleep through what an
 * interrupt between the two had to say. A guest that exits just there says so in its VMCB (bit 0
 * of the interrupt state, [AMD APM 2, 15.21.5]), and VMRUN has to bring the shadow back. QEMU 7.2
 * writes that bit at #VMEXIT and does not read it at VMRUN; and its emulation looks for interrupts
 * of its own at just that place. So now and then an idle guest took an interrupt before its HLT and
 * slept for ever on what the handler had woken.
 *
 * Here the guest is put back in front of the STI, with interrupts off as they were: it executes it
 * once more, and the shadow is there. A shadow of another origin (a load of SS) is left alone.
 *
 * /sys/module/testhost_shadow/parameters: how often, and how often an interrupt was waiting, which
 * would have come too early.
 */
#include <asm/svm.h>
#include <linux/kprobes.h>
#include <linux/kvm_host.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#define STI 0xfb

static ulong repaired, waiting;
module_param(repaired, ulong, 0444);
module_param(waiting, ulong, 0444);

/* kvm-amd's struct vcpu_svm begins with these two. */
struct vcpu_and_vmcb {
	struct kvm_vcpu vcpu;
	struct vmcb *vmcb;
};

static bool behind_sti(struct kvm_vcpu *vcpu)
{
	gva_t gva = kvm_get_linear_rip(vcpu) - 1;
	int index = srcu_read_lock(&vcpu->kvm->srcu);
	u8 byte = 0;
	gpa_t gpa;

	pagefault_disable();
	gpa = kvm_mmu_gva_to_gpa_read(vcpu, gva, NULL);
	if (gpa == INVALID_GPA || kvm_vcpu_read_guest_atomic(vcpu, gpa, &byte, 1))
		byte = 0;
	pagefault_enable();
	srcu_read_unlock(&vcpu->kvm->srcu, index);
	return byte == STI;
}

/* Before svm_vcpu_run() writes RIP into the VMCB; RFLAGS is there already. */
static int before_run(struct kprobe *p, struct pt_regs *regs)
{
	struct vcpu_and_vmcb *svm = (void *)regs->di;
	struct vmcb *vmcb = svm->vmcb;

	if (!(vmcb->control.int_state & SVM_INTERRUPT_SHADOW_MASK) ||
	    !(vmcb->save.rflags & X86_EFLAGS_IF) || vmcb->control.event_inj & SVM_EVTINJ_VALID ||
	    !behind_sti(&svm->vcpu))
		return 0;
	svm->vcpu.arch.regs[VCPU_REGS_RIP]--;
	vmcb->save.rflags &= ~X86_EFLAGS_IF;
	vmcb->control.int_state &= ~SVM_INTERRUPT_SHADOW_MASK;
	repaired++;
	if (vmcb->control.int_ctl & V_IRQ_MASK)
		waiting++;
	return 0;
}

static struct kprobe probe = {.symbol_name = "svm_vcpu_run", .pre_handler = before_run};

static int __init shadow_init(void)
{
	return register_kprobe(&probe);
}

static void __exit shadow_exit(void)
{
	unregister_kprobe(&probe);
}

module_init(shadow_init);
module_exit(shadow_exit);
MODULE_DESCRIPTION("Brings a guest's interrupt shadow back at VMRUN where the processor does not");
MODULE_LICENSE("GPL");
