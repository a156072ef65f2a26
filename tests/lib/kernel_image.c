/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/kernel_image.h"

#include "vmm/base/le.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

uint8_t kernel_image_byte(size_t i)
{
	return (uint8_t)(i * 7 + i / 256 + 1);
}

void bzimage_make(uint8_t *out)
{
	memset(out, 0, BZIMAGE_SIZE);
	out[0x1f1] = BZIMAGE_SETUP_SIZE / 512 - 1;       /* setup_sects */
	le32_put(out + 0x1f4, BZIMAGE_KERNEL_SIZE / 16); /* syssize */
	le16_put(out + 0x1fe, 0xaa55);                   /* boot_flag */
	out[0x200] = 0xeb;                               /* jump */
	out[0x201] = 0x6a;
	memcpy(out + 0x202, "HdrS", 4);
	le16_put(out + 0x206, 0x020f);               /* version */
	le16_put(out + 0x20e, 0x300 - 0x200);        /* kernel_version */
	out[0x211] = 0x01;                           /* loadflags: LOADED_HIGH */
	le32_put(out + 0x214, 0x100000);             /* code32_start */
	le32_put(out + 0x22c, 0x7fffffff);           /* initrd_addr_max */
	le32_put(out + 0x230, 0x200000);             /* kernel_alignment */
	out[0x234] = 1;                              /* relocatable_kernel */
	out[0x235] = 21;                             /* min_alignment */
	le16_put(out + 0x236, 0x003f);               /* xloadflags */
	le32_put(out + 0x238, 2047);                 /* cmdline_size */
	le64_put(out + 0x258, BZIMAGE_PREF_ADDRESS); /* pref_address */
	le32_put(out + 0x260, BZIMAGE_INIT_SIZE);    /* init_size */
	strcpy((char *)out + 0x300, "6.1.0-56-cloud-amd64 (someone@example.org) #1 SMP");
	for (size_t i = 0; i < BZIMAGE_KERNEL_SIZE; i++)
		out[BZIMAGE_SETUP_SIZE + i] = kernel_image_byte(i);
}

void vmlinux_make(uint8_t *out)
{
	Elf64_Ehdr eh = {
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			    EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_entry = VMLINUX_TEXT + 0x40,
		.e_phoff = VMLINUX_PHDRS,
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 3,
	};
	Elf64_Phdr ph[3] = {
		{
			.p_type = PT_LOAD,
			.p_offset = 0x1000,
			.p_vaddr = 0xffffffff81000000,
			.p_paddr = VMLINUX_TEXT,
			.p_filesz = VMLINUX_TEXT_SIZE,
			.p_memsz = VMLINUX_TEXT_SIZE,
		},
		{
			.p_type = PT_LOAD,
			.p_offset = 0x1000 + VMLINUX_TEXT_SIZE,
			.p_vaddr = 0xffffffff81400000,
			.p_paddr = VMLINUX_DATA,
			.p_filesz = VMLINUX_DATA_FILESZ,
			.p_memsz = VMLINUX_DATA_MEMSZ,
		},
		{.p_type = PT_NOTE, .p_offset = 0x1000},
	};

	memset(out, 0, VMLINUX_SIZE);
	memcpy(out, &eh, sizeof(eh));
	memcpy(out + VMLINUX_PHDRS, ph, sizeof(ph));
	for (size_t i = 0x1000; i < VMLINUX_SIZE; i++)
		out[i] = kernel_image_byte(i);
}

size_t note_put(uint8_t *out, const char *owner, uint32_t type, const void *desc, uint32_t descsz,
		unsigned align)
{
	uint32_t namesz = (uint32_t)strlen(owner) + 1;
	size_t at = (12 + namesz + align - 1) / align * align;

	le32_put(out, namesz);
	le32_put(out + 4, descsz);
	le32_put(out + 8, type);
	memcpy(out + 12, owner, namesz);
	memset(out + 12 + namesz, 0, at - 12 - namesz);
	if (descsz)
		memcpy(out + at, desc, descsz);
	while ((at + descsz) % align)
		out[at + descsz++] = 0;
	return at + descsz;
}

