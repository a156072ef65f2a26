/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device may fill less of a buffer than there is, and says how much
 * [virtio 1.3 5.4.6]. It fills a few kilobytes at most: a guest that offers 4 GiB
 * of buffer gets an answer at once, and its neighbours on the loop their turn.
 */
#include "devices/virtio/rng.h"

#include <errno.h>
#include <sys/random.h>

enum { QUEUE_SIZE = 64, BYTES_MAX = 4096 };

/* Give how many bytes there are, or 0: the host has none. */
static size_t host_random(uint8_t *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = getrandom(buf + done, len - done, 0);

		if (n < 0 && errno != EINTR)
			return 0;
		if (n > 0)
			done += (size_t)n;
	}
	return done;
}

static void queue_ready(void *dev, unsigned index)
{
	struct virtio_rng *r = dev;
	uint8_t bytes[BYTES_MAX];
	unsigned taken = 0;

	while (virtio_pop(&r->v, index, &taken, &r->chain)) {
		uint64_t room = r->chain.write_len;
		size_t n = host_random(bytes, room < sizeof(bytes) ? room : sizeof(bytes));

		/* At least one byte is due for each buffer [virtio 1.3 5.4.6.2]. */
		if (!n) {
			virtio_fail(&r->v, room ? "the host gives no random bytes"
						: "a request without a writable buffer");
			break;
		}
		virtq_chain_write(&r->chain, r->v.gm, 0, bytes, n);
		virtq_push(&r->v.queues[index], r->chain.head, (uint32_t)n);
	}
	virtio_publish(&r->v, index);
}

static const struct virtio_ops ops = {
	.device_id = VIRTIO_ID_RNG,
	.queue_ready = queue_ready,
};

int virtio_rng_init(struct virtio_rng *r, const char *name, struct guest_mem *gm, struct loop *loop)
{
	return virtio_init(&r->v, &ops, r, name, gm, loop, 0, 0, 1, (const uint16_t[]){QUEUE_SIZE});
}

void virtio_rng_fini(struct virtio_rng *r)
{
	virtio_fini(&r->v);
}
