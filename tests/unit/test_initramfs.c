/* SPDX-License-Identifier: Apache-2.0 */
/* test_initramfs: what is packed for which kernel, disk and command line. */
#include "firmware/initramfs/initramfs.h"
#include "tests/lib/cpio_reader.h"
#include "tests/lib/fake_fs.h"
#include "tests/lib/fake_module.h"
#include "tests/lib/scratch.h"
#include "vmm/base/bytes.h"

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

static const uint8_t uuid[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
#define UUID_TEXT "01020304-0506-0708-090a-0b0c0d0e0f10"

struct fixture {
	struct scratch s;
	struct initramfs out;
	struct cpio_entry entries[80];
	unsigned n;
	struct err e;
	char kernel[256], disks[3][256];
	bool only_32bit, command;
	const struct initramfs_mount *mounts;
	unsigned n_mounts;
};

static void put(struct fixture *f, const char *name, const char *depends)
{
	char path[128], info[128];
	size_t len;
	uint8_t *bytes;

	snprintf(info, sizeof(info), "depends=%s\nvermagic=" V " SMP", depends);
	bytes = fake_module(info, 10, PACK_PLAIN, &len);
	snprintf(path, sizeof(path), "lib/modules/" V "/kernel/%s.ko", name);
	scratch_write(&f->s, path, bytes, len);
	free(bytes);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	scratch_init(&f->s);
	scratch_text(&f->s, "boot/vmlinuz", "kernel");
	snprintf(f->kernel, sizeof(f->kernel), "%s/boot/vmlinuz", f->s.path);
	for (unsigned i = 0; i < 3; i++)
		snprintf(f->disks[i], sizeof(f->disks[i]), "%s/disk%u", f->s.path, i);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	initramfs_fini(&f->out);
	scratch_fini(&f->s);
	free(f);
	return 0;
}

/* As Debian's generic kernel: all is modules. */
static void modular_kernel(struct fixture *f)
{
	put(f, "virtio", "");
	put(f, "virtio_pci", "virtio");
	put(f, "virtio_blk", "virtio");
	put(f, "virtio-rng", "virtio");
	put(f, "ext4", "");
	put(f, "xfs", "");
	put(f, "btrfs", "");
	put(f, "vfat", "fat");
	put(f, "fat", "");
	put(f, "nls_cp437", "");
	scratch_text(&f->s, "lib/modules/" V "/modules.order",
		     "kernel/virtio.ko\nkernel/virtio_pci.ko\nkernel/virtio_blk.ko\n"
		     "kernel/virtio-rng.ko\nkernel/ext4.ko\nkernel/xfs.ko\nkernel/btrfs.ko\n"
		     "kernel/vfat.ko\nkernel/fat.ko\nkernel/nls_cp437.ko\n");
}

static void monolithic_kernel(struct fixture *f)
{
	scratch_text(&f->s, "lib/modules/" V "/modules.builtin",
		     "kernel/virtio_pci.ko\nkernel/virtio_blk.ko\nkernel/ext4.ko\n");
}

static void disk(struct fixture *f, unsigned index,
		 void (*fs)(uint8_t *fs, const uint8_t *uuid, const char *label), const char *label)
{
	static uint8_t bytes[FAKE_FS_BYTES];
	char name[16];

	memset(bytes, 0, sizeof(bytes));
	if (fs)
		fs(bytes, uuid, label);
	snprintf(name, sizeof(name), "disk%u", index);
	scratch_write(&f->s, name, bytes, sizeof(bytes));
}

/* GPT: partition 1 is an ext4 /boot, 2 an ESP, 3 a btrfs. */
static void partitioned_disk(struct fixture *f, unsigned index)
{
	enum { SIZE = 1024 * 1024 };
	static uint8_t bytes[SIZE];
	char name[16];

	memset(bytes, 0, sizeof(bytes));
	fake_gpt(bytes);
	fake_gpt_entry(bytes, 0, uuid, 100, 299, "boot");
	fake_gpt_entry(bytes, 1, uuid, 300, 599, "esp");
	fake_gpt_entry(bytes, 2, uuid, 600, 1999, "system");
	fake_ext4(bytes + 100 * 512, uuid, "bootfs");
	fake_vfat(bytes + 300 * 512, uuid, "ESP");
	fake_btrfs(bytes + 600 * 512, uuid, "rootfs");
	snprintf(name, sizeof(name), "disk%u", index);
	scratch_write(&f->s, name, bytes, sizeof(bytes));
}

static const char *const drivers[] = {"virtio_pci", "virtio_blk"};
static const char *const extras[] = {"virtio_rng"};

static int pack_with(struct fixture *f, const char *version, const char *modules,
		     const char *cmdline, unsigned n_disks)
{
	const char *disks[3] = {f->disks[0], f->disks[1], f->disks[2]};
	const struct initramfs_request req = {
		.kernel = f->kernel,
		.version = version,
		.modules = modules,
		.cmdline = cmdline,
		.drivers = drivers,
		.n_drivers = ARRAY_LEN(drivers),
		.extras = extras,
		.n_extras = ARRAY_LEN(extras),
		.disks = disks,
		.n_disks = n_disks,
		.only_32bit = f->only_32bit,
		.command = f->command ? "c" : NULL,
		.command_len = f->command,
		.mounts = f->mounts,
		.n_mounts = f->n_mounts,
	};
	int rc;

	initramfs_fini(&f->out);
	memset(&f->e, 0, sizeof(f->e));
	f->n = 0;
	rc = initramfs_pack(&f->out, &req, &f->e);
	assert_true((rc != 0) == (f->e.kind != ERR_NONE));
	if (rc)
		assert_int_equal(f->out.len, 0);
	if (f->out.len)
		f->n = cpio_read(f->entries, ARRAY_LEN(f->entries), f->out.bytes, f->out.len);
	return rc;
}

static int pack(struct fixture *f, const char *cmdline, unsigned n_disks)
{
	return pack_with(f, V, NULL, cmdline, n_disks);
}

/* m/list is what init obeys: each line's file is there and is that module. */
static void expect_modules(struct fixture *f, const char *expected)
{
	const struct cpio_entry *list = cpio_lookup(f->entries, f->n, "m/list");
	char text[2048] = "", got[2048] = "", *save = NULL, path[128];

	if (list) {
		assert_true(list->len < sizeof(text));
		memcpy(text, list->data, list->len);
	}
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		char *file = strchr(l, ' ') + 1, *name = strchr(file, '-') + 1;
		const struct cpio_entry *entry;

		snprintf(path, sizeof(path), "m/%s", file);
		entry = cpio_lookup(f->entries, f->n, path);
		assert_non_null(entry);
		assert_memory_equal(entry->data,
				    "\x7f"
				    "ELF",
				    4);
		assert_string_equal(strstr(name, ".ko"), ".ko");
		*strstr(name, ".ko") = '\0';
		snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s%s", *got ? " " : "",
			 strncmp(l, "try ", 4) ? "" : "?", name);
	}
	assert_string_equal(got, expected);
}

