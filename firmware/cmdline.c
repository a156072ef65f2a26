/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The default line has only what the guest cannot learn from ACPI or CPUID:
 *
 *	console=ttyS0      where a person reads; all messages stay (no `quiet`)
 *	panic=-1           restart at once on a panic: that ends the VM, where the
 *	                   kernel's own default is to hang for ever
 *	reboot=a           restart by FADT's RESET_REG: on a HW-reduced machine Linux
 *	                   prefers EFI, which is not there, and then a BIOS
 *	root=/dev/vda rw   the first disk, or its partition that looks like a root,
 *	                   unless the user says another
 *
 * Deliberately absent, because the tables say it: i8042.* (FADT: no 8042), no_timer_check (a
 * HW-reduced machine has no PIT to check), pci= (MCFG, PNP0C02), tsc= (CPUID and
 * kvm-clock), random.trust_* (the zero page carries a seed).
 */
#include "firmware/cmdline.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { CMDLINE_ROOT_MAX = 64 };

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

/* Is there a parameter `name=...` among the kernel's? Words end at blanks outside
 * of double quotes, and what follows "--" is init's, as Linux's parser has it. */
static bool has_param(const char *line, const char *name)
{
	size_t len = strlen(name);

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
		if (!strncmp(word, name, len) && word[len] == '=')
			return true;
	}
	return false;
}

int cmdline_build(char *buf, size_t size, const struct cmdline_config *c, size_t max, struct err *e)
{
	const char *append = c->append ? c->append : "";
	const char *console = c->serial ? "console=ttyS0 " : "";
	char root[CMDLINE_ROOT_MAX + 16] = "";
	int ret, len;

	ret = cmdline_check(append, strlen(append), "--append", e);
	if (!ret && c->cmdline)
		ret = cmdline_check(c->cmdline, strlen(c->cmdline), "--cmdline", e);
	if (ret)
		return ret;

	if (c->root && !has_param(append, "root"))
		snprintf(root, sizeof(root), "%s%.*s %s", *c->root ? " root=" : "",
			 CMDLINE_ROOT_MAX, c->root, c->root_readonly ? "ro" : "rw");
	if (c->cmdline)
		len = snprintf(buf, size, "%s%s%s", c->cmdline, *append ? " " : "", append);
	else
		len = snprintf(buf, size, "%spanic=-1 reboot=a%s%s%s", console, root,
			       *append ? " " : "", append);
	if (len < 0)
		return err_host(e, -EINVAL, "cannot format the kernel's command line");
	if (max > size - 1)
		max = size - 1;
	if ((size_t)len > max)
		return err_usage(
			e, -E2BIG,
			"--%s: the kernel's command line is %d bytes, and this kernel takes "
			"%zu; make it shorter",
			c->append ? "append" : "cmdline", len, max);
	return len;
}
