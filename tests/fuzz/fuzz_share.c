/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shared directory, and a guest that says anything (lib/fuse_guest.h). Whatever is asked:
 *
 * - each request has an answer whose header says its length and number, and nothing is
 *   written behind it;
 * - what lies beside the directory stays as it is, and so does a read-only share;
 * - once the session is over nothing is held.
 *
 * The same through the device, with a host that changes the directory: virtio_fs.
 */
#include "devices/backend/share.h"
#include "tests/fuzz/lib/fuse_guest.h"
#include "tests/fuzz/lib/share_tree.h"
#include "vmm/base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct rig {
	struct share *share;
	struct fuse_guest guest;
	struct fuse_guest_request q;
	uint8_t answer[FUSE_GUEST_ROOM_MAX];
};

static void one_request(struct fuzz_in *in, struct rig *r)
{
	struct fuse_guest_request *q = &r->q;

	fuse_guest_ask(in, &r->guest, q);
	memset(r->answer, FUSE_GUEST_MARK, sizeof(r->answer));

	size_t half = q->len / 2, third = q->room / 3;
	struct iovec ins[2] = {{q->bytes, half}, {q->bytes + half, q->len - half}};
	struct iovec outs[2] = {{r->answer, third}, {r->answer + third, q->room - third}};
	const struct share_request request = {ins, 2, q->len, outs, 2, q->room};
	int64_t n = share_serve(r->share, &request);

	fuzz_check((n == -EPROTO) == fuse_guest_hopeless(q));
	if (n != -EPROTO) {
		fuzz_check(n >= 0);
		fuse_guest_hear(&r->guest, q, r->answer, (uint64_t)n);
	}
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

	fuzz_check(r);
	log_set_level(LOG_QUIET);
	fuzz_check(!share_open(&r->share, share_tree_fill(), &options, NULL));
	fuse_guest_init(&r->guest);
	for (unsigned i = 0; i < 64 && fuzz_more(in); i++) {
		struct share_counts c;

		one_request(in, r);
		c = share_count(r->share);
		fuzz_check(c.fds + c.handles <= SHARE_FDS_MIN);
	}
	share_tree_check();
	if (!options.writable)
		share_tree_check_contents();
	share_reset(r->share);
	fuzz_check(!share_count(r->share).nodes && !share_count(r->share).handles);
	share_destroy(r->share);
	free(r);
}
