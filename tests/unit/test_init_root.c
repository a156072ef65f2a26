/* SPDX-License-Identifier: Apache-2.0 */
/* test_init_root: the guest init's logic that needs no guest: the command line,
 * root=, superblocks, partition tables. */
#include "firmware/init/boot_options.h"
#include "firmware/init/partitions.h"
#include "firmware/init/root_spec.h"
#include "firmware/init/superblock.h"
#include "tests/lib/fake_fs.h"
#include "tests/lib/scratch.h"
#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static const uint8_t uuid[16] = {0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0,
				 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
static const char uuid_text[] = "12345678-9abc-def0-0123-456789abcdef";
static const char guid_text[] = "78563412-bc9a-f0de-0123-456789abcdef";

static int memory_file(const void *bytes, size_t len)
{
	int fd = memfd_create("disk", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_full(fd, bytes, len), 0);
	return fd;
}

/* --- the command line --------------------------------------------------------- */

static void test_options(void **state)
{
	struct boot_options o;

	boot_options_parse(&o, "quiet console=ttyS0 root=UUID=abc rootfstype=ext4,xfs "
			       "rootflags=a,b=c rw init=/bin/x rootwait rootdelay=3\n");
	assert_string_equal(o.root, "UUID=abc");
	assert_string_equal(o.rootfstype, "ext4,xfs");
	assert_string_equal(o.rootflags, "a,b=c");
	assert_string_equal(o.init, "/bin/x");
	assert_false(o.read_only);
	assert_true(o.wait_for_ever);
	assert_int_equal(o.delay_s, 3);
	assert_null(o.too_long);
}

static void test_options_defaults_and_last_wins(void **state)
{
	struct boot_options o;

	boot_options_parse(&o, "");
	assert_string_equal(o.root, "");
	assert_true(o.read_only);
	assert_false(o.wait_for_ever);
	boot_options_parse(&o, "rw root=/dev/vda root=/dev/vdb ro rootwait=7");
	assert_string_equal(o.root, "/dev/vdb");
	assert_true(o.read_only);
	assert_int_equal(o.wait_s, 7);
	assert_false(o.wait_for_ever);
	/* Words that only begin or end alike. */
	boot_options_parse(&o, "rootx=1 xroot=2 rootflagsx=3 rows rwx initrd=4 rdinit=5 ro.x=1");
	assert_string_equal(o.root, "");
	assert_string_equal(o.rootflags, "");
	assert_string_equal(o.init, "");
}

static void test_options_quotes_and_end(void **state)
{
	struct boot_options o;

	boot_options_parse(&o, "root=\"LABEL=my root\" \"init=/a b\" \"\" rw -- ro root=/dev/sda");
	assert_string_equal(o.root, "LABEL=my root");
	assert_string_equal(o.init, "/a b");
	assert_false(o.read_only);
	boot_options_parse(&o, "\"root=/dev/vda quiet");
	assert_string_equal(o.root, "/dev/vda quiet");
}

static void test_options_too_long(void **state)
{
	struct boot_options o;
	char line[2000];

	strcpy(line, "rw rootfstype=");
	memset(line + 14, 'x', 200);
	strcpy(line + 214, " root=/dev/vda");
	boot_options_parse(&o, line);
	assert_string_equal(o.too_long, "rootfstype");
	assert_string_equal(o.root, "/dev/vda");
	memcpy(line, "rw root=", 8);
	memset(line + 8, 'x', 1500);
	line[1508] = '\0';
	boot_options_parse(&o, line);
	assert_string_equal(o.too_long, "root");
	assert_string_equal(o.root, "");
}

static void test_module_parameters(void **state)
{
	static const char line[] = "virtio_blk.queue_depth=64 quiet virtio-blk.x virtio_blkx.y=1 "
				   "a=virtio_blk.z virtio_blk.s=\"a b\" -- virtio_blk.no=1";
	char out[64];

	assert_int_equal(boot_options_module(out, sizeof(out), line, "virtio_blk"), 0);
	assert_string_equal(out, "queue_depth=64 x s=\"a b\"");
	assert_int_equal(boot_options_module(out, sizeof(out), line, "virtio"), 0);
	assert_string_equal(out, "");
	assert_int_equal(boot_options_module(out, 10, line, "virtio_blk"), -E2BIG);
}

/* --- root= -------------------------------------------------------------------- */

