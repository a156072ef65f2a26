/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/control/ctl.h"

#include "devices/backend/unix_path.h"
#include "vmm/base/fd.h"
#include "vmm/base/log.h"
#include "vmm/config/size.h"
#include "vmm/config/suggest.h"
#include "vmm/control/mark.h"
#include "vmm/control/methods.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STATUS_REFUSED = 1, STATUS_USAGE = 2, ANSWER_MAX = 16 << 20 };
enum { PATIENCE_MS = 10000, AGAIN_MS = 50 };

static const char help[] =
	"usage: minivmm ctl PATH METHOD [KEY=VALUE]... [--json]\n"
	"\n"
	"Asks a running machine something: PATH is what it was given as --control, or its\n"
	"name or process id, as minivmm list has them.\n"
	"\n"
	"  status                     is it running, what is it, which devices has it\n"
	"  stats                      what its queues carried and its processors did\n"
	"  screenshot                 the console's last lines\n"
	"  pause, resume              stand still; go on\n"
	"  shutdown [timeout=SECONDS] press the power button, and stop it after that time\n"
	"                             (default 10; 0: never)\n"
	"  reset                      press the reset button: the guest starts anew\n"
	"  stop                       end it at once\n"
	"  nmi                        a non-maskable interrupt for its first processor\n"
	"  snapshot dir=DIR [stop=on] [track=on] [base=DIR] [compress=zstd]\n"
	"                             write all of it there, for minivmm --restore DIR, and\n"
	"                             end it if stop is on; it stands meanwhile. With track\n"
	"                             it notes what changes, and one that has this as its\n"
	"                             base stands only for that. Compressed (its memory,\n"
	"                             when it goes on) it is no base\n"
	"  net.link net=ID up=on|off   plug a network's cable in, or pull it\n"
	"  net.limit net=ID [bps=SIZE] [burst=SIZE] [pps=N] [pps-burst=N]\n"
	"  disk.limit disk=ID [bps=SIZE] [burst=SIZE] [iops=N] [iops-burst=N]\n"
	"                             change a limit, as --net and --disk have them; 0: none\n"
	"  disk.resize disk=ID [size=SIZE]\n"
	"                             tell the guest that a disk has grown; or let it grow\n"
	"  disk.add file=FILE [id=ID] [serial=TEXT] [readonly=on]\n"
	"  disk.remove disk=ID        another disk while it runs, and gone again when the guest\n"
	"                             has given it up (--hotplug)\n"
	"  net.add tap=NAME [id=ID]\n"
	"  net.remove net=ID          likewise a tap of this host\n"
	"  memory.balloon target=SIZE how much of its RAM the guest is to keep; it gives what\n"
	"                             it can (--balloon)\n"
	"  memory.set size=SIZE       how much RAM it is to have in all (--memory SIZE,max=SIZE)\n"
	"  cpus.set count=N           how many CPUs it is to have (--cpus N,max=M)\n"
	"  events                     what happens from here on, until it ends: a JSON object\n"
	"                             a line (vmm/machine/EVENTS.md)\n"
	"  log.file file=FILE         messages go into FILE from here on; it has to be there\n"
	"  clone [number=N] [options=WORD]... [stdout=FILE]\n"
	"                             of a template alone (minivmm clone --template): another\n"
	"                             machine, with these options beside the template's\n"
	"  rpc.discover               all of this as an OpenRPC document\n"
	"\n"
	"      --json                 what was answered, as JSON\n"
	"  -h, --help                 show this\n"
	"\n"
	"Exit status: 0 done, 1 it could not be done, 2 usage.\n";

struct words {
	const char *path, *name;
	const struct rpc_method *method;
	json_t *params;       /* owned */
	struct rpc_fds files; /* owned: they go along */
	bool json, help;
};

/* --- what is asked ---------------------------------------------------------------------- */

