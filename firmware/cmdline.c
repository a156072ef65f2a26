/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The default line has only what the guest cannot learn from ACPI or CPUID:
 *
 *	console=ttyS0      where a person reads; all messages stay (no `quiet`). Another
 *	                   port only if it has the terminal
 *	panic=-1           restart at once on a panic: that ends the VM, where the
 *	                   kernel's own default is to hang for ever
 *	reboot=a           restart by FADT's RESET_REG: on a HW-reduced machine Linux
 *	                   prefers EFI, which is not there, and then a BIOS
 *	memhp_default_state=online memory_hotplug.online_policy=auto-movable
 *	                   memory that virtio-mem plugs is used without a daemon to say so,
 *	                   and most of it only for what can be moved out of it again
 *	                   [Linux admin-guide/mm/memory-hotplug.rst]; only where there can be any
 *	root=/dev/vda rw   the first disk, or its partition that looks like a root,
 *	                   unless the user says another
 *
 * A guest without ACPI has no other way to learn of virtio-mmio devices than
 *
 *	virtio_mmio.device=4K@0xd0000000:16
 *
 * for each [virtio 1.3 4.2.1, Linux drivers/virtio/virtio_mmio.c]. One that reads both
 * would find each device twice and complain, so they are there only with acpi=off, which
 * a kernel that was built without ACPI does not mind. They are facts of the machine and
 * no defaults: --cmdline does not replace them.
 *
 * Deliberately absent, because the tables say it: i8042.* (FADT: no 8042), no_timer_check (a
 * HW-reduced machine has no PIT to check), pci= (MCFG, PNP0C02), tsc= (CPUID and
 * kvm-clock), random.trust_* (the zero page carries a seed).
 */
#include "firmware/cmdline.h"

#include "vmm/base/bytes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Before 6.7, Linux keeps up to 28 MiB a processor in lists of free pages that it never reports. */
#define GIVES_BACK " sysctl.vm.percpu_pagelist_high_fraction=1024"
#define GROWS      " memhp_default_state=online memory_hotplug.online_policy=auto-movable"

enum { CMDLINE_ROOT_MAX = 64, CMDLINE_PCI_MAX = 32, DEVICE_MAX = 64 };

int cmdline_check(const char *text, size_t len, const char *option, struct err *e)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '\n' || c == '\r')
			return err_usage(
				e, -EINVAL,
				"%s: has a newline at byte %zu; the kernel's command line is one "
				"line",
				option, i);
		if (c == '\0')
			return err_usage(e, -EINVAL, "%s: has a NUL at byte %zu; remove it", option,
					 i);
		if ((c < ' ' && c != '\t') || c == 0x7f)
			return err_usage(
				e, -EINVAL,
				"%s: has the control character 0x%02x at byte %zu; remove it",
				option, c, i);
	}
	return 0;
}

/* Is there a parameter `name=...` among the kernel's, with this value (NULL: any)?
 * Words end at blanks outside of double quotes, and what follows "--" is init's, as
 * Linux's parser has it. */
static bool has_param(const char *line, const char *name, const char *value)
{
	size_t len = strlen(name), value_len = value ? strlen(value) : 0;

	while (line && *line) {
		const char *word;
		bool quoted = false;

		while (*line == ' ' || *line == '\t')
			line++;
		word = *line == '"' ? line + 1 : line;
		for (; *line && (quoted || (*line != ' ' && *line != '\t')); line++)
			if (*line == '"')
				quoted = !quoted;
		if (line - word == 2 && !memcmp(word, "--", 2))
			return false;
		if (strncmp(word, name, len) != 0 || word[len] != '=')
			continue;
		word += len + 1;
		if (!value ||
		    ((size_t)(line - word) >= value_len && !memcmp(word, value, value_len) &&
		     strspn(word + value_len, "\"") == (size_t)(line - word) - value_len))
			return true;
	}
	return false;
}

/* Does the guest of this line need to be told of virtio-mmio devices? */
static bool wants_devices(const char *line)
{
	return has_param(line, "acpi", "off") && !has_param(line, "virtio_mmio.device", NULL) &&
	       !has_param(line, "virtio-mmio.device", NULL);
}

/* Their part of the line, each with a blank behind it; its length, also if that does
 * not fit into buf[size]. */
static size_t format_devices(char *buf, size_t size, const struct cmdline_config *c)
{
	char word[DEVICE_MAX];
	size_t len = 0;

	for (unsigned i = 0; i < c->n_devices; i++) {
		const struct cmdline_device *d = &c->devices[i];
		size_t n = (size_t)snprintf(word, sizeof(word),
					    "virtio_mmio.device=%" PRIu64 "K@%#" PRIx64 ":%u ",
					    d->len / KiB, d->base, d->irq);

		if (len + n < size)
			memcpy(buf + len, word, n);
		len += n;
	}
	return len;
}

/* Make room at the front of buf[size], which holds `len` bytes, and put the devices
 * there. Gives the new length, also if that does not fit. */
static size_t prepend_devices(char *buf, size_t size, size_t len, const struct cmdline_config *c)
{
	size_t more = format_devices(NULL, 0, c);

	if (len + more < size) {
		memmove(buf + more, buf, len + 1);
		format_devices(buf, more + 1, c);
	}
	return len + more;
}

int cmdline_build(char *buf, size_t size, const struct cmdline_config *c, size_t max, struct err *e)
{
	const char *append = c->append ? c->append : "";
	const char *option = c->cmdline_option ? c->cmdline_option : "--cmdline";
	char root[CMDLINE_ROOT_MAX + 16] = "", pci[CMDLINE_PCI_MAX] = "";
	bool grows = c->grows && !has_param(append, "memhp_default_state", NULL);
	bool gives_back = c->gives_back &&
			  !has_param(append, "sysctl.vm.percpu_pagelist_high_fraction", NULL);
	int ret, len;

	ret = cmdline_check(append, strlen(append), "--append", e);
	if (!ret && c->cmdline)
		ret = cmdline_check(c->cmdline, strlen(c->cmdline), option, e);
	if (ret)
		return ret;

	if (c->root && !has_param(append, "root", NULL))
		snprintf(root, sizeof(root), "%s%.*s %s", *c->root ? " root=" : "",
			 CMDLINE_ROOT_MAX, c->root, c->root_readonly ? "ro" : "rw");
	if (c->pci && !has_param(append, "pci", NULL))
		snprintf(pci, sizeof(pci), " pci=%s", c->pci);
	if (c->cmdline)
		len = snprintf(buf, size, "%s%s%s", c->cmdline, *append ? " " : "", append);
	else
		len = snprintf(buf, size, "%s%s%spanic=-1 reboot=a%s%s%s%s%s%s%s",
			       c->serial ? "console=ttyS0 " : "",
			       c->serial2 ? "console=ttyS1 " : "", c->hvc ? "console=hvc0 " : "",
			       pci, grows ? GROWS : "", gives_back ? GIVES_BACK : "",
			       c->quiet ? " quiet" : "", root, *append ? " " : "", append);
	if (len < 0)
		return err_host(e, -EINVAL, "cannot format the kernel's command line");
	if ((size_t)len < size && c->n_devices && wants_devices(buf))
		len = (int)prepend_devices(buf, size, (size_t)len, c);
	if (max > size - 1)
		max = size - 1;
	if ((size_t)len > max)
		return err_usage(e, -E2BIG,
				 "%s: the kernel's command line is %d bytes, and this kernel takes "
				 "%zu; make it shorter",
				 c->append ? "--append" : option, len, max);
	return len;
}