void vmlinux_set_notes(uint8_t *image, uint32_t off, uint32_t filesz, uint32_t align)
{
	if (image[EI_CLASS] == ELFCLASS64) {
		Elf64_Phdr ph = {
			.p_type = PT_NOTE, .p_offset = off, .p_filesz = filesz, .p_align = align};

		memcpy(image + VMLINUX_PHDRS + 2 * sizeof(ph), &ph, sizeof(ph));
	} else {
		Elf32_Phdr ph = {
			.p_type = PT_NOTE, .p_offset = off, .p_filesz = filesz, .p_align = align};

		memcpy(image + VMLINUX_PHDRS + 2 * sizeof(ph), &ph, sizeof(ph));
	}
}

void vmlinux_add_linux_notes(uint8_t *image)
{
	static const uint8_t salt[4] = {0};
	uint8_t entry[8];
	size_t n;

	le64_put(entry, VMLINUX_PVH_ENTRY);
	n = note_put(image + VMLINUX_NOTES, "Linux", 0x100, salt, sizeof(salt), 4);
	n += note_put(image + VMLINUX_NOTES + n, "Xen", NOTE_PHYS32_ENTRY, entry, 8, 4);
	vmlinux_set_notes(image, VMLINUX_NOTES, (uint32_t)n, 4);
}

void vmlinux32_make(uint8_t *out)
{
	Elf32_Ehdr eh = {
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS32, ELFDATA2LSB,
			    EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = EM_386,
		.e_version = EV_CURRENT,
		.e_entry = VMLINUX_TEXT + 0x40,
		.e_phoff = VMLINUX_PHDRS,
		.e_ehsize = sizeof(Elf32_Ehdr),
		.e_phentsize = sizeof(Elf32_Phdr),
		.e_phnum = 3,
	};
	Elf32_Phdr ph[2] = {
		{
			.p_type = PT_LOAD,
			.p_offset = 0x1000,
			.p_vaddr = 0xc1000000,
			.p_paddr = VMLINUX_TEXT,
			.p_filesz = VMLINUX_TEXT_SIZE,
			.p_memsz = VMLINUX_TEXT_SIZE,
		},
		{
			.p_type = PT_LOAD,
			.p_offset = 0x1000 + VMLINUX_TEXT_SIZE,
			.p_vaddr = 0xc1400000,
			.p_paddr = VMLINUX_DATA,
			.p_filesz = VMLINUX_DATA_FILESZ,
			.p_memsz = VMLINUX_DATA_MEMSZ,
		},
	};
	uint8_t entry[4];

	vmlinux_make(out);
	memset(out, 0, 0x1000);
	memcpy(out, &eh, sizeof(eh));
	memcpy(out + VMLINUX_PHDRS, ph, sizeof(ph));
	le32_put(entry, VMLINUX_PVH_ENTRY);
	vmlinux_set_notes(
		out, VMLINUX_NOTES,
		(uint32_t)note_put(out + VMLINUX_NOTES, "Xen", NOTE_PHYS32_ENTRY, entry, 4, 4), 4);
}

void image_file_init(struct image_file *f, const void *bytes, size_t len)
{
	f->fd = memfd_create("kernel", MFD_CLOEXEC);
	if (f->fd < 0)
		abort();
	snprintf(f->path, sizeof(f->path), "/proc/self/fd/%d", f->fd);
	image_file_put(f, 0, bytes, len);
}

void image_file_cut(struct image_file *f, size_t len)
{
	if (ftruncate(f->fd, (off_t)len))
		abort();
}

void image_file_put(struct image_file *f, size_t off, const void *bytes, size_t len)
{
	if (pwrite(f->fd, bytes, len, (off_t)off) != (ssize_t)len)
		abort();
}

void image_file_fini(struct image_file *f)
{
	close(f->fd);
}