static int find_method(struct words *w, const char *name, struct err *e)
{
	struct suggestion near = {0};

	w->name = name;
	w->method = rpc_method(&control_methods, name);
	if (w->method)
		return 0;
	for (unsigned i = 0; i < control_methods.n; i++)
		suggest_offer(&near, name, control_methods.methods[i].name);
	if (near.name)
		return err_usage(e, -EINVAL, "ctl %.80s: unknown method; did you mean %s?", name,
				 near.name);
	return err_usage(e, -EINVAL, "ctl %.80s: unknown method; see minivmm ctl --help", name);
}

enum { OPEN_FLAGS = O_CLOEXEC | O_NOCTTY | O_NONBLOCK };

/* For writing as well, if it can be. */
static int open_path(const char *path)
{
	int fd = open(path, O_RDWR | OPEN_FLAGS);

	return fd < 0 && errno != ENOENT ? open(path, O_RDONLY | OPEN_FLAGS) : fd;
}

/* Attached to an interface that is there: a typing error makes no new one. -1 and errno. */
static int open_tap(const char *name)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int fd = if_nametoindex(name) ? open("/dev/net/tun", O_RDWR | OPEN_FLAGS) : -1, ret;

	if (fd < 0)
		return -1;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%.15s", name);
	ret = ioctl(fd, TUNSETIFF, &ifr);
	if (ret && errno == EINVAL) {
		/* One that was made for several queues takes one who says so. */
		ifr.ifr_flags |= IFF_MULTI_QUEUE;
		ret = ioctl(fd, TUNSETIFF, &ifr);
	}
	if (ret)
		fd_close(&fd);
	return fd;
}

/* It is opened here, by us, as who we are: the machine may be unable to. */
static json_t *open_file(struct words *w, const struct rpc_param *p, const char *path,
			 struct err *e)
{
	int fd = strcmp(p->name, "tap") != 0 ? open_path(path) : open_tap(path);

	if (fd < 0) {
		err_host(e, -errno, "ctl %s=%s: %s", p->name, path, strerror(errno));
		return NULL;
	}
	w->files.fd[w->files.n] = fd;
	return json_integer(w->files.n++);
}

static int open_above(const char *path, size_t len)
{
	char *above = len ? strndup(path, len) : strdup(".");
	int fd = above ? open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	free(above);
	return fd;
}

/* Where a directory is or is to be: the one above it, and its name there. The machine follows no
 * link; the way to one that is there, we do. */
static json_t *open_place(struct words *w, const struct rpc_param *p, const char *text,
			  struct err *e)
{
	char *path = strcmp(p->name, "base") != 0 ? strdup(text) : realpath(text, NULL);
	size_t len = path ? strlen(path) : 0;

	while (len > 1 && path[len - 1] == '/')
		path[--len] = '\0';
	const char *slash = path ? strrchr(path, '/') : NULL, *name = slash ? slash + 1 : path;
	json_t *place = NULL;

	if (path && (!*name || !strcmp(name, ".") || !strcmp(name, ".."))) {
		err_usage(e, -EINVAL, "ctl %s=%.200s: not a name for a directory", p->name, text);
		free(path);
		return NULL;
	}
	int fd = path ? open_above(path, (size_t)(name - path)) : -1;

	if (fd < 0) {
		err_host(e, -errno, "ctl %s=%.200s: %s", p->name, text, strerror(errno));
	} else {
		w->files.fd[w->files.n] = fd;
		place = json_pack("{s:i, s:s}", "at", (int)w->files.n++, "name", name);
		if (!place)
			err_usage(e, -EILSEQ, "ctl %s: is not UTF-8", p->name);
	}
	free(path);
	return place;
}

