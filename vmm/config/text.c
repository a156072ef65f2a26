/* SPDX-License-Identifier: Apache-2.0 */
/* text: files that a person wrote for us are small, and not devices. See text.h. */
#include "vmm/config/text.h"

#include "vmm/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int text_read(const char *path, char **text, struct err *e)
{
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	char *buf;
	int err;

	if (fd < 0 || fstat(fd, &st) < 0) {
		err = -errno;
		return err_usage(e, err, "%s", strerror(-err));
	}
	if (S_ISDIR(st.st_mode))
		return err_usage(e, -EISDIR, "a directory; give a text file");
	if (!S_ISREG(st.st_mode))
		return err_usage(e, -EINVAL, "not a regular file; give a text file");
	if (st.st_size > TEXT_MAX)
		return err_usage(e, -EFBIG, "larger than %d KiB; is it the right file?",
				 TEXT_MAX >> 10);

	buf = malloc((size_t)st.st_size + 1);
	if (!buf)
		return err_host(e, -ENOMEM, "out of memory");
	err = fd_pread_full(fd, buf, (size_t)st.st_size, 0);
	if (err) {
		free(buf);
		return err_usage(e, err, "cannot be read: %s", strerror(-err));
	}
	buf[st.st_size] = '\0';
	if (strlen(buf) != (size_t)st.st_size) {
		free(buf);
		return err_usage(e, -EINVAL, "contains a NUL byte; give a text file");
	}
	*text = buf;
	return 0;
}
