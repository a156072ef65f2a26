/* SPDX-License-Identifier: Apache-2.0 */
/* test_modules: finding a kernel's modules, their order, their compression, and
 * directories and modules that somebody made to hurt. */
#include "firmware/initramfs/modinfo.h"
#include "firmware/initramfs/modules.h"
#include "firmware/initramfs/unpack.h"
#include "tests/lib/fake_module.h"
#include "tests/lib/scratch.h"
#include "vmm/base/le.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define V "6.1.0-test"

struct fixture {
	struct scratch s;
	struct modules m;
	struct err e;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	scratch_init(&f->s);
	f->m.dir = -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	modules_fini(&f->m);
	scratch_fini(&f->s);
	free(f);
	return 0;
}

static void put(struct fixture *f, const char *path, const char *info, enum fake_packing packing)
{
	size_t len;
	uint8_t *bytes = fake_module(info, 100, packing, &len);
	char full[256];

	snprintf(full, sizeof(full), "lib/modules/" V "/%s", path);
	scratch_write(&f->s, full, bytes, len);
	free(bytes);
}

static void put_text(struct fixture *f, const char *file, const char *text)
{
	char full[256];

	snprintf(full, sizeof(full), "lib/modules/" V "/%s", file);
	scratch_text(&f->s, full, text);
}

/* An unpacked package: boot/vmlinuz beside lib/modules. */
static int open_beside(struct fixture *f)
{
	scratch_text(&f->s, "boot/vmlinuz", "");
	return modules_open(&f->m, scratch_path(&f->s, "boot/vmlinuz"), V, NULL, "give an --initrd",
			    &f->e);
}

static void expect_list(struct fixture *f, const char *expected)
{
	char got[1024] = "";

	for (unsigned i = 0; i < f->m.n; i++) {
		strcat(got, i ? " " : "");
		strcat(got, f->m.list[i].needed ? "" : "?");
		strcat(got, f->m.list[i].name);
	}
	assert_string_equal(got, expected);
}

static void expect_error(struct fixture *f, const char *part)
{
	assert_int_equal(f->e.kind, ERR_USAGE);
	if (!strstr(f->e.text, part))
		fail_msg("'%s' is not in '%s'", part, f->e.text);
}

static const char usual_order[] = "kernel/fs/ext4/ext4.ko\nkernel/fs/jbd2/jbd2.ko\n"
				  "kernel/fs/mbcache.ko\nkernel/crypto/crc32c_generic.ko\n"
				  "kernel/drivers/char/virtio-rng.ko\n"
				  "kernel/drivers/block/virtio_blk.ko\n"
				  "kernel/drivers/virtio/virtio.ko\n";

static void usual_tree(struct fixture *f, enum fake_packing packing, const char *tail)
{
	char path[128];
#define PUT(path_, info_)                                                       \
	do {                                                                    \
		snprintf(path, sizeof(path), "%s%s", path_, tail);              \
		put(f, path, info_ "\nvermagic=" V " SMP mod_unload", packing); \
	} while (0)
	PUT("kernel/fs/ext4/ext4.ko", "softdep=pre: crypto-crc32c\ndepends=jbd2,mbcache");
	PUT("kernel/fs/jbd2/jbd2.ko", "softdep=pre: crypto-crc32c\ndepends=");
	PUT("kernel/fs/mbcache.ko", "depends=");
	PUT("kernel/crypto/crc32c_generic.ko", "alias=crypto-crc32c\ndepends=");
	PUT("kernel/drivers/char/virtio-rng.ko", "depends=virtio");
	PUT("kernel/drivers/block/virtio_blk.ko", "depends=virtio");
	PUT("kernel/drivers/virtio/virtio.ko", "depends=");
#undef PUT
}

static void test_order_without_depmod(void **state)
{
	struct fixture *f = *state;

	usual_tree(f, PACK_PLAIN, "");
	put_text(f, "modules.order", usual_order);
	put_text(f, "modules.builtin", "");
	assert_int_equal(open_beside(f), 0);
	assert_int_equal(modules_add(&f->m, "virtio_blk", true, &f->e), 0);
	assert_int_equal(modules_add(&f->m, "ext4", true, &f->e), 0);
	assert_int_equal(modules_add(&f->m, "ext4", true, &f->e), 0);
	expect_list(f, "virtio virtio_blk ?crc32c_generic jbd2 mbcache ext4");
}

