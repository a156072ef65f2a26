/* SPDX-License-Identifier: Apache-2.0 */
/* config of the machine: what it consists of, and what is refused in which words. */
#include "tests/unit/config_words.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void cpu_counts(void **state)
{
	static const char *const bad[] = {
		"0",
		"65",
		"-1",
		"",
		"x",
		"1x",
		"+1",
		" 1",
		"1,",
		"1,2",
		"1,max",
		"1,max=",
		"1,max=65",
		"1,max=0",
		"1,MAX=2",
		"1,max=2,max=3",
		"4294967297",
		"18446744073709551617",
		"99999999999999999999999999999999999999999999999999999999999999999999"};

	assert_int_equal(parse("-kx", "-c", "64"), CONFIG_RUN);
	assert_int_equal(c.cpus, 64);
	assert_int_equal(c.cpus_max, 64);
	vm_config_fini(&c);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused("--cpus ", "-kx", "-c", bad[i]);
	refused("--cpus 4,max=2: max is below the number at the start; give max=4", "-kx", "-c",
		"4,max=2");
	refused("--cpus 65: too few or too many CPUs; give 1 to 64", "-kx", "-c65");
}

static void memory_sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{"32", 33554432},         {"32M", 33554432},          {"32768K", 33554432},
		{"34", 35651584},         {"1g", 1073741824},         {"1T", 1099511627776},
		{"1024G", 1099511627776}, {"1048574", 1099509530624}, {"32772K", 33558528},
		{"33", 34603008},
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(parse("-kx", "-m", good[i].text), CONFIG_RUN);
		assert_true(c.memory == good[i].bytes);
		assert_true(c.memory_max == good[i].bytes);
		vm_config_fini(&c);
	}
	refused("--memory 12x: not a size; give", "-kx", "-m", "12x");
	refused("--memory \"\": not a size", "-kx", "-m", "");
	refused("--memory -1: not a size", "-kx", "-m", "-1");
	refused("--memory 1.5G: not a size", "-kx", "-m", "1.5G");
	refused("--memory 0: too small; give 32M to 1T", "-kx", "-m", "0");
	refused("--memory 30: too small", "-kx", "-m", "30");
	refused("--memory 1048578: too large; give 32M to 1T", "-kx", "-m", "1048578");
	refused("--memory 2T: too large", "-kx", "-m", "2T");
	refused("--memory 18446744073709551616: too large", "-kx", "-m", "18446744073709551616");
	refused("--memory 17592186044416: too large", "-kx", "-m", "17592186044416");
	refused("--memory 18014398509481984K: too large", "-kx", "-m", "18014398509481984K");
	refused("--memory 32769K: not a multiple of 4K, which is a page; give 32772K", "-kx", "-m",
		"32769K");
}

static void memory_keys(void **state)
{
	static const struct {
		const char *name;
		enum memory_pages pages;
	} pages[] = {
		{"off", MEMORY_PAGES_SMALL},
		{"thp", MEMORY_PAGES_THP},
		{"2M", MEMORY_PAGES_2M},
		{"1G", MEMORY_PAGES_1G},
	};
	char text[64];

	assert_int_equal(parse("-kx", "-m", "1G"), CONFIG_RUN);
	assert_int_equal(c.memory_pages, MEMORY_PAGES_HOST);
	assert_false(c.memory_shared || c.memory_prefault);
	vm_config_fini(&c);
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		snprintf(text, sizeof(text), "2G,hugepages=%s", pages[i].name);
		assert_int_equal(parse("-kx", "-m", text), CONFIG_RUN);
		assert_int_equal(c.memory_pages, pages[i].pages);
		vm_config_fini(&c);
	}
	assert_int_equal(parse("-kx", "-m", "1G,prefault=on,max=3G,shared=on,hugepages=1G"),
			 CONFIG_RUN);
	assert_true(c.memory == 1ull << 30 && c.memory_max == 3ull << 30);
	assert_true(c.memory_shared && c.memory_prefault);
	vm_config_fini(&c);
	/* Given again, it is another setting as a whole. */
	assert_int_equal(parse("-kx", "-m", "1G,shared=on,hugepages=2M", "-m", "2G,prefault=off"),
			 CONFIG_RUN);
	assert_int_equal(c.memory_pages, MEMORY_PAGES_HOST);
	assert_false(c.memory_shared || c.memory_prefault);
	assert_true(c.memory_max == 2ull << 30);
	vm_config_fini(&c);

	refused("--memory max=512M: max is below the size at the start; give max=1G", "-kx", "-m",
		"1G,max=512M");
	refused("--memory max=\"\": not a size", "-kx", "-m", "1G,max=");
	refused("--memory max=2T: too large", "-kx", "-m", "1G,max=2T");
	refused("--memory max: needs a value", "-kx", "-m", "1G,max");
	refused("--memory max: given twice", "-kx", "-m", "1G,max=2G,max=2G");
	refused("--memory mux: unknown key; did you mean max?", "-kx", "-m", "1G,mux=2G");
	refused("--memory backing: unknown key; memory has max, hugepages, shared and prefault",
		"-kx", "-m", "1G,backing=file");
	refused("--memory hugepages=4K: give off, thp, 2M or 1G", "-kx", "-m", "1G,hugepages=4K");
	refused("--memory shared=yes: give on or off", "-kx", "-m", "1G,shared=yes");
	refused("--memory prefault=\"\": give on or off", "-kx", "-m", "1G,prefault=");
	refused("--memory : unknown key", "-kx", "-m", "1G,");
	refused("--memory \"\": not a size", "-kx", "-m", ",shared=on");
	/* The size in its pages, and the most as well. */
	refused("--memory 33M,hugepages=2M: not a multiple of 2M, as its huge pages are; give 34M",
		"-kx", "-m", "33M,hugepages=2M");
	refused("--memory 64M,max=65M,hugepages=2M: not a multiple of 2M", "-kx", "-m",
		"64M,max=65M,hugepages=2M");
	refused("--memory 1536M,hugepages=1G: not a multiple of 1G, as its huge pages are; give 2G",
		"-kx", "-m", "1536M,hugepages=1G");
}

