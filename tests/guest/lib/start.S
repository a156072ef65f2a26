/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first instructions of a freestanding guest.
 *
 * start64 is what minivmm enters: Linux's 64-bit boot protocol, long mode and
 * paging on, RSI = zero page [Linux boot.rst, 64-bit boot protocol]. start32 is
 * for loaders that know PVH (QEMU -kernel): 32-bit, paging off, EBX = start
 * info. Both end in guest_start(zero_page, start_info) with our own GDT, page
 * tables (the first 4 GiB, one to one) and stack.
 *
 * Some KVMs emulate ring 0 instruction by instruction and their emulator knows
 * no IRETQ, so handlers return by POPFQ and RET on the interrupted stack. It is
 * the same thing as long as the privilege level stays, which here it does.
 */

#define SELECTOR_CODE 0x10
#define SELECTOR_DATA 0x18

#define CR0_PE        (1 << 0)
#define CR0_ET        (1 << 4)
#define CR0_PG        (1 << 31)
#define CR4_PAE       (1 << 5)
#define MSR_EFER      0xc0000080
#define EFER_LME      (1 << 8)

	.section .note.pvh, "a", @note
	.balign 4
	.long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long start32

/* --- entry --------------------------------------------------------------------- */

	.section .text.start, "ax"
	.code32
	.globl start32
start32:
	mov %cr0, %eax
	mov %eax, entry_state + 0x00
	mov %cr4, %eax
	mov %eax, entry_state + 0x08
	mov $MSR_EFER, %ecx
	rdmsr
	mov %eax, entry_state + 0x10
	mov $stack_top, %esp
	pushf
	pop %eax
	mov %eax, entry_state + 0x18
	movw %cs, entry_state + 0x20
	movw %ds, entry_state + 0x22
	movw %es, entry_state + 0x24
	movw %ss, entry_state + 0x26
	mov %ebx, entry_state + 0x28
	movl $32, entry_state + 0x30
	cli
	lgdt gdt_pointer
	mov $CR4_PAE, %eax
	mov %eax, %cr4
	mov $pml4, %eax
	mov %eax, %cr3
	mov $MSR_EFER, %ecx
	rdmsr
	or $EFER_LME, %eax
	wrmsr
	mov $(CR0_PG | CR0_ET | CR0_PE), %eax
	mov %eax, %cr0
	ljmp $SELECTOR_CODE, $1f

	.code64
1:	mov $SELECTOR_DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov $stack_top, %esp
	xor %edi, %edi
	mov %ebx, %esi
	jmp enter

	.globl start64
start64:
	mov %cr0, %rax
	mov %rax, entry_state + 0x00
	mov %cr4, %rax
	mov %rax, entry_state + 0x08
	mov $MSR_EFER, %ecx
	rdmsr
	mov %eax, entry_state + 0x10
	mov $stack_top, %esp
	pushf
	pop %rax
	mov %rax, entry_state + 0x18
	movw %cs, entry_state + 0x20
	movw %ds, entry_state + 0x22
	movw %es, entry_state + 0x24
	movw %ss, entry_state + 0x26
	mov %rsi, entry_state + 0x28
	movl $64, entry_state + 0x30
	cli
	mov $pml4, %eax
	mov %rax, %cr3
	lgdt gdt_pointer
	mov %rsi, %rdi
	xor %esi, %esi
enter:
	xor %ebp, %ebp
	call guest_start
	/* guest_start powers off and does not come back. */
1:	cli
	hlt
	jmp 1b

/* --- the other processors --------------------------------------------------------- */

/* Copied to a page below 1 MiB; SIPI starts it in real mode with CS:0 there.
 * It goes to long mode in one step [AMD APM 2 14.6.2]. */
	.globl ap_trampoline, ap_trampoline_end
	.code16
