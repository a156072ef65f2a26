/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/lib/fuse_guest.h"

#include "tests/fuzz/lib/share_tree.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <linux/fuse.h>
#include <string.h>

void fuse_guest_init(struct fuse_guest *g)
{
	*g = (struct fuse_guest){.nodes = {FUSE_ROOT_ID}, .n_nodes = 1};
}

/* --- what it says --------------------------------------------------------------------------- */

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
	static const char *const names[] = {
		"f", "d", "g",   "l",         "p",      "new",   "..",     ".",
		"",  "/", "a/b", "../secret", "user.a", "other", "../new", "security.capability",
	};
	uint8_t how = fuzz_u8(in);
	const char *name = names[how % ARRAY_LEN(names)];
	size_t len = strlen(name) + (how < 250);

	if (how >= 0xe0 && how < 0xf0) { /* the longest that there are, and longer */
		len = 247 + (how & 15);
		memset(to, 'n', len);
		to[len - 1] = '\0';
		return len;
	}
	memcpy(to, name, len);
	return len;
}

/* Where arguments hold ids and sizes, so that they are lawful more often than by chance. */
static size_t put_arguments(struct fuzz_in *in, struct fuse_guest *g, uint32_t op, uint8_t *to)
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
		le32_put(to + 4, to[4] < 0x80 ? 31 + (to[4] & 7) : to[4] & 31);
		break;
	case FUSE_MKNOD:
	case FUSE_CREATE:
		if (to[15] & 1) /* where versions of old had the name */
			memcpy(to + 8, "../new", 7);
		break;
	case FUSE_RENAME:
	case FUSE_RENAME2:
	case FUSE_LINK:
		le64_put(to, pick_id(in, g->nodes, g->n_nodes));
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
		le64_put(to, pick_id(in, g->handles, g->n_handles));
		/* Nothing larger than what a test's disk has room for. */
		le64_put(to + 8, le64_get(to + 8) & 0x800000000000ffff);
		break;
	case FUSE_COPY_FILE_RANGE:
		le64_put(to, pick_id(in, g->handles, g->n_handles));
		le64_put(to + 8, le64_get(to + 8) & 0xffff);
		le64_put(to + 16, pick_id(in, g->nodes, g->n_nodes));
		le64_put(to + 24, pick_id(in, g->handles, g->n_handles));
		le64_put(to + 32, le64_get(to + 32) & 0xffff);
		break;
	case FUSE_FALLOCATE:
		le64_put(to, pick_id(in, g->handles, g->n_handles));
		le64_put(to + 8, le64_get(to + 8) & 0xffff);
		le64_put(to + 16, le64_get(to + 16) & 0xffff);
		break;
	case FUSE_SETATTR:
		le64_put(to + 8, pick_id(in, g->handles, g->n_handles));
		le64_put(to + 16, le64_get(to + 16) & 0xffff);
		break;
	default:
		break;
	}
	return len;
}

void fuse_guest_ask(struct fuzz_in *in, struct fuse_guest *g, struct fuse_guest_request *q)
{
	static const uint32_t rare[] = {0, 7, 48, 49, 51, 52, 4096, UINT32_MAX};
	uint8_t what = fuzz_u8(in), how = fuzz_u8(in), who = how >> 6;
	uint32_t op = what < 8 ? rare[what] : what % 52;
	uint32_t room = how & 1 ? FUSE_GUEST_ROOM_MAX : fuzz_u16(in) % FUSE_GUEST_ROOM_MAX;
	size_t len = sizeof(struct fuse_in_header);
	struct fuse_in_header h = {.opcode = op, .unique = ++g->unique, .pid = who};

	h.uid = who == 3 ? 1000 : 0;
	h.gid = who == 2 ? 1000 : 0;
	h.nodeid = pick_id(in, g->nodes, g->n_nodes);
	len += put_arguments(in, g, op, q->bytes + len);
	for (unsigned i = how >> 1 & 3; i; i--)
		len += put_name(in, q->bytes + len);
	if (how & 8) {
		const uint8_t *bytes;
		size_t n = fuzz_bytes(in, fuzz_u8(in), &bytes);

		memcpy(q->bytes + len, bytes, n);
		len += n;
		if (op == FUSE_WRITE)
			le32_put(q->bytes + sizeof(h) + 16, (uint32_t)n);
	}
	if ((how & 0x30) == 0x30)
		len = fuzz_below(in, len + 1);
	h.len = (how & 0x30) == 0x20 ? fuzz_u32(in) : (uint32_t)len;
	memcpy(q->bytes, &h, len < sizeof(h) ? len : sizeof(h));
	q->op = op;
	q->unique = h.unique;
	q->room = room;
	q->len = len;
}

/* --- what it hears ---------------------------------------------------------------------- */

/* The answers' ids are what the next requests are about. */
static void learn(struct fuse_guest *g, uint32_t op, const uint8_t *data, size_t len)
{
	bool entry = op == FUSE_LOOKUP || op == FUSE_MKNOD || op == FUSE_MKDIR ||
		     op == FUSE_SYMLINK || op == FUSE_LINK || op == FUSE_CREATE;
	size_t handle = op == FUSE_CREATE ? sizeof(struct fuse_entry_out) : 0;

	if (entry && len >= 8) {
		g->nodes[1 + g->learned++ % (FUSE_GUEST_KNOWN - 1)] = le64_get(data);
		g->n_nodes += g->n_nodes < FUSE_GUEST_KNOWN;
	}
	if ((op == FUSE_OPEN || op == FUSE_OPENDIR || op == FUSE_CREATE) && len >= handle + 8) {
		g->handles[g->opened++ % FUSE_GUEST_KNOWN] = le64_get(data + handle);
		g->n_handles += g->n_handles < FUSE_GUEST_KNOWN;
	}
}

static bool has_answer(uint32_t op)
{
	return op != FUSE_FORGET && op != FUSE_BATCH_FORGET && op != FUSE_INTERRUPT;
}

bool fuse_guest_hopeless(const struct fuse_guest_request *q)
{
	return q->len < sizeof(struct fuse_in_header) ||
	       (has_answer(q->op) && q->room < sizeof(struct fuse_out_header));
}

void fuse_guest_hear(struct fuse_guest *g, const struct fuse_guest_request *q,
		     const uint8_t *answer, uint64_t n)
{
	struct fuse_out_header h;

	fuzz_check(!fuse_guest_hopeless(q) && n <= q->room);
	for (uint64_t i = n; i < FUSE_GUEST_ROOM_MAX; i++)
		/* A read that came part of the way may have left something. */
		fuzz_check(answer[i] == FUSE_GUEST_MARK || (q->op == FUSE_READ && i < q->room));
	fuzz_check(!share_tree_has_secret(answer, FUSE_GUEST_ROOM_MAX));
	fuzz_check(has_answer(q->op) == (n != 0));
	if (!n)
		return;
	fuzz_check(n >= sizeof(h));
	memcpy(&h, answer, sizeof(h));
	fuzz_check(h.len == n && h.unique == q->unique);
	fuzz_check(h.error <= 0 && h.error > -512);
	if (!h.error)
		learn(g, q->op, answer + sizeof(h), n - sizeof(h));
}