static void seconds_and_words(void **state)
{
	assert_int_equal(parse("-kx", "--timeout", "31622400"), CONFIG_RUN);
	assert_int_equal(c.timeout_s, 31622400);
	vm_config_fini(&c);
	refused("--timeout 31622401: too long", "-kx", "--timeout", "31622401");
	refused("--timeout 4294967297: too long", "-kx", "--timeout", "4294967297");
	refused("--timeout 1s: not a number of seconds", "-kx", "--timeout", "1s");
	refused("--timeout -1: not a number of seconds", "-kx", "--timeout", "-1");
	refused("--stop-timeout x: not a number", "-kx", "--stop-timeout", "x");
	refused("--rng yes: give on or off", "-kx", "--rng", "yes");
	refused("--rng On: give on or off", "-kx", "--rng", "On");
	refused("--balloon 64M: give on or off", "-kx", "--balloon=64M");
	refused("--balloon \"\": give on or off", "-kx", "--balloon=");
	refused("on: unknown command", "-kx", "--balloon", "on");
	/* A value is one word with it; the last one counts, and beats weaker places. */
	assert_int_equal(parse("-kx", "--balloon", "--balloon=off"), CONFIG_RUN);
	assert_false(c.balloon);
	vm_config_fini(&c);
	setenv("MINIVMM_BALLOON", "on", 1);
	assert_int_equal(parse("-kx"), CONFIG_RUN);
	assert_true(c.balloon);
	vm_config_fini(&c);
	assert_int_equal(parse("-kx", "--balloon=off"), CONFIG_RUN);
	assert_false(c.balloon);
	vm_config_fini(&c);
	unsetenv("MINIVMM_BALLOON");
	refused("--hotplug 32: not a number of slots; give 0 to 31", "-kx", "--hotplug", "32");
	refused("--hotplug -1: not a number of slots", "-kx", "--hotplug=-1");
	refused("--hotplug on: not a number of slots", "-kx", "--hotplug", "on");
	refused("--transport isa: give pci or mmio", "-kx", "--transport", "isa");
	refused("--on-reboot halt: give exit or restart", "-kx", "--on-reboot", "halt");
	refused("--sandbox maybe: give off, log or on", "-kx", "--sandbox=maybe");
	refused("--boot bios: give auto, linux64, linux32 or pvh", "-kx", "--boot", "bios");
	refused("--boot \"\": give auto", "-kx", "--boot=");
	refused("--serial stdio: give tty, file=PATH, pty, socket=PATH or off", "-kx", "--serial",
		"stdio");
	refused("--serial2 ttyx: give tty,", "-kx", "--serial2", "ttyx");
	refused("--serial2 socket: give tty,", "-kx", "--serial2", "socket");
	refused("--serial \"\": an empty path", "-kx", "--serial", "socket=");
	refused("--quiet: not together with --verbose", "-kx", "-v", "-q");
	refused("--verbose: not together with --quiet", "-kx", "-qv");
	refused("--cmdline-file: not together with --cmdline", "-kx", "--cmdline", "a",
		"--cmdline-file", "b");
}

