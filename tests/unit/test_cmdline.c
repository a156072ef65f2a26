/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's command line: what is in it by default, what moves over, and what is
 * refused. */
#include "firmware/cmdline.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char line[4096];

static const char *build(const struct cmdline_config *c)
{
	struct err e = {0};
	int len = cmdline_build(line, sizeof(line), c, 2047, &e);

	if (len < 0)
		fail_msg("refused: %s", e.text);
	assert_int_equal(len, strlen(line));
	return line;
}

static void test_defaults(void **state)
{
	struct cmdline_config c = {0};

	assert_string_equal(build(&c), "panic=-1 reboot=a");
	c.serial = true;
	assert_string_equal(build(&c), "console=ttyS0 panic=-1 reboot=a");
	c.serial2 = true;
	assert_string_equal(build(&c), "console=ttyS0 console=ttyS1 panic=-1 reboot=a");
	c.serial2 = false;
	c.hvc = true;
	assert_string_equal(build(&c), "console=ttyS0 console=hvc0 panic=-1 reboot=a");
	c.hvc = false;
	c.root = "/dev/vda";
	assert_string_equal(build(&c), "console=ttyS0 panic=-1 reboot=a root=/dev/vda rw");
	c.root_readonly = true;
	assert_string_equal(build(&c), "console=ttyS0 panic=-1 reboot=a root=/dev/vda ro");
	c.root = "";
	assert_string_equal(build(&c), "console=ttyS0 panic=-1 reboot=a ro");
	c.pci = "off";
	assert_string_equal(build(&c), "console=ttyS0 panic=-1 reboot=a pci=off ro");
	c.grows = true;
	assert_string_equal(build(&c),
			    "console=ttyS0 panic=-1 reboot=a pci=off memhp_default_state=online "
			    "memory_hotplug.online_policy=auto-movable ro");
	/* Whoever says something of it, says all. */
	c.append = "memhp_default_state=offline";
	assert_string_equal(build(&c), "console=ttyS0 panic=-1 reboot=a pci=off ro "
				       "memhp_default_state=offline");
	c.grows = false;
	c.gives_back = true;
	c.append = NULL;
	assert_string_equal(build(&c), "console=ttyS0 panic=-1 reboot=a pci=off "
				       "sysctl.vm.percpu_pagelist_high_fraction=1024 ro");
	c.append = "sysctl.vm.percpu_pagelist_high_fraction=8";
	assert_string_equal(build(&c), "console=ttyS0 panic=-1 reboot=a pci=off ro "
				       "sysctl.vm.percpu_pagelist_high_fraction=8");
	c.gives_back = false;
	c.append = "pci=nomsi";
	assert_string_equal(build(&c), "console=ttyS0 panic=-1 reboot=a ro pci=nomsi");
}

static void test_append(void **state)
{
	struct cmdline_config c = {.serial = true, .root = "/dev/vda", .append = "quiet"};

	assert_string_equal(build(&c), "console=ttyS0 panic=-1 reboot=a root=/dev/vda rw quiet");
	c.append = "";
	assert_string_equal(build(&c), "console=ttyS0 panic=-1 reboot=a root=/dev/vda rw");
}

