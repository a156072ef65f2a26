/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/arch/x86_64/regs.h"

#include "vmm/arch/x86_64/layout.h"
#include "vmm/base/le.h"
#include "vmm/kvm/vm.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <string.h>

/* [SDM 3A 2.5], [SDM 3A 2.2.1] */
#define CR0_PE  (1ull << 0)
#define CR0_ET  (1ull << 4)
#define CR0_PG  (1ull << 31)
#define CR4_PAE (1ull << 5)

#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)

#define RFLAGS_FIXED (1ull << 1)

#define APIC_BASE_ENABLE (1ull << 11)

#define MSR_IA32_MISC_ENABLE    0x1a0
#define MISC_ENABLE_FAST_STRING (1ull << 0)
#define MSR_MTRR_DEF_TYPE       0x2ff
#define MTRR_ENABLE             (1ull << 11)
#define MTRR_WRITE_BACK         6

int regs_reserve_real_mode(const struct kvm_vm *vm, const char *cpu_vendor)
{
	uint64_t identity_map = LAYOUT_IDENTITY_MAP;

	if (strcmp(cpu_vendor, "GenuineIntel") != 0)
		return 0;
	int ret = kvm_ioctl(vm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);

	return ret ? ret : kvm_ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, (void *)LAYOUT_TSS);
}

int regs_set_msrs(int vcpu_fd)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[2];
	} msrs = {
		.head.nmsrs = 2,
		.entries =
			{
				{.index = MSR_IA32_MISC_ENABLE, .data = MISC_ENABLE_FAST_STRING},
				/* All memory write-back unless a page table says otherwise. */
				{.index = MSR_MTRR_DEF_TYPE, .data = MTRR_ENABLE | MTRR_WRITE_BACK},
			},
	};
	int ret = kvm_ioctl(vcpu_fd, KVM_SET_MSRS, &msrs);

	/* KVM says how many it took. */
	return ret < 0 ? ret : ret < (int)msrs.head.nmsrs ? -EINVAL : 0;
}

/* KVM finds an interrupt's destination in a table of all local APICs, which it makes anew
 * when one of them changes. KVM_CREATE_VCPU does so too, but before the new vCPU is among
 * those it looks at; so the last one is missing until the next change, which would be the
 * guest's own. KVM_SET_LAPIC is a change, also when nothing differs. */
int regs_announce_apics(int vcpu_fd)
{
	struct kvm_lapic_state apic;
	int ret = kvm_ioctl(vcpu_fd, KVM_GET_LAPIC, &apic);

	return ret ? ret : kvm_ioctl(vcpu_fd, KVM_SET_LAPIC, &apic);
}

/* [SDM 3A 11.4.7.1]: all zeroes but these, and what says which one it is. */
static void reset_apic(struct kvm_lapic_state *apic, uint32_t id)
{
	enum { ID = 0x20, VERSION = 0x30, DFR = 0xe0, SVR = 0xf0, LVT = 0x320, LVT_END = 0x380 };
	enum { MASKED = 1 << 16, ID_SHIFT = 24 };
	char *regs = apic->regs;
	uint32_t version = le32_get(regs + VERSION);

	memset(apic, 0, sizeof(*apic));
	le32_put(regs + ID, id << ID_SHIFT);
	le32_put(regs + VERSION, version);
	le32_put(regs + DFR, UINT32_MAX);
	le32_put(regs + SVR, 0xff);
	for (unsigned at = LVT; at < LVT_END; at += 0x10)
		le32_put(regs + at, MASKED);
}

/* Of the rest INIT makes what it should be. But one that waits for it must have nothing pending, or
 * KVM would wake it again and again: no interrupts in its APIC, whose timer would bring them, no
 * NMI, and interrupts off. */