static void sandbox_modes(void **state)
{
	static const struct {
		const char *word;
		enum sandbox_choice choice;
	} modes[] = {
		{"--sandbox", CONFIG_SANDBOX_ON},      {"--sandbox=on", CONFIG_SANDBOX_ON},
		{"--sandbox=log", CONFIG_SANDBOX_LOG}, {"--sandbox=off", CONFIG_SANDBOX_OFF},
		{"--balloon", CONFIG_SANDBOX_ON},
	};

	for (unsigned i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
		assert_int_equal(parse("-kx", modes[i].word), CONFIG_RUN);
		assert_int_equal(c.sandbox, modes[i].choice);
		vm_config_fini(&c);
	}
	setenv("MINIVMM_SANDBOX", "log", 1);
	assert_int_equal(parse("-kx"), CONFIG_RUN);
	assert_int_equal(c.sandbox, CONFIG_SANDBOX_LOG);
	vm_config_fini(&c);
	assert_int_equal(parse("-kx", "--sandbox=off"), CONFIG_RUN);
	assert_int_equal(c.sandbox, CONFIG_SANDBOX_OFF);
	vm_config_fini(&c);
	unsetenv("MINIVMM_SANDBOX");
	assert_int_equal(parse("doctor", "--sandbox"), CONFIG_DOCTOR);
	assert_int_equal(c.sandbox, CONFIG_SANDBOX_ON);
	vm_config_fini(&c);
	assert_int_equal(parse("doctor"), CONFIG_DOCTOR);
	assert_int_equal(c.sandbox, CONFIG_SANDBOX_OFF);
	vm_config_fini(&c);
}

static void disks(void **state)
{
	assert_int_equal(parse("-kx", "-d",
			       "a,,b,,.img,id=root,serial=S-1,queues=16,threads=4,readonly=on",
			       "-d", "/dev/vg/x=y", "-d", "c,readonly=off,serial=a,,b"),
			 CONFIG_RUN);
	assert_int_equal(c.n_disks, 3);
	assert_string_equal(c.disks[0].path, "a,b,.img");
	assert_string_equal(c.disks[0].id, "root");
	assert_string_equal(c.disks[0].serial, "S-1");
	assert_int_equal(c.disks[0].queues, 16);
	assert_int_equal(c.disks[0].threads, 4);
	assert_true(c.disks[0].readonly);
	assert_string_equal(c.disks[1].path, "/dev/vg/x=y");
	assert_string_equal(c.disks[1].id, "disk1");
	assert_string_equal(c.disks[1].serial, "disk1");
	assert_int_equal(c.disks[1].queues, 0);
	assert_false(c.disks[1].direct);
	assert_false(c.disks[1].readonly);
	assert_string_equal(c.disks[2].path, "c");
	assert_string_equal(c.disks[2].serial, "a,b");
	assert_false(c.disks[2].readonly);
}

static void bad_disks(void **state)
{
	refused("--disk a,: \"\" is no key=value", "-kx", "-d", "a,");
	refused("--disk a,b: \"b\" is no key=value; write a comma", "-kx", "-d", "a,b");
	refused("--disk a,readonly: \"readonly\" is no key=value", "-kx", "-d", "a,readonly");
	refused("--disk readonly=yes: give on or off", "-kx", "-d", "a,readonly=yes");
	refused("--disk quues: unknown key; did you mean queues?", "-kx", "-d", "a,quues=2");
	refused("--disk format: unknown key; a disk has path", "-kx", "-d", "a,format=qcow2");
	refused("--disk a,path=b: has path twice", "-kx", "-d", "a,path=b");
	refused("--disk a,id=b,id=c: has id twice", "-kx", "-d", "a,id=b,id=c");
	assert_int_equal(parse("-kx", "-d", "a,cache=none", "-d", "b,cache=writeback"), CONFIG_RUN);
	assert_true(c.disks[0].direct);
	assert_false(c.disks[1].direct);
	assert_false(c.timing || c.stats);
	vm_config_fini(&c);
	assert_int_equal(parse("-kx", "--timing", "--stats"), CONFIG_RUN);
	assert_true(c.timing && c.stats);
	vm_config_fini(&c);
	refused("--disk cache=off: give writeback or none", "-kx", "-d", "a,cache=off");
	refused("--disk queues=0: not a number of queues; give 1 to 16", "-kx", "-d", "a,queues=0");
	refused("--disk queues=17: not a number of queues", "-kx", "-d", "a,queues=17");
	refused("--disk threads=17: not a number of threads", "-kx", "-d", "a,threads=17");
	refused("--disk a: 3 threads for 2 queues; a thread serves one queue at least", "-kx", "-d",
		"a,threads=3,queues=2");
	refused("--disk queues=4294967297: not", "-kx", "-d", "a,queues=4294967297");
	refused("--disk id=\"\": not a name", "-kx", "-d", "a,id=");
	refused("--disk id=a b: not a name", "-kx", "-d", "a,id=a b");
	refused("--disk id=../x: not a name", "-kx", "-d", "a,id=../x");
	refused("--disk id=123456789012345678901: not a name", "-kx", "-d",
		"a,id=123456789012345678901");
	refused("--disk serial=\"\": not a serial", "-kx", "-d", "a,serial=");
	refused("--disk serial=123456789012345678901: not a serial", "-kx", "-d",
		"a,serial=123456789012345678901");
	refused("--disk serial=\xc3\xa4: not a serial", "-kx", "-d", "a,serial=\xc3\xa4");
	refused("--disk b: the id x is taken by a; give another", "-kx", "-d", "a,id=x", "-d",
		"b,id=x");
	refused("--disk b: the id disk1 is taken by a", "-kx", "-d", "a,id=disk1", "-d", "b");
}