static void test_root_in_append(void **state)
{
	static const struct {
		const char *append;
		bool ours; /* root= of ours stays */
	} cases[] = {
		{"root=/dev/vdb", false},         {"quiet root=LABEL=x ro", false},
		{"quiet\troot=/dev/vda2", false}, {"a=\"b c\" root=/dev/vdb", false},
		{"\"root=/dev/vdb\"", false},     {"root", true},
		{"nfsroot=/x rootflags=y", true}, {"a=\"b root=/dev/vdb\"", true},
		{"-- root=/dev/vdb", true}, /* for init */
		{"quiet -- root=x", true},        {"--x root=/dev/vdb", false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct cmdline_config c = {.root = "/dev/vda", .append = cases[i].append};
		bool ours = strstr(build(&c), "root=/dev/vda rw") != NULL;

		if (ours != cases[i].ours)
			fail_msg("%s: %s", cases[i].append, line);
		assert_non_null(strstr(line, cases[i].append));
	}
}

static void test_cmdline_replaces(void **state)
{
	struct cmdline_config c = {.serial = true, .root = "/dev/vda", .cmdline = "init=/bin/sh"};

	assert_string_equal(build(&c), "init=/bin/sh");
	c.append = "quiet";
	assert_string_equal(build(&c), "init=/bin/sh quiet");
	c.cmdline = "";
	c.append = NULL;
	assert_string_equal(build(&c), "");
}

static const struct cmdline_device devices[] = {
	{0xd0000000, 0x1000, 16},
	{0xd0001000, 0x1000, 17},
};
#define TWO "virtio_mmio.device=4K@0xd0000000:16 virtio_mmio.device=4K@0xd0001000:17 "

/* Only for a guest that does not read ACPI, and not if the user has named some. */
static void test_virtio_mmio_devices(void **state)
{
	static const struct {
		const char *cmdline, *append, *line;
	} cases[] = {
		{NULL, "acpi=off", TWO "panic=-1 reboot=a acpi=off"},
		{NULL, "acpi=off x", TWO "panic=-1 reboot=a acpi=off x"},
		{NULL, "\"acpi=off\" x", TWO "panic=-1 reboot=a \"acpi=off\" x"},
		{"acpi=off", NULL, TWO "acpi=off"},
		{"a -- b", "acpi=off", "a -- b acpi=off"}, /* for init */
		{NULL, NULL, "panic=-1 reboot=a"},
		{NULL, "acpi=on", "panic=-1 reboot=a acpi=on"},
		{NULL, "acpi=offline", "panic=-1 reboot=a acpi=offline"},
		{NULL, "acpi=of", "panic=-1 reboot=a acpi=of"},
		{NULL, "noacpi=off acpi", "panic=-1 reboot=a noacpi=off acpi"},
		{"acpi=off virtio_mmio.device=x", NULL, "acpi=off virtio_mmio.device=x"},
		{"acpi=off virtio-mmio.device=x", NULL, "acpi=off virtio-mmio.device=x"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct cmdline_config c = {
			.cmdline = cases[i].cmdline,
			.append = cases[i].append,
			.n_devices = 2,
			.devices = devices,
		};

		assert_string_equal(build(&c), cases[i].line);
	}
}

/* They count towards the limit, and what does not fit is refused, never cut. */
static void test_virtio_mmio_devices_at_the_limit(void **state)
{
	const struct cmdline_config c = {.cmdline = "acpi=off", .n_devices = 2, .devices = devices};
	const size_t len = strlen(TWO "acpi=off");
	struct err e = {0};

	assert_int_equal(cmdline_build(line, sizeof(line), &c, len, &e), len);
	assert_int_equal(cmdline_build(line, len + 1, &c, 2047, &e), len);
	assert_string_equal(line, TWO "acpi=off");
	for (size_t max = 0; max < len; max++) {
		e = (struct err){0};
		assert_int_equal(cmdline_build(line, sizeof(line), &c, max, &e), -E2BIG);
		assert_non_null(strstr(e.text, "80 bytes"));
		line[max + 1] = '!';
		assert_int_equal(cmdline_build(line, max + 1, &c, 2047, NULL), -E2BIG);
		assert_int_equal(line[max + 1], '!');
	}
}

static void test_limit(void **state)
{
	char text[2100];
	struct cmdline_config c = {.cmdline = text};
	struct err e = {0};

	memset(text, 'x', sizeof(text));
	text[2047] = '\0';
	assert_int_equal(cmdline_build(line, sizeof(line), &c, 2047, &e), 2047);
	text[2047] = 'x';
	text[2048] = '\0';
	assert_int_equal(cmdline_build(line, sizeof(line), &c, 2047, &e), -E2BIG);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_non_null(strstr(e.text, "--cmdline"));
	assert_non_null(strstr(e.text, "2048"));
	assert_non_null(strstr(e.text, "2047"));

	/* By its name where it came from a file. */
	e = (struct err){0};
	c.cmdline_option = "--cmdline-file";
	assert_int_equal(cmdline_build(line, sizeof(line), &c, 2047, &e), -E2BIG);
	assert_int_equal(strncmp(e.text, "--cmdline-file: the kernel's", 28), 0);

	/* A kernel that takes less, a buffer that is smaller than the kernel's. */
	e = (struct err){0};
	c = (struct cmdline_config){.serial = true, .append = "quiet"};
	assert_int_equal(cmdline_build(line, sizeof(line), &c, 10, &e), -E2BIG);
	assert_non_null(strstr(e.text, "--append"));
	assert_int_equal(cmdline_build(line, 38, &c, UINT32_MAX, NULL), 37);
	assert_int_equal(cmdline_build(line, 37, &c, UINT32_MAX, NULL), -E2BIG);
}

static void test_control_characters(void **state)
{
	static const char *bad[] = {"a\nb", "\r", "a\x1b[2J", "\x7f"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct cmdline_config c = {.append = bad[i]};
		struct err e = {0};

		assert_int_equal(cmdline_build(line, sizeof(line), &c, 2047, &e), -EINVAL);
		assert_non_null(strstr(e.text, "--append: has "));
		assert_null(strchr(e.text, '\n'));
		c = (struct cmdline_config){.cmdline = bad[i]};
		e = (struct err){0};
		assert_int_equal(cmdline_build(line, sizeof(line), &c, 2047, &e), -EINVAL);
		assert_non_null(strstr(e.text, "--cmdline: has "));
	}
}

static void test_embedded_nul(void **state)
{
	struct err e = {0};

	assert_int_equal(cmdline_check("quiet\0init=/x", 13, "cmdline-file", &e), -EINVAL);
	assert_string_equal(e.text, "cmdline-file: has a NUL at byte 5; remove it");
	assert_int_equal(cmdline_check("caf\xc3\xa9\tx", 7, "x", &e), 0);
	assert_int_equal(cmdline_check("", 0, "x", &e), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_append),
		cmocka_unit_test(test_root_in_append),
		cmocka_unit_test(test_cmdline_replaces),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_control_characters),
		cmocka_unit_test(test_embedded_nul),
		cmocka_unit_test(test_virtio_mmio_devices),
		cmocka_unit_test(test_virtio_mmio_devices_at_the_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