static void test_root_forms(void **state)
{
	static const struct {
		const char *text;
		int rc;
		enum root_kind kind;
		const char *value;
	} t[] = {
		{"", 0, ROOT_ANY, ""},
		{"/dev/vda", 0, ROOT_DEVICE, "vda"},
		{"/dev/mapper/x", 0, ROOT_DEVICE, "mapper/x"},
		{"UUID=1-2", 0, ROOT_UUID, "1-2"},
		{"LABEL=a b", 0, ROOT_LABEL, "a b"},
		{"LABEL=a\\x20b", 0, ROOT_LABEL, "a\\x20b"},
		{"PARTUUID=x-01", 0, ROOT_PARTUUID, "x-01"},
		{"PARTLABEL=root", 0, ROOT_PARTLABEL, "root"},
		{"/dev/disk/by-uuid/1-2", 0, ROOT_UUID, "1-2"},
		{"/dev/disk/by-label/a\\x20b", 0, ROOT_LABEL, "a b"},
		{"/dev/disk/by-label/a\\x2", 0, ROOT_LABEL, "a\\x2"},
		{"/dev/disk/by-partuuid/u", 0, ROOT_PARTUUID, "u"},
		{"/dev/disk/by-partlabel/l", 0, ROOT_PARTLABEL, "l"},
		{"UUID=", -EINVAL, 0, NULL},
		{"/dev/", -EINVAL, 0, NULL},
		{"/dev/../etc/passwd", -EINVAL, 0, NULL},
		{"/dev/nfs", -EINVAL, 0, NULL},
		{"nfs", -EINVAL, 0, NULL},
		{"ubi0:rootfs", -EINVAL, 0, NULL},
		{"vda", -EINVAL, 0, NULL},
		{"254:", -EINVAL, 0, NULL},
		{":1", -EINVAL, 0, NULL},
		{"254:1x", -EINVAL, 0, NULL},
		{"-1:1", -EINVAL, 0, NULL},
		{"99999999999:1", -EINVAL, 0, NULL},
	};
	struct root_spec spec;
	char text[600];

	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		assert_int_equal(root_spec_parse(&spec, t[i].text, ""), t[i].rc);
		if (t[i].rc)
			continue;
		assert_int_equal(spec.kind, t[i].kind);
		assert_string_equal(spec.value, t[i].value);
	}
	assert_int_equal(root_spec_parse(&spec, "254:16", ""), 0);
	assert_int_equal(spec.kind, ROOT_NUMBER);
	assert_int_equal(spec.major, 254);
	assert_int_equal(spec.minor, 16);
	/* Whatever it looks like, with rootfstype=virtiofs it is a tag. */
	assert_int_equal(root_spec_parse(&spec, "system", "virtiofs"), 0);
	assert_int_equal(spec.kind, ROOT_TAG);
	assert_string_equal(spec.value, "system");
	assert_true(root_spec_kernel_knows(&spec));
	assert_int_equal(root_spec_parse(&spec, "", "virtiofs"), 0);
	assert_int_equal(spec.kind, ROOT_ANY);
	assert_int_equal(root_spec_parse(&spec, "system", "ext4"), -EINVAL);
	strcpy(text, "LABEL=");
	memset(text + 6, 'x', 500);
	text[506] = '\0';
	assert_int_equal(root_spec_parse(&spec, text, ""), -ENAMETOOLONG);
}

static bool matches(const char *root, const struct root_candidate *c)
{
	struct root_spec spec;

	assert_int_equal(root_spec_parse(&spec, root, ""), 0);
	return root_spec_matches(&spec, c);
}

static void test_root_matches(void **state)
{
	struct root_candidate c = {
		.name = "vda1", .major = 254, .minor = 1, .has_fs = true, .partuuid = "aa-bb"};
	struct root_candidate bare = {.name = "vdb"};

	strcpy(c.sb.uuid, uuid_text);
	strcpy(c.sb.label, "Root");
	strcpy(c.partlabel, "part");
	assert_true(matches("", &c));
	assert_true(matches("/dev/vda1", &c));
	assert_false(matches("/dev/vda", &c));
	assert_false(matches("/dev/vda11", &c));
	assert_true(matches("254:1", &c));
	assert_false(matches("254:2", &c));
	assert_true(matches("UUID=12345678-9ABC-DEF0-0123-456789ABCDEF", &c));
	assert_false(matches("UUID=12345678", &c));
	assert_true(matches("LABEL=Root", &c));
	assert_false(matches("LABEL=root", &c));
	assert_true(matches("PARTUUID=AA-BB", &c));
	assert_true(matches("PARTLABEL=part", &c));
	assert_false(matches("UUID=x", &bare));
	assert_false(matches("LABEL=x", &bare));
	assert_false(matches("PARTUUID=x", &bare));
	assert_false(matches("PARTLABEL=x", &bare));
}