static void expect_error(struct fixture *f, const char *part)
{
	assert_int_equal(f->e.kind, ERR_USAGE);
	if (!strstr(f->e.text, part))
		fail_msg("'%s' is not in '%s'", part, f->e.text);
}

static void test_layout(void **state)
{
	struct fixture *f = *state;
	static const char *const dirs[] = {"dev", "proc", "sys", "root", "m"};
	const struct cpio_entry *init, *console;

	modular_kernel(f);
	disk(f, 0, fake_ext4, "rootfs");
	assert_int_equal(pack(f, "root=/dev/vda", 1), 0);
	for (unsigned i = 0; i < ARRAY_LEN(dirs); i++) {
		const struct cpio_entry *d = cpio_lookup(f->entries, f->n, dirs[i]);

		assert_non_null(d);
		assert_int_equal(d->mode, S_IFDIR | 0755);
	}
	console = cpio_lookup(f->entries, f->n, "dev/console");
	assert_non_null(console);
	assert_int_equal(console->mode, S_IFCHR | 0600);
	assert_int_equal(console->rdev_major, 5);
	assert_int_equal(console->rdev_minor, 1);
	init = cpio_lookup(f->entries, f->n, "init");
	assert_non_null(init);
	assert_int_equal(init->mode, S_IFREG | 0755);
	/* An executable for x86-64, linked statically: it names no interpreter. */
	assert_memory_equal(init->data,
			    "\x7f"
			    "ELF\x02\x01\x01",
			    7);
	assert_null(memmem(init->data, init->len, "ld-musl", 7));
	assert_true(init->len < 88 * 1024);
	expect_modules(f, "virtio virtio_pci virtio_blk ext4 ?virtio_rng");
}

