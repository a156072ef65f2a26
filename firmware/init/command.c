/* SPDX-License-Identifier: Apache-2.0 */
#include "firmware/init/command.h"

#include "firmware/init/report.h"
#include "vmm/core/command_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* All of /m/command, with a NUL behind it; NULL: there is none. */
static char *read_file(size_t *len)
{
	int fd = open("/m/command", O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *text;
	size_t got = 0;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) || !(text = malloc((size_t)st.st_size + 1)))
		give_up("/m/command: out of memory");
	while (got < (size_t)st.st_size) {
		ssize_t n = read(fd, text + got, (size_t)st.st_size - got);

		if (n <= 0)
			give_up("/m/command: cannot be read");
		got += (size_t)n;
	}
	close(fd);
	text[got] = '\0';
	*len = got;
	return text;
}

bool command_read(struct command *c)
{
	size_t len = 0, n_words = 0, n_env = 0, n_nets = 0, strings = 2;
	char *text = read_file(&len), *end;

	if (!text)
		return false;
	for (size_t i = 0; i < len; i++)
		strings += !text[i];
	*c = (struct command){.dir = "/"};
	c->words = calloc(strings, sizeof(*c->words));
	c->env = calloc(strings, sizeof(*c->env));
	c->nets = calloc(strings, sizeof(*c->nets));
	if (!c->words || !c->env || !c->nets)
		give_up("/m/command: out of memory");
	for (char *s = text; s < text + len; s += strlen(s) + 1) {
		switch (*s) {
		case COMMAND_WORD:
			c->words[n_words++] = s + 1;
			break;
		case COMMAND_ENV:
			c->env[n_env++] = s + 1;
			break;
		case COMMAND_NET:
			c->nets[n_nets++] = s + 1;
			break;
		case COMMAND_DIR:
			c->dir = s + 1;
			break;
		case COMMAND_USER:
			c->user = s + 1;
			break;
		case COMMAND_IDS:
			c->ids = s + 1;
			break;
		case COMMAND_OVERLAY:
			c->overlay = true;
			break;
		case COMMAND_INIT:
			c->init = true;
			break;
		case COMMAND_TTY:
			c->tty = true;
			c->rows = (unsigned)strtoul(s + 1, &end, 10);
			c->columns = (unsigned)strtoul(end, NULL, 10);
			break;
		case COMMAND_TTY_ERR:
			c->tty_err = true;
			break;
		default:
			complain("/m/command: '%c' is not understood", *s);
		}
	}
	return true;
}
