/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request must look like [linux/fuse.h]: a header, arguments of a fixed length, then
 * names that end with a zero byte, or data. libfuse serves the kernel of its own host and takes
 * lengths and strings as they come, so each request is held against this table first,
 * and one that is not known here is never handed on.
 */
#include "devices/backend/share_priv.h"

#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <assert.h>
#include <errno.h>
#include <linux/fuse.h>
#include <string.h>

/* What follows the fixed arguments. */
enum tail {
	NOTHING,
	NAME, /* a name of a directory */
	TWO_NAMES,
	NAME_TARGET, /* a name, and where a symbolic link leads */
	ATTRIBUTE,   /* an extended attribute's name */
	VALUE,       /* that, and a value as long as the first argument says */
	WRITE_DATA,  /* as long as `size` says, and not copied */
	FORGETS,     /* as many as the first argument says */
	VERSION,     /* FUSE_INIT: newer drivers say more */
};

static const struct shape {
	uint16_t fixed;
	uint8_t tail, flags;
	bool known;
} shapes[] = {
#define SHAPE(op, arguments, tail, flags) [op] = {arguments, tail, flags, true}
	SHAPE(FUSE_LOOKUP, 0, NAME, 0),
	SHAPE(FUSE_FORGET, sizeof(struct fuse_forget_in), NOTHING, SHARE_NO_ANSWER),
	SHAPE(FUSE_GETATTR, sizeof(struct fuse_getattr_in), NOTHING, 0),
	SHAPE(FUSE_SETATTR, sizeof(struct fuse_setattr_in), NOTHING, SHARE_CHANGES),
	SHAPE(FUSE_READLINK, 0, NOTHING, 0),
	SHAPE(FUSE_SYMLINK, 0, NAME_TARGET, SHARE_CHANGES),
	SHAPE(FUSE_MKNOD, sizeof(struct fuse_mknod_in), NAME, SHARE_CHANGES),
	SHAPE(FUSE_MKDIR, sizeof(struct fuse_mkdir_in), NAME, SHARE_CHANGES),
	SHAPE(FUSE_UNLINK, 0, NAME, SHARE_CHANGES),
	SHAPE(FUSE_RMDIR, 0, NAME, SHARE_CHANGES),
	SHAPE(FUSE_RENAME, sizeof(struct fuse_rename_in), TWO_NAMES, SHARE_CHANGES),
	SHAPE(FUSE_LINK, sizeof(struct fuse_link_in), NAME, SHARE_CHANGES),
	SHAPE(FUSE_OPEN, sizeof(struct fuse_open_in), NOTHING, 0),
	SHAPE(FUSE_READ, sizeof(struct fuse_read_in), NOTHING, 0),
	SHAPE(FUSE_WRITE, sizeof(struct fuse_write_in), WRITE_DATA, SHARE_CHANGES | SHARE_DATA),
	SHAPE(FUSE_STATFS, 0, NOTHING, 0),
	SHAPE(FUSE_RELEASE, sizeof(struct fuse_release_in), NOTHING, 0),
	SHAPE(FUSE_FSYNC, sizeof(struct fuse_fsync_in), NOTHING, 0),
	SHAPE(FUSE_SETXATTR, FUSE_COMPAT_SETXATTR_IN_SIZE, VALUE, SHARE_CHANGES),
	SHAPE(FUSE_GETXATTR, sizeof(struct fuse_getxattr_in), ATTRIBUTE, 0),
	SHAPE(FUSE_LISTXATTR, sizeof(struct fuse_getxattr_in), NOTHING, 0),
	SHAPE(FUSE_REMOVEXATTR, 0, ATTRIBUTE, SHARE_CHANGES),
	SHAPE(FUSE_FLUSH, sizeof(struct fuse_flush_in), NOTHING, 0),
	SHAPE(FUSE_INIT, 16, VERSION, 0),
	SHAPE(FUSE_OPENDIR, sizeof(struct fuse_open_in), NOTHING, 0),
	SHAPE(FUSE_READDIR, sizeof(struct fuse_read_in), NOTHING, 0),
	SHAPE(FUSE_RELEASEDIR, sizeof(struct fuse_release_in), NOTHING, 0),
	SHAPE(FUSE_FSYNCDIR, sizeof(struct fuse_fsync_in), NOTHING, 0),
	SHAPE(FUSE_ACCESS, sizeof(struct fuse_access_in), NOTHING, 0),
	SHAPE(FUSE_CREATE, sizeof(struct fuse_create_in), NAME, SHARE_CHANGES),
	SHAPE(FUSE_INTERRUPT, sizeof(struct fuse_interrupt_in), NOTHING, SHARE_NO_ANSWER),
	SHAPE(FUSE_DESTROY, 0, NOTHING, 0),
	SHAPE(FUSE_BATCH_FORGET, sizeof(struct fuse_batch_forget_in), FORGETS, SHARE_NO_ANSWER),
	SHAPE(FUSE_FALLOCATE, sizeof(struct fuse_fallocate_in), NOTHING, SHARE_CHANGES),
	SHAPE(FUSE_READDIRPLUS, sizeof(struct fuse_read_in), NOTHING, 0),
	SHAPE(FUSE_RENAME2, sizeof(struct fuse_rename2_in), TWO_NAMES, SHARE_CHANGES),
	SHAPE(FUSE_LSEEK, sizeof(struct fuse_lseek_in), NOTHING, 0),
	SHAPE(FUSE_COPY_FILE_RANGE, sizeof(struct fuse_copy_file_range_in), NOTHING, SHARE_CHANGES),
	SHAPE(FUSE_SYNCFS, sizeof(struct fuse_syncfs_in), NOTHING, 0),
#undef SHAPE
};

