/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every protocol leaves in the first MiB, whoever it is for:
 *
 *	0x500    GDT: null, unused, code, data
 *	0x8ff0   a stack, until the kernel has its own
 *	0x20000  command line
 *	0xffff0  reset vector
 *
 * The structures that tell the kernel of the machine are each protocol's own
 * (bootparams.c, pvh.c). All but the reset vector is in RAM that e820 calls free: the
 * kernel copies what it wants before it frees the rest.
 */
#include "firmware/boot.h"

#include "firmware/bootparams.h"
#include "firmware/pvh.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <string.h>

enum { PAGE = 4096, INITRD_ALIGN = 4 };

/* Selectors that Linux's protocols prescribe: __BOOT_CS and __BOOT_DS. PVH leaves
 * them open. */
enum { BOOT_CS = 0x10, BOOT_DS = 0x18, GDT_ENTRIES = 4 };

/* Flat descriptors [SDM 3A 3.4.5]: base 0, limit 0xfffff pages, DPL 0, present,
 * accessed, so that the processor need not write to the table. */
#define GDT_CODE64 0x00af9b000000ffffull /* L, execute/read */
#define GDT_CODE32 0x00cf9b000000ffffull /* D/B, execute/read */
#define GDT_DATA   0x00cf93000000ffffull /* D/B, read/write */

int boot_place_initrds(const struct kernel *k, const struct board *b, struct boot_initrd *files,
		       unsigned n, uint64_t *gpa, uint64_t *len, struct err *e)
{
	uint64_t top = b->ram_low, room, total = 0;
	bool fits = true;

	if (top > k->initrd_addr_max + 1)
		top = k->initrd_addr_max + 1;
	room = top > k->end ? align_down(top - k->end, PAGE) : 0;
	for (unsigned i = 0; i < n; i++) {
		/* Past what fits, `total` is for the message alone: it must not wrap. */
		files[i].gpa = align_up(total, INITRD_ALIGN);
		if (files[i].len > UINT64_MAX / 2 - total) {
			total = UINT64_MAX / 2;
			fits = false;
			break;
		}
		total = files[i].gpa + files[i].len;
	}
	*gpa = *len = 0;
	if (!fits || total > room)
		return err_usage(
			e, -ENOSPC,
			"--initrd: of %lu KiB does not fit above the kernel, where %lu KiB "
			"are left; give more --memory",
			(total + KiB - 1) / KiB, room / KiB);
	if (!total)
		return 0;
	*gpa = align_down(top - total, PAGE);
	*len = total;
	for (unsigned i = 0; i < n; i++)
		files[i].gpa += *gpa;
	return 0;
}

static int write_gdt(struct guest_mem *gm, struct boot_entry *entry)
{
	uint8_t gdt[GDT_ENTRIES * 8] = {0};

	le64_put(gdt + BOOT_CS, entry->mode == ENTRY_LONG ? GDT_CODE64 : GDT_CODE32);
	le64_put(gdt + BOOT_DS, GDT_DATA);
	entry->gdt = LAYOUT_GDT;
	entry->gdt_limit = sizeof(gdt) - 1;
	entry->idt = LAYOUT_IDT;
	entry->idt_limit = 0; /* no handler until the kernel has loaded its own */
	entry->cs = BOOT_CS;
	entry->ds = BOOT_DS;
	return guest_mem_write(gm, LAYOUT_GDT, gdt, sizeof(gdt));
}

/*
 * What a guest finds where the BIOS would start, at f000:fff0 [SDM 3A 10.1.4], in 16-bit code: a
 * write of RESET_VALUE to the reset port. Linux jumps there when it restarts a machine that is
 * HW-reduced and has no EFI, without trying ACPI first (arch/x86/kernel/reboot.c,
 * efi_reboot_required), unless reboot= says otherwise; in zeroed RAM it would run in
 * circles for ever.
 */
static int write_reset_vector(struct guest_mem *gm)
{
	static const uint8_t code[] = {
		0xba,
		LAYOUT_RESET & 0xff,
		LAYOUT_RESET >> 8, /* mov dx, 0xcf9 */
		0xb0,
		0x06, /* mov al, 6 */
		0xee, /* out dx, al */
		0xf4, /* hlt */
		0xeb,
		0xfd, /* jmp to the hlt */
	};

	return guest_mem_write(gm, LAYOUT_RESET_CODE, code, sizeof(code));
}

static int write_for_protocol(const struct boot_config *c, struct guest_mem *gm,
			      struct boot_entry *entry)
{
	int ret = 0;

	switch (c->kernel->protocol) {
	case BOOT_LINUX64:
		entry->mode = ENTRY_LONG;
		entry->rsi = LAYOUT_ZERO_PAGE;
		entry->cr3 = LAYOUT_PML4;
		ret = bootparams_write_page_tables(gm);
		return ret ? ret : bootparams_write(c, gm);
	case BOOT_LINUX32:
		entry->mode = ENTRY_PROTECTED;
		entry->rsi = LAYOUT_ZERO_PAGE;
		return bootparams_write(c, gm);
	case BOOT_PVH:
		entry->mode = ENTRY_PROTECTED;
		entry->rbx = LAYOUT_START_INFO;
		return pvh_write(c, gm);
	case BOOT_PROTOCOLS:
		break;
	}
	return -EINVAL;
}

int boot_setup(const struct boot_config *c, struct guest_mem *gm, struct boot_entry *entry,
	       struct err *e)
{
	size_t cmdline_len = strlen(c->cmdline) + 1;
	int ret;

	if (cmdline_len > LAYOUT_CMDLINE_MAX)
		return err_usage(e, -E2BIG, "the kernel's command line is %zu bytes; %lu fit",
				 cmdline_len - 1, (uint64_t)LAYOUT_CMDLINE_MAX - 1);
	*entry = (struct boot_entry){
		.rip = c->kernel->entries[c->kernel->protocol].gpa,
		.rsp = LAYOUT_BOOT_STACK,
	};
	ret = write_for_protocol(c, gm, entry);
	if (!ret)
		ret = write_gdt(gm, entry);
	if (!ret)
		ret = write_reset_vector(gm);
	if (!ret)
		ret = guest_mem_write(gm, LAYOUT_CMDLINE, c->cmdline, cmdline_len);
	if (ret)
		return err_host(e, ret, "cannot write boot data to guest RAM: %s", strerror(-ret));
	return 0;
}