int regs_set_waiting(int vcpu_fd, uint32_t id)
{
	struct kvm_mp_state mp = {0};
	struct kvm_regs r = {.rflags = RFLAGS_FIXED};
	struct kvm_vcpu_events events = {.flags = KVM_VCPUEVENT_VALID_NMI_PENDING |
						  KVM_VCPUEVENT_VALID_SHADOW};
	struct kvm_lapic_state apic;
	struct kvm_sregs s;
	/* Asked for, an INIT or SIPI that has come takes effect, and not afterwards. */
	int ret = kvm_ioctl(vcpu_fd, KVM_GET_MP_STATE, &mp);

	if (!ret)
		ret = kvm_ioctl(vcpu_fd, KVM_GET_SREGS, &s);
	if (!ret)
		ret = kvm_ioctl(vcpu_fd, KVM_GET_LAPIC, &apic);
	if (ret)
		return ret;
	/* Not the boot processor, and not in x2APIC mode, which decides how the page is read. */
	s.apic_base = LAYOUT_LAPIC | APIC_BASE_ENABLE;
	memset(s.interrupt_bitmap, 0, sizeof(s.interrupt_bitmap));
	reset_apic(&apic, id);
	mp.mp_state = KVM_MP_STATE_UNINITIALIZED;
	ret = kvm_ioctl(vcpu_fd, KVM_SET_SREGS, &s);
	if (!ret)
		ret = kvm_ioctl(vcpu_fd, KVM_SET_LAPIC, &apic);
	if (!ret)
		ret = kvm_ioctl(vcpu_fd, KVM_SET_REGS, &r);
	if (!ret)
		ret = kvm_ioctl(vcpu_fd, KVM_SET_VCPU_EVENTS, &events);
	return ret ? ret : kvm_ioctl(vcpu_fd, KVM_SET_MP_STATE, &mp);
}

/* What distinguishes the modes of boot_entry.h. */
static const struct mode {
	uint64_t cr0, cr4, efer;
	bool code64; /* CS.L; otherwise CS.D */
} modes[] = {
	[ENTRY_LONG] = {CR0_PE | CR0_ET | CR0_PG, CR4_PAE, EFER_LME | EFER_LMA, true},
	[ENTRY_PROTECTED] = {CR0_PE | CR0_ET, 0, 0, false},
};

/* A flat segment; `type` [SDM 3A 3.4.5.1]. */
static struct kvm_segment flat(uint16_t selector, uint8_t type, bool code64)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.s = 1,
		.g = 1,
		.db = !code64,
		.l = code64,
	};
}

int regs_set_entry(int vcpu_fd, const struct boot_entry *entry)
{
	const struct mode *mode = &modes[entry->mode];
	struct kvm_sregs s;
	struct kvm_regs r = {
		.rip = entry->rip,
		.rsp = entry->rsp,
		.rbx = entry->rbx,
		.rsi = entry->rsi,
		.rflags = RFLAGS_FIXED,
	};
	/* KVM's own values keep the APIC base and what we do not care about. */
	int ret = kvm_ioctl(vcpu_fd, KVM_GET_SREGS, &s);

	if (ret)
		return ret;
	s.cs = flat(entry->cs, 0xb, mode->code64); /* execute, read, accessed */
	s.ds = flat(entry->ds, 0x3, false);        /* read, write, accessed */
	s.es = s.fs = s.gs = s.ss = s.ds;
	/* A busy TSS must be there, though nobody uses it [SDM 3C 27.3.1.2]. */
	s.tr = (struct kvm_segment){.limit = 0x67, .type = 0xb, .present = 1};
	s.gdt.base = entry->gdt;
	s.gdt.limit = entry->gdt_limit;
	s.idt.base = entry->idt;
	s.idt.limit = entry->idt_limit;
	s.cr0 = mode->cr0;
	s.cr3 = entry->cr3;
	s.cr4 = mode->cr4;
	s.efer = mode->efer;
	ret = kvm_ioctl(vcpu_fd, KVM_SET_SREGS, &s);
	return ret ? ret : kvm_ioctl(vcpu_fd, KVM_SET_REGS, &r);
}
