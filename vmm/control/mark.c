/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/control/mark.h"

#include "vmm/base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define NAME "minivmm-control"

static const char link_of_mark[] = "/memfd:" NAME " (deleted)";
static const char link_of_vm[] = "anon_inode:kvm-vm";

/* --- leaving one -------------------------------------------------------------------------- */

/* Gives false where it does not fit. */
static bool make_absolute(char out[MARK_PATH_MAX], const char *path)
{
	char here[PATH_MAX];
	int n;

	if (!path || *path == '/')
		n = snprintf(out, MARK_PATH_MAX, "%s", path ? path : "");
	else if (getcwd(here, sizeof(here)))
		n = snprintf(out, MARK_PATH_MAX, "%s/%s", here, path);
	else
		n = -1;
	return n >= 0 && n < MARK_PATH_MAX;
}

static int leave_file(const char *path)
{
	_cleanup_fd_ int fd = memfd_create(NAME, MFD_CLOEXEC);
	int ret = fd < 0 ? -errno : fd_write_full(fd, path, strlen(path));

	return ret ? ret : fd_take(&fd);
}

/* [unix(7)]: an abstract address is as long as it is said to be. */
static int leave_name(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char *name = addr.sun_path + 1;
	size_t room = sizeof(addr.sun_path) - 1, len;
	_cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	len = (size_t)snprintf(name, room, NAME ":%d:", (int)getpid());
	if (strlen(path) <= room - len) {
		memcpy(name + len, path, strlen(path));
		len += strlen(path);
	}
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr,
			   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len)))
		return -errno;
	return fd_take(&fd);
}

int mark_leave(struct mark_left *out, const char *path)
{
	char whole[MARK_PATH_MAX];

	*out = (struct mark_left){-1, -1};
	if (!make_absolute(whole, path))
		return -ENAMETOOLONG;
	out->file = leave_file(whole);
	if (out->file < 0)
		return out->file;
	out->name = leave_name(whole);
	if (out->name >= 0)
		return 0;
	int ret = out->name;

	mark_remove(out);
	return ret;
}

void mark_remove(struct mark_left *m)
{
	fd_close(&m->file);
	fd_close(&m->name);
}

/* --- finding them ------------------------------------------------------------------------- */

/* Up to `room` bytes of a small file, of whatever kind it turns out to be; -1: it cannot be read.
 */
static ssize_t read_at(int dir, const char *name, char *buf, size_t room)
{
	_cleanup_fd_ int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	size_t len = 0;
	ssize_t n = fd < 0 ? -1 : 1;

	while (n > 0 && len < room) {
		n = pread(fd, buf + len, room - len, (off_t)len);
		len += n > 0 ? (size_t)n : 0;
	}
	return n < 0 ? -1 : (ssize_t)len;
}

/* What the mark says: an absolute path, or nothing that is of use. */
static char *read_path(int fds, const char *name)
{
	char path[MARK_PATH_MAX];
	ssize_t n = read_at(fds, name, path, sizeof(path) - 1);

	if (n <= 0 || *path != '/' || memchr(path, '\0', (size_t)n))
		return NULL;
	return strndup(path, (size_t)n);
}

