/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file-system device between a guest that says anything (lib/fuse_guest.h), several requests
 * at a time in any queue and any framing, and a host that changes the directory meanwhile
 * (lib/share_tree.h). Beside what the share target checks:
 *
 * - what the guest has sent is not written to, and each chain comes back once;
 * - the device fails for requests that leave no way to answer, and for nothing else;
 * - what is held stays within its bounds, and no descriptor is left in the end.
 *
 * Rings without sense are the virtqueue target's.
 */
#include "devices/virtio/fs.h"
#include "tests/fuzz/lib/fuse_guest.h"
#include "tests/fuzz/lib/share_tree.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"

#include <dirent.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#define RAM        (1 * MiB)
#define RING(i)    (0x10000ull + 0x1000ull * (i))
#define REQUEST(i) (0x20000ull + 0x8000ull * (i))
#define ANSWER(i)  (REQUEST(i) + FUSE_GUEST_REQUEST_MAX)
#define FEATURES   (VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC)

/* A chain has up to 8 descriptors, so those of all slots fit into each ring. */
enum { QUEUES = 3, SIZE = 64, SLOTS = 8, PIECES = 4, NODES_MAX = 48, STEPS = 96 };

struct slot {
	bool busy;
	unsigned queue;
	uint16_t head;
	struct fuse_guest_request q;
};

struct rig {
	struct guest_mem gm;
	struct loop *loop;
	struct virtio_fs f;
	struct virtq_driver d[QUEUES];
	struct fake_transport t;
	struct fuse_guest guest;
	struct slot slots[SLOTS];
	unsigned fds; /* without the device */
};

static uint8_t *at(struct rig *r, uint64_t gpa)
{
	uint8_t *p = guest_mem_hva(&r->gm, gpa, FUSE_GUEST_REQUEST_MAX);

	fuzz_check(p);
	return p;
}

static void start(struct rig *r)
{
	memset(r->slots, 0, sizeof(r->slots));
	for (unsigned i = 0; i < QUEUES; i++)
		virtq_driver_init(&r->d[i], &r->gm, RING(i), SIZE);
	virtio_driver_start(&r->f.v, FEATURES, r->d, QUEUES);
	loop_settle(r->loop);
}

/* The guest goes on with the ids that it had: they must be worth nothing. */
static void reset(struct rig *r)
{
	struct share_counts c;

	virtio_set_status(&r->f.v, 0);
	loop_settle(r->loop);
	fuzz_check(!virtio_status(&r->f.v));
	c = share_count(r->f.backend);
	fuzz_check(!c.nodes && !c.fds && !c.handles && !c.ahead);
}

/* --- requests on their way ------------------------------------------------------------------ */

static unsigned cut(struct vd_buf *bufs, uint64_t gpa, uint32_t len, unsigned pieces, bool write)
{
	unsigned n = 0;

	for (uint32_t off = 0; off < len; n++) {
		uint32_t piece = n + 1 < pieces ? (len - off + 2) / 3 : len - off;

		bufs[n] = (struct vd_buf){gpa + off, piece, write};
		off += piece;
	}
	return n;
}

static void send_request(struct fuzz_in *in, struct rig *r, unsigned queue)
{
	struct vd_buf bufs[2 * PIECES];
	uint8_t how = fuzz_u8(in);
	unsigned i = 0, n;
	struct slot *s;

	while (i < SLOTS && r->slots[i].busy)
		i++;
	if (i == SLOTS)
		return;
	s = &r->slots[i];
	fuse_guest_ask(in, &r->guest, &s->q);
	memcpy(at(r, REQUEST(i)), s->q.bytes, s->q.len);
	memset(at(r, ANSWER(i)), FUSE_GUEST_MARK, FUSE_GUEST_ROOM_MAX);
	n = cut(bufs, REQUEST(i), (uint32_t)s->q.len, 1 + how % PIECES, false);
	n += cut(bufs + n, ANSWER(i), s->q.room, 1 + how / PIECES % PIECES, true);
	if (!n)
		return; /* not even a chain */
	s->busy = true;
	s->queue = queue;
	s->head = virtq_driver_offer(&r->d[queue], bufs, n);
}