static_assert(sizeof(struct fuse_in_header) == SHARE_HEADER_LEN, "as linux/fuse.h has it");
static_assert(sizeof(struct fuse_out_header) == SHARE_ANSWER_LEN, "as linux/fuse.h has it");
static_assert(SHARE_ANSWER_LEN + SHARE_DATA_MAX <= SHARE_ANSWER_MAX, "a read is the longest");
static_assert(sizeof(struct fuse_write_in) == SHARE_WRITE_LEN, "as linux/fuse.h has it");

static const struct shape *shape_of(uint32_t op)
{
	return op < ARRAY_LEN(shapes) && shapes[op].known ? &shapes[op] : NULL;
}

unsigned share_opcode(uint32_t op)
{
	const struct shape *shape = shape_of(op);

	return shape ? shape->flags : 0;
}

bool share_is_name(const char *name)
{
	return *name && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && !strchr(name, '/');
}

/* A string at the front of *at, which moves behind its end; NULL if it has none. */
static const char *take_string(const uint8_t **at, const uint8_t *end)
{
	const char *text = (const char *)*at;
	const uint8_t *zero = memchr(*at, 0, (size_t)(end - *at));

	if (!zero)
		return NULL;
	*at = zero + 1;
	return text;
}

static int check_name(const uint8_t **at, const uint8_t *end)
{
	const char *name = take_string(at, end);

	return name && share_is_name(name) ? 0 : EINVAL;
}

static int check_text(const uint8_t **at, const uint8_t *end)
{
	const char *text = take_string(at, end);

	return text && *text ? 0 : EINVAL;
}

/* For a guest of a version before 7.23 libfuse takes arguments to be shorter and names to begin
 * earlier than this table has them, and so would see others than were checked. virtio-fs came
 * with 7.31. A guest of 8 is told 7, and is to begin again. */
static int check_version(const uint8_t *init)
{
	uint32_t major = le32_get(init + offsetof(struct fuse_init_in, major));
	uint32_t minor = le32_get(init + offsetof(struct fuse_init_in, minor));

	return major > 7 || (major == 7 && minor >= 23) ? 0 : EPROTO;
}

/* The tail, all of it and no more. */
static int check_tail(const struct shape *shape, const uint8_t *fixed, const uint8_t *end,
		      uint64_t data)
{
	const uint8_t *at = fixed + shape->fixed;
	int ret = 0;

	switch ((enum tail)shape->tail) {
	case NOTHING:
		break;
	case NAME:
		ret = check_name(&at, end);
		break;
	case TWO_NAMES:
		ret = check_name(&at, end);
		if (!ret)
			ret = check_name(&at, end);
		break;
	case NAME_TARGET:
		ret = check_name(&at, end);
		if (!ret)
			ret = check_text(&at, end);
		break;
	case ATTRIBUTE:
		ret = check_text(&at, end);
		break;
	case VALUE:
		ret = check_text(&at, end);
		if (!ret && (uint64_t)(end - at) != le32_get(fixed))
			ret = EINVAL;
		at = end;
		break;
	case WRITE_DATA:
		if (le32_get(fixed + offsetof(struct fuse_write_in, size)) != data ||
		    data > SHARE_DATA_MAX)
			ret = EINVAL;
		break;
	case FORGETS:
		if ((uint64_t)(end - at) !=
		    (uint64_t)le32_get(fixed) * sizeof(struct fuse_forget_one))
			ret = EINVAL;
		at = end;
		break;
	case VERSION:
		ret = check_version(fixed);
		at = end;
		break;
	}
	return ret ? ret : at == end ? 0 : EINVAL;
}

int share_check(const uint8_t *copy, size_t len, uint64_t data)
{
	const struct shape *shape;

	assert(len >= SHARE_HEADER_LEN);
	shape = shape_of(le32_get(copy + offsetof(struct fuse_in_header, opcode)));
	if (!shape)
		return ENOSYS;
	if (le32_get(copy) != len + data || len - SHARE_HEADER_LEN < shape->fixed)
		return EINVAL;
	/* All but a write's data is in the copy, or it is too long to be anything. */
	if (data && shape->tail != WRITE_DATA)
		return EINVAL;
	return check_tail(shape, copy + SHARE_HEADER_LEN, copy + len, data);
}
