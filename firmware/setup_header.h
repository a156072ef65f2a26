/* SPDX-License-Identifier: Apache-2.0 */
/*
 * setup_header: the fields by which a Linux kernel image and its loader talk to
 * each other. They have the same offsets in a bzImage and in the zero page.
 * [Linux Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header"]
 */
#ifndef FIRMWARE_SETUP_HEADER_H
#define FIRMWARE_SETUP_HEADER_H

enum {
	HDR_SETUP_SECTS = 0x1f1,        /* 1 */
	HDR_SYSSIZE = 0x1f4,            /* 4, in units of 16 bytes */
	HDR_VID_MODE = 0x1fa,           /* 2 */
	HDR_BOOT_FLAG = 0x1fe,          /* 2 */
	HDR_JUMP_LEN = 0x201,           /* 1 */
	HDR_HEADER = 0x202,             /* 4, "HdrS" */
	HDR_VERSION = 0x206,            /* 2 */
	HDR_KERNEL_VERSION = 0x20e,     /* 2, an offset less 0x200 */
	HDR_TYPE_OF_LOADER = 0x210,     /* 1 */
	HDR_LOADFLAGS = 0x211,          /* 1 */
	HDR_CODE32_START = 0x214,       /* 4 */
	HDR_RAMDISK_IMAGE = 0x218,      /* 4 */
	HDR_RAMDISK_SIZE = 0x21c,       /* 4 */
	HDR_HEAP_END_PTR = 0x224,       /* 2 */
	HDR_CMD_LINE_PTR = 0x228,       /* 4 */
	HDR_INITRD_ADDR_MAX = 0x22c,    /* 4 */
	HDR_KERNEL_ALIGNMENT = 0x230,   /* 4 */
	HDR_RELOCATABLE_KERNEL = 0x234, /* 1 */
	HDR_XLOADFLAGS = 0x236,         /* 2 */
	HDR_CMDLINE_SIZE = 0x238,       /* 4 */
	HDR_SETUP_DATA = 0x250,         /* 8 */
	HDR_PREF_ADDRESS = 0x258,       /* 8 */
	HDR_INIT_SIZE = 0x260,          /* 4 */
	HDR_INIT_SIZE_END = 0x264,
};

enum {
	HDR_BOOT_FLAG_MAGIC = 0xaa55,
	HDR_LOADED_HIGH = 1 << 0,   /* in loadflags */
	HDR_CAN_USE_HEAP = 1 << 7,  /* in loadflags */
	HDR_XLF_KERNEL_64 = 1 << 0, /* in xloadflags */
	HDR_LOADER_UNDEFINED = 0xff,
	HDR_VID_MODE_NORMAL = 0xffff,
	/* pref_address and init_size came with 2.10, Linux 2.6.31; xloadflags, which
	 * tells of the 64-bit entry, with 2.12, Linux 3.8. */
	HDR_PROTOCOL_MIN = 0x020a,
	HDR_PROTOCOL_XLOADFLAGS = 0x020c,
};

#endif
