/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pseudo-terminal: its slave is what programs for serial lines open.
 *
 * We keep the slave open, too. The kernel resets a terminal's settings when the last
 * one closes it, and then the next reader would find one that echoes: the guest's
 * output would come back as its input. And a master without a slave is ready all the
 * time, with nothing but EIO. This way the terminal stays raw, who opens it later
 * finds what the guest has said meanwhile (a few KiB in the kernel, the rest in the
 * ring), and who leaves leaves no trace.
 */
#include "devices/backend/char_backend.h"
#include "devices/backend/char_stream.h"
#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { DRAIN_MS = 2000, LOOK_MS = 5 };

struct char_pty {
	struct char_backend b;
	int master, slave;
	struct char_stream stream;
};

static struct char_pty *pty_of(struct char_backend *b)
{
	return container_of(b, struct char_pty, b);
}

static struct char_out pty_out(struct char_backend *b)
{
	return char_stream_out(&pty_of(b)->stream);
}

static struct char_room pty_room(struct char_backend *b)
{
	return char_stream_room(&pty_of(b)->stream);
}

static int pty_start(struct char_backend *b, const struct char_in *in, struct err *e)
{
	struct char_pty *p = pty_of(b);

	char_stream_start(&p->stream, in);
	if (char_stream_attach(&p->stream, p->master))
		return err_host(e, -ENOMEM, "%s: out of memory", b->name);
	return 0;
}

/* Only somebody with root's rights can do that to us: hang our terminal up. */
static void on_gone(void *ctx)
{
	struct char_pty *p = ctx;

	log_warn("%s: the pseudo-terminal was hung up", p->b.name);
}

/* Is it open somewhere else? Without our own slave, the master tells. */
static bool has_reader(struct char_pty *p)
{
	struct pollfd look = {.fd = p->master};

	fd_close(&p->slave);
	if (poll(&look, 1, 0) != 0)
		return false;
	p->slave = ioctl(p->master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	return p->slave >= 0;
}

/* What the reader has not fetched when the master closes is lost. */
static size_t drain(struct char_pty *p)
{
	size_t left = char_stream_drain(&p->stream, DRAIN_MS);
	int unread = 0, before = -1;

	for (unsigned waited = 0; !left && waited < DRAIN_MS; waited += LOOK_MS) {
		/* To look for input has the kernel hand over what is still on its way. */
		struct pollfd look = {.fd = p->slave, .events = POLLIN};

		poll(&look, 1, 0);
		if (ioctl(p->slave, FIONREAD, &unread) || !unread)
			break;
		if (unread != before)
			waited = 0;
		before = unread;
		nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000l}, NULL);
	}
	return left + (size_t)unread;
}

static void pty_close(struct char_backend *b)
{
	struct char_pty *p = pty_of(b);

	if (p->stream.fd >= 0 && has_reader(p)) {
		size_t left = drain(p);

		if (left)
			log_warn("%s: its reader took no more; %zu bytes of output are lost",
				 b->name, left + p->stream.ring.lost);
	}
	char_stream_fini(&p->stream);
	fd_close(&p->slave);
	fd_close(&p->master);
	free(p);
}

static const struct char_backend_ops ops = {pty_out, pty_room, pty_start, pty_close};

static int open_pty(struct char_pty *p, char *path, size_t size)
{
	struct termios raw;

	p->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (p->master < 0 || grantpt(p->master) || unlockpt(p->master))
		return -errno;
	int ret = ptsname_r(p->master, path, size);

	if (ret)
		return -ret;
	p->slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (p->slave < 0 || tcgetattr(p->slave, &raw))
		return -errno;
	cfmakeraw(&raw);
	return tcsetattr(p->slave, TCSANOW, &raw) ? -errno : 0;
}

struct char_backend *char_pty_create(const char *name, struct loop *loop, struct err *e)
{
	struct char_pty *p = calloc(1, sizeof(*p));
	char path[64];
	int ret;

	if (!p) {
		err_host(e, -ENOMEM, "%s: out of memory", name);
		return NULL;
	}
	p->b = (struct char_backend){&ops, name};
	p->master = p->slave = -1;
	ret = open_pty(p, path, sizeof(path));
	if (!ret)
		ret = char_stream_init(&p->stream, loop, on_gone, p);
	if (ret) {
		err_host(e, ret, "%s pty: cannot make a pseudo-terminal: %s", name, strerror(-ret));
		p->stream.fd = -1;
		pty_close(&p->b);
		return NULL;
	}
	log_warn("%s pty: %s", name, path);
	return &p->b;
}