static void test_only_the_roots_file_system(void **state)
{
	struct fixture *f = *state;

	modular_kernel(f);
	disk(f, 0, fake_ext4, "a");
	disk(f, 1, fake_xfs, "b");
	assert_int_equal(pack(f, "root=/dev/vdb", 2), 0);
	expect_modules(f, "virtio virtio_pci virtio_blk xfs ?virtio_rng");
	assert_int_equal(pack(f, "root=LABEL=a", 2), 0);
	expect_modules(f, "virtio virtio_pci virtio_blk ext4 ?virtio_rng");
	/* Not to be told here: all that might be it, none of them needed. */
	assert_int_equal(pack(f, "root=LABEL=unknown", 2), 0);
	expect_modules(f, "virtio virtio_pci virtio_blk ?ext4 ?xfs ?virtio_rng");
	assert_int_equal(pack(f, "root=254:16", 2), 0);
	expect_modules(f, "virtio virtio_pci virtio_blk ?ext4 ?xfs ?virtio_rng");
}

static void test_partitions(void **state)
{
	struct fixture *f = *state;

	modular_kernel(f);
	partitioned_disk(f, 0);
	assert_int_equal(pack(f, "root=/dev/vda3", 1), 0);
	expect_modules(f, "virtio virtio_pci virtio_blk btrfs ?virtio_rng");
	assert_int_equal(pack(f, "root=PARTLABEL=boot", 1), 0);
	expect_modules(f, "virtio virtio_pci virtio_blk ext4 ?virtio_rng");
	assert_int_equal(pack(f, "root=LABEL=rootfs", 1), 0);
	expect_modules(f, "virtio virtio_pci virtio_blk btrfs ?virtio_rng");
	/* FAT holds firmware's files: only when it is asked for. */
	assert_int_equal(pack(f, "", 1), 0);
	assert_string_equal(f->out.root, "");
	expect_modules(f, "virtio virtio_pci virtio_blk ?ext4 ?btrfs ?virtio_rng");
	assert_int_equal(pack(f, "root=/dev/vda2", 1), 0);
	expect_modules(f, "virtio virtio_pci virtio_blk fat vfat ?nls_cp437 ?virtio_rng");
}

static void test_rootfstype(void **state)
{
	struct fixture *f = *state;

	modular_kernel(f);
	disk(f, 0, NULL, "");
	assert_int_equal(pack(f, "root=/dev/vda rootfstype=xfs", 1), 0);
	expect_modules(f, "virtio virtio_pci virtio_blk xfs ?virtio_rng");
	assert_int_equal(pack(f, "root=/dev/vda rootfstype=ext4,xfs,zfs", 1), 0);
	expect_modules(f, "virtio virtio_pci virtio_blk ?ext4 ?xfs ?virtio_rng");
	assert_int_equal(pack(f, "root=/dev/vda rootfstype=zfs", 1), -ENOENT);
	expect_error(f, "needs the module zfs, which is not in ");
}

