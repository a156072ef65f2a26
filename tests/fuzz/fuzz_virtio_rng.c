/* SPDX-License-Identifier: Apache-2.0 */
/* The entropy device behind a driver without manners: it may fill what it was given to
 * fill, and not a byte more. */
#include "devices/virtio/rng.h"
#include "tests/fuzz/lib/ring.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"

#include <stdlib.h>

static void bring_up(struct fuzz_in *in, struct virtio *v, struct fuzz_ring *q, struct loop *l)
{
	uint8_t how = fuzz_u8(in);
	uint64_t features =
		(how & 0x80 ? VIRTIO_F_EVENT_IDX : 0) | (how & 0x40 ? VIRTIO_F_INDIRECT_DESC : 0);

	virtio_set_status(v, 0);
	loop_settle(l);
	fuzz_check(!virtio_status(v));
	fuzz_ram_forbid(q->ram);
	fuzz_ring_init(q, q->ram, (uint16_t)(1u << how % 7));
	fuzz_ring_bring_up(q, v, features);
	loop_settle(l);
}

void fuzz_one(struct fuzz_in *in)
{
	struct fuzz_ram *ram = malloc(sizeof(*ram));
	struct loop *l = loop_create();
	struct fake_transport transport;
	struct virtio_rng rng;
	struct fuzz_ring q;

	fuzz_check(ram && l);
	fuzz_ram_init(ram);
	q.ram = ram;
	fuzz_check(!virtio_rng_init(&rng, "rng0", &ram->gm, l));
	fake_transport_init(&transport, &rng.v);
	bring_up(in, &rng.v, &q, l);
	while (fuzz_more(in)) {
		uint8_t op = fuzz_u8(in);

		if (op == 0xff) {
			bring_up(in, &rng.v, &q, l);
		} else if (op < 0x40) {
			virtio_kick(&rng.v, op & 1);
			loop_settle(l);
		} else {
			fuzz_ring_step(in, &q);
		}
		fuzz_ram_check(ram);
		/* A driver that has lost hears of it, once. */
		fuzz_check(!virtio_failed(&rng.v) ||
			   virtio_status(&rng.v) & VIRTIO_STATUS_NEEDS_RESET);
	}
	virtio_set_status(&rng.v, 0);
	loop_settle(l);
	virtio_rng_fini(&rng);
	loop_destroy(l);
	fuzz_ram_fini(ram);
	free(ram);
}
