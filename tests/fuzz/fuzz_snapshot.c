/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot's directory in somebody else's hands: the state's header and its index of the RAM, the
 * frames behind it, and a working set. Sums are put right if the first byte says so, or nothing
 * but them would be looked at.
 *
 *	input := how u8, length of the state u16, that state's sections, frames or working set
 */
#include "tests/fuzz/lib/fuzz.h"
#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/base/le.h"
#include "vmm/snapshot/checksum.h"
#include "vmm/snapshot/packed.h"
#include "vmm/snapshot/state_file.h"
#include "vmm/snapshot/working_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { RAM = 3 << 20, MOST = 4096, SEALED = 1, WORKING_SET = 2, STATE_RAW = 4 };

static uint8_t bytes[MOST];

static size_t take(struct fuzz_in *in, size_t most)
{
	size_t len = 0;

	while (fuzz_more(in) && len < most && len < sizeof(bytes))
		bytes[len++] = fuzz_u8(in);
	return len;
}

static int file_of(size_t len)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	fuzz_check(fd >= 0 && !fd_pwrite_full(fd, bytes, len, 0));
	return fd;
}

/* The state as a file: as it is, or behind a header that is right. */
static int state_of(struct fuzz_in *in, uint8_t how)
{
	size_t len = take(in, fuzz_u16(in) % MOST);

	if (how & STATE_RAW)
		return file_of(len);
	struct state_writer w = {.data = bytes, .len = len, .section = SIZE_MAX};
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	uint64_t sum;

	fuzz_check(fd >= 0 && !state_file_write(fd, &w, &sum));
	return fd;
}

/* What it says of the first frame's sum is made to be so. */
static void seal(struct ram_index *x, size_t len)
{
	size_t at = 0;

	for (size_t i = 0; i < x->n; i++) {
		if (x->lengths[i] && at + x->lengths[i] <= len)
			x->sums[i] = checksum_of(bytes + at, x->lengths[i], x->sums[i]);
		at += x->lengths[i];
	}
}

static void frames(struct fuzz_in *in, struct ram_index *x, uint8_t how)
{
	size_t len = take(in, MOST);
	_cleanup_fd_ int fd = file_of(len);
	struct guest_mem gm;
	struct err e = {0};
	uint64_t at = 0;

	if (how & SEALED)
		seal(x, len);
	guest_mem_init(&gm, GUEST_MEM_ANON);
	fuzz_check(!guest_mem_add(&gm, 0, RAM, -1, 0, &e));
	int ret = packed_read(&gm, fd, RAM, x, &at);

	fuzz_check(!ret || (ret == -EBADMSG && at < RAM));
	guest_mem_fini(&gm);
}

static void working_set(struct fuzz_in *in, uint8_t how)
{
	size_t len = take(in, MOST);
	struct working_set w;

	fuzz_check(!working_set_init(&w, RAM));
	if ((how & SEALED) && len >= 32)
		le64_put(bytes + 24,
			 checksum_of(bytes + 32, len - 32, checksum_of(bytes + 8, 16, 0)));
	_cleanup_fd_ int fd = file_of(len);
	int ret = working_set_read(&w, fd, 0);

	fuzz_check(!ret || ret == -EBADMSG);
	fuzz_check(w.n <= w.most && (ret != 0 || w.n <= len / 4));
	for (uint32_t i = 0; i < w.n; i++)
		fuzz_check(w.blocks[i] < w.most);
	working_set_fini(&w);
}

void fuzz_one(struct fuzz_in *in)
{
	uint8_t how = fuzz_u8(in), *data = NULL;
	struct state_reader r;
	struct ram_index x;
	struct err e = {0};
	size_t len = 0;

	if (how & WORKING_SET) {
		working_set(in, how);
		return;
	}
	_cleanup_fd_ int fd = state_of(in, how);

	if (state_file_read(fd, "x", &data, &len, &e)) {
		fuzz_check(e.code);
		return;
	}
	state_reader_init(&r, data, len);
	if (!ram_index_load(&x, &r, RAM, &e)) {
		fuzz_check(x.n == 2);
		if (x.lengths)
			frames(in, &x, how);
		ram_index_fini(&x);
	}
	free(data);
}
