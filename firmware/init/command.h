/* SPDX-License-Identifier: Apache-2.0 */
/* command: instead of handing over to an init, be one, and run the host's command. */
#ifndef FIRMWARE_INIT_COMMAND_H
#define FIRMWARE_INIT_COMMAND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct command {
	char **words; /* ends in NULL; empty: a shell */
	char **env;   /* likewise */
	char **nets;  /* likewise: networks, as the host tells of them */
	const char *dir;
	const char *user; /* USER[:GROUP], whose it is; NULL: ours, */
	const char *ids;  /* or "UID GID GROUP..." */
	bool overlay;
	bool init; /* it is to run in the system that the root's own init brings up */
	bool tty, tty_err;
	unsigned rows, columns;
};

/* Is there one for us (/m/command)? Then *c is what it says. */
bool command_read(struct command *c);

/* home.c: put a layer that goes with the guest over NEW_ROOT, which is mounted. */
void cover_root(void);
/* Move into NEW_ROOT, with everything mounted that programs expect. */
void make_home(void);

/* run.c: run it to its end, tell the host, power off. */
_Noreturn void run_command(const struct command *c);

/* network.c: make the networks work, as far as they do: what does not is told on `stderr_fd`, and
 * the command goes without. Takes as long as their servers take. */
void raise_networks(char *const *nets, int stderr_fd);

/* cpus.c: to Linux a processor that comes is off line until somebody asks for it, which is udev's
 * affair where there is one. Bring those on line that have come so far; gives a descriptor that is
 * readable when more may have, for cpus_bring_up(), or -1 where none can come. */
int cpus_watch(void);
void cpus_bring_up(int fd);

/* identity.c: in the command's process, with its streams and environment in place: become the
 * user that it is for, and set what of the environment goes with that. What is wrong is said on
 * stderr; then the result is not 0. */
int take_identity(const struct command *c);

/* system.c: leave a process behind that runs the command once the root's init, which we are
 * about to become, has brought its system up. */
void leave_command(const struct command *c);
/* Have that system power off. Gives false if it cannot be asked. */
bool system_power_off(void);

/* streams.c: the host's end of the command's streams, and pipes for the command. */
struct pump {
	int from, to;
	uint8_t bytes[64 * 1024];
	size_t at, len;
	int late_ms; /* how long after its writer's end `from` may still give something */
	bool ended;  /* nothing more comes from `from` */
	bool done;   /* and nothing more goes to `to` */
};

struct streams {
	int control;
	int tty; /* the terminal's end that is ours; -1: none */
	struct pump in, out, err;
};

/* Connect them all. The command's ends of the pipes, or its terminal, are in child[]: its
 * 0, 1 and 2. */
void streams_open(struct streams *s, const struct command *c, int child[3]);
/* The terminal has another size. */
void streams_resize(struct streams *s, unsigned rows, unsigned columns);
/* Move bytes until nothing moves any more, or `wake` or the control stream is readable.
 * `draining`: the command is gone, what its pipes hold now is all. Gives false when
 * its output is out to the last byte. */
bool streams_run(struct streams *s, int wake, bool draining);
/* Wait until the host has taken everything. */
void streams_close(struct streams *s);

#endif