static void test_likely_root(void **state)
{
	struct fixture *f = *state;

	modular_kernel(f);
	disk(f, 0, fake_ext4, "a");
	disk(f, 1, fake_ext4, "b");
	assert_int_equal(pack(f, "quiet", 2), 0);
	assert_string_equal(f->out.root, "/dev/vda");
	disk(f, 0, NULL, "");
	assert_int_equal(pack(f, "", 2), 0);
	assert_string_equal(f->out.root, "/dev/vdb");
	/* Given is given. */
	assert_int_equal(pack(f, "root=/dev/vda", 2), 0);
	assert_string_equal(f->out.root, "");
}

static void test_nothing_to_pack(void **state)
{
	struct fixture *f = *state;

	monolithic_kernel(f);
	disk(f, 0, fake_ext4, "rootfs");
	assert_int_equal(pack(f, "root=/dev/vda", 1), 0);
	assert_int_equal(f->out.len, 0);
	assert_int_equal(pack(f, "root=PARTUUID=x", 1), 0);
	assert_int_equal(f->out.len, 0);
	assert_int_equal(pack(f, "", 1), 0);
	assert_int_equal(f->out.len, 0);
	assert_string_equal(f->out.root, "/dev/vda");
}

/* The kernel knows no UUIDs and labels of file systems: init goes along, alone. */
static void test_init_alone(void **state)
{
	static const char *const roots[] = {"root=UUID=" UUID_TEXT, "root=LABEL=rootfs",
					    "root=/dev/disk/by-uuid/" UUID_TEXT};
	struct fixture *f = *state;

	monolithic_kernel(f);
	disk(f, 0, fake_ext4, "rootfs");
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(pack(f, roots[i], 1), 0);
		assert_non_null(cpio_lookup(f->entries, f->n, "init"));
		assert_null(cpio_lookup(f->entries, f->n, "m/list"));
	}
}

static void test_no_disk_nothing(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(pack(f, "", 0), 0);
	assert_int_equal(f->out.len, 0);
}

/* A share as the root: its driver, and no disk to look at. */
static void test_share_as_root(void **state)
{
	struct fixture *f = *state;

	modular_kernel(f);
	put(f, "virtiofs", "fuse");
	put(f, "fuse", "");
	scratch_text(&f->s, "lib/modules/" V "/modules.order",
		     "kernel/virtio.ko\nkernel/virtio_pci.ko\nkernel/virtio_blk.ko\n"
		     "kernel/fuse.ko\nkernel/virtiofs.ko\nkernel/virtio-rng.ko\n");
	assert_int_equal(pack(f, "root=system rootfstype=virtiofs", 0), 0);
	expect_modules(f, "virtio virtio_pci virtio_blk fuse virtiofs ?virtio_rng");
	assert_null(cpio_lookup(f->entries, f->n, "m/mounts"));
	assert_string_equal(f->out.root, "");
}

static void test_share_as_root_built_in(void **state)
{
	struct fixture *f = *state;

	scratch_text(&f->s, "lib/modules/" V "/modules.builtin",
		     "kernel/virtio_pci.ko\nkernel/virtio_blk.ko\nkernel/virtiofs.ko\n");
	assert_int_equal(pack(f, "root=system rootfstype=virtiofs", 0), 0);
	assert_int_equal(f->out.len, 0);
}