static void test_root_the_kernel_knows(void **state)
{
	static const struct {
		const char *root;
		bool knows;
	} t[] = {{"", false},        {"/dev/vda", true},   {"254:0", true},      {"UUID=a", false},
		 {"LABEL=a", false}, {"PARTUUID=a", true}, {"PARTLABEL=a", true}};
	struct root_spec spec;

	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		assert_int_equal(root_spec_parse(&spec, t[i].root, ""), 0);
		assert_int_equal(root_spec_kernel_knows(&spec), t[i].knows);
	}
}

/* --- superblocks -------------------------------------------------------------- */

static void plain_squashfs(uint8_t *fs, const uint8_t *id, const char *label)
{
	fake_squashfs(fs);
}

static void test_superblocks(void **state)
{
	static const struct {
		void (*make)(uint8_t *fs, const uint8_t *id, const char *label);
		const char *type, *uuid, *label;
	} t[] = {
		{fake_ext4, "ext4", uuid_text, "my label"},
		{fake_xfs, "xfs", uuid_text, "my label"},
		{fake_btrfs, "btrfs", uuid_text, "my label"},
		{fake_erofs, "erofs", uuid_text, "my label"},
		{fake_f2fs, "f2fs", uuid_text, "my label"},
		{fake_vfat, "vfat", "7856-3412", "my label"},
		{plain_squashfs, "squashfs", "", ""},
	};
	static const uint64_t bases[] = {0, 512, 1 << 20, (1ull << 32) + 512};
	static uint8_t fs[FAKE_FS_BYTES];
	struct superblock sb;

	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		for (unsigned k = 0; k < ARRAY_LEN(bases); k++) {
			int fd = memory_file("", 0);

			memset(fs, 0, sizeof(fs));
			t[i].make(fs, uuid, "my label");
			assert_int_equal(fd_pwrite_full(fd, fs, sizeof(fs), bases[k]), 0);
			assert_true(superblock_read(&sb, fd, bases[k]));
			assert_string_equal(sb.type, t[i].type);
			assert_string_equal(sb.uuid, t[i].uuid);
			assert_string_equal(sb.label, t[i].label);
			assert_false(superblock_read(&sb, fd, bases[k] + 4096 * 32));
			close(fd);
		}
	}
}

static void test_superblock_absent(void **state)
{
	static uint8_t fs[FAKE_FS_BYTES];
	struct superblock sb;
	int fd = memory_file(fs, sizeof(fs));

	assert_false(superblock_read(&sb, fd, 0));
	assert_false(superblock_read(&sb, fd, INT64_MAX));
	assert_false(superblock_read(&sb, fd, UINT64_MAX));
	close(fd);
	assert_false(superblock_read(&sb, -1, 0));
	/* A boot sector is no FAT; a journal device is no root. */
	fs[510] = 0x55;
	fs[511] = 0xaa;
	fd = memory_file(fs, sizeof(fs));
	assert_false(superblock_read(&sb, fd, 0));
	close(fd);
	fake_ext4(fs, uuid, "");
	le32_put(fs + 0x460, 8);
	fd = memory_file(fs, sizeof(fs));
	assert_false(superblock_read(&sb, fd, 0));
	close(fd);
}

/* Labels without an end, with control characters, with halves of surrogates. */
static void test_hostile_labels(void **state)
{
	static uint8_t fs[FAKE_FS_BYTES];
	struct superblock sb;
	int fd;

	fake_ext4(fs, uuid, "");
	memset(fs + 0x478, 'x', 64);
	fd = memory_file(fs, sizeof(fs));
	assert_true(superblock_read(&sb, fd, 0));
	assert_int_equal(strlen(sb.label), 16);
	close(fd);

	memcpy(fs + 0x478, "\x1b[2Jevil\r\n\0", 11);
	fd = memory_file(fs, sizeof(fs));
	assert_true(superblock_read(&sb, fd, 0));
	assert_string_equal(sb.label, "?[2Jevil??");
	close(fd);

	memset(fs, 0, sizeof(fs));
	fake_btrfs(fs, uuid, "");
	memset(fs + 0x1012b, 'y', 512);
	fd = memory_file(fs, sizeof(fs));
	assert_true(superblock_read(&sb, fd, 0));
	assert_int_equal(strlen(sb.label), 256);
	close(fd);

	memset(fs, 0, sizeof(fs));
	fake_f2fs(fs, uuid, "");
	memset(fs + 0x47c, 0xd8, 1024); /* high surrogates only */
	fd = memory_file(fs, sizeof(fs));
	assert_true(superblock_read(&sb, fd, 0));
	assert_int_equal(strlen(sb.label), sizeof(sb.label) - 1);
	assert_int_equal(strspn(sb.label, "?"), sizeof(sb.label) - 1);
	close(fd);
}

