/* SPDX-License-Identifier: Apache-2.0 */
/*
 * truncations KERNEL STEP: a kernel file, cut at every length below its own: each is
 * refused as a user's mistake that names the file, and the whole is not. Status 0 if so. For files
 * that end where their headers say. Between the first and the last 64 KiB only every STEPth length
 * is tried.
 *
 * A memfd is cut from its end, so a length costs a few system calls and no copy.
 */
#include "firmware/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EDGE = 65536 };

static int copy_of(const char *path, off_t *size)
{
	int from = open(path, O_RDONLY | O_CLOEXEC), to = memfd_create("kernel", MFD_CLOEXEC);
	struct stat st;

	if (from < 0 || to < 0 || fstat(from, &st))
		return -1;
	for (off_t done = 0; done < st.st_size;) {
		ssize_t n = sendfile(to, from, NULL, (size_t)(st.st_size - done));

		if (n <= 0)
			return -1;
		done += n;
	}
	close(from);
	*size = st.st_size;
	return to;
}

int main(int argc, char **argv)
{
	off_t size, step = argc == 3 ? atoi(argv[2]) : 0, tried = 0;
	int fd = step > 0 ? copy_of(argv[1], &size) : -1;
	char path[64], said[96];

	if (fd < 0) {
		fprintf(stderr, "truncations KERNEL STEP: %s\n",
			step > 0 ? strerror(errno) : "usage");
		return 2;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	snprintf(said, sizeof(said), "--kernel %s: ", path);
	for (off_t length = size; length >= 0; tried++) {
		struct err e = {0};
		struct kernel k;
		int r;

		if (ftruncate(fd, length))
			return 2;
		r = kernel_open(&k, path, &e);
		if (length == size ? r != 0
				   : r == 0 || e.kind != ERR_USAGE ||
					     strncmp(e.text, said, strlen(said))) {
			printf("%lld bytes: %s\n", (long long)length, r ? e.text : "accepted");
			return 1;
		}
		if (r == 0)
			kernel_close(&k);
		length -= length > EDGE + step && length < size - EDGE ? step : 1;
	}
	printf("%lld lengths refused\n", (long long)tried - 1);
	return 0;
}