/* Not kernel/, but updates/: depmod's word on where a module is counts. */
static void test_modules_dep_says_where(void **state)
{
	struct fixture *f = *state;

	put(f, "updates/ext4.ko", "depends=\nvermagic=" V " ", PACK_PLAIN);
	put_text(f, "modules.dep", "updates/ext4.ko: kernel/fs/jbd2/jbd2.ko\n");
	put_text(f, "modules.order", "kernel/fs/ext4/ext4.ko\n");
	assert_int_equal(open_beside(f), 0);
	assert_int_equal(modules_add(&f->m, "ext4", true, &f->e), 0);
	expect_list(f, "ext4");
}

static void test_builtin_needs_nothing(void **state)
{
	struct fixture *f = *state;

	put_text(f, "modules.builtin",
		 "kernel/fs/ext4/ext4.ko\nkernel/drivers/block/virtio-blk.ko\n");
	assert_int_equal(open_beside(f), 0);
	assert_int_equal(modules_add(&f->m, "ext4", true, &f->e), 0);
	assert_int_equal(modules_add(&f->m, "virtio_blk", true, &f->e), 0);
	assert_int_equal(f->m.n, 0);
	assert_int_equal(modules_add(&f->m, "xfs", true, &f->e), -ENOENT);
}

/* A file virtio-rng.ko is the module virtio_rng. */
static void test_dash_is_underscore(void **state)
{
	struct fixture *f = *state;

	usual_tree(f, PACK_PLAIN, "");
	put_text(f, "modules.order", usual_order);
	assert_int_equal(open_beside(f), 0);
	assert_int_equal(modules_add(&f->m, "virtio_rng", true, &f->e), 0);
	expect_list(f, "virtio virtio_rng");
}

static void check_compressed(struct fixture *f, enum fake_packing packing, const char *tail,
			     bool dep)
{
	size_t len;
	uint8_t *plain =
		fake_module("depends=\nvermagic=" V " SMP mod_unload", 100, PACK_PLAIN, &len);

	usual_tree(f, packing, tail);
	if (dep) {
		char text[256];

		snprintf(text, sizeof(text),
			 "kernel/drivers/block/virtio_blk.ko%s:\n"
			 "kernel/drivers/virtio/virtio.ko%s:\n",
			 tail, tail);
		put_text(f, "modules.dep", text);
	} else {
		put_text(f, "modules.order", usual_order);
	}
	assert_int_equal(open_beside(f), 0);
	assert_int_equal(modules_add(&f->m, "virtio_blk", true, &f->e), 0);
	expect_list(f, "virtio virtio_blk");
	assert_int_equal(f->m.list[0].len, len);
	assert_memory_equal(f->m.list[0].bytes, plain, len);
	free(plain);
}

static void test_gz(void **state)
{
	check_compressed(*state, PACK_GZ, ".gz", true);
}

static void test_xz(void **state)
{
	check_compressed(*state, PACK_XZ, ".xz", true);
}

static void test_zst(void **state)
{
	check_compressed(*state, PACK_ZST, ".zst", true);
}

/* modules.order names what the build made, before it was compressed. */
static void test_xz_without_depmod(void **state)
{
	check_compressed(*state, PACK_XZ, ".xz", false);
}

static void test_zst_without_depmod(void **state)
{
	check_compressed(*state, PACK_ZST, ".zst", false);
}

static void test_modules_option(void **state)
{
	static const char *const forms[] = {("lib/modules/" V), "lib/modules", ""};
	struct fixture *f = *state;

	usual_tree(f, PACK_PLAIN, "");
	put_text(f, "modules.order", usual_order);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(modules_open(&f->m, "/nowhere/vmlinuz", V,
					      scratch_path(&f->s, forms[i]), "give an --initrd",
					      &f->e),
				 0);
		assert_int_equal(modules_add(&f->m, "virtio", true, &f->e), 0);
		modules_fini(&f->m);
	}
	/* Named, so there is no looking elsewhere, though it is next to the kernel. */
	scratch_text(&f->s, "boot/vmlinuz", "");
	scratch_text(&f->s, "empty/file", "");
	assert_int_equal(modules_open(&f->m, scratch_path(&f->s, "boot/vmlinuz"), V,
				      scratch_path(&f->s, "empty"), "give an --initrd", &f->e),
			 -ENOENT);
	expect_error(f, "--modules ");
	expect_error(f, "lib/modules/" V);
}

