/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/share_rig.h"

#include "vmm/base/bytes.h"
#include "vmm/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { UNTOUCHED = 0xee, PIECES_MAX = 250 };

const char *share_rig_name(const char *name)
{
	static char ring[4][300];
	static unsigned next;
	char *buf = ring[next++ % 4];

	snprintf(buf, sizeof(ring[0]), "dir/%s", name);
	return buf;
}

const char *share_rig_path(struct share_rig *r, const char *name)
{
	return scratch_path(&r->s, share_rig_name(name));
}

enum { PLENTY = 64 << 10 };

void share_rig_init(struct share_rig *r, bool writable, enum share_cache cache, unsigned fds_max)
{
	const struct share_options options = {.name = "share0",
					      .writable = writable,
					      .cache = cache,
					      .fds_max = fds_max ? fds_max : PLENTY};
	struct err e = {0};

	log_set_level(LOG_QUIET);
	memset(r, 0, sizeof(*r));
	scratch_init(&r->s);
	snprintf(r->dir, sizeof(r->dir), "%s", scratch_path(&r->s, "dir"));
	assert_int_equal(mkdir(r->dir, 0755), 0);
	r->room = SHARE_RIG_ROOM;
	r->pieces = 37;
	r->pid = 100;
	assert_int_equal(share_open(&r->share, r->dir, &options, &e), 0);
	share_attach(r->share);
	assert_int_equal(share_rig_mount(r, FUSE_DO_READDIRPLUS | FUSE_ATOMIC_O_TRUNC), 0);
}

void share_rig_fini(struct share_rig *r)
{
	share_destroy(r->share);
	scratch_fini(&r->s);
}

/* `len` bytes in pieces; gives how many. */
static int cut(const struct share_rig *r, uint8_t *mem, uint32_t len, struct iovec *iov)
{
	int n = 0;

	while (len) {
		uint32_t piece = r->pieces && n < PIECES_MAX && r->pieces < len ? r->pieces : len;

		iov[n++] = (struct iovec){mem, piece};
		mem += piece;
		len -= piece;
	}
	return n;
}

int64_t share_rig_raw(struct share_rig *r, const void *request, size_t len)
{
	struct iovec in[256], out[256];

	assert_true(len <= sizeof(r->in) && r->room <= SHARE_RIG_ROOM);
	memcpy(r->in, request, len);
	memset(r->out, UNTOUCHED, sizeof(r->out));
	const struct share_request request_of = {
		.in = in,
		.n_in = cut(r, r->in, (uint32_t)len, in),
		.in_len = len,
		.out = out,
		.n_out = cut(r, r->out, r->room, out),
		.out_len = r->room,
	};

	r->served = share_serve(r->share, &request_of);
	assert_true(r->served <= (int64_t)r->room);
	for (size_t i = r->room; i < sizeof(r->out); i++)
		assert_int_equal(r->out[i], UNTOUCHED);
	r->data = r->out + sizeof(struct fuse_out_header);
	r->len = r->served > 16 ? (size_t)r->served - 16 : 0;
	return r->served;
}

int share_rig_call(struct share_rig *r, uint32_t op, uint64_t node, const void *args,
		   size_t args_len, const void *tail, size_t tail_len)
{
	static uint8_t request[SHARE_RIG_ROOM];
	struct fuse_in_header h = {
		.len = (uint32_t)(sizeof(h) + args_len + tail_len),
		.opcode = op,
		.unique = ++r->unique * 2,
		.nodeid = node,
		.uid = r->uid,
		.gid = r->gid,
		.pid = r->pid,
	};
	struct fuse_out_header answer;

	assert_true(h.len <= sizeof(request));
	memcpy(request, &h, sizeof(h));
	if (args_len)
		memcpy(request + sizeof(h), args, args_len);
	if (tail_len)
		memcpy(request + sizeof(h) + args_len, tail, tail_len);
	share_rig_raw(r, request, h.len);
	if (op == FUSE_FORGET || op == FUSE_BATCH_FORGET || op == FUSE_INTERRUPT) {
		assert_int_equal(r->served, 0);
		return 0;
	}
	assert_true(r->served >= (int64_t)sizeof(answer));
	memcpy(&answer, r->out, sizeof(answer));
	assert_int_equal(answer.len, r->served);
	assert_int_equal(answer.unique, h.unique);
	assert_true(answer.error <= 0 && answer.error > -512);
	if (answer.error)
		assert_int_equal(r->served, sizeof(answer));
	return answer.error;
}

int share_rig_mount(struct share_rig *r, uint32_t flags)
{
	const struct fuse_init_in in = {
		.major = 7, .minor = 36, .max_readahead = 128 << 10, .flags = flags};

	return share_rig_call(r, FUSE_INIT, 0, &in, sizeof(in), NULL, 0);
}

static int take(struct share_rig *r, int ret, void *out, size_t len)
{
	if (ret)
		return ret;
	assert_true(r->len >= len);
	if (out)
		memcpy(out, r->data, len);
	return 0;
}