static void limits_are(const struct rate_config *r, uint64_t bps, uint64_t burst, uint64_t ops,
		       uint64_t ops_burst)
{
	assert_int_equal(r->bps, bps);
	assert_int_equal(r->burst, burst);
	assert_int_equal(r->ops, ops);
	assert_int_equal(r->ops_burst, ops_burst);
}

static void limits(void **state)
{
	assert_int_equal(parse("-kx", "-d", "a,bps=10M,burst=1g,iops=500,iops-burst=1", "-d",
			       "b,iops=1099511627776", "-d", "c,bps=0,iops=0", "-d", "d", "-n",
			       "user,pps=7,pps-burst=70,bps=1T,burst=1T", "-n", "tap=x,bps=1", "-n",
			       "tap=y,vhost=on,bps=0"),
			 CONFIG_RUN);
	limits_are(&c.disks[0].limit, 10 << 20, 1 << 30, 500, 1);
	limits_are(&c.disks[1].limit, 0, 0, 1ull << 40, 0);
	limits_are(&c.disks[2].limit, 0, 0, 0, 0);
	limits_are(&c.disks[3].limit, 0, 0, 0, 0);
	limits_are(&c.nets[0].limit, 1ull << 40, 1ull << 40, 7, 70);
	/* A bare number is bytes, not MiB. */
	limits_are(&c.nets[1].limit, 1, 0, 0, 0);
	vm_config_fini(&c);

	refused("--disk bps=fast: not a number of bytes; give one such as 10M", "-kx", "-d",
		"a,bps=fast");
	refused("--disk bps=-1: not a number of bytes", "-kx", "-d", "a,bps=-1");
	refused("--disk bps=1025G: too many bytes", "-kx", "-d", "a,bps=1025G");
	refused("--disk burst=99999999999999999999: too many bytes", "-kx", "-d",
		"a,bps=1,burst=99999999999999999999");
	refused("--disk iops=10K: not a number; give one such as 500", "-kx", "-d", "a,iops=10K");
	refused("--disk iops=1099511627777: too high a number", "-kx", "-d",
		"a,iops=1099511627777");
	refused("--disk iops-burst=x: not a number", "-kx", "-d", "a,iops=1,iops-burst=x");
	refused("--disk a,burst=1M: burst goes with bps; give both", "-kx", "-d", "a,burst=1M");
	refused("--disk a,bps=1,iops-burst=2: iops-burst goes with iops", "-kx", "-d",
		"a,bps=1,iops-burst=2");
	refused("--disk pps: unknown key; did you mean", "-kx", "-d", "a,pps=1");
	refused("--net iops: unknown key; a network has", "-kx", "-n", "user,iops=1");
	refused("--net user,pps-burst=2: pps-burst goes with pps", "-kx", "-n", "user,pps-burst=2");
	refused("--net tap=x,vhost=on,pps=1: the kernel's driver knows no limits", "-kx", "-n",
		"tap=x,vhost=on,pps=1");
}

