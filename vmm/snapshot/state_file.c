/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/snapshot/state_file.h"

#include "vmm/base/fd.h"
#include "vmm/base/le.h"
#include "vmm/snapshot/checksum.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FORMAT_AT = 8, LENGTH_AT = 16, SUM_AT = 24, HEADER_LEN = 32 };

static const char magic[] = {'M', 'I', 'N', 'I', 'V', 'M', 'M', '\n'};

/* Of all but the magic, which is compared, and the checksum itself. */
static uint64_t sum_of(const uint8_t header[HEADER_LEN], const void *data, size_t len)
{
	return checksum_of(data, len, checksum_of(header + FORMAT_AT, SUM_AT - FORMAT_AT, 0));
}

int state_file_write(int fd, const struct state_writer *w, uint64_t *sum)
{
	uint8_t header[HEADER_LEN] = {0};

	if (w->error)
		return w->error;
	memcpy(header, magic, sizeof(magic));
	le32_put(header + FORMAT_AT, STATE_FORMAT);
	le64_put(header + LENGTH_AT, w->len);
	*sum = sum_of(header, w->data, w->len);
	le64_put(header + SUM_AT, *sum);
	int ret = fd_pwrite_full(fd, header, sizeof(header), 0);

	return ret ? ret : fd_pwrite_full(fd, w->data, w->len, sizeof(header));
}

int state_file_sum(int fd, uint64_t *sum)
{
	uint8_t header[HEADER_LEN];
	int ret = fd_pread_full(fd, header, sizeof(header), 0);

	if (ret == -ENODATA || (!ret && memcmp(header, magic, sizeof(magic)) != 0))
		return -EBADMSG;
	*sum = ret ? 0 : le64_get(header + SUM_AT);
	return ret;
}

static int damaged(const char *path, struct err *e)
{
	return err_host(e, -EBADMSG, "%.200s: is damaged, or not a snapshot of minivmm's", path);
}

int state_file_read(int fd, const char *path, uint8_t **data, size_t *len, struct err *e)
{
	uint8_t header[HEADER_LEN];
	struct stat st;
	int ret = fd_pread_full(fd, header, sizeof(header), 0);

	if (ret && ret != -ENODATA)
		return err_host(e, ret, "%.200s: %s", path, strerror(-ret));
	if (ret || memcmp(header, magic, sizeof(magic)) != 0 || fstat(fd, &st))
		return damaged(path, e);
	uint32_t format = le32_get(header + FORMAT_AT);
	uint64_t length = le64_get(header + LENGTH_AT);

	if (length > STATE_FILE_MAX || (uint64_t)st.st_size != HEADER_LEN + length)
		return damaged(path, e);
	uint8_t *bytes = malloc(length + 1);

	if (!bytes)
		return err_host(e, -ENOMEM, "%.200s: out of memory", path);
	ret = fd_pread_full(fd, bytes, length, HEADER_LEN);
	if (ret)
		err_host(e, ret, "%.200s: %s", path, strerror(-ret));
	else if (sum_of(header, bytes, length) != le64_get(header + SUM_AT))
		ret = damaged(path, e);
	else if (format < STATE_FORMAT_OLDEST || format > STATE_FORMAT)
		ret = err_host(e, -ENOTSUP,
			       "%.200s: was written by a newer minivmm, in format %u; this one "
			       "reads %u to %u",
			       path, format, STATE_FORMAT_OLDEST, STATE_FORMAT);
	if (ret) {
		free(bytes);
		return ret;
	}
	*data = bytes;
	*len = length;
	return 0;
}