static void test_kernel_among_its_modules(void **state)
{
	struct fixture *f = *state;

	usual_tree(f, PACK_PLAIN, "");
	put_text(f, "modules.order", usual_order);
	put_text(f, "vmlinuz", "");
	assert_int_equal(modules_open(&f->m, scratch_path(&f->s, "lib/modules/" V "/vmlinuz"), V,
				      NULL, "give an --initrd", &f->e),
			 0);
}

static void test_link_to_the_kernel(void **state)
{
	struct fixture *f = *state;

	usual_tree(f, PACK_PLAIN, "");
	put_text(f, "modules.order", usual_order);
	scratch_text(&f->s, "boot/vmlinuz", "");
	scratch_text(&f->s, "elsewhere/x", "");
	assert_int_equal(symlink("../boot/vmlinuz", scratch_path(&f->s, "elsewhere/vmlinuz")), 0);
	assert_int_equal(modules_open(&f->m, scratch_path(&f->s, "elsewhere/vmlinuz"), V, NULL,
				      "give an --initrd", &f->e),
			 0);
}

/* A kernel's build tree: modules are not below kernel/, and listed as .o. */
static void test_build_tree(void **state)
{
	struct fixture *f = *state;
	size_t len;
	uint8_t *ko = fake_module("depends=\nvermagic=" V " ", 0, PACK_PLAIN, &len);

	scratch_write(&f->s, "linux/fs/ext4/ext4.ko", ko, len);
	free(ko);
	scratch_text(&f->s, "linux/modules.order", "fs/ext4/ext4.o\n");
	scratch_text(&f->s, "linux/modules.builtin", "drivers/block/virtio_blk.ko\n");
	scratch_text(&f->s, "linux/include/config/kernel.release", V "\n");
	scratch_text(&f->s, "linux/arch/x86/boot/bzImage", "");
	assert_int_equal(modules_open(&f->m, scratch_path(&f->s, "linux/arch/x86/boot/bzImage"), V,
				      NULL, "give an --initrd", &f->e),
			 0);
	assert_int_equal(modules_add(&f->m, "ext4", true, &f->e), 0);
	assert_int_equal(modules_add(&f->m, "virtio_blk", true, &f->e), 0);
	expect_list(f, "ext4");
}

static void test_nowhere(void **state)
{
	struct fixture *f = *state;

	scratch_text(&f->s, "boot/vmlinuz", "");
	assert_int_equal(open_beside(f), -ENOENT);
	expect_error(f, "/lib/modules/" V);
	expect_error(f, "--modules DIR");
	expect_error(f, "--initrd");
}

static void test_hostile_version(void **state)
{
	static const char *const versions[] = {"", ".", "..", "../../etc", "a/b"};
	struct fixture *f = *state;

	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(modules_open(&f->m, "/vmlinuz", versions[i], NULL,
					      "give an --initrd", &f->e),
				 -ENOENT);
		modules_fini(&f->m);
	}
}

static void test_missing_module_is_named(void **state)
{
	struct fixture *f = *state;

	put_text(f, "modules.order", "kernel/fs/ext4.ko\n");
	assert_int_equal(open_beside(f), 0);
	assert_int_equal(modules_add(&f->m, "virtio_blk", true, &f->e), -ENOENT);
	expect_error(f, "needs the module virtio_blk, which is not in ");
	expect_error(f, "lib/modules/" V);
	/* In the index, but the file is gone. */
	memset(&f->e, 0, sizeof(f->e));
	assert_int_equal(modules_add(&f->m, "ext4", true, &f->e), -ENOENT);
	expect_error(f, "needs the module ext4, which");
	assert_int_equal(f->m.n, 0);
}

static void test_missing_dependency_is_named(void **state)
{
	struct fixture *f = *state;

	put(f, "kernel/a.ko", "depends=b", PACK_PLAIN);
	put_text(f, "modules.order", "kernel/a.ko\n");
	assert_int_equal(open_beside(f), 0);
	assert_int_equal(modules_add(&f->m, "a", true, &f->e), -ENOENT);
	expect_error(f, "needs the module b (for a)");
}

