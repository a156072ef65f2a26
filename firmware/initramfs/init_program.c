/* SPDX-License-Identifier: Apache-2.0 */
/*
 * init_program: minivmm is one file, so the guest's init travels within it. The
 * assembler copies the program as it was linked (INIT_PROGRAM is its path, from
 * CMake): no array of numbers to generate and to compile.
 */
#include "firmware/initramfs/init_program.h"

__asm__(".section .rodata.init_program, \"a\", @progbits\n"
	".balign 16\n"
	".globl init_program, init_program_end\n"
	"init_program:\n"
	".incbin \"" INIT_PROGRAM "\"\n"
	"init_program_end:\n"
	".byte 0\n"
	".previous\n");
