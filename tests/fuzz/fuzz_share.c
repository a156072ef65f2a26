/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shared directory, and a guest that says anything: requests that are nearly right, with
 * node ids and handles that it was given or made up, cut and lengthened, into buffers of any
 * size. The directory is real and small. Whatever is asked:
 *
 * - each request has an answer whose header says its length and number, and nothing is
 *   written behind it;
 * - what lies beside the directory stays as it is, and so does a read-only share;
 * - once the session is over nothing is held.
 */
#include "devices/backend/share.h"
#include "tests/fuzz/lib/fuzz.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"
#include "vmm/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REQUEST_MAX = 4096, ROOM_MAX = 16384, KNOWN = 16, MARK = 0xee };

static char top[64]; /* holds the directory "s", and "secret" beside it */

struct rig {
	struct share *share;
	bool writable;
	uint64_t unique;
	uint64_t nodes[KNOWN], handles[KNOWN]; /* that it was given */
	unsigned n_nodes, n_handles;
	uint8_t request[REQUEST_MAX], answer[ROOM_MAX + 64];
};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	/* The top and what is beside the share stay. */
	return ftw->level ? remove(path) : 0;
}

static void write_file(const char *name, const char *text)
{
	char path[200];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", top, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	fuzz_check(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static void end(void)
{
	nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	rmdir(top);
}

/* The directory as each input finds it. */
static void fill(void)
{
	char path[200];

	if (!*top) {
		snprintf(top, sizeof(top), "/tmp/minivmm-fuzz.XXXXXX");
		fuzz_check(mkdtemp(top));
		atexit(end);
	}
	snprintf(path, sizeof(path), "%s/s", top);
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/s/d", top);
	mkdir(path, 0755);
	write_file("secret", "secret");
	write_file("s/f", "some text");
	write_file("s/d/g", "more text");
	snprintf(path, sizeof(path), "%s/s/l", top);
	fuzz_check(!symlink("../secret", path));
	snprintf(path, sizeof(path), "%s/s/p", top);
	fuzz_check(!mkfifo(path, 0600));
}

static void holds(const char *name, const char *text)
{
	char path[200], buf[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", top, name);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	n = read(fd, buf, sizeof(buf));
	fuzz_check(fd >= 0 && n == (ssize_t)strlen(text) && !memcmp(buf, text, (size_t)n));
	close(fd);
}

/* --- requests ---------------------------------------------------------------------------- */

static uint64_t pick_id(struct fuzz_in *in, const uint64_t *known, unsigned n)
{
	uint8_t how = fuzz_u8(in);

	if (how == 255)
		return fuzz_uint(in, 8);
	if (how >= 240)
		return n ? known[how % n] + (1ull << (how % 3 * 16)) : how;
	return n ? known[how % n] : how;
}

static size_t put_name(struct fuzz_in *in, uint8_t *to)
{
	static const char *const names[] = {"f", "d", "g", "l",   "p",         "new",    "..",
					    ".", "",  "/", "a/b", "../secret", "user.a", "other"};
	uint8_t how = fuzz_u8(in);
	const char *name = names[how % ARRAY_LEN(names)];
	size_t len = strlen(name) + (how < 250);

	memcpy(to, name, len);
	return len;
}

/* Where arguments hold ids and sizes, so that they are lawful more often than by chance. */
static size_t put_arguments(struct fuzz_in *in, struct rig *r, uint32_t op, uint8_t *to)
{
	static const uint16_t lens[] = {
		[FUSE_FORGET] = 8,       [FUSE_GETATTR] = 16,    [FUSE_SETATTR] = 88,
		[FUSE_MKNOD] = 16,       [FUSE_MKDIR] = 8,       [FUSE_RENAME] = 8,
		[FUSE_LINK] = 8,         [FUSE_OPEN] = 8,        [FUSE_READ] = 40,
		[FUSE_WRITE] = 40,       [FUSE_RELEASE] = 24,    [FUSE_FSYNC] = 16,
		[FUSE_SETXATTR] = 8,     [FUSE_GETXATTR] = 8,    [FUSE_LISTXATTR] = 8,
		[FUSE_FLUSH] = 24,       [FUSE_INIT] = 64,       [FUSE_OPENDIR] = 8,
		[FUSE_READDIR] = 40,     [FUSE_RELEASEDIR] = 24, [FUSE_FSYNCDIR] = 16,
		[FUSE_ACCESS] = 8,       [FUSE_CREATE] = 16,     [FUSE_INTERRUPT] = 8,
		[FUSE_BATCH_FORGET] = 8, [FUSE_FALLOCATE] = 32,  [FUSE_READDIRPLUS] = 40,
		[FUSE_RENAME2] = 16,     [FUSE_LSEEK] = 24,      [FUSE_COPY_FILE_RANGE] = 56,
		[FUSE_SYNCFS] = 8,
	};
	size_t len = op < ARRAY_LEN(lens) ? lens[op] : 0;

	for (size_t i = 0; i < len; i += 4)
		le32_put(to + i, fuzz_u8(in) & 1 ? fuzz_u32(in) : fuzz_u8(in));
	switch (op) {
	case FUSE_INIT:
		le32_put(to, 7);
		le32_put(to + 4, 31 + (to[4] & 7));
		break;
	case FUSE_RENAME:
	case FUSE_RENAME2:
	case FUSE_LINK:
		le64_put(to, pick_id(in, r->nodes, r->n_nodes));
		break;
	case FUSE_READ:
	case FUSE_WRITE:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case FUSE_FLUSH:
	case FUSE_FSYNC:
	case FUSE_LSEEK:
	case FUSE_COPY_FILE_RANGE:
		le64_put(to, pick_id(in, r->handles, r->n_handles));
		/* Nothing larger than what a test's disk has room for. */
		le64_put(to + 8, le64_get(to + 8) & 0x800000000000ffff);
		break;
	case FUSE_FALLOCATE:
		le64_put(to, pick_id(in, r->handles, r->n_handles));
		le64_put(to + 8, le64_get(to + 8) & 0xffff);
		le64_put(to + 16, le64_get(to + 16) & 0xffff);
		break;
	case FUSE_SETATTR:
		le64_put(to + 8, pick_id(in, r->handles, r->n_handles));
		le64_put(to + 16, le64_get(to + 16) & 0xffff);
		break;
	default:
		break;
	}
	return len;
}

/* The answers' ids are what the next requests are about. */
static void learn(struct rig *r, uint32_t op, const uint8_t *data, size_t len)
{
	bool entry = op == FUSE_LOOKUP || op == FUSE_MKNOD || op == FUSE_MKDIR ||
		     op == FUSE_SYMLINK || op == FUSE_LINK || op == FUSE_CREATE;
	size_t handle = op == FUSE_CREATE ? sizeof(struct fuse_entry_out) : 0;

	if (entry && len >= 8)
		r->nodes[1 + r->n_nodes % (KNOWN - 1)] = le64_get(data);
	if (entry && len >= 8 && r->n_nodes < KNOWN)
		r->n_nodes++;
	if ((op == FUSE_OPEN || op == FUSE_OPENDIR || op == FUSE_CREATE) && len >= handle + 8) {
		r->handles[r->n_handles % KNOWN] = le64_get(data + handle);
		if (r->n_handles < KNOWN)
			r->n_handles++;
	}
}

static void one_request(struct fuzz_in *in, struct rig *r)
{
	static const uint32_t rare[] = {0, 7, 48, 49, 51, 52, 4096, UINT32_MAX};
	uint8_t what = fuzz_u8(in), how = fuzz_u8(in);
	uint32_t op = what < 8 ? rare[what] : what % 52;
	uint32_t room = how & 1 ? ROOM_MAX : fuzz_u16(in) % ROOM_MAX;
	size_t len = sizeof(struct fuse_in_header);
	struct fuse_in_header h = {.opcode = op, .unique = ++r->unique, .pid = how >> 6};

	h.nodeid = pick_id(in, r->nodes, r->n_nodes);
	len += put_arguments(in, r, op, r->request + len);
	for (unsigned i = how >> 1 & 3; i; i--)
		len += put_name(in, r->request + len);
	if (how & 8) {
		const uint8_t *bytes;
		size_t n = fuzz_bytes(in, fuzz_u8(in), &bytes);

		memcpy(r->request + len, bytes, n);
		len += n;
		if (op == FUSE_WRITE)
			le32_put(r->request + sizeof(h) + 16, (uint32_t)n);
	}
	if ((how & 0x30) == 0x30)
		len = fuzz_below(in, len + 1);
	h.len = (how & 0x30) == 0x20 ? fuzz_u32(in) : (uint32_t)len;
	memcpy(r->request, &h, len < sizeof(h) ? len : sizeof(h));
	memset(r->answer, MARK, sizeof(r->answer));

	struct iovec ins[2] = {{r->request, len / 2}, {r->request + len / 2, len - len / 2}};
	struct iovec outs[2] = {{r->answer, room / 3}, {r->answer + room / 3, room - room / 3}};
	const struct share_request request = {ins, 2, len, outs, 2, room};
	int64_t n = share_serve(r->share, &request);
	struct fuse_out_header answer;

	fuzz_check(n == -EPROTO || (n >= 0 && n <= room));
	for (size_t i = n > 0 ? (size_t)n : 0; i < sizeof(r->answer); i++)
		/* A read that came part of the way may have left something. */
		fuzz_check(r->answer[i] == MARK || (op == FUSE_READ && i < room));
	if (n == -EPROTO) {
		fuzz_check(len < sizeof(h) || room < sizeof(answer));
		return;
	}
	if (!n) {
		fuzz_check(op == FUSE_FORGET || op == FUSE_BATCH_FORGET || op == FUSE_INTERRUPT);
		return;
	}
	fuzz_check(n >= (int64_t)sizeof(answer));
	memcpy(&answer, r->answer, sizeof(answer));
	fuzz_check(answer.len == n && answer.unique == h.unique);
	fuzz_check(answer.error <= 0 && answer.error > -512);
	if (!answer.error)
		learn(r, op, r->answer + sizeof(answer), (size_t)n - sizeof(answer));
}

void fuzz_one(struct fuzz_in *in)
{
	struct rig *r = calloc(1, sizeof(*r));
	uint8_t how = fuzz_u8(in);
	const struct share_options options = {
		.name = "share0",
		.writable = how & 1,
		.cache = (how >> 1 & 3) % 3,
		.fds_max = SHARE_FDS_MIN,
	};
	char path[200];

	fuzz_check(r);
	log_set_level(LOG_QUIET);
	fill();
	snprintf(path, sizeof(path), "%s/s", top);
	fuzz_check(!share_open(&r->share, path, &options, NULL));
	r->nodes[0] = FUSE_ROOT_ID;
	r->n_nodes = 1;
	for (unsigned i = 0; i < 64 && fuzz_more(in); i++) {
		one_request(in, r);
		fuzz_check(share_count(r->share).fds <= SHARE_FDS_MIN);
		fuzz_check(share_count(r->share).handles <= SHARE_FDS_MIN);
	}
	holds("secret", "secret");
	if (!options.writable) {
		holds("s/f", "some text");
		holds("s/d/g", "more text");
	}
	share_reset(r->share);
	fuzz_check(!share_count(r->share).nodes && !share_count(r->share).handles);
	share_destroy(r->share);
	free(r);
}
