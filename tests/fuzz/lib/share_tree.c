/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/lib/share_tree.h"

#include "vmm/base/bytes.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_LEN = 200 };

static const char secret[] = "a secret that nobody tells";
static char top[64];
static struct stat secrets[2];

/* In the share, and by the last step outside of it. */
static const char *const names[] = {"f",   "d",     "d/g", "l",     "p",
				    "new", "other", "g",   "d/new", "new/d"};

static const char *path_of(const char *under, const char *name)
{
	static char ring[4][PATH_LEN];
	static unsigned next;
	char *path = ring[next++ % 4];

	snprintf(path, PATH_LEN, "%s/%s%s", top, under, name);
	return path;
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
		      0644);

	if (fd < 0)
		return;
	fuzz_check(write(fd, text, strlen(text)) >= 0);
	close(fd);
}

/* --- making and removing it ----------------------------------------------------------------- */

/* No guest makes a device; 0:0 is none. */
static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	fuzz_check(!S_ISBLK(st->st_mode) && (!S_ISCHR(st->st_mode) || !st->st_rdev));
	return remove(path);
}

static void remove_all(const char *path)
{
	/* Not FTW_MOUNT: on an overlay, files and directories are of different devices. */
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void end(void)
{
	remove_all(top);
}

static void begin(void)
{
	snprintf(top, sizeof(top), "/tmp/minivmm-fuzz.XXXXXX");
	fuzz_check(mkdtemp(top));
	atexit(end);
	write_file(path_of("", "secret"), secret);
	fuzz_check(!lstat(path_of("", "secret"), &secrets[0]));
}

const char *share_tree_fill(void)
{
	static const char *const dirs[] = {"o", "s", "s/d"};

	if (!*top)
		begin();
	remove_all(path_of("", "s"));
	remove_all(path_of("", "o"));
	for (unsigned i = 0; i < ARRAY_LEN(dirs); i++)
		fuzz_check(!mkdir(path_of("", dirs[i]), 0755));
	write_file(path_of("", "o/secret"), secret);
	fuzz_check(!lstat(path_of("", "o/secret"), &secrets[1]));
	write_file(path_of("s/", "f"), "some text");
	write_file(path_of("s/", "d/g"), "more text");
	fuzz_check(!symlink("../secret", path_of("s/", "l")));
	fuzz_check(!mkfifo(path_of("s/", "p"), 0600));
	return path_of("", "s");
}

/* --- what the host does --------------------------------------------------------------------- */

static const char *any_name(struct fuzz_in *in)
{
	return path_of("s/", names[fuzz_u8(in) % ARRAY_LEN(names)]);
}

/* Out of the share, or back. */
static void move_over(struct fuzz_in *in)
{
	uint8_t how = fuzz_u8(in);
	const char *name = names[how % ARRAY_LEN(names)], *slash = strrchr(name, '/');
	const char *in_it = path_of("s/", name), *out = path_of("o/", slash ? slash + 1 : name);

	if (how & 0x80)
		rename(out, in_it);
	else
		rename(in_it, out);
}

static void link_somewhere(struct fuzz_in *in)
{
	static const char *const targets[] = {"../secret", "../o", "..",         "d",
					      "/",         "f",    "../o/secret"};
	const char *target = targets[fuzz_u8(in) % ARRAY_LEN(targets)], *name = any_name(in);

	unlink(name);
	fuzz_check(symlink(target, name) <= 0);
}

void share_tree_event(struct fuzz_in *in)
{
	uint8_t what = fuzz_u8(in) % 10;
	const char *a;
	int ret = 0; /* the guest may have been there first */

	if (what == 0) {
		move_over(in);
		return;
	}
	if (what == 1) {
		link_somewhere(in);
		return;
	}
	a = any_name(in);
	switch (what) {
	case 2:
		ret = remove(a);
		break;
	case 3:
		write_file(a, "text of the host");
		break;
	case 4:
		ret = mkdir(a, 0755);
		break;
	case 5:
		ret = rename(a, any_name(in));
		break;
	case 6:
		ret = renameat2(AT_FDCWD, a, AT_FDCWD, any_name(in), RENAME_EXCHANGE);
		break;
	case 7:
		ret = mkfifo(a, 0600);
		break;
	case 8:
		ret = fchmodat(AT_FDCWD, a, 0700, AT_SYMLINK_NOFOLLOW);
		break;
	default:
		ret = linkat(AT_FDCWD, a, AT_FDCWD, any_name(in), 0);
	}
	fuzz_check(ret <= 0);
}

/* --- what must hold ------------------------------------------------------------------------- */

bool share_tree_has_secret(const void *bytes, size_t len)
{
	return memmem(bytes, len, secret, sizeof(secret) - 1);
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static void holds(const char *path, const char *text)
{
	char buf[64];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOATIME);
	ssize_t n = read(fd, buf, sizeof(buf));

	fuzz_check(fd >= 0 && n == (ssize_t)strlen(text) && !memcmp(buf, text, (size_t)n));
	close(fd);
}

/* Not even read, where the file system keeps that (relatime does at the first time). */
static void check_secret(const char *name, const struct stat *before)
{
	const char *path = path_of("", name);
	struct stat now;

	holds(path, secret);
	fuzz_check(!lstat(path, &now) && now.st_ino == before->st_ino);
	fuzz_check(now.st_mode == before->st_mode && now.st_nlink == 1);
	fuzz_check(now.st_uid == before->st_uid && now.st_gid == before->st_gid);
	fuzz_check(same_time(&now.st_mtim, &before->st_mtim));
	fuzz_check(same_time(&now.st_ctim, &before->st_ctim));
	fuzz_check(same_time(&now.st_atim, &before->st_atim));
}

static bool is_one_of(const char *name, const char *const *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const char *slash = strrchr(list[i], '/');

		if (!strcmp(name, slash ? slash + 1 : list[i]))
			return true;
	}
	return false;
}

static void check_list(const char *path, const char *const *list, unsigned n)
{
	static const char *const always[] = {".", "..", "secret"};
	DIR *dir = opendir(path);
	const struct dirent *e;

	fuzz_check(dir);
	while ((e = readdir(dir)))
		fuzz_check(is_one_of(e->d_name, always, ARRAY_LEN(always)) ||
			   is_one_of(e->d_name, list, n));
	closedir(dir);
}

void share_tree_check(void)
{
	static const char *const beside[] = {"s", "o"};

	check_secret("secret", &secrets[0]);
	check_secret("o/secret", &secrets[1]);
	check_list(top, beside, ARRAY_LEN(beside));
	check_list(path_of("", "o"), names, ARRAY_LEN(names));
}

void share_tree_check_contents(void)
{
	holds(path_of("s/", "f"), "some text");
	holds(path_of("s/", "d/g"), "more text");
}
