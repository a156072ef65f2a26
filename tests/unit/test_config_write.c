/* SPDX-License-Identifier: Apache-2.0 */
/* config_write: what is read from what it wrote is the same machine. */
#include "tests/lib/scratch.h"
#include "tests/unit/config_words.h"
#include "vmm/config/write.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct scratch s;

/* The config that was parsed last, as text: the caller's. */
static char *written(const uint8_t (*macs)[6], const char *cmdline_file)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_int_equal(config_write(&c, macs, cmdline_file, f, &e), 0);
	fclose(f);
	return text;
}

/* Written, read again as a --config, and written again: both texts are one. */
static void comes_back(void)
{
	char *first = written(NULL, NULL), *second;

	scratch_text(&s, "machine.ini", first);
	vm_config_fini(&c);
	assert_int_equal(parse("--config", scratch_path(&s, "machine.ini")), CONFIG_RUN);
	second = written(NULL, NULL);
	assert_string_equal(second, first);
	free(first);
	free(second);
}

static void the_least(void **state)
{
	assert_int_equal(parse("-k", "/k"), CONFIG_RUN);
	comes_back();
	assert_string_equal(c.kernel, "/k");
	assert_int_equal(c.serial.kind, CHAR_TTY);
}

static void everything(void **state)
{
	assert_int_equal(parse("-k", "/k", "-i", "/a,,b,/c", "--modules", "/m", "--append",
			       "x='1 2'", "--boot", "pvh", "-c", "2,max=8", "-m",
			       "1G,max=4G,hugepages=2M,shared=on", "--transport", "mmio", "--disk",
			       "/d,,1,id=root,serial=S1,queues=3,threads=2,bps=10M,"
			       "burst=1M,iops=500",
			       "--disk", "/e,readonly=on,cache=none", "--net",
			       "user,forward=8080:80,forward=udp:127.0.0.1/53:53", "--net",
			       "tap=t0,mac=02:00:00:00:00:07,queues=2,vhost=off,id=lan,bps=1,pps=7,"
			       "pps-burst=9",
			       "--net", "fd=7,vhost=on", "--share", "/s:/mnt,rw,tag=src,cache=none",
			       "--share", "/t", "--vsock", "/v,,s,cid=77", "--rng", "off",
			       "--balloon", "--hotplug", "4", "--serial", "socket=/x", "--serial2",
			       "file=/y", "--hvc", "pty", "--on-reboot", "restart"),
			 CONFIG_RUN);
	comes_back();
	assert_string_equal(c.initrds[0], "/a,b");
	assert_string_equal(c.append, "x='1 2'");
	assert_int_equal(c.cpus_max, 8);
	assert_true(c.memory_max == 4ull << 30);
	assert_true(c.memory_shared);
	assert_int_equal(c.n_disks, 2);
	assert_string_equal(c.disks[0].path, "/d,1");
	assert_string_equal(c.disks[0].id, "root");
	assert_int_equal(c.disks[0].threads, 2);
	assert_int_equal(c.disks[0].limit.bps, 10 << 20);
	assert_int_equal(c.nets[1].limit.ops_burst, 9);
	assert_true(c.disks[1].direct);
	assert_int_equal(c.n_nets, 3);
	assert_int_equal(c.nets[0].n_forwards, 2);
	assert_true(c.nets[0].forwards[1].udp);
	assert_int_equal(c.nets[1].mac[5], 7);
	assert_int_equal(c.nets[2].fd, 7);
	assert_true(c.shares[0].rw);
	assert_null(c.shares[1].mountpoint);
	assert_string_equal(c.vsock.path, "/v,s");
	assert_int_equal(c.vsock.cid, 77);
	assert_string_equal(c.serial.path, "/x");
	assert_true(c.balloon);
	assert_int_equal(c.hotplug, 4);
	assert_int_equal(c.on_reboot, ON_REBOOT_RESTART);
}