/* A word as the method's table wants it; NULL with *e filled. */
static json_t *value_of(struct words *w, const struct rpc_param *p, const char *text, struct err *e)
{
	uint64_t bytes = 0;
	char *end;
	long long n;

	switch (p->kind) {
	case RPC_PLACE:
		return open_place(w, p, text, e);
	case RPC_STRING: {
		json_t *s = json_string(text);

		if (!s)
			err_usage(e, -EILSEQ, "ctl %s: is not UTF-8", p->name);
		return s;
	}
	case RPC_INTEGER:
		errno = 0;
		n = strtoll(text, &end, 10);
		if (*text && !*end && !errno)
			return json_integer(n);
		err_usage(e, -EINVAL, "ctl %s=%.80s: not a number", p->name, text);
		return NULL;
	case RPC_SIZE:
		if (!bytes_parse(text, &bytes) && bytes <= INT64_MAX)
			return json_integer((json_int_t)bytes);
		err_usage(e, -EINVAL, "ctl %s=%.80s: not a number of bytes, such as 10M", p->name,
			  text);
		return NULL;
	case RPC_BOOLEAN:
		if (!strcmp(text, "on") || !strcmp(text, "true"))
			return json_true();
		if (!strcmp(text, "off") || !strcmp(text, "false"))
			return json_false();
		err_usage(e, -EINVAL, "ctl %s=%.80s: neither on nor off", p->name, text);
		return NULL;
	case RPC_FD:
		return open_file(w, p, text, e);
	case RPC_LIST:
		return json_pack("[s]", text);
	}
	return NULL;
}

static int take_param(struct words *w, const char *word, struct err *e)
{
	const char *equals = strchr(word, '=');
	char name[64];

	snprintf(name, sizeof(name), "%.*s", (int)(equals ? equals - word : 0), word);
	/* As in options, so here. */
	for (char *p = name; *p; p++)
		if (*p == '-')
			*p = '_';
	const struct rpc_param *p = rpc_param(w->method, name);

	if (!equals)
		return err_usage(e, -EINVAL, "ctl %.80s: not KEY=VALUE", word);
	if (!p)
		return err_usage(e, -EINVAL,
				 "ctl %.80s: %s has no such key; see minivmm ctl --help", word,
				 w->name);
	json_t *list = json_object_get(w->params, name);

	if (list && p->kind == RPC_LIST)
		return json_array_append_new(list, json_string(equals + 1)) ? -ENOMEM : 0;
	if (list)
		return err_usage(e, -EINVAL, "ctl %.80s: %s is given twice", word, name);
	json_t *value = value_of(w, p, equals + 1, e);

	if (!value)
		return e->code;
	return json_object_set_new(w->params, name, value) ? -ENOMEM : 0;
}

static int take_word(struct words *w, const char *word, struct err *e)
{
	if (!strcmp(word, "--json"))
		w->json = true;
	else if (!strcmp(word, "--help") || !strcmp(word, "-h"))
		w->help = true;
	else if (word[0] == '-' && word[1])
		return err_usage(e, -EINVAL, "ctl %.80s: unknown option; see minivmm ctl --help",
				 word);
	else if (!w->path)
		w->path = word;
	else if (!w->name)
		return find_method(w, word, e);
	else
		return take_param(w, word, e);
	return 0;
}

static int take_words(struct words *w, int argc, char **argv, struct err *e)
{
	int ret = 0;

	for (int i = 1; i < argc && !ret && !w->help; i++)
		ret = take_word(w, argv[i], e);
	if (ret || w->help)
		return ret;
	if (!w->path)
		return err_usage(e, -EINVAL, "ctl: no PATH given; see minivmm ctl --help");
	if (!w->name)
		return err_usage(e, -EINVAL, "ctl: no METHOD given; see minivmm ctl --help");
	return 0;
}

/* --- there and back ----------------------------------------------------------------------- */

/* The files go with the line's first bytes. */
static int send_line(int fd, char *line, const struct rpc_fds *files)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(files->fd))];
	} beside = {.header = {.cmsg_len = CMSG_LEN(sizeof(int) * files->n),
			       .cmsg_level = SOL_SOCKET,
			       .cmsg_type = SCM_RIGHTS}};
	struct iovec iov = {line, strlen(line)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (files->n) {
		m.msg_control = &beside;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * files->n);
		memcpy(CMSG_DATA(&beside.header), files->fd, sizeof(int) * files->n);
	}
	do
		n = sendmsg(fd, &m, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : fd_write_full(fd, line + n, strlen(line) - (size_t)n);
}

