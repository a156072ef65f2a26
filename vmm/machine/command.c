/* SPDX-License-Identifier: Apache-2.0 */
/* command: what the guest's init is told of the command that it is to run. */
#include "vmm/core/command_wire.h"
#include "vmm/machine/parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void put(FILE *f, char kind, const char *text)
{
	putc(kind, f);
	fputs(text, f);
	putc('\0', f);
}

bool machine_command_has_terminal(void)
{
	return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

static void put_terminal(FILE *f)
{
	struct winsize size = {0};
	char text[32];

	if (!machine_command_has_terminal())
		return;
	ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	snprintf(text, sizeof(text), "%u %u", size.ws_row, size.ws_col);
	put(f, COMMAND_TTY, text);
	if (isatty(STDERR_FILENO))
		put(f, COMMAND_TTY_ERR, "");
}

/* Whoever runs minivmm. Gives 0 or a negative errno. */
static int put_self(FILE *f)
{
	int n = getgroups(0, NULL);
	gid_t *groups = n < 0 ? NULL : calloc((size_t)n + 1, sizeof(*groups));

	if (!groups)
		return -ENOMEM;
	n = getgroups(n, groups);
	fprintf(f, "%c%u %u", COMMAND_IDS, geteuid(), getegid());
	for (int i = 0; i < n; i++)
		fprintf(f, " %u", groups[i]);
	putc('\0', f);
	free(groups);
	return n < 0 ? -ENOMEM : 0;
}

/* passt answers as soon as it is asked. On a tap there may be nobody who does; but dnsmasq
 * tries for three seconds whether an address is free before it offers it. */
static void put_net(FILE *f, const struct net_config *c, const uint8_t mac[6])
{
	enum { PASST_S = 10, TAP_S = 5 };

	fprintf(f, "%c%d %02x:%02x:%02x:%02x:%02x:%02x %s", COMMAND_NET,
		c->kind == NET_USER ? PASST_S : TAP_S, mac[0], mac[1], mac[2], mac[3], mac[4],
		mac[5], c->id);
	putc('\0', f);
}

char *machine_pack_command(const struct machine *m, size_t *len)
{
	const struct command_config *c = &m->config->command;
	char *text = NULL;
	int ret = 0;
	FILE *f = open_memstream(&text, len);

	if (!f)
		return NULL;
	put(f, COMMAND_DIR, c->dir);
	if (c->user_self)
		ret = put_self(f);
	else if (c->user)
		put(f, COMMAND_USER, c->user);
	if (c->root && !c->root_rw)
		put(f, COMMAND_OVERLAY, "");
	put_terminal(f);
	if (c->init)
		put(f, COMMAND_INIT, "");
	/* A system of its own has its own way with networks. */
	for (unsigned i = 0; i < m->config->n_nets && !c->init; i++)
		put_net(f, &m->config->nets[i], m->nics[i].mac);
	for (unsigned i = 0; i < c->env.n; i++)
		put(f, COMMAND_ENV, c->env.strings[i]);
	for (unsigned i = 0; i < c->words.n; i++)
		put(f, COMMAND_WORD, c->words.strings[i]);
	if (ferror(f) | fclose(f) || ret) {
		free(text);
		return NULL;
	}
	return text;
}