/* Whoever reads it has another current directory. */
static void paths_are_absolute(void **state)
{
	char *cwd = getcwd(NULL, 0), *text, want[4200];

	assert_int_equal(parse("-k", "k", "--disk", "d", "--serial", "file=f", "--vsock", "v"),
			 CONFIG_RUN);
	text = written(NULL, NULL);
	snprintf(want, sizeof(want), "kernel = \"%s/k\"\n", cwd);
	assert_non_null(strstr(text, want));
	snprintf(want, sizeof(want), "path = \"%s/d\"\n", cwd);
	assert_non_null(strstr(text, want));
	snprintf(want, sizeof(want), "serial = \"file=%s/f\"\n", cwd);
	assert_non_null(strstr(text, want));
	snprintf(want, sizeof(want), "vsock = \"%s/v,cid=3\"\n", cwd);
	assert_non_null(strstr(text, want));
	free(text);
	vm_config_fini(&c);
	/* It is no path. */
	assert_int_equal(parse("-k", "k", "--vsock", "vhost,cid=7"), CONFIG_RUN);
	text = written(NULL, NULL);
	assert_non_null(strstr(text, "vsock = \"vhost,cid=7\"\n"));
	free(text);
	comes_back();
	assert_true(c.vsock.vhost);
	free(cwd);
}

static void made_up_addresses_are_told(void **state)
{
	static const uint8_t macs[][6] = {{2, 0, 0, 0, 0, 0x1a}};
	char *text;

	assert_int_equal(parse("-k", "/k", "--net", "user"), CONFIG_RUN);
	text = written(macs, "cmdline");
	assert_non_null(strstr(text, "mac = 02:00:00:00:00:1a\n"));
	assert_non_null(strstr(text, "cmdline-file = \"cmdline\"\n"));
	free(text);
}

static void what_no_file_can_say(void **state)
{
	char longest[1200];
	FILE *f = fopen("/dev/null", "w");

	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	const char *const values[] = {"both \" and '", "two\nlines", "\x7f", longest};

	for (unsigned i = 0; i < sizeof(values) / sizeof(*values); i++) {
		assert_int_equal(parse("-k", "/k", "--append", values[i]), CONFIG_RUN);
		assert_int_equal(config_write(&c, NULL, NULL, f, &e), -EILSEQ);
		assert_int_equal(e.kind, ERR_USAGE);
		assert_int_equal(strncmp(e.text, "append: ", 8), 0);
		vm_config_fini(&c);
	}
	fclose(f);
}

static void a_full_disk_is_an_error(void **state)
{
	FILE *f = fopen("/dev/full", "w");

	setvbuf(f, NULL, _IONBF, 0);
	assert_int_equal(parse("-k", "/k"), CONFIG_RUN);
	assert_int_equal(config_write(&c, NULL, NULL, f, &e), -EIO);
	fclose(f);
}

/* It is what --restore begins with, below what is said now. */
static void a_restore_reads_it(void **state)
{
	char word[200];

	scratch_text(&s, "machine.ini", "[boot]\nkernel = /k\n[machine]\ncpus = 3\nmemory = 64M\n");
	snprintf(word, sizeof(word), "%s,verify,cpu=any", s.path);
	assert_int_equal(parse("--restore", word, "-c", "2"), CONFIG_RUN);
	assert_string_equal(c.restore.dir, s.path);
	assert_true(c.restore.verify && c.restore.any_cpu && !c.restore.any_disks &&
		    c.restore.memory == RESTORE_MAP);
	assert_string_equal(c.kernel, "/k");
	assert_int_equal(c.cpus, 2);
	assert_true(c.memory == 64 << 20);
	vm_config_fini(&c);
	refused("--restore /nowhere: machine.ini: No such file", "--restore", "/nowhere");
	refused("--config: not together with --restore", "--restore", word, "--config", "x.ini");
	refused("--restore: the saved guest is in the midst", "--restore", word, "--", "true");
	refused("--restore memory=all: give map, read or lazy", "--restore", "/x,memory=all");
	refused("--dry-run: not together", "--restore", word, "--dry-run");
}