static void nets(void **state)
{
	static const uint8_t mac[6] = {0x52, 0x54, 0, 0x12, 0xab, 0xCD};

	assert_int_equal(parse("-kx", "-n", "user,forward=8080:80,forward=udp:127.0.0.1/53", "-n",
			       "tap=tap0,queues=8,mac=52:54:00:12:AB:cd,id=lan", "-n",
			       "id=other,fd=7,vhost=on,queues=1", "-n",
			       "user=on,vhost=auto,forward=::1/1:65535 tcp:2 udp:8080:80"),
			 CONFIG_RUN);
	assert_int_equal(c.n_nets, 4);
	assert_int_equal(c.nets[0].kind, NET_USER);
	assert_string_equal(c.nets[0].id, "net0");
	assert_false(c.nets[0].has_mac);
	assert_int_equal(c.nets[0].n_forwards, 2);
	assert_false(c.nets[0].forwards[0].udp);
	assert_null(c.nets[0].forwards[0].address);
	assert_int_equal(c.nets[0].forwards[0].host, 8080);
	assert_int_equal(c.nets[0].forwards[0].guest, 80);
	assert_true(c.nets[0].forwards[1].udp);
	assert_string_equal(c.nets[0].forwards[1].address, "127.0.0.1");
	assert_int_equal(c.nets[0].forwards[1].host, 53);
	assert_int_equal(c.nets[0].forwards[1].guest, 53);
	assert_int_equal(c.nets[1].kind, NET_TAP);
	assert_string_equal(c.nets[1].tap, "tap0");
	assert_string_equal(c.nets[1].id, "lan");
	assert_true(c.nets[1].has_mac);
	assert_memory_equal(c.nets[1].mac, mac, 6);
	assert_int_equal(c.nets[2].kind, NET_FD);
	assert_int_equal(c.nets[2].fd, 7);
	assert_int_equal(c.nets[1].queues, 8);
	assert_int_equal(c.nets[1].vhost, CONFIG_VHOST_AUTO);
	assert_int_equal(c.nets[2].vhost, CONFIG_VHOST_ON);
	assert_string_equal(c.nets[2].id, "other");
	assert_string_equal(c.nets[3].forwards[0].address, "::1");
	assert_int_equal(c.nets[3].forwards[0].guest, 65535);
	assert_int_equal(c.nets[3].forwards[1].host, 2);
	assert_int_equal(c.nets[3].n_forwards, 3);
}

static void shares(void **state)
{
	assert_int_equal(parse("-kx", "--share", "src", "--share", "/a:b:/mnt/src,rw", "--share",
			       "a,,b,tag=data,cache=none,rw=off", "--share",
			       "/d:/,cache=always,mountpoint=/other"),
			 CONFIG_RUN);
	assert_int_equal(c.n_shares, 4);
	assert_string_equal(c.shares[0].path, "src");
	assert_string_equal(c.shares[0].tag, "share0");
	assert_null(c.shares[0].mountpoint);
	assert_false(c.shares[0].rw);
	assert_int_equal(c.shares[0].cache, CONFIG_CACHE_AUTO);
	assert_string_equal(c.shares[1].path, "/a:b");
	assert_string_equal(c.shares[1].mountpoint, "/mnt/src");
	assert_string_equal(c.shares[1].tag, "share1");
	assert_true(c.shares[1].rw);
	assert_string_equal(c.shares[2].path, "a,b");
	assert_string_equal(c.shares[2].tag, "data");
	assert_false(c.shares[2].rw);
	assert_int_equal(c.shares[2].cache, CONFIG_CACHE_NONE);
	assert_string_equal(c.shares[3].path, "/d");
	assert_string_equal(c.shares[3].mountpoint, "/other");
	assert_int_equal(c.shares[3].cache, CONFIG_CACHE_ALWAYS);
}

static void vsocks(void **state)
{
	assert_int_equal(parse("-kx"), CONFIG_RUN);
	assert_null(c.vsock.path);
	vm_config_fini(&c);
	assert_int_equal(parse("-kx", "--vsock", "/run/a,,b"), CONFIG_RUN);
	assert_string_equal(c.vsock.path, "/run/a,b");
	assert_int_equal(c.vsock.cid, 3);
	vm_config_fini(&c);
	/* Given again, it is another as a whole. */
	assert_int_equal(parse("-kx", "--vsock", "a,cid=4294967294", "--vsock", "b"), CONFIG_RUN);
	assert_string_equal(c.vsock.path, "b");
	assert_int_equal(c.vsock.cid, 3);
	vm_config_fini(&c);
	assert_int_equal(parse("-kx", "--vsock", "a,cid=4294967294"), CONFIG_RUN);
	assert_int_equal(c.vsock.cid, 4294967294);
	assert_false(c.vsock.vhost);
	vm_config_fini(&c);
	/* By the host's kernel, and back; a file of that name has another. */
	assert_int_equal(parse("-kx", "--vsock", "vhost"), CONFIG_RUN);
	assert_true(c.vsock.vhost);
	assert_null(c.vsock.path);
	assert_int_equal(c.vsock.cid, 3);
	vm_config_fini(&c);
	assert_int_equal(parse("-kx", "--vsock", "a", "--vsock", "vhost,cid=9"), CONFIG_RUN);
	assert_true(c.vsock.vhost);
	assert_null(c.vsock.path);
	assert_int_equal(c.vsock.cid, 9);
	vm_config_fini(&c);
	assert_int_equal(parse("-kx", "--vsock", "vhost", "--vsock", "./vhost"), CONFIG_RUN);
	assert_false(c.vsock.vhost);
	assert_string_equal(c.vsock.path, "./vhost");
}

