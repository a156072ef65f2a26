/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/fake_net.h"

#include "tests/lib/fake_ring.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct fake_net *of(struct net *n)
{
	struct fake_net *f = (struct fake_net *)n;

	assert_int_equal(f->attached, 1);
	return f;
}

static int fake_attach(struct net *n, struct loop *loop, unsigned offloads)
{
	struct fake_net *f = (struct fake_net *)n;

	f->offloads = offloads;
	f->wants = false;
	if (f->attach_error)
		return f->attach_error;
	f->attached++;
	return 0;
}

static void fake_detach(struct net *n)
{
	assert_false(of(n)->has_rings);
	of(n)->attached--;
}

static void fake_want(struct net *n, bool frames)
{
	of(n)->wants = frames;
}

/* Bytes [off, off+len) of the room, from `from`. */
static void fill(const struct iovec *iov, int n_iov, size_t off, const uint8_t *from, size_t len)
{
	for (int i = 1; i < n_iov && len; i++) {
		size_t skip = off < iov[i].iov_len ? off : iov[i].iov_len;
		size_t piece = iov[i].iov_len - skip < len ? iov[i].iov_len - skip : len;

		memcpy((uint8_t *)iov[i].iov_base + skip, from, piece);
		off -= skip;
		from += piece;
		len -= piece;
	}
	assert_int_equal(len, 0);
}

static ssize_t fake_receive(struct net *n, struct net_hdr *hdr, struct iovec *iov, int n_iov)
{
	struct fake_net *f = of(n);
	struct fake_frame *frame = &f->in[f->next];
	size_t room = 0, piece;

	assert_true(n_iov >= 2 && n_iov <= NET_IOV_MAX);
	f->receives++;
	if (f->next == f->n_in)
		return -EAGAIN;
	for (int i = 1; i < n_iov; i++)
		room += iov[i].iov_len;
	if (frame->len > room) {
		f->next++;
		return -EMSGSIZE;
	}
	piece = f->piece && f->piece < frame->len - f->got ? f->piece : frame->len - f->got;
	fill(iov, n_iov, f->got, frame->data + f->got, piece);
	f->got += piece;
	f->receiving = f->got < frame->len;
	if (f->receiving)
		return -EAGAIN;
	*hdr = frame->hdr;
	f->got = 0;
	f->next++;
	return (ssize_t)frame->len;
}

static bool fake_receiving(const struct net *n)
{
	return ((const struct fake_net *)n)->receiving;
}

static void fake_abandon(struct net *n)
{
	struct fake_net *f = of(n);

	f->abandoned++;
	f->next += f->receiving;
	f->receiving = false;
	f->got = 0;
}

static int fake_send(struct net *n, const struct net_hdr *hdr, struct iovec *iov, int n_iov,
		     size_t len)
{
	struct fake_net *f = of(n);
	struct fake_frame *frame = &f->out[f->n_out];
	size_t sum = 0;

	assert_true(len >= NET_FRAME_MIN && len <= NET_FRAME_MAX);
	if (f->busy) {
		f->refused++;
		return -EAGAIN;
	}
	assert_true(f->n_out < FAKE_NET_FRAMES);
	*frame = (struct fake_frame){*hdr, malloc(len), len};
	for (int i = 1; i < n_iov; i++) {
		assert_true(sum + iov[i].iov_len <= len);
		memcpy(frame->data + sum, iov[i].iov_base, iov[i].iov_len);
		sum += iov[i].iov_len;
	}
	assert_int_equal(sum, len);
	f->n_out++;
	return 0;
}

static void fake_destroy(struct net *n)
{
	struct fake_net *f = (struct fake_net *)n;

	assert_int_equal(f->attached, 0);
	for (unsigned i = 0; i < f->n_in; i++)
		free(f->in[i].data);
	for (unsigned i = 0; i < f->n_out; i++)
		free(f->out[i].data);
	if (f->destroyed)
		*f->destroyed = true;
	free(f);
}

/* --- rings --------------------------------------------------------------------------------- */

static int fake_take_rings(struct net *n, const struct guest_mem *gm, uint64_t features,
			   const struct vhost_ring rings[NET_RINGS])
{
	struct fake_net *f = of(n);

	assert_false(f->has_rings || f->receiving || f->wants);
	f->takes++;
	f->ring_features = features;
	if (f->take_error)
		return f->take_error;
	memcpy(f->rings, rings, sizeof(f->rings));
	f->has_rings = true;
	return 0;
}

static void fake_give_rings(struct net *n, struct vhost_ring rings[NET_RINGS])
{
	struct fake_net *f = of(n);

	assert_true(f->has_rings);
	f->has_rings = false;
	for (unsigned i = 0; i < NET_RINGS; i++)
		rings[i].next = f->rings[i].next;
}

uint16_t fake_net_use(struct fake_net *f, unsigned ring, uint32_t len)
{
	assert_true(f->has_rings);
	return fake_ring_use(&f->rings[ring], len);
}

void fake_net_serves_rings(struct fake_net *f)
{
	static struct net_ops ops;

	ops = *f->net.ops;
	ops.take_rings = fake_take_rings;
	ops.give_rings = fake_give_rings;
	f->net.ops = &ops;
}

struct fake_net *fake_net_create(unsigned offloads)
{
	static const struct net_ops ops = {
		.attach = fake_attach,
		.detach = fake_detach,
		.want = fake_want,
		.receive = fake_receive,
		.receiving = fake_receiving,
		.abandon = fake_abandon,
		.send = fake_send,
		.destroy = fake_destroy,
	};
	struct fake_net *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->net.ops = &ops;
	f->net.offloads = offloads;
	return f;
}

void fake_net_tell(struct fake_net *f)
{
	if (f->wants)
		f->net.readable(f->net.ctx);
}

void fake_net_arrive(struct fake_net *f, struct net_hdr hdr, size_t len, uint8_t seed)
{
	struct fake_frame *frame = &f->in[f->n_in];

	assert_true(f->n_in < FAKE_NET_FRAMES);
	*frame = (struct fake_frame){hdr, malloc(len + 1), len};
	for (size_t i = 0; i < len; i++)
		frame->data[i] = (uint8_t)(seed + i);
	f->n_in++;
	fake_net_tell(f);
}

void fake_net_unblock(struct fake_net *f)
{
	f->busy = false;
	f->net.writable(f->net.ctx);
}
