/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/fake_vsock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct fake_vsock *of(struct vsock_backend *b)
{
	return (struct fake_vsock *)b;
}

static int attach(struct vsock_backend *b, struct loop *loop)
{
	assert_false(of(b)->attached);
	of(b)->attached = true;
	of(b)->attaches++;
	return 0;
}

static void detach(struct vsock_backend *b)
{
	assert_true(of(b)->attached);
	of(b)->attached = false;
	of(b)->detaches++;
}

static int connect_port(struct vsock_backend *b, uint32_t port)
{
	struct fake_vsock *f = of(b);
	unsigned n = __atomic_load_n(&f->n_ends, __ATOMIC_RELAXED);
	int ends[2];

	if (port == FAKE_VSOCK_REFUSED || n == FAKE_VSOCK_ENDS)
		return -ECONNREFUSED;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return -errno;
	f->ends[n] = ends[0];
	f->ports[n] = port;
	__atomic_store_n(&f->n_ends, n + 1, __ATOMIC_RELEASE);
	return ends[1];
}

static void answered(struct vsock_backend *b, void *who, int fd, uint32_t host_port)
{
	struct fake_vsock *f = of(b);

	assert_true(f->n_answers < FAKE_VSOCK_ENDS);
	f->answers[f->n_answers] = host_port;
	f->who[f->n_answers++] = who;
}

static void destroy(struct vsock_backend *b)
{
	struct fake_vsock *f = of(b);

	assert_false(f->attached);
	for (unsigned i = 0; i < f->n_ends; i++)
		if (f->ends[i] >= 0)
			close(f->ends[i]);
	free(f);
}

struct fake_vsock *fake_vsock_create(void)
{
	static const struct vsock_backend_ops ops = {
		.attach = attach,
		.detach = detach,
		.connect = connect_port,
		.answered = answered,
		.destroy = destroy,
	};
	struct fake_vsock *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->b.ops = &ops;
	return f;
}

static int take_rings(struct vsock_backend *b, const struct guest_mem *gm, uint64_t features,
		      const struct vhost_ring rings[VSOCK_RINGS])
{
	struct fake_vsock *f = of(b);

	assert_true(f->attached);
	assert_false(f->has_rings);
	f->takes++;
	f->ring_features = features;
	if (f->take_error)
		return f->take_error;
	memcpy(f->rings, rings, sizeof(f->rings));
	__atomic_store_n(&f->has_rings, true, __ATOMIC_RELEASE);
	return 0;
}

static void give_rings(struct vsock_backend *b, struct vhost_ring rings[VSOCK_RINGS])
{
	struct fake_vsock *f = of(b);

	assert_true(f->attached && f->has_rings);
	for (unsigned i = 0; i < VSOCK_RINGS; i++)
		rings[i].next = f->rings[i].next;
	__atomic_store_n(&f->has_rings, false, __ATOMIC_RELEASE);
}

void fake_vsock_serves_rings(struct fake_vsock *f)
{
	static const struct vsock_backend_ops ops = {
		.attach = attach,
		.detach = detach,
		.take_rings = take_rings,
		.give_rings = give_rings,
		.destroy = destroy,
	};

	f->b.ops = &ops;
}

int fake_vsock_open(struct fake_vsock *f, uint32_t port, void *who)
{
	int ends[2], ret;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	ret = f->b.open(f->b.ctx, port, ends[1], who);
	if (!ret)
		return ends[0];
	close(ends[0]);
	close(ends[1]);
	return ret;
}

int fake_vsock_end(struct fake_vsock *f, unsigned i)
{
	int fd = -1;

	assert_true(i < __atomic_load_n(&f->n_ends, __ATOMIC_ACQUIRE));
	fd = f->ends[i];
	f->ends[i] = -1;
	return fd;
}