static void bad_vsocks(void **state)
{
	refused("--vsock \"\": an empty path", "-kx", "--vsock", "");
	refused("--vsock \"\": an empty path", "-kx", "--vsock", ",cid=5");
	refused("--vsock cid=2: not an address of a guest; give a number from 3 to 4294967294",
		"-kx", "--vsock", "a,cid=2");
	refused("--vsock cid=4294967295: not an address", "-kx", "--vsock", "a,cid=4294967295");
	refused("--vsock cid=99999999999999999999: not an address", "-kx", "--vsock",
		"a,cid=99999999999999999999");
	refused("--vsock cid=0x3: not an address", "-kx", "--vsock", "a,cid=0x3");
	refused("--vsock cid=\"\": not an address", "-kx", "--vsock", "a,cid=");
	refused("--vsock a,cid=3,cid=4: has cid twice", "-kx", "--vsock", "a,cid=3,cid=4");
	refused("--vsock a,5: \"5\" is no key=value", "-kx", "--vsock", "a,5");
	refused("--vsock cids: unknown key; did you mean cid?", "-kx", "--vsock", "a,cids=3");
	refused("--vsock port: unknown key; a vsock has cid", "-kx", "--vsock", "a,port=3");
	refused("--vsock: ", "-kx", "--vsock");
	refused("--vsock cid=2: not an address", "-kx", "--vsock", "vhost,cid=2");
	refused("--vsock cid=4294967295: not an address", "-kx", "--vsock", "vhost,cid=4294967295");
}

static void bad_shares(void **state)
{
	refused("--share \"\": an empty path", "-kx", "--share", "");
	refused("--share \"\": an empty path", "-kx", "--share", ":/mnt");
	refused("--share /mnt/../x: not a place", "-kx", "--share", "a:/mnt/../x");
	refused("--share /mnt/..: not a place", "-kx", "--share", "a:/mnt/..");
	refused("--share mountpoint=mnt: not a place", "-kx", "--share", "a,mountpoint=mnt");
	refused("--share mountpoint=/a b: not a place", "-kx", "--share", "a,mountpoint=/a b");
	refused("--share a,ro: \"ro\" is no key=value", "-kx", "--share", "a,ro");
	refused("--share rw=yes: give on or off", "-kx", "--share", "a,rw=yes");
	refused("--share cache=some: give auto, none or always", "-kx", "--share", "a,cache=some");
	refused("--share tag=a/b: not a name", "-kx", "--share", "a,tag=a/b");
	refused("--share id: unknown key; a share has", "-kx", "--share", "a,id=b");
	refused("--share b: the name a is taken by /x", "-kx", "--share", "/x,tag=a", "--share",
		"b,tag=a");
	refused("--share b: the name disk0 is taken by d", "-kx", "-d", "d", "--share",
		"b,tag=disk0");
	refused("--share b: a is to be mounted on /m as well", "-kx", "--share", "a:/m", "--share",
		"b:/m");
}

