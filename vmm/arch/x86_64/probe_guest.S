/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guests of probe.c: a few instructions each, position-independent, copied into
 * the RAM of a VM that exists for a moment. 64-bit mode, flat; interrupts are off.
 *
 *	RCX  rounds to go      RDI  an address that is no RAM
 *	RSI  64 zeroed, aligned bytes and more      RBX  the local APIC
 *
 * "I am done" is a write to PORT, or to RDI from ring 3, where there are no ports.
 */
#define PORT 0xf0

	.section .rodata.probe_guest, "a"
	.balign 64
	.globl	probe_guest, probe_guest_end
	.globl	probe_ring0, probe_ring3, probe_ports, probe_mmio
	.globl	probe_kernel, probe_breakpoint, probe_wake, probe_interrupt
	.code64
probe_guest:

/* Four instructions a round. */
probe_ring0:
	add	%rcx, %rax
	xor	%rax, %rdx
	dec	%rcx
	jnz	probe_ring0
	out	%eax, $PORT
	jmp	probe_ring0

probe_ring3:
	add	%rcx, %rax
	xor	%rax, %rdx
	dec	%rcx
	jnz	probe_ring3
	mov	%eax, (%rdi)
	jmp	probe_ring3

probe_ports:
	out	%eax, $PORT
	jmp	probe_ports

probe_mmio:
	mov	%eax, (%rdi)
	jmp	probe_mmio

/* What every kernel does at its start, and what an emulator of ring 0 does not know:
 * a breakpoint and the return from it, then (RDX:RAX says what; 0: leave it out) the
 * processor's extended state. */
probe_kernel:
	int3
	test	%eax, %eax
	jz	1f
	xrstor	(%rsi)
1:	out	%eax, $PORT
	jmp	1b
probe_breakpoint:
	iretq

/* Sleep until the local APIC's timer comes, again and again. The handler begins anew
 * instead of returning: it needs no IRETQ, and there is nothing to return to. */
probe_wake:
	mov	%rsp, %rbp
	movl	$0x1ff, 0xf0(%rbx)	/* software enable [SDM 3A 11.9] */
	movl	$0xb, 0x3e0(%rbx)	/* divide by 1 */
	movl	$0x40, 0x320(%rbx)	/* one shot, vector 0x40 */
2:	mov	%rbp, %rsp
	movl	$1000, 0x380(%rbx)
3:	sti
	hlt
	jmp	3b
probe_interrupt:
	movl	$0, 0xb0(%rbx)		/* end of interrupt */
	out	%eax, $PORT
	jmp	2b
probe_guest_end:

	.section .note.GNU-stack, "", @progbits