static void test_utf16(void **state)
{
	/* a, e acute, euro, a clef beyond the first plane, end */
	static const uint8_t in[] = {0x61, 0, 0xe9, 0, 0xac, 0x20, 0x34, 0xd8, 0x1e, 0xdd, 0, 0};
	char out[16];

	superblock_utf16(out, sizeof(out), in, 6);
	assert_string_equal(out, "a\xc3\xa9\xe2\x82\xac\xf0\x9d\x84\x9e");
	/* Cut at whole characters only. */
	superblock_utf16(out, 6, in, 6);
	assert_string_equal(out, "a\xc3\xa9");
	superblock_utf16(out, sizeof(out), in, 4); /* half a pair */
	assert_string_equal(out, "a\xc3\xa9\xe2\x82\xac?");
}

/* The other judge: what mke2fs makes. */
static void test_mke2fs(void **state)
{
	char cmd[512];
	struct superblock sb;
	struct scratch s;
	int fd;

	if (system("PATH=$PATH:/usr/sbin:/sbin command -v mke2fs >/dev/null 2>&1"))
		skip();
	scratch_init(&s);
	for (unsigned i = 2; i <= 4; i++) {
		snprintf(cmd, sizeof(cmd),
			 "PATH=$PATH:/usr/sbin:/sbin mke2fs -q -F -t ext%u -L l-%u -U %s %s 8M", i,
			 i, uuid_text, scratch_path(&s, "img"));
		assert_int_equal(system(cmd), 0);
		fd = open(scratch_path(&s, "img"), O_RDONLY | O_CLOEXEC);
		assert_true(superblock_read(&sb, fd, 0));
		close(fd);
		assert_string_equal(sb.type, "ext4");
		assert_string_equal(sb.uuid, uuid_text);
		assert_int_equal(sb.label[2], '0' + i);
	}
	scratch_fini(&s);
}

/* --- partition tables --------------------------------------------------------- */

static void test_no_partition_table(void **state)
{
	static uint8_t disk[64 * 512];
	struct partition p[4];
	int fd = memory_file(disk, sizeof(disk));

	assert_int_equal(partitions_read(p, 4, fd), 0);
	close(fd);
	/* FAT on the whole disk: 55 AA, but code where the table would be. */
	fake_vfat(disk, uuid, "");
	memset(disk + 0x1be, 0x90, 64);
	fd = memory_file(disk, sizeof(disk));
	assert_int_equal(partitions_read(p, 4, fd), 0);
	close(fd);
	fd = memory_file(disk, 100);
	assert_int_equal(partitions_read(p, 4, fd), 0);
	close(fd);
}

static void test_gpt(void **state)
{
	static uint8_t disk[64 * 512];
	struct partition p[PARTITIONS_MAX];
	int fd;

	fake_gpt(disk);
	fake_gpt_entry(disk, 0, uuid, 34, 40, "boot");
	fake_gpt_entry(disk, 4, uuid, 2048, 4095, "root");
	fake_gpt_entry(disk, 5, uuid, 50, 49, "upside down");
	fake_gpt_entry(disk, 6, uuid, 0, UINT64_MAX, "too large");
	fd = memory_file(disk, sizeof(disk));
	assert_int_equal(partitions_read(p, PARTITIONS_MAX, fd), 2);
	assert_int_equal(p[0].number, 1);
	assert_int_equal(p[0].start, 34 * 512);
	assert_int_equal(p[0].len, 7 * 512);
	assert_string_equal(p[0].name, "boot");
	assert_int_equal(p[1].number, 5);
	assert_int_equal(p[1].start, 2048 * 512);
	assert_string_equal(p[1].uuid, guid_text);
	assert_string_equal(p[1].name, "root");
	assert_int_equal(partitions_read(p, 1, fd), 1);
	close(fd);
}