static void bad_nets(void **state)
{
	refused("--net user=off: what to connect it to", "-kx", "-n", "user=off");
	refused("--net tap0: \"tap0\" is no key=value; a network is user", "-kx", "-n", "tap0");
	refused("--net tpa: unknown key; did you mean tap?", "-kx", "-n", "tpa=tap0");
	refused("--net bridge: unknown key; a network has", "-kx", "-n", "bridge=br0");
	refused("--net tap: a network is one of", "-kx", "-n", "user,tap=x");
	refused("--net fd: a network is one of", "-kx", "-n", "tap=x,fd=3");
	refused("--net user,user: has user twice", "-kx", "-n", "user,user");
	refused("--net tap=1234567890123456: not the name of an interface", "-kx", "-n",
		"tap=1234567890123456");
	refused("--net tap=a/b: not the name", "-kx", "-n", "tap=a/b");
	refused("--net tap=..: not the name", "-kx", "-n", "tap=..");
	refused("--net fd=2: not the number", "-kx", "-n", "fd=2");
	refused("--net fd=x: not the number", "-kx", "-n", "fd=x");
	refused("--net fd=4294967299: not the number", "-kx", "-n", "fd=4294967299");
	/* Addresses that are no station's, or no addresses. */
	refused("--net mac=01:00:5e:00:00:01: a group's", "-kx", "-n",
		"user,mac=01:00:5e:00:00:01");
	refused("--net mac=ff:ff:ff:ff:ff:ff: a group's", "-kx", "-n",
		"user,mac=ff:ff:ff:ff:ff:ff");
	refused("--net mac=00:00:00:00:00:00: all zeroes", "-kx", "-n",
		"user,mac=00:00:00:00:00:00");
	refused("--net mac=52:54:00:12:34: not a MAC", "-kx", "-n", "user,mac=52:54:00:12:34");
	refused("--net mac=52:54:00:12:34:56:78: not a MAC", "-kx", "-n",
		"user,mac=52:54:00:12:34:56:78");
	refused("--net mac=52:54:00:12:34:5g: not a MAC", "-kx", "-n",
		"user,mac=52:54:00:12:34:5g");
	refused("--net mac=5:254:00:12:34:56: not a MAC", "-kx", "-n",
		"user,mac=5:254:00:12:34:56");
	refused("--net mac=52-54-00-12-34-56: not a MAC", "-kx", "-n",
		"user,mac=52-54-00-12-34-56");
	refused("--net mac=\"\": not a MAC", "-kx", "-n", "user,mac=");
	/* Forwards. */
	refused("--net forward=\"\": no forward", "-kx", "-n", "user,forward=");
	refused("--net forward=0:80: not a forward", "-kx", "-n", "user,forward=0:80");
	refused("--net forward=80:0: not a forward", "-kx", "-n", "user,forward=80:0");
	refused("--net forward=65536:80: not a forward", "-kx", "-n", "user,forward=65536:80");
	refused("--net forward=80:80:80: not a forward", "-kx", "-n", "user,forward=80:80:80");
	refused("--net forward=sctp:80: not a forward", "-kx", "-n", "user,forward=sctp:80");
	refused("--net forward=localhost/80: not a forward", "-kx", "-n",
		"user,forward=localhost/80");
	refused("--net forward=80x:80: not a forward", "-kx", "-n", "user,forward=80x:80");
	refused("--net queues=0: not a number of pairs", "-kx", "-n", "tap=x,queues=0");
	refused("--net queues=9: not a number of pairs", "-kx", "-n", "tap=x,queues=9");
	refused("--net user,queues=2: several queues go with tap; passt has one pair of them",
		"-kx", "-n", "user,queues=2");
	refused("--net fd=7,queues=2: several queues go with tap; a descriptor is one", "-kx", "-n",
		"fd=7,queues=2");
	refused("--net vhost=perhaps: ", "-kx", "-n", "tap=x,vhost=perhaps");
	refused("--net user,vhost=on: vhost goes with tap and fd", "-kx", "-n", "user,vhost=on");
	refused("--net vhost=off,user: vhost goes with tap and fd", "-kx", "-n", "vhost=off,user");
	refused("--net forward=80:81: that port of the host", "-kx", "-n",
		"user,forward=80,forward=80:81");
	refused("--net forward=127.0.0.1/80: that port", "-kx", "-n",
		"user,forward=80,forward=127.0.0.1/80");
	refused("--net tap=x,forward=80: forward goes with user", "-kx", "-n", "tap=x,forward=80");
	/* What two cannot share. */
	refused("--net tap=x: is there twice", "-kx", "-n", "tap=x", "-n", "tap=x");
	refused("--net fd=3: is there twice", "-kx", "-n", "fd=3", "-n", "fd=3");
	refused("--net: the id a is taken by a network", "-kx", "-n", "user,id=a", "-n",
		"user,id=a");
	refused("--net: the id a is taken by /d", "-kx", "-d", "/d,id=a", "-n", "user,id=a");
	refused("--net: net0 and net1 have the same mac", "-kx", "-n", "user,mac=02:00:00:00:00:01",
		"-n", "user,mac=02:00:00:00:00:01");
}

static void the_most_nets_and_one_more(void **state)
{
	const char *words[2 + 2 * (CONFIG_NETS_MAX + 1)] = {"-k", "x"};

	for (int i = 0; i <= CONFIG_NETS_MAX; i++) {
		words[2 + 2 * i] = "-n";
		words[3 + 2 * i] = "user";
	}
	assert_int_equal(parse_words(2 + 2 * CONFIG_NETS_MAX, words), CONFIG_RUN);
	assert_int_equal(c.n_nets, CONFIG_NETS_MAX);
	vm_config_fini(&c);
	assert_int_equal(parse_words(2 + 2 * (CONFIG_NETS_MAX + 1), words), -E2BIG);
	assert_non_null(strstr(e.text, "one network too many; 8 are the most"));
}