ap_trampoline:
	cli
	mov %cs, %ax
	mov %ax, %ds
	lgdtl ap_gdt_pointer - ap_trampoline
	mov $CR4_PAE, %eax
	mov %eax, %cr4
	mov $pml4, %eax
	mov %eax, %cr3
	mov $MSR_EFER, %ecx
	rdmsr
	or $EFER_LME, %eax
	wrmsr
	mov $(CR0_PG | CR0_ET | CR0_PE), %eax
	mov %eax, %cr0
	ljmpl $SELECTOR_CODE, $ap64
	.balign 8
ap_gdt_pointer:
	.word gdt_end - gdt - 1
	.long gdt
ap_trampoline_end:

	.code64
ap64:
	mov $SELECTOR_DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov $1, %edi
	lock xadd %edi, ap_ticket
	mov %edi, %eax
	inc %eax
	shl $12, %eax
	lea ap_stacks(%eax), %esp
	lidt idt_pointer
	xor %ebp, %ebp
	call guest_ap
1:	cli
	hlt
	jmp 1b

/* --- interrupts ------------------------------------------------------------------- */

/* 256 stubs of 16 bytes. Each leaves an error code (the processor's, or 0) and
 * its vector on the stack. */
	.globl interrupt_stubs
	.balign 16
interrupt_stubs:
	.set vector, 0
	.rept 256
	.balign 16
	.if vector != 8 && (vector < 10 || vector > 14) && vector != 17 && vector != 21 && vector != 29 && vector != 30
	pushq $0
	.endif
	pushq $vector
	jmp interrupt_common
	.set vector, vector + 1
	.endr

interrupt_common:
	push %rax
	push %rcx
	push %rdx
	push %rbx
	push %rbp
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %r10
	push %r11
	push %r12
	push %r13
	push %r14
	push %r15
	cld
	mov %rsp, %rdi
	mov %rsp, %rbp
	and $-16, %rsp
	call interrupt_dispatch
	mov %rbp, %rsp
	/* Put RIP and RFLAGS below the interrupted stack pointer (there is no red
	 * zone), over the frame's own SS and RSP, which nobody needs any more. */
	mov 160(%rsp), %rdi /* RSP */
	mov 136(%rsp), %rax /* RIP */
	mov 152(%rsp), %rcx /* RFLAGS */
	sub $16, %rdi
	mov %rcx, (%rdi)
	mov %rax, 8(%rdi)
	mov %rdi, 128(%rsp) /* where the error code was: the new RSP */
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rbp
	pop %rbx
	pop %rdx
	pop %rcx
	pop %rax
	mov 8(%rsp), %rsp
	popfq
	ret

/* --- tables ------------------------------------------------------------------------ */

	.data
	.balign 8
gdt:	/* the boot protocol's layout: code at 0x10, data at 0x18 */
	.quad 0
	.quad 0
	.quad 0x00af9b000000ffff
	.quad 0x00cf93000000ffff
gdt_end:
	.globl gdt_pointer
gdt_pointer:
	.word gdt_end - gdt - 1
	.quad gdt
	.globl ap_ticket
	.balign 4
ap_ticket:
	.long 0

	/* struct entry_state of guest.h */
	.globl entry_state
	.balign 8
entry_state:
	.skip 0x38

	.balign 4096
	.globl pml4, pdpt
pml4:
	.quad pdpt + 3
	.fill 511, 8, 0
pdpt:
	.quad pd + 0x0003
	.quad pd + 0x1003
	.quad pd + 0x2003
	.quad pd + 0x3003
	.fill 508, 8, 0
pd:	/* 2 MiB pages; the fourth GiB holds devices and is not cached */
	.set page, 0
	.rept 2048
	.if page < 1536
	.quad page * 0x200000 + 0x83
	.else
	.quad page * 0x200000 + 0x9b
	.endif
	.set page, page + 1
	.endr

	.bss
	.balign 4096
	.skip 16384
stack_top:
	.globl ap_stacks
ap_stacks:
	.skip 64 * 4096

	.section .note.GNU-stack, "", @progbits