static void test_hostile_gpt(void **state)
{
	static const struct {
		unsigned off;
		uint64_t value;
	} t[] = {
		{72, UINT64_MAX}, {72, INT64_MAX / 512}, {72, 1ull << 40}, {84, 0}, {84, 1},
		{84, 127},        {84, UINT32_MAX},
	};
	static uint8_t disk[64 * 512];
	struct partition p[PARTITIONS_MAX];

	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		int fd;

		fake_gpt(disk);
		fake_gpt_entry(disk, 0, uuid, 34, 40, "x");
		if (t[i].off == 72)
			le64_put(disk + 512 + 72, t[i].value);
		else
			le32_put(disk + 512 + t[i].off, (uint32_t)t[i].value);
		fd = memory_file(disk, sizeof(disk));
		assert_int_equal(partitions_read(p, PARTITIONS_MAX, fd), 0);
		close(fd);
	}
	/* 2^32 entries: 128 are looked at, and those in the file found. */
	fake_gpt(disk);
	le32_put(disk + 512 + 80, UINT32_MAX);
	int fd = memory_file(disk, sizeof(disk));
	assert_int_equal(partitions_read(p, PARTITIONS_MAX, fd), 1);
	close(fd);
}

static void test_mbr(void **state)
{
	static uint8_t disk[512 * 512];
	struct partition p[16];
	int fd;

	fake_mbr(disk, 0xdeadbeef);
	fake_mbr_entry(disk, 0, 0x83, 10, 20);
	fake_mbr_entry(disk, 2, 0x05, 100, 400);
	/* Logical: three tables, each with one partition; links are relative to 100. */
	fake_mbr_entry(disk + 100 * 512, 0, 0x83, 2, 30);
	fake_mbr_entry(disk + 100 * 512, 1, 0x05, 50, 60);
	fake_mbr_entry(disk + 150 * 512, 0, 0x83, 3, 40);
	fake_mbr_entry(disk + 150 * 512, 1, 0x05, 110, 60);
	fake_mbr_entry(disk + 210 * 512, 0, 0x83, 4, 40);
	fd = memory_file(disk, sizeof(disk));
	assert_int_equal(partitions_read(p, 16, fd), 5);
	close(fd);
	assert_int_equal(p[0].number, 1);
	assert_int_equal(p[0].start, 10 * 512);
	assert_int_equal(p[0].len, 20 * 512);
	assert_string_equal(p[0].uuid, "deadbeef-01");
	assert_int_equal(p[1].number, 3);
	assert_int_equal(p[2].number, 5);
	assert_int_equal(p[2].start, 102 * 512);
	assert_string_equal(p[2].uuid, "deadbeef-05");
	assert_int_equal(p[3].number, 6);
	assert_int_equal(p[3].start, 153 * 512);
	assert_int_equal(p[4].start, 214 * 512);
}

/* A table of logical partitions that links to itself. */
static void test_mbr_chain_that_loops(void **state)
{
	static uint8_t disk[512 * 512];
	struct partition p[PARTITIONS_MAX];
	int fd;

	fake_mbr(disk, 1);
	fake_mbr_entry(disk, 0, 0x0f, 100, 400);
	fake_mbr_entry(disk + 100 * 512, 0, 0x83, 2, 30);
	fake_mbr_entry(disk + 100 * 512, 1, 0x05, 0, 60);
	fd = memory_file(disk, sizeof(disk));
	assert_int_equal(partitions_read(p, PARTITIONS_MAX, fd), 1 + 60);
	assert_int_equal(partitions_read(p, 7, fd), 7);
	close(fd);
}

static void test_partition_names(void **state)
{
	char name[32], tight[5];

	assert_int_equal(partition_name(name, sizeof(name), "vda", 1), 0);
	assert_string_equal(name, "vda1");
	assert_int_equal(partition_name(name, sizeof(name), "nvme0n1", 12), 0);
	assert_string_equal(name, "nvme0n1p12");
	assert_int_equal(partition_name(tight, sizeof(tight), "vda", 10), -ENAMETOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_options_defaults_and_last_wins),
		cmocka_unit_test(test_options_quotes_and_end),
		cmocka_unit_test(test_options_too_long),
		cmocka_unit_test(test_module_parameters),
		cmocka_unit_test(test_root_forms),
		cmocka_unit_test(test_root_matches),
		cmocka_unit_test(test_root_the_kernel_knows),
		cmocka_unit_test(test_superblocks),
		cmocka_unit_test(test_superblock_absent),
		cmocka_unit_test(test_hostile_labels),
		cmocka_unit_test(test_utf16),
		cmocka_unit_test(test_mke2fs),
		cmocka_unit_test(test_no_partition_table),
		cmocka_unit_test(test_gpt),
		cmocka_unit_test(test_hostile_gpt),
		cmocka_unit_test(test_mbr),
		cmocka_unit_test(test_mbr_chain_that_loops),
		cmocka_unit_test(test_partition_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