/* Whatever else is built in, somebody has to mount them. */
static void test_mounts(void **state)
{
	static const struct initramfs_mount mounts[] = {{"src", "/mnt/src", true},
							{"out", "/out", false}};
	static const char text[] = "src ro /mnt/src\nout rw /out\n";
	struct fixture *f = *state;
	const struct cpio_entry *list;

	monolithic_kernel(f);
	disk(f, 0, fake_ext4, "rootfs");
	f->mounts = mounts;
	f->n_mounts = ARRAY_LEN(mounts);
	assert_int_equal(pack(f, "root=/dev/vda", 1), 0);
	assert_non_null(cpio_lookup(f->entries, f->n, "init"));
	list = cpio_lookup(f->entries, f->n, "m/mounts");
	assert_non_null(list);
	assert_int_equal(list->len, sizeof(text) - 1);
	assert_memory_equal(list->data, text, sizeof(text) - 1);
	/* No root to mount them on. */
	assert_int_equal(pack(f, "", 0), 0);
	assert_int_equal(f->out.len, 0);
}

static void test_version_unknown(void **state)
{
	struct fixture *f = *state;

	disk(f, 0, fake_ext4, "rootfs");
	assert_int_equal(pack_with(f, NULL, NULL, "root=/dev/vda", 1), 0);
	assert_int_equal(f->out.len, 0);
}

static void test_modules_none(void **state)
{
	struct fixture *f = *state;

	modular_kernel(f);
	disk(f, 0, fake_ext4, "rootfs");
	assert_int_equal(pack_with(f, V, "none", "root=/dev/vda", 1), 0);
	assert_int_equal(f->out.len, 0);
	assert_int_equal(pack_with(f, V, "none", "root=LABEL=rootfs", 1), 0);
	expect_modules(f, "");
	assert_non_null(cpio_lookup(f->entries, f->n, "init"));
}

static void test_modules_nowhere(void **state)
{
	struct fixture *f = *state;

	disk(f, 0, fake_ext4, "rootfs");
	assert_int_equal(pack(f, "root=/dev/vda", 1), -ENOENT);
	expect_error(f, "--kernel ");
	expect_error(f, "/lib/modules/" V);
	expect_error(f, "--initrd");
	assert_int_equal(pack_with(f, V, f->s.path, "root=/dev/vda", 1), -ENOENT);
	expect_error(f, "--modules ");
}

/* A vmlinux alone, of which no modules were ever made, has its drivers' names. */
static void test_vmlinux_alone(void **state)
{
	static const char image[] = "\x7f"
				    "ELF....\0virtio-pci\0virtio_blk\0ext4\0....";
	struct fixture *f = *state;

	disk(f, 0, fake_ext4, "rootfs");
	scratch_write(&f->s, "boot/vmlinuz", image, sizeof(image));
	assert_int_equal(pack(f, "root=/dev/vda", 1), 0);
	assert_int_equal(f->out.len, 0);
	disk(f, 0, fake_xfs, "rootfs");
	assert_int_equal(pack(f, "root=/dev/vda", 1), -ENOENT);
}

/* Our init is of no use to it: whoever needs one has to bring it along. */
static void test_32bit_kernel(void **state)
{
	struct fixture *f = *state;

	f->only_32bit = true;
	disk(f, 0, fake_ext4, "rootfs");
	assert_int_equal(pack(f, "", 0), 0);
	assert_int_equal(pack(f, "root=/dev/vda", 1), -ENOEXEC); /* no modules to be found */
	expect_error(f, "--kernel ");
	expect_error(f, ": a 32-bit kernel: ");
	expect_error(f, "--initrd");
	assert_int_equal(pack_with(f, V, "none", "root=/dev/vda", 1), 0);
	assert_int_equal(f->out.len, 0);
	assert_int_equal(pack_with(f, V, "none", "root=LABEL=rootfs", 1), -ENOEXEC);
	modular_kernel(f);
	assert_int_equal(pack(f, "root=/dev/vda", 1), -ENOEXEC);
	expect_error(f, ": a 32-bit kernel: ");
	/* Its modules are not ones that we can read. */
	scratch_text(&f->s, "lib/modules/" V "/kernel/virtio_pci.ko", "ELF32");
	assert_int_equal(pack(f, "root=/dev/vda", 1), -ENOEXEC);
	expect_error(f, ": a 32-bit kernel: ");
	/* ... and not needed where the drivers are built in. */
	monolithic_kernel(f);
	assert_int_equal(pack(f, "root=/dev/vda", 1), 0);
	assert_int_equal(f->out.len, 0);
}

