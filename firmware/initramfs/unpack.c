/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unpack: one loop over a growing buffer for three decompressors. Each is given
 * input and room, and answers "go on", "done" or "damaged". The buffer grows up
 * to a bound, so that a few bytes cannot become all of the host's memory.
 */
#include "firmware/initramfs/unpack.h"

#include "vmm/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <lzma.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

enum { MORE = 1, DONE = 0 };

struct stream {
	const uint8_t *in;
	size_t in_len; /* what is left of it */
	uint8_t *out;
	size_t len, room;
};

/* Each step uses some input, fills some room, and gives MORE, DONE or an errno.
 * zlib counts in 32 bits; an input is never longer (unpack_bytes). */
static int gzip_step(void *state, struct stream *s)
{
	z_stream *z = state;
	size_t room = s->room - s->len > UINT_MAX ? UINT_MAX : s->room - s->len;
	int r;

	z->next_in = (Bytef *)s->in;
	z->avail_in = (uInt)s->in_len;
	z->next_out = s->out + s->len;
	z->avail_out = (uInt)room;
	r = inflate(z, Z_NO_FLUSH);
	s->in += s->in_len - z->avail_in;
	s->in_len = z->avail_in;
	s->len += room - z->avail_out;
	if (r == Z_MEM_ERROR)
		return -ENOMEM;
	/* Z_BUF_ERROR: neither input nor room was of use, so the input is cut short. */
	return r == Z_STREAM_END ? DONE : r == Z_OK ? MORE : -EBADMSG;
}

static int xz_step(void *state, struct stream *s)
{
	lzma_stream *x = state;
	lzma_ret r;

	x->next_in = s->in;
	x->avail_in = s->in_len;
	x->next_out = s->out + s->len;
	x->avail_out = s->room - s->len;
	r = lzma_code(x, LZMA_FINISH);
	s->in = x->next_in;
	s->in_len = x->avail_in;
	s->len = s->room - x->avail_out;
	if (r == LZMA_MEM_ERROR || r == LZMA_MEMLIMIT_ERROR)
		return -ENOMEM;
	return r == LZMA_STREAM_END ? DONE : r == LZMA_OK ? MORE : -EBADMSG;
}

static int zstd_step(void *state, struct stream *s)
{
	ZSTD_inBuffer in = {.src = s->in, .size = s->in_len};
	ZSTD_outBuffer out = {.dst = s->out, .size = s->room, .pos = s->len};
	size_t before = s->len, r = ZSTD_decompressStream(state, &out, &in);

	s->len = out.pos;
	s->in += in.pos;
	s->in_len -= in.pos;
	if (ZSTD_isError(r))
		return -EBADMSG;
	if (r == 0)
		return DONE;
	/* It wants more, has room, and there is nothing: cut short. */
	return !s->in_len && s->len == before && s->len < s->room ? -EBADMSG : MORE;
}

/* One byte of room beyond the bound tells "just fits" from "goes on". */
static int grow(struct stream *s, size_t max)
{
	size_t room = s->room ? s->room * 2 : s->in_len * 4 + 4096;
	uint8_t *out;

	if (s->room > max)
		return -EFBIG;
	if (room > max + 1)
		room = max + 1;
	out = realloc(s->out, room + 1);
	if (!out)
		return -ENOMEM;
	s->out = out;
	s->room = room;
	return 0;
}

static int run(struct stream *s, int (*step)(void *state, struct stream *s), void *state,
	       size_t max)
{
	int rc = MORE;

	while (rc == MORE) {
		if (s->len == s->room) {
			rc = grow(s, max);
			if (rc)
				return rc;
		}
		rc = step(state, s);
	}
	return rc == DONE && s->len > max ? -EFBIG : rc;
}

static int run_gzip(struct stream *s, size_t max)
{
	z_stream z = {0};
	int rc;

	if (inflateInit2(&z, 15 + 16) != Z_OK) /* + 16: with gzip's header */
		return -ENOMEM;
	rc = run(s, gzip_step, &z, max);
	inflateEnd(&z);
	return rc;
}

static int run_xz(struct stream *s, size_t max)
{
	lzma_stream x = LZMA_STREAM_INIT;
	int rc;

	if (lzma_stream_decoder(&x, 128ull << 20, 0) != LZMA_OK)
		return -ENOMEM;
	rc = run(s, xz_step, &x, max);
	lzma_end(&x);
	return rc;
}

static int run_zstd(struct stream *s, size_t max)
{
	ZSTD_DCtx *z = ZSTD_createDCtx();
	int rc;

	if (!z)
		return -ENOMEM;
	rc = run(s, zstd_step, z, max);
	ZSTD_freeDCtx(z);
	return rc;
}

static int run_plain(struct stream *s, size_t max)
{
	if (s->in_len > max)
		return -EFBIG;
	s->out = malloc(s->in_len + 1);
	if (!s->out)
		return -ENOMEM;
	memcpy(s->out, s->in, s->in_len);
	s->len = s->in_len;
	return 0;
}

static bool begins(const uint8_t *in, size_t len, const char *magic, size_t n)
{
	return len >= n && !memcmp(in, magic, n);
}

static int (*decoder_of(const uint8_t *in, size_t len))(struct stream *, size_t)
{
	if (begins(in, len, "\x1f\x8b", 2))
		return run_gzip;
	if (begins(in, len,
		   "\xfd"
		   "7zXZ\0",
		   6))
		return run_xz;
	if (begins(in, len, "\x28\xb5\x2f\xfd", 4))
		return run_zstd;
	return run_plain;
}

int unpack_bytes(uint8_t **out, size_t *len, const uint8_t *in, size_t in_len, size_t max)
{
	struct stream s = {.in = in, .in_len = in_len};
	int rc;

	if (in_len > INT_MAX)
		return -EFBIG;
	rc = decoder_of(in, in_len)(&s, max);
	if (rc) {
		free(s.out);
		return rc;
	}
	s.out[s.len] = 0;
	*out = s.out;
	*len = s.len;
	return 0;
}

int unpack_file(uint8_t **out, size_t *len, int dirfd, const char *path, size_t max)
{
	/* O_NONBLOCK: a FIFO would keep us waiting. */
	_cleanup_fd_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	uint8_t *raw;
	int rc;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	if ((uint64_t)st.st_size > max)
		return -EFBIG;
	raw = malloc((size_t)st.st_size + 1);
	if (!raw)
		return -ENOMEM;
	rc = fd_pread_full(fd, raw, (size_t)st.st_size, 0);
	if (!rc && decoder_of(raw, (size_t)st.st_size) == run_plain) {
		raw[st.st_size] = 0;
		*out = raw;
		*len = (size_t)st.st_size;
		return 0;
	}
	if (!rc)
		rc = unpack_bytes(out, len, raw, (size_t)st.st_size, max);
	free(raw);
	return rc;
}
