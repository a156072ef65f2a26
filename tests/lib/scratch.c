/* SPDX-License-Identifier: Apache-2.0 */
/* scratch: mkdtemp at the start, nftw with FTW_DEPTH at the end. */
#include "tests/lib/scratch.h"

#include "vmm/base/fd.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

void scratch_init(struct scratch *s)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(s->path, sizeof(s->path), "%s/minivmm-test.XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(s->path));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void scratch_fini(struct scratch *s)
{
	assert_int_equal(nftw(s->path, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

const char *scratch_path(const struct scratch *s, const char *name)
{
	static char ring[4][PATH_MAX];
	static unsigned next;
	char *path = ring[next++ % 4];

	snprintf(path, PATH_MAX, "%s/%s", s->path, name);
	return path;
}

void scratch_write(const struct scratch *s, const char *name, const void *bytes, size_t len)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", s->path, name);
	for (char *p = path + strlen(s->path) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		mkdir(path, 0755);
		*p = '/';
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(fd_write_full(fd, bytes, len), 0);
	close(fd);
}

void scratch_text(const struct scratch *s, const char *name, const char *text)
{
	scratch_write(s, name, text, strlen(text));
}

bool scratch_is_direct(const char *path)
{
	int fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);

	if (fd < 0) {
		print_message("SKIP: no direct I/O where this test runs\n");
		return false;
	}
	close(fd);
	return true;
}