/* Gives whether it is a machine. */
static bool look_at_files(int process, struct mark *m)
{
	int fd = openat(process, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	char link[64];
	bool vm = false;

	if (!d) {
		fd_close(&fd);
		return false;
	}
	for (struct dirent *e; (!vm || !m->has_control) && (e = readdir(d));) {
		ssize_t n = readlinkat(fd, e->d_name, link, sizeof(link) - 1);

		link[n > 0 ? n : 0] = '\0';
		vm = vm || !strcmp(link, link_of_vm);
		if (!strcmp(link, link_of_mark) && !m->has_control) {
			m->has_control = true;
			m->path = read_path(fd, e->d_name);
		}
	}
	closedir(d);
	return vm || m->has_control;
}

/* Of our program, by whatever path: others have KVM machines, too. */
static bool is_ours(int process)
{
	static const char name[] = "minivmm";
	char link[PATH_MAX];
	ssize_t n = readlinkat(process, "exe", link, sizeof(link) - 1);
	const char *slash;

	link[n > 0 ? n : 0] = '\0';
	slash = strrchr(link, '/');
	return slash && !strncmp(slash + 1, name, strlen(name));
}

/* Field 22, behind a name that may have anything in it [proc(5)]. */
static uint64_t uptime(int process)
{
	char text[1024], *at;
	ssize_t n = read_at(process, "stat", text, sizeof(text) - 1);
	struct timespec now;
	uint64_t now_ms, began_ms;

	text[n > 0 ? n : 0] = '\0';
	at = strrchr(text, ')');
	for (unsigned field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (!at || clock_gettime(CLOCK_BOOTTIME, &now))
		return 0;
	began_ms = strtoull(at, NULL, 10) * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
	now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	return now_ms > began_ms ? now_ms - began_ms : 0;
}

static bool read_args(int process, struct mark *m)
{
	char args[MARK_ARGS_MAX];
	ssize_t n = read_at(process, "cmdline", args, sizeof(args) - 1);

	if (n <= 0)
		return false;
	args[n] = '\0';
	m->args_len = args[n - 1] ? (size_t)n + 1 : (size_t)n;
	m->args = malloc(m->args_len);
	if (m->args)
		memcpy(m->args, args, m->args_len);
	return m->args;
}

/* Our user's, who may not look into it; and it calls itself what we are called. */
static bool is_closed_one(int process)
{
	static const char name[] = "Name:\tminivmm\n";
	char text[64];

	return read_at(process, "status", text, sizeof(text)) > (ssize_t)strlen(name) &&
	       !memcmp(text, name, strlen(name)) && faccessat(process, "fd", R_OK, 0) &&
	       errno == EACCES;
}

/* Its socket's path, by the name that it has left. Anybody may have left that: but a file of our
 * user's is only ours. */
static void look_for_name(struct mark *m)
{
	char line[MARK_PATH_MAX], name[64], *at;
	FILE *f = fopen("/proc/net/unix", "re");
	struct stat st;

	snprintf(name, sizeof(name), " @" NAME ":%d:", (int)m->pid);
	while (f && !m->path && fgets(line, sizeof(line), f)) {
		at = strstr(line, name);
		if (!at)
			continue;
		m->has_control = true;
		at += strlen(name);
		at[strcspn(at, "\n")] = '\0';
		if (*at == '/' && !lstat(at, &st) && st.st_uid == geteuid())
			m->path = strdup(at);
	}
	if (f)
		fclose(f);
}

/* Gives whether it is one, and what can be seen of it. */
static bool look_at(int process, struct mark *m)
{
	uid_t we = geteuid();
	struct stat st;

	if (fstat(process, &st) || (we && st.st_uid != we))
		return false;
	if (is_ours(process))
		return look_at_files(process, m);
	if (!is_closed_one(process))
		return false;
	look_for_name(m);
	return true;
}

/* Gives whether *m is a machine; if not, it owns nothing. */
static bool examine(int proc, const char *pid, struct mark *m)
{
	_cleanup_fd_ int process = openat(proc, pid, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	*m = (struct mark){.pid = (pid_t)strtol(pid, NULL, 10)};
	if (process < 0)
		return false;
	if (look_at(process, m) && read_args(process, m)) {
		m->uptime_ms = uptime(process);
		return true;
	}
	free(m->path);
	return false;
}

static int by_pid(const void *a, const void *b)
{
	const struct mark *x = a, *y = b;

	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

int mark_find(struct mark **out)
{
	DIR *d = opendir("/proc");
	struct mark *all = NULL, *more;
	int n = 0;

	*out = NULL;
	if (!d)
		return -errno;
	for (struct dirent *e; (e = readdir(d));) {
		if (*e->d_name < '1' || *e->d_name > '9')
			continue;
		more = realloc(all, (size_t)(n + 1) * sizeof(*all));
		if (!more) {
			mark_free(all, n);
			closedir(d);
			return -ENOMEM;
		}
		all = more;
		n += examine(dirfd(d), e->d_name, &all[n]);
	}
	closedir(d);
	if (n)
		qsort(all, (size_t)n, sizeof(*all), by_pid);
	*out = all;
	return n;
}

void mark_free(struct mark *marks, int n)
{
	for (int i = 0; i < n; i++) {
		free(marks[i].path);
		free(marks[i].args);
	}
	free(marks);
}

void mark_name(const struct mark *m, char name[64])
{
	const char *path = m->path ? m->path : "", *end = path + strlen(path);
	const char *slash = strrchr(path, '/');
	const char *from = slash ? slash + 1 : path;

	if (slash && !strcmp(from, "control")) {
		end = slash;
		for (from = end; from > path && from[-1] != '/'; from--)
			;
	} else if (end - from > 5 && !strcmp(end - 5, ".sock")) {
		end -= 5;
	}
	snprintf(name, 64, "%.*s", (int)(end - from), from);
}