static int ask(int fd, const struct words *w, struct err *e)
{
	json_t *o = json_pack("{s:s, s:i, s:s, s:O}", "jsonrpc", "2.0", "id", 1, "method", w->name,
			      "params", w->params);
	char *flat = o ? json_dumps(o, JSON_COMPACT) : NULL, *line = NULL;
	int ret = -ENOMEM;

	if (flat && asprintf(&line, "%s\n", flat) >= 0)
		ret = send_line(fd, line, &w->files);
	json_decref(o);
	free(flat);
	free(line);
	return ret ? err_host(e, ret, "ctl %s: %s", w->path, strerror(-ret)) : 0;
}

/* What comes, line by line. */
struct reader {
	int fd;
	char *bytes; /* owned */
	size_t len, room, taken;
};

/* The next line, as long as the one after it is not asked for, and its length; NULL at the end. */
static const char *next_line(struct reader *r, size_t *len)
{
	char *end;
	ssize_t n = 1;

	r->len -= r->taken;
	memmove(r->bytes, r->bytes + r->taken, r->len);
	r->taken = 0;
	while (!(end = memchr(r->bytes, '\n', r->len)) && n > 0) {
		if (r->len == r->room && (r->room *= 2) <= ANSWER_MAX)
			r->bytes = realloc(r->bytes, r->room);
		if (!r->bytes || r->room > ANSWER_MAX)
			return NULL;
		do
			n = read(r->fd, r->bytes + r->len, r->room - r->len);
		while (n < 0 && errno == EINTR);
		r->len += n > 0 ? (size_t)n : 0;
	}
	*len = end ? (size_t)(end - r->bytes) : 0;
	r->taken = end ? *len + 1 : 0;
	return end ? r->bytes : NULL;
}

/* An object of the other side's; NULL with *e filled. */
static json_t *hear(struct reader *r, const struct words *w, struct err *e)
{
	size_t len;
	const char *line = next_line(r, &len);
	json_t *o = line ? json_loadb(line, len, 0, NULL) : NULL;

	if (json_is_object(o))
		return o;
	json_decref(o);
	err_host(e, -EPROTO, "ctl %s: %s", w->path,
		 line ? "what answered is no minivmm" : "the machine has ended");
	return NULL;
}

/* --- what was answered --------------------------------------------------------------------- */

/* "NAME.KEY  VALUE" for all that a value has within. */
static void tell(const json_t *value, const char *name)
{
	char inner[256];
	const char *key;
	json_t *v;
	size_t i;

	if (json_is_object(value)) {
		json_object_foreach((json_t *)value, key, v)
		{
			snprintf(inner, sizeof(inner), "%s%s%s", name, *name ? "." : "", key);
			tell(v, inner);
		}
	} else if (json_is_array(value)) {
		json_array_foreach(value, i, v) tell(v, name);
	} else if (json_is_string(value)) {
		printf("%-24s %s\n", name, json_string_value(value));
	} else {
		char *text = json_dumps(value, JSON_ENCODE_ANY);

		printf("%-24s %s\n", name, text ? text : "");
		free(text);
	}
}

static int report(const struct words *w, const json_t *answer, struct err *e)
{
	const json_t *result = json_object_get(answer, "result");
	const json_t *error = json_object_get(answer, "error");
	const char *why = json_string_value(json_object_get(error, "message"));

	if (!result)
		return err_host(e, -EPROTO, "ctl %s: %s", w->name, why ? why : "no answer");
	if (w->json)
		json_dumpf(result, stdout, JSON_ENCODE_ANY | JSON_INDENT(2));
	if (w->json)
		putchar('\n');
	else if (json_is_string(result))
		fputs(json_string_value(result), stdout);
	else if (json_is_object(result))
		tell(result, "");
	if (fflush(stdout) || ferror(stdout))
		return err_host(e, -EIO, "ctl: stdout: %s", strerror(errno));
	return 0;
}

/* Is that machine meant? A word that is the last part of its path as well is not its name: what was
 * meant is a socket here, which is gone, and not one elsewhere. */