/* What is only tried may be missing, or depend on what is missing. */
static void test_optional(void **state)
{
	struct fixture *f = *state;

	put(f, "kernel/a.ko", "depends=b", PACK_PLAIN);
	put(f, "kernel/c.ko", "depends=", PACK_PLAIN);
	put_text(f, "kernel/d.ko", "no module at all");
	put_text(f, "modules.order", "kernel/a.ko\nkernel/c.ko\nkernel/d.ko\n");
	assert_int_equal(open_beside(f), 0);
	assert_int_equal(modules_add(&f->m, "nothing", false, &f->e), 0);
	assert_int_equal(modules_add(&f->m, "a", false, &f->e), 0);
	assert_int_equal(modules_add(&f->m, "d", false, &f->e), 0);
	assert_int_equal(modules_add(&f->m, "c", false, &f->e), 0);
	expect_list(f, "?c");
	assert_int_equal(f->e.kind, ERR_NONE);
	assert_int_equal(modules_add(&f->m, "c", true, &f->e), 0);
	expect_list(f, "c");
}

static void test_module_of_another_kernel(void **state)
{
	struct fixture *f = *state;

	put(f, "kernel/a.ko", "depends=\nvermagic=5.10.0 SMP", PACK_PLAIN);
	put_text(f, "modules.order", "kernel/a.ko\n");
	assert_int_equal(open_beside(f), 0);
	assert_int_equal(modules_add(&f->m, "a", true, &f->e), -EINVAL);
	expect_error(f, "is release " V);
	expect_error(f, "is of 5.10.0");
}

static void test_cyclic_dependencies(void **state)
{
	struct fixture *f = *state;

	put(f, "kernel/a.ko", "depends=b", PACK_PLAIN);
	put(f, "kernel/b.ko", "depends=a", PACK_PLAIN);
	put(f, "kernel/self.ko", "depends=self", PACK_PLAIN);
	/* A soft circle is none: what is soft gives way. */
	put(f, "kernel/x.ko", "softdep=pre: y", PACK_PLAIN);
	put(f, "kernel/y.ko", "depends=x", PACK_PLAIN);
	put_text(f, "modules.order",
		 "kernel/a.ko\nkernel/b.ko\nkernel/self.ko\nkernel/x.ko\n"
		 "kernel/y.ko\n");
	assert_int_equal(open_beside(f), 0);
	assert_int_equal(modules_add(&f->m, "a", true, &f->e), -ELOOP);
	expect_error(f, "depends on itself");
	memset(&f->e, 0, sizeof(f->e));
	assert_int_equal(modules_add(&f->m, "self", true, &f->e), -ELOOP);
	assert_int_equal(modules_add(&f->m, "y", true, NULL), 0);
	expect_list(f, "x y");
}

/* Each of 12 modules names all the others: ever new paths through the same few. */
static void test_dense_graph_is_bounded(void **state)
{
	struct fixture *f = *state;
	char order[1024] = "", path[32], info[512];

	for (unsigned i = 0; i < 12; i++) {
		strcpy(info, "softdep=pre:");
		for (unsigned k = 0; k < 12; k++)
			snprintf(info + strlen(info), 32, " m%u", k);
		strcat(info, "\ndepends=gone");
		snprintf(path, sizeof(path), "kernel/m%u.ko", i);
		put(f, path, info, PACK_PLAIN);
		strcat(strcat(order, path), "\n");
	}
	put_text(f, "modules.order", order);
	assert_int_equal(open_beside(f), 0);
	assert_true(modules_add(&f->m, "m0", true, &f->e) < 0);
	assert_int_equal(f->m.reads, MODULES_READS_MAX);
	assert_int_equal(f->m.n, 0);
}

static void test_long_chain_is_bounded(void **state)
{
	struct fixture *f = *state;
	char order[8192] = "", path[32], info[64];

	for (unsigned i = 0; i < 200; i++) {
		snprintf(path, sizeof(path), "kernel/m%u.ko", i);
		snprintf(info, sizeof(info), "depends=m%u", i + 1);
		put(f, path, info, PACK_PLAIN);
		strcat(strcat(order, path), "\n");
	}
	put_text(f, "modules.order", order);
	assert_int_equal(open_beside(f), 0);
	assert_int_equal(modules_add(&f->m, "m0", true, &f->e), -E2BIG);
	expect_error(f, "too many");
}

