/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest of the rows about processes: its first instructions say that it runs.
 *
 *	instant    says "!" and ends
 *	paced      says "!" and BENCH_DOTS dots, waits BENCH_TICKS after each, and ends: see
 *	           life.c
 *	idle       says "!" and halts for ever, with interrupts off
 *
 * Loaders that know PVH enter it in 32-bit mode, others in 64-bit mode. All that is
 * used here is encoded alike in both, so there is one entry.
 */
#include "tests/bench/bench.h"

#define COM1  0x3f8
#define I8042 0x64
#define RESET 0xfe

	.section .note.pvh, "a", @note
	.balign 4
	.long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long start

	.macro say byte
	mov $COM1, %dx
	mov $\byte, %al
	out %al, %dx
	.endm

	/* For BENCH_TICKS; the counter's lower half wraps around and does no harm. */
	.macro pause_a_while
	rdtsc
	mov %eax, %ebx
1:	rdtsc
	sub %ebx, %eax
	cmp $BENCH_TICKS, %eax
	jb 1b
	.endm

	.text
	.globl start
start:
	say '!'
#ifdef PACED
	pause_a_while
	.rept BENCH_DOTS
	say '.'
	pause_a_while
	.endr
#endif
#ifndef IDLE
	mov $RESET, %al
	out %al, $I8042
	/* Where there is none (QEMU's microvm), a triple fault does it. */
	mov $no_idt, %ebx
	lidt (%rbx)
	ud2
#endif
	cli
1:	hlt
	jmp 1b

	.balign 8
no_idt:
	.skip 10

	.section .note.GNU-stack, "", @progbits
