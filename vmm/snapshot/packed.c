/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/snapshot/packed.h"

#include "vmm/base/fd.h"
#include "vmm/snapshot/checksum.h"
#include "vmm/snapshot/ram.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <zstd.h>

static_assert(PACKED_FRAME_MAX >= ZSTD_COMPRESSBOUND(RAM_CHUNK), "a frame's room");

/* The quickest: memory that is worth packing packs well with any, and somebody waits. */
enum { LEVEL = 1 };

/* A chunk and its frame. */
struct room {
	char *chunk, *frame;
};

static int room_make(struct room *r)
{
	r->chunk = malloc(RAM_CHUNK);
	r->frame = malloc(PACKED_FRAME_MAX);
	return r->chunk && r->frame ? 0 : -ENOMEM;
}

static void room_free(struct room *r)
{
	free(r->chunk);
	free(r->frame);
}

/* Of a chunk and its frame, whose bits do not all matter to who opens it. Never 0. */
static uint64_t sum_of(const struct room *r, size_t packed, uint64_t of_chunk)
{
	uint64_t sum = checksum_of(r->frame, packed, of_chunk);

	return sum ? sum : 1;
}

static size_t chunk_len(uint64_t len, size_t i)
{
	uint64_t left = len - (uint64_t)i * RAM_CHUNK;

	return left < RAM_CHUNK ? (size_t)left : RAM_CHUNK;
}

int packed_write(int from, uint64_t len, int to, struct ram_index *x)
{
	ZSTD_CCtx *zstd = ZSTD_createCCtx();
	struct room r;
	uint64_t end = 0;
	int ret = room_make(&r);

	if (!zstd)
		ret = -ENOMEM;
	for (size_t i = 0; i < x->n && !ret; i++) {
		size_t n = chunk_len(len, i), packed;

		ret = ram_sum_chunk(from, (uint64_t)i * RAM_CHUNK, n, r.chunk, &x->sums[i]);
		if (ret || !x->sums[i])
			continue;
		packed = ZSTD_compressCCtx(zstd, r.frame, PACKED_FRAME_MAX, r.chunk, n, LEVEL);
		if (ZSTD_isError(packed)) {
			ret = -ENOMEM; /* nothing else can be wrong with it */
			continue;
		}
		x->lengths[i] = (uint32_t)packed;
		x->sums[i] = sum_of(&r, packed, x->sums[i]);
		ret = fd_pwrite_full(to, r.frame, packed, end);
		end += packed;
	}
	ZSTD_freeCCtx(zstd);
	room_free(&r);
	return ret;
}

/* Of `packed` bytes in r->frame, which must be one frame and give exactly `n`. */
static int open_frame(ZSTD_DCtx *zstd, struct room *r, size_t packed, size_t n, uint64_t sum)
{
	/* What it says of itself, before anything of it is believed. */
	if (ZSTD_getFrameContentSize(r->frame, packed) != n ||
	    ZSTD_findFrameCompressedSize(r->frame, packed) != packed)
		return -EBADMSG;
	/* It stops at `n`, whatever comes out. */
	if (ZSTD_decompressDCtx(zstd, r->chunk, n, r->frame, packed) != n ||
	    sum_of(r, packed, checksum_of(r->chunk, n, 0)) != sum)
		return -EBADMSG;
	return 0;
}

int packed_read(struct guest_mem *gm, int fd, uint64_t len, const struct ram_index *x, uint64_t *at)
{
	ZSTD_DCtx *zstd = ZSTD_createDCtx();
	struct room r;
	uint64_t off = 0;
	int ret = room_make(&r);

	if (!zstd)
		ret = -ENOMEM;
	for (size_t i = 0; i < x->n && !ret; i++) {
		size_t n = chunk_len(len, i), packed = x->lengths[i];

		*at = (uint64_t)i * RAM_CHUNK;
		if (!packed)
			continue;
		ret = fd_pread_full(fd, r.frame, packed, off);
		if (!ret)
			ret = open_frame(zstd, &r, packed, n, x->sums[i]);
		if (!ret && gm)
			ret = ram_store(gm, *at, r.chunk, n);
		off += packed;
	}
	ZSTD_freeDCtx(zstd);
	room_free(&r);
	return ret == -ENODATA ? -EBADMSG : ret;
}