static void test_hostile_modules_dep(void **state)
{
	static const char dep[] = "\n\n:::\n: kernel/a.ko\n"
				  "../../../secret.ko:\n"
				  "/etc/passwd.ko:\n"
				  "kernel/../../../../secret.ko: x\n"
				  "kernel/.ko:\n.ko\n/\n..\n"
				  "kernel/ok.ko: a b c\n"
				  "kernel/ok.ko.xz.gz: twice\n"
				  "kernel/directory.ko:\n"
				  "kernel/fifo.ko:\n"
				  "kernel/no-newline.ko:";
	struct fixture *f = *state;
	char long_line[3000];

	put(f, "kernel/ok.ko", "depends=,,,", PACK_PLAIN);
	put(f, "kernel/directory.ko/x", "", PACK_PLAIN);
	put(f, "kernel/no-newline.ko", "depends=", PACK_PLAIN);
	scratch_text(&f->s, "secret.ko", "secret");
	assert_int_equal(mkfifo(scratch_path(&f->s, "lib/modules/" V "/kernel/fifo.ko"), 0600), 0);
	memset(long_line, 'a', sizeof(long_line) - 4);
	strcpy(long_line + sizeof(long_line) - 4, ".ko");
	for (unsigned i = 0; i < 2; i++) {
		char *text;

		assert_true(asprintf(&text, "%s\n%s", i ? dep : long_line, i ? long_line : dep) >
			    0);
		put_text(f, "modules.dep", text);
		free(text);
		assert_int_equal(open_beside(f), 0);
		assert_int_equal(modules_add(&f->m, "ok", true, &f->e), 0);
		assert_int_equal(modules_add(&f->m, "no_newline", true, &f->e), 0);
		expect_list(f, "ok no_newline");
		assert_int_equal(modules_add(&f->m, "secret", true, NULL), -ENOENT);
		assert_int_equal(modules_add(&f->m, "passwd", true, NULL), -ENOENT);
		assert_int_equal(modules_add(&f->m, "", true, NULL), -ENOENT);
		assert_int_equal(modules_add(&f->m, "directory", true, NULL), -EINVAL);
		assert_int_equal(modules_add(&f->m, "fifo", true, NULL), -EINVAL);
		modules_fini(&f->m);
	}
	/* A 0 within the text. */
	scratch_write(&f->s, "lib/modules/" V "/modules.dep", "kernel/a\0b.ko:\nkernel/ok.ko:\n",
		      29);
	assert_int_equal(open_beside(f), 0);
	assert_int_equal(modules_add(&f->m, "ok", true, &f->e), 0);
}

static void test_damaged_archives(void **state)
{
	struct fixture *f = *state;

	for (enum fake_packing packing = PACK_GZ; packing <= PACK_ZST; packing++) {
		size_t len, got;
		uint8_t *bytes = fake_module("depends=", 3000, packing, &len), *out;

		assert_int_equal(unpack_bytes(&out, &got, bytes, len, 1 << 20), 0);
		free(out);
		/* Cut short anywhere behind the magic: never a success, never a hang. */
		for (size_t cut = 6; cut < len; cut++)
			assert_int_equal(unpack_bytes(&out, &got, bytes, cut, 1 << 20), -EBADMSG);
		/* A flipped bit may go unnoticed (headers), but nothing may break. */
		for (size_t i = 0; i < len; i++) {
			bytes[i] ^= 0x10;
			if (!unpack_bytes(&out, &got, bytes, len, 1 << 20))
				free(out);
			bytes[i] ^= 0x10;
		}
		scratch_write(&f->s, "lib/modules/" V "/kernel/a.ko", bytes, len - 9);
		free(bytes);
		put_text(f, "modules.order", "kernel/a.ko\n");
		assert_int_equal(open_beside(f), 0);
		memset(&f->e, 0, sizeof(f->e));
		assert_int_equal(modules_add(&f->m, "a", true, &f->e), -EINVAL);
		expect_error(f, "its module a in ");
		expect_error(f, "damaged");
		modules_fini(&f->m);
	}
}