static bool is_called(const struct mark *m, const char *word)
{
	const char *slash = m->path ? strrchr(m->path, '/') : NULL;
	char name[64], pid[16];

	if (!slash || !strcmp(word, slash + 1))
		return false;
	mark_name(m, name);
	snprintf(pid, sizeof(pid), "%d", (int)m->pid);
	return !strcmp(word, name) || !strcmp(word, pid);
}

/* What is no path may be a machine's process id or name: its socket's path, the caller's, or NULL
 * with *e filled if there are several. */
static char *find_machine(const char *word, struct err *e)
{
	struct mark *marks;
	int n = mark_find(&marks), matches = 0;
	char *path = NULL;

	for (int i = 0; i < n; i++) {
		if (!is_called(&marks[i], word))
			continue;
		free(path);
		path = strdup(marks[i].path);
		matches++;
	}
	mark_free(marks, n);
	if (matches < 2)
		return path;
	free(path);
	err_usage(e, -ENOTUNIQ, "ctl %.80s: %d machines are called that; give a process id", word,
		  matches);
	return NULL;
}

/* `code` is what the word came to as a path; a directory refuses as well. */
static int connect_by_name(const char *word, int code, struct err *e)
{
	char *path = find_machine(word, e);
	int fd = path ? unix_path_connect(path) : e->code ? e->code : code;

	free(path);
	return fd;
}

static int connect_to(const struct words *w, struct err *e)
{
	int fd = unix_path_connect(w->path);

	if ((fd == -ENOENT || fd == -ECONNREFUSED) && !strchr(w->path, '/'))
		fd = connect_by_name(w->path, fd, e);

	/* Many others are waiting to be let in. */
	for (unsigned i = 0; fd == -EAGAIN && i < PATIENCE_MS / AGAIN_MS; i++) {
		poll(NULL, 0, AGAIN_MS);
		fd = unix_path_connect(w->path);
	}
	if (fd == -ECONNREFUSED)
		return err_host(e, fd, "ctl %s: nobody listens there any more", w->path);
	if (fd < 0)
		return err_host(e, fd, "ctl %s: %s", w->path, strerror(-fd));
	fcntl(fd, F_SETFL, 0);
	return fd;
}

/* What is told without being asked again, to the end of it. */
static int follow(struct reader *r, struct err *e)
{
	const char *line;
	size_t len;

	while ((line = next_line(r, &len))) {
		json_t *o = json_loadb(line, len, 0, NULL);

		json_dumpf(json_object_get(o, "params"), stdout, JSON_COMPACT);
		json_decref(o);
		putchar('\n');
		if (fflush(stdout) || ferror(stdout))
			return err_host(e, -EIO, "ctl: stdout: %s", strerror(errno));
	}
	return 0;
}

static int converse(struct reader *r, const struct words *w, struct err *e)
{
	json_t *answer;
	int ret = ask(r->fd, w, e);

	if (ret)
		return ret;
	answer = hear(r, w, e);
	if (!answer)
		return e->code;
	ret = report(w, answer, e);
	json_decref(answer);
	return ret || strcmp(w->name, "events") != 0 ? ret : follow(r, e);
}

static int run(const struct words *w, struct err *e)
{
	_cleanup_fd_ int fd = connect_to(w, e);
	struct reader r = {.fd = fd, .room = 4096};
	int ret = fd < 0 ? fd : -ENOMEM;

	if (fd >= 0)
		r.bytes = malloc(r.room);
	if (r.bytes)
		ret = converse(&r, w, e);
	free(r.bytes);
	return ret;
}

int ctl_main(int argc, char **argv)
{
	struct err e = {0};
	struct words w = {.params = json_object()};
	int ret = take_words(&w, argc, argv, &e);

	if (!ret && w.help)
		fputs(help, stdout);
	else if (!ret)
		ret = run(&w, &e);
	rpc_close_fds(&w.files);
	json_decref(w.params);
	if (!ret)
		return 0;
	log_error("%s", *e.text ? e.text : "out of memory");
	return e.kind == ERR_USAGE ? STATUS_USAGE : STATUS_REFUSED;
}