/* What came later stands behind all others, lowest slot first, and is written with its slot. */
static void slots(void **state)
{
	scratch_text(&s, "machine.ini",
		     "[boot]\nkernel = /k\n[machine]\nhotplug = 9\n"
		     "[disk.late]\npath = /l\nslot = 7\n[disk.early]\npath = /e\n"
		     "[disk.second]\npath = /s\n[disk.later]\npath = /r\nslot = 6\n"
		     "[net.lan]\ntap = t1\nslot = 8\n[net.wan]\ntap = t0\n");
	assert_int_equal(parse("--restore", s.path), CONFIG_RUN);
	assert_int_equal(c.n_disks, 2);
	assert_int_equal(c.n_late_disks, 2);
	assert_string_equal(c.disks[0].id, "early");
	assert_string_equal(c.disks[1].id, "second");
	assert_string_equal(c.disks[2].id, "later");
	assert_int_equal(c.disks[2].slot, 6);
	assert_string_equal(c.disks[3].id, "late");
	assert_int_equal(c.disks[3].slot, 7);
	assert_int_equal(c.n_nets, 1);
	assert_int_equal(c.n_late_nets, 1);
	assert_string_equal(c.nets[0].id, "wan");
	assert_string_equal(c.nets[1].id, "lan");

	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_int_equal(config_write(&c, NULL, NULL, f, &e), 0);
	fclose(f);
	assert_non_null(strstr(text, "[disk.late]"));
	assert_non_null(strstr(text, "slot = 6\n"));
	assert_non_null(strstr(text, "slot = 7\n"));
	assert_non_null(strstr(text, "slot = 8\n"));
	vm_config_fini(&c);
	scratch_text(&s, "machine.ini", text);
	free(text);
	assert_int_equal(parse("--restore", s.path), CONFIG_RUN);
	assert_int_equal(c.n_disks, 2);
	assert_int_equal(c.n_late_disks, 2);
	assert_int_equal(c.n_late_nets, 1);
	vm_config_fini(&c);
	refused("late: slot=7 is taken", "--restore", s.path, "-d", "/l,id=late,slot=7", "-d",
		"/r,id=later,slot=7");
	refused("lan: slot goes with tap", "--restore", s.path, "-n", "user,id=lan,slot=8");
	refused("slot: goes with --restore", "-k", "/k", "-d", "/l,slot=7");
	refused("--disk slot=32: not a PCI slot", "-k", "/k", "-d", "/l,slot=32");
	refused("--net slot=0: not a PCI slot", "-k", "/k", "-n", "tap=t,slot=0");
}

/* The file's addresses are the one's that was saved: a clone has others, or what is said now. */
static void a_clone_reads_it(void **state)
{
	char word[200];

	scratch_text(&s, "machine.ini",
		     "[boot]\nkernel = /k\n[net.a]\ntap = t0\nmac = 02:00:00:00:00:01\n");
	assert_int_equal(parse("--restore", s.path), CONFIG_RUN);
	assert_true(c.nets[0].has_mac && !c.restore.is_clone);
	vm_config_fini(&c);
	snprintf(word, sizeof(word), "%s,clone=17", s.path);
	assert_int_equal(parse("--restore", word), CONFIG_RUN);
	assert_true(c.restore.is_clone && c.restore.clone == 17);
	assert_string_equal(c.nets[0].tap, "t0");
	assert_false(c.nets[0].has_mac);
	vm_config_fini(&c);
	assert_int_equal(parse("--restore", word, "-n", "tap=t1,mac=02:00:00:00:00:02"),
			 CONFIG_RUN);
	assert_true(c.nets[0].has_mac && c.nets[0].mac[5] == 2);
	vm_config_fini(&c);
	refused("--restore clone=x: not a clone's number", "--restore", "/x,clone=x");
	refused("--restore clone=4294967296: not a clone's number", "--restore",
		"/x,clone=4294967296");
	refused("--restore clone=-1: not a clone's number", "--restore", "/x,clone=-1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(the_least, fini),
		cmocka_unit_test_teardown(everything, fini),
		cmocka_unit_test_teardown(paths_are_absolute, fini),
		cmocka_unit_test_teardown(made_up_addresses_are_told, fini),
		cmocka_unit_test_teardown(what_no_file_can_say, fini),
		cmocka_unit_test_teardown(a_full_disk_is_an_error, fini),
		cmocka_unit_test_teardown(a_restore_reads_it, fini),
		cmocka_unit_test_teardown(a_clone_reads_it, fini),
		cmocka_unit_test_teardown(slots, fini),
	};
	int ret;

	scratch_init(&s);
	ret = cmocka_run_group_tests(tests, NULL, NULL);
	scratch_fini(&s);
	return ret;
}