/* Megabytes of zeroes from a few hundred bytes: stopped at the bound, not after. */
static void test_decompression_bomb(void **state)
{
	const size_t size = 8 << 20;
	uint8_t *zeroes = calloc(1, size), *out;

	for (enum fake_packing packing = PACK_GZ; packing <= PACK_ZST; packing++) {
		size_t len, got;
		uint8_t *bomb = fake_packed(zeroes, size, packing, &len);

		assert_true(len < size / 100);
		assert_int_equal(unpack_bytes(&out, &got, bomb, len, 1 << 20), -EFBIG);
		assert_int_equal(unpack_bytes(&out, &got, bomb, len, size - 1), -EFBIG);
		assert_int_equal(unpack_bytes(&out, &got, bomb, len, size), 0);
		assert_int_equal(got, size);
		free(out);
		free(bomb);
	}
	assert_int_equal(unpack_bytes(&out, &(size_t){0}, zeroes, size, size - 1), -EFBIG);
	free(zeroes);
}

/* A sparse file of 65 MiB that claims to be a module. */
static void test_huge_module(void **state)
{
	struct fixture *f = *state;

	put_text(f, "kernel/a.ko", "");
	put_text(f, "modules.order", "kernel/a.ko\n");
	assert_int_equal(
		truncate(scratch_path(&f->s, "lib/modules/" V "/kernel/a.ko"), (65ll << 20)), 0);
	assert_int_equal(open_beside(f), 0);
	assert_int_equal(modules_add(&f->m, "a", true, &f->e), -EINVAL);
	expect_error(f, "larger than 64 MiB");
}

static void test_modinfo_values(void **state)
{
	size_t len;
	uint8_t *ko =
		fake_module("dependsx=no\ndepends=a,b\nalias=1\nalias=2", 0, PACK_PLAIN, &len);
	struct modinfo m;
	const char *v;

	assert_int_equal(modinfo_find(&m, ko, len), 0);
	assert_string_equal(modinfo_next(&m, "depends", NULL), "a,b");
	v = modinfo_next(&m, "alias", NULL);
	assert_string_equal(v, "1");
	v = modinfo_next(&m, "alias", v);
	assert_string_equal(v, "2");
	assert_null(modinfo_next(&m, "alias", v));
	assert_null(modinfo_next(&m, "vermagic", NULL));
	free(ko);
}

/* Every truncation, and every byte of header and tables with every bit flipped:
 * ASan is the judge, and a value that is found lies within the file. */
static void test_hostile_elf(void **state)
{
	size_t len;
	uint8_t *ko = fake_module("depends=a,b", 0, PACK_PLAIN, &len), *copy;
	struct modinfo m;
	const char *v;

	for (size_t cut = 0; cut < len; cut++) {
		copy = malloc(cut + !cut);
		memcpy(copy, ko, cut);
		assert_true(modinfo_find(&m, copy, cut) < 0);
		free(copy);
	}
	copy = malloc(len);
	for (size_t i = 0; i < len * 8; i++) {
		memcpy(copy, ko, len);
		copy[i / 8] ^= (uint8_t)(1 << i % 8);
		if (modinfo_find(&m, copy, len))
			continue;
		for (v = NULL; (v = modinfo_next(&m, "depends", v));)
			assert_true((const uint8_t *)v + strlen(v) < copy + len);
	}
	memcpy(copy, ko, len);
	le64_put(copy + offsetof(Elf64_Ehdr, e_shoff), UINT64_MAX - 63);
	assert_int_equal(modinfo_find(&m, copy, len), -ENOEXEC);
	free(copy);
	free(ko);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_order_without_depmod),
		T(test_modules_dep_says_where),
		T(test_builtin_needs_nothing),
		T(test_dash_is_underscore),
		T(test_gz),
		T(test_xz),
		T(test_zst),
		T(test_xz_without_depmod),
		T(test_zst_without_depmod),
		T(test_modules_option),
		T(test_kernel_among_its_modules),
		T(test_link_to_the_kernel),
		T(test_build_tree),
		T(test_nowhere),
		T(test_hostile_version),
		T(test_missing_module_is_named),
		T(test_missing_dependency_is_named),
		T(test_optional),
		T(test_module_of_another_kernel),
		T(test_cyclic_dependencies),
		T(test_dense_graph_is_bounded),
		T(test_long_chain_is_bounded),
		T(test_hostile_modules_dep),
		T(test_damaged_archives),
		T(test_decompression_bomb),
		T(test_huge_module),
		T(test_modinfo_values),
		T(test_hostile_elf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
