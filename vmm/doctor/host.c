/* SPDX-License-Identifier: Apache-2.0 */
/* What the host has besides KVM. Each question is asked the way in which the answer will
 * be used: a device is opened, a system call is made. */
#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/doctor/report.h"
#include "vmm/sandbox/sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

static struct helper *add(struct report *r, const char *name, const char *use, const char *remedy,
			  bool matters)
{
	struct helper *h = &r->helpers[r->n_helpers++];

	*h = (struct helper){.name = name, .use = use, .remedy = remedy, .matters = matters};
	return h;
}

/* errno as the reason, or `found` where there is none. */
static void settle(struct helper *h, int error, const char *found)
{
	h->there = !error;
	snprintf(h->found, sizeof(h->found), "%s", error ? strerror(error) : found);
}

static void look_for_program(struct report *r, const char *name, const char *use,
			     const char *remedy)
{
	struct helper *h = add(r, name, use, remedy, true);
	const char *dirs = getenv("PATH");
	char path[PATH_MAX];

	for (size_t len; dirs && *dirs; dirs += len + (dirs[len] == ':')) {
		len = strcspn(dirs, ":");
		if (snprintf(path, sizeof(path), "%.*s/%s", (int)len, dirs, name) <
			    (int)sizeof(path) &&
		    access(path, X_OK) == 0) {
			settle(h, 0, path);
			return;
		}
	}
	settle(h, ENOENT, "");
}

static void look_for_device(struct report *r, const char *root, const char *name, const char *use,
			    const char *remedy)
{
	struct helper *h = add(r, name, use, remedy, false);
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s%s", root, name);
	_cleanup_fd_ int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);

	settle(h, fd < 0 ? errno : 0, "may be opened");
}

/* Trees of modules: a distribution's kernel needs its own to find its disks. */
static void look_for_modules(struct report *r, const char *root)
{
	struct helper *h = add(r, "/lib/modules", "stock kernels, whose disk drivers are modules",
			       "install the kernel's package, or give --modules DIR", false);
	char path[PATH_MAX];
	size_t used = 0;

	snprintf(path, sizeof(path), "%s/lib/modules", root);
	DIR *dir = opendir(path);

	settle(h, ENOENT, "");
	for (struct dirent *d; dir && (d = readdir(dir));) {
		if (d->d_name[0] == '.' || used >= sizeof(h->found))
			continue;
		h->there = true;
		used += (size_t)snprintf(h->found + used, sizeof(h->found) - used, "%s%s",
					 used ? " " : "", d->d_name);
	}
	if (dir)
		closedir(dir);
}

static void try_userfaultfd(struct report *r)
{
	struct helper *h = add(r, "userfaultfd", "clones that share a saved machine's memory",
			       "sysctl vm.unprivileged_userfaultfd=1", false);
	_cleanup_fd_ int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	settle(h, fd < 0 ? errno : 0, "allowed");
}

static void try_io_uring(struct report *r)
{
	struct helper *h = add(r, "io_uring", "disks with many requests in flight",
			       "sysctl kernel.io_uring_disabled=0 (Linux 5.1 has it)", false);
	struct io_uring_params params = {0};
	_cleanup_fd_ int fd = (int)syscall(SYS_io_uring_setup, 1, &params);

	settle(h, fd < 0 ? errno : 0, "allowed");
}

static void try_sandbox(struct report *r)
{
	struct helper *h = add(r, "the sandbox", "confining minivmm, as it is by default",
			       "run a newer kernel, or minivmm with --sandbox=off", true);
	const char *lacks = sandbox_lacks();

	h->there = !lacks;
	if (lacks)
		snprintf(h->found, sizeof(h->found), "the kernel lacks %s", lacks);
	else
		snprintf(h->found, sizeof(h->found), "Landlock with ABI %d",
			 sandbox_landlock_abi());
}

/* In a child: a namespace is entered for good. */
static void try_user_namespaces(struct report *r)
{
	struct helper *h =
		add(r, "user namespaces", "confining minivmm and passt without root",
		    "sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone", false);
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(unshare(CLONE_NEWUSER) ? errno : 0);
	if (pid < 0)
		settle(h, errno, "");
	else if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		settle(h, ECHILD, "");
	else
		settle(h, WEXITSTATUS(status), "allowed");
}

static void cpu_name(char *buf, size_t size, const char *root)
{
	static const char key[] = "model name";
	char path[PATH_MAX], line[256];

	snprintf(path, sizeof(path), "%s/proc/cpuinfo", root);
	FILE *f = fopen(path, "re");

	while (f && fgets(line, sizeof(line), f)) {
		char *colon = strchr(line, ':');

		if (strncmp(line, key, sizeof(key) - 1) || !colon)
			continue;
		colon += strspn(colon, ": ");
		snprintf(buf, size, "%.*s", (int)strcspn(colon, "\n"), colon);
		break;
	}
	if (f)
		fclose(f);
}

static uint64_t limit(int resource)
{
	struct rlimit l;

	return getrlimit(resource, &l) ? 0 : l.rlim_cur;
}

/* Names come from outside, and go to terminals and into JSON. */
static void cleanse(char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}

void report_host(struct report *r, const char *root)
{
	struct utsname u;

	if (!uname(&u))
		snprintf(r->kernel, sizeof(r->kernel), "%.20s %.64s", u.sysname, u.release);
	cpu_name(r->cpu, sizeof(r->cpu), root);
	r->cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	r->nofile = limit(RLIMIT_NOFILE);
	r->memlock = limit(RLIMIT_MEMLOCK);
	host_memory_read(&r->memory, root);
	host_huge_pages_read(&r->pages_2m, 2 * MiB, root);
	host_huge_pages_read(&r->pages_1g, GiB, root);
	r->thp = host_gives_thp(root);

	r->n_helpers = 0;
	look_for_program(r, "passt", "--net user", "install the package passt");
	look_for_modules(r, root);
	look_for_device(r, root, "/dev/net/tun", "--net tap",
			"modprobe tun; root, or a tap that was made for the user");
	look_for_device(r, root, "/dev/vhost-net", "quicker --net tap", "modprobe vhost_net");
	look_for_device(r, root, "/dev/vhost-vsock", "--vsock vhost", "modprobe vhost_vsock");
	try_io_uring(r);
	try_userfaultfd(r);
	try_sandbox(r);
	try_user_namespaces(r);
	cleanse(r->kernel);
	cleanse(r->cpu);
	for (unsigned i = 0; i < r->n_helpers; i++)
		cleanse(r->helpers[i].found);
}