int share_rig_name_op(struct share_rig *r, uint32_t op, uint64_t parent, const char *name)
{
	return share_rig_call(r, op, parent, NULL, 0, name, strlen(name) + 1);
}

int share_rig_lookup(struct share_rig *r, uint64_t parent, const char *name,
		     struct fuse_entry_out *out)
{
	return take(r, share_rig_name_op(r, FUSE_LOOKUP, parent, name), out, sizeof(*out));
}

int share_rig_open(struct share_rig *r, uint32_t op, uint64_t node, int flags,
		   struct fuse_open_out *out)
{
	const struct fuse_open_in in = {.flags = (uint32_t)flags};

	return take(r, share_rig_call(r, op, node, &in, sizeof(in), NULL, 0), out, sizeof(*out));
}

int share_rig_create(struct share_rig *r, uint64_t parent, const char *name, int flags, int mode,
		     struct fuse_entry_out *entry, struct fuse_open_out *out)
{
	const struct fuse_create_in in = {.flags = (uint32_t)flags, .mode = (uint32_t)mode};
	int ret = share_rig_call(r, FUSE_CREATE, parent, &in, sizeof(in), name, strlen(name) + 1);

	if (ret)
		return ret;
	assert_int_equal(r->len, sizeof(*entry) + sizeof(*out));
	memcpy(entry, r->data, sizeof(*entry));
	memcpy(out, (const char *)r->data + sizeof(*entry), sizeof(*out));
	return 0;
}

int share_rig_read(struct share_rig *r, uint32_t op, uint64_t node, uint64_t fh, uint64_t off,
		   uint32_t size)
{
	const struct fuse_read_in in = {.fh = fh, .offset = off, .size = size};

	return share_rig_call(r, op, node, &in, sizeof(in), NULL, 0);
}

int share_rig_write(struct share_rig *r, uint64_t node, uint64_t fh, uint64_t off, const void *data,
		    uint32_t len)
{
	const struct fuse_write_in in = {.fh = fh, .offset = off, .size = len};
	struct fuse_write_out out;
	int ret = share_rig_call(r, FUSE_WRITE, node, &in, sizeof(in), data, len);

	ret = take(r, ret, &out, sizeof(out));
	return ret ? ret : (int)out.size;
}

int share_rig_release(struct share_rig *r, uint32_t op, uint64_t node, uint64_t fh)
{
	const struct fuse_release_in in = {.fh = fh};

	return share_rig_call(r, op, node, &in, sizeof(in), NULL, 0);
}

void share_rig_forget(struct share_rig *r, uint64_t node, uint64_t n)
{
	const struct fuse_forget_in in = {.nlookup = n};

	share_rig_call(r, FUSE_FORGET, node, &in, sizeof(in), NULL, 0);
}

uint64_t share_rig_node(struct share_rig *r, const char *path)
{
	struct fuse_entry_out entry = {.nodeid = FUSE_ROOT_ID};
	char copy[300], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *step = strtok_r(copy, "/", &save); step; step = strtok_r(NULL, "/", &save))
		assert_int_equal(share_rig_lookup(r, entry.nodeid, step, &entry), 0);
	return entry.nodeid;
}

int share_rig_setup(void **state, bool writable, enum share_cache cache, unsigned fds_max)
{
	struct share_rig *r = malloc(sizeof(*r));

	share_rig_init(r, writable, cache, fds_max);
	*state = r;
	return 0;
}

int share_rig_teardown(void **state)
{
	share_rig_fini(*state);
	free(*state);
	return 0;
}

void share_rig_put(struct share_rig *r, const char *name, const char *text)
{
	scratch_text(&r->s, share_rig_name(name), text);
}

const char *share_rig_get(struct share_rig *r, const char *name)
{
	static char text[256];
	int fd = open(share_rig_path(r, name), O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	assert_true(fd >= 0 && n >= 0);
	close(fd);
	text[n] = '\0';
	return text;
}

uint64_t share_rig_opened(struct share_rig *r, uint64_t node, int flags)
{
	struct fuse_open_out out;

	assert_int_equal(share_rig_open(r, FUSE_OPEN, node, flags, &out), 0);
	return out.fh;
}

int share_rig_setup_beside_secret(void **state)
{
	struct share_rig *r = malloc(sizeof(*r));

	share_rig_init(r, true, SHARE_CACHE_AUTO, 0);
	scratch_text(&r->s, "secret", "secret");
	scratch_text(&r->s, "outside/file", "secret");
	scratch_text(&r->s, "dir/file", "text");
	scratch_text(&r->s, "dir/sub/file", "text");
	*state = r;
	return 0;
}

static void assert_untouched(struct share_rig *r)
{
	static const char *const names[] = {"secret", "outside/file"};
	char text[16] = "";

	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		int fd = open(scratch_path(&r->s, names[i]), O_RDONLY | O_CLOEXEC);

		assert_int_equal(read(fd, text, sizeof(text)), 6);
		assert_memory_equal(text, "secret", 6);
		close(fd);
	}
}

int share_rig_teardown_beside_secret(void **state)
{
	assert_untouched(*state);
	share_rig_fini(*state);
	free(*state);
	return 0;
}