static void the_most_disks_and_one_more(void **state)
{
	const char *words[2 + 2 * (CONFIG_DISKS_MAX + 1)] = {"-k", "x"};

	for (int i = 0; i <= CONFIG_DISKS_MAX; i++) {
		words[2 + 2 * i] = "-d";
		words[3 + 2 * i] = "a";
	}
	assert_int_equal(parse_words(2 + 2 * CONFIG_DISKS_MAX, words), CONFIG_RUN);
	assert_int_equal(c.n_disks, CONFIG_DISKS_MAX);
	assert_string_equal(c.disks[23].id, "disk23");
	vm_config_fini(&c);
	assert_int_equal(parse_words(2 + 2 * (CONFIG_DISKS_MAX + 1), words), -E2BIG);
	assert_non_null(strstr(e.text, "one disk too many; 24 are the most"));
}

static void consoles_have_all_kinds(void **state)
{
	assert_int_equal(parse("-kx", "--serial", "pty", "--serial2", "socket=a,b"), CONFIG_RUN);
	assert_int_equal(c.serial.kind, CHAR_PTY);
	assert_null(c.serial.path);
	assert_int_equal(c.serial2.kind, CHAR_SOCKET);
	assert_string_equal(c.serial2.path, "a,b");
	vm_config_fini(&c);
	assert_int_equal(parse("-kx", "--serial2", "file=x", "--serial2", "off"), CONFIG_RUN);
	assert_int_equal(c.serial.kind, CHAR_TTY);
	assert_int_equal(c.serial2.kind, CHAR_OFF);
	assert_null(c.serial2.path);
	vm_config_fini(&c);
}

/* There is one: who asks for it has it, and if nobody does, the first serial port. */
static void the_terminal_is_given_once(void **state)
{
	assert_int_equal(parse("-kx", "--serial2", "tty"), CONFIG_RUN);
	assert_int_equal(c.serial.kind, CHAR_OFF);
	assert_int_equal(c.serial2.kind, CHAR_TTY);
	vm_config_fini(&c);
	assert_int_equal(parse("-kx", "--serial2", "tty", "--serial", "file=x"), CONFIG_RUN);
	assert_int_equal(c.serial.kind, CHAR_FILE);
	vm_config_fini(&c);
	assert_int_equal(parse("-kx", "--serial2", "pty"), CONFIG_RUN);
	assert_int_equal(c.serial.kind, CHAR_TTY);
	vm_config_fini(&c);
	assert_int_equal(parse("-kx", "--hvc", "tty"), CONFIG_RUN);
	assert_int_equal(c.serial.kind, CHAR_OFF);
	assert_int_equal(c.hvc.kind, CHAR_TTY);
	vm_config_fini(&c);
	assert_int_equal(parse("-kx", "--hvc", "socket=s"), CONFIG_RUN);
	assert_int_equal(c.serial.kind, CHAR_TTY);
	assert_string_equal(c.hvc.path, "s");
	vm_config_fini(&c);
	refused("--hvc tty: --serial2 has the terminal already", "-kx", "--serial2", "tty", "--hvc",
		"tty");
	refused("--serial2 tty: --serial has the terminal already", "-kx", "--serial2", "tty",
		"--serial", "tty");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(cpu_counts, fini),
		cmocka_unit_test_teardown(memory_sizes, fini),
		cmocka_unit_test_teardown(memory_keys, fini),
		cmocka_unit_test_teardown(seconds_and_words, fini),
		cmocka_unit_test_teardown(sandbox_modes, fini),
		cmocka_unit_test_teardown(disks, fini),
		cmocka_unit_test_teardown(bad_disks, fini),
		cmocka_unit_test_teardown(limits, fini),
		cmocka_unit_test_teardown(nets, fini),
		cmocka_unit_test_teardown(bad_nets, fini),
		cmocka_unit_test_teardown(shares, fini),
		cmocka_unit_test_teardown(bad_shares, fini),
		cmocka_unit_test_teardown(vsocks, fini),
		cmocka_unit_test_teardown(bad_vsocks, fini),
		cmocka_unit_test_teardown(the_most_nets_and_one_more, fini),
		cmocka_unit_test_teardown(the_most_disks_and_one_more, fini),
		cmocka_unit_test_teardown(consoles_have_all_kinds, fini),
		cmocka_unit_test_teardown(the_terminal_is_given_once, fini),
	};

	/* What the caller's shell has set is not part of the test. */
	clearenv();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