static void test_driver_missing(void **state)
{
	struct fixture *f = *state;

	put(f, "virtio_pci", "");
	scratch_text(&f->s, "lib/modules/" V "/modules.order", "kernel/virtio_pci.ko\n");
	disk(f, 0, fake_ext4, "rootfs");
	assert_int_equal(pack(f, "root=/dev/vda", 1), -ENOENT);
	expect_error(f, "needs the module virtio_blk, which is not in ");
	expect_error(f, "lib/modules/" V "; install that kernel's package");
}

static void expect_no_initrd(struct fixture *f)
{
	if (strstr(f->e.text, "--initrd"))
		fail_msg("%s: offers an --initrd", f->e.text);
}

/* An --initrd is refused with a command. */
static void test_no_initrd_for_a_command(void **state)
{
	static const char built_in[] = "give a --kernel that has all of them built in";
	struct fixture *f = *state;

	f->command = true;
	disk(f, 0, fake_ext4, "rootfs");
	assert_int_equal(pack(f, "root=/dev/vda", 1), -ENOENT); /* no modules to be found */
	expect_error(f, built_in);
	expect_no_initrd(f);
	modular_kernel(f);
	put(f, "ext4", "jbd2");
	assert_int_equal(pack(f, "root=/dev/vda", 1), -ENOENT);
	expect_error(f, "needs the module jbd2 (for ext4)");
	expect_error(f, built_in);
	expect_no_initrd(f);
	assert_int_equal(pack(f, "root=vda", 1), -EINVAL);
	expect_no_initrd(f);
	f->only_32bit = true;
	assert_int_equal(pack(f, "root=/dev/vda", 1), -ENOEXEC);
	expect_error(f, "give a 64-bit kernel");
	expect_no_initrd(f);
}

static void test_root_not_understood(void **state)
{
	struct fixture *f = *state;

	modular_kernel(f);
	disk(f, 0, fake_ext4, "rootfs");
	assert_int_equal(pack(f, "root=vda", 1), -EINVAL);
	expect_error(f, "root=vda");
}

/* What is no disk is passed over here; opening it for the guest says why. */
static void test_hostile_disks(void **state)
{
	struct fixture *f = *state;

	modular_kernel(f);
	assert_int_equal(mkfifo(f->disks[0], 0600), 0);
	assert_int_equal(mkdir(f->disks[1], 0700), 0);
	assert_int_equal(pack(f, "root=/dev/vda", 3), 0);
	expect_modules(f, "virtio virtio_pci virtio_blk ?virtio_rng");
	unlink(f->disks[0]);
	/* Every size up to a superblock's, of random-looking bytes. */
	for (unsigned len = 0; len < 5000; len += 111) {
		uint8_t bytes[5000];

		for (unsigned i = 0; i < len; i++)
			bytes[i] = (uint8_t)(i * 131 + len);
		scratch_write(&f->s, "disk0", bytes, len);
		assert_int_equal(pack(f, "root=/dev/vda", 1), 0);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_layout),          T(test_only_the_roots_file_system),
		T(test_partitions),      T(test_rootfstype),
		T(test_likely_root),     T(test_nothing_to_pack),
		T(test_init_alone),      T(test_no_disk_nothing),
		T(test_version_unknown), T(test_modules_none),
		T(test_modules_nowhere), T(test_vmlinux_alone),
		T(test_driver_missing),  T(test_no_initrd_for_a_command),
		T(test_32bit_kernel),    T(test_root_not_understood),
		T(test_share_as_root),   T(test_share_as_root_built_in),
		T(test_hostile_disks),   T(test_mounts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