static void take_answers(struct rig *r, unsigned queue)
{
	uint32_t id, len;

	while (virtq_driver_take_used(&r->d[queue], &id, &len)) {
		struct slot *s = r->slots;
		uint64_t i;

		while (s < r->slots + SLOTS && !(s->busy && s->queue == queue && s->head == id))
			s++;
		i = (uint64_t)(s - r->slots);
		fuzz_check(i < SLOTS);
		fuzz_check(!memcmp(at(r, REQUEST(i)), s->q.bytes, s->q.len));
		fuse_guest_hear(&r->guest, &s->q, at(r, ANSWER(i)), len);
		s->busy = false;
	}
}

static void serve(struct rig *r)
{
	bool hopeless = false, left = false;
	struct share_counts c;

	for (unsigned i = 0; i < QUEUES; i++)
		virtio_kick(&r->f.v, i);
	loop_settle(r->loop);
	for (unsigned i = 0; i < QUEUES; i++)
		take_answers(r, i);
	for (unsigned i = 0; i < SLOTS; i++) {
		left = left || r->slots[i].busy;
		hopeless = hopeless || (r->slots[i].busy && fuse_guest_hopeless(&r->slots[i].q));
	}
	fuzz_check(virtio_failed(&r->f.v) == hopeless && left == hopeless);
	c = share_count(r->f.backend);
	fuzz_check(c.fds + c.handles <= SHARE_FDS_MIN && c.nodes <= NODES_MAX);
	if (hopeless) {
		reset(r);
		start(r);
	}
}

/* --- the machine ---------------------------------------------------------------------------- */

/* How many descriptors this process has. */
static unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	fuzz_check(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void create(struct rig *r, uint8_t how)
{
	static const struct virtio_fs_options options = {"share0", "tag", QUEUES - 1};
	const struct share_options share_options = {
		.name = "share0",
		.writable = how & 1,
		.cache = (how >> 1 & 3) % 3,
		.fds_max = SHARE_FDS_MIN,
		.nodes_max = NODES_MAX,
	};
	struct share *share = NULL;

	log_set_level(LOG_QUIET);
	guest_mem_init(&r->gm, GUEST_MEM_ANON);
	fuzz_check(!guest_mem_add(&r->gm, 0, RAM, -1, 0, NULL));
	r->loop = loop_create();
	r->fds = count_fds();
	fuzz_check(!share_open(&share, share_tree_fill(), &share_options, NULL));
	fuzz_check(!virtio_fs_init(&r->f, share, &options, &r->gm, r->loop));
	fake_transport_init(&r->t, &r->f.v);
	fuse_guest_init(&r->guest);
	start(r);
}

static void destroy(struct rig *r)
{
	reset(r);
	virtio_fs_fini(&r->f);
	fuzz_check(count_fds() == r->fds);
	loop_destroy(r->loop);
	guest_mem_fini(&r->gm);
	free(r);
}

void fuzz_one(struct fuzz_in *in)
{
	struct rig *r = calloc(1, sizeof(*r));
	uint8_t how = fuzz_u8(in);
	bool host = false;

	fuzz_check(r);
	create(r, how);
	for (unsigned i = 0; i < STEPS && fuzz_more(in); i++) {
		uint8_t what = fuzz_u8(in);

		if (what == 0xff) {
			reset(r);
			start(r);
		} else if (what >= 0xc0) {
			share_tree_event(in);
			host = true;
		} else {
			send_request(in, r, what % 4 % QUEUES);
			if (!(what & 0x80)) /* else it waits for more */
				serve(r);
		}
	}
	serve(r);
	destroy(r);
	share_tree_check();
	if (!(how & 1) && !host)
		share_tree_check_contents();
}
