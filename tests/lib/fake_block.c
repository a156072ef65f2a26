/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/fake_block.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void finish(struct fake_block *f, struct block_req *req, int result)
{
	uint8_t *p = f->data + req->offset;

	for (int i = 0; !result && i < req->n_iov; i++) {
		if (req->op == BLOCK_READ)
			memcpy(req->iov[i].iov_base, p, req->iov[i].iov_len);
		else
			memcpy(p, req->iov[i].iov_base, req->iov[i].iov_len);
		p += req->iov[i].iov_len;
	}
	if (!result && req->op == BLOCK_WRITE_ZEROES)
		memset(p, 0, req->len);
	req->done(req, result);
}

static void fake_submit(struct block *b, struct block_req *req)
{
	struct fake_block *f = (struct fake_block *)b;
	uint64_t sum = 0;

	assert_int_equal(f->attached, 1);
	assert_true(req->offset <= b->size && req->len <= b->size - req->offset);
	for (int i = 0; i < req->n_iov; i++)
		sum += req->iov[i].iov_len;
	if (req->op == BLOCK_READ || req->op == BLOCK_WRITE)
		assert_int_equal(sum, req->len);
	f->n_submitted[req->op]++;
	f->last_stable = req->stable;
	f->last_unmap = req->unmap;
	if (f->immediate) {
		finish(f, req, f->result);
		return;
	}
	unsigned n = fake_block_pending(f);

	assert_true(n < FAKE_BLOCK_PENDING_MAX);
	f->pending[n] = req;
	__atomic_store_n(&f->n_pending, n + 1, __ATOMIC_SEQ_CST);
}

static int fake_attach(struct block *b, struct loop *loop)
{
	((struct fake_block *)b)->attached++;
	return 0;
}

static void fake_detach(struct block *b)
{
	struct fake_block *f = (struct fake_block *)b;

	assert_int_equal(fake_block_pending(f), 0);
	f->attached--;
}

static void fake_destroy(struct block *b)
{
	struct fake_block *f = (struct fake_block *)b;

	assert_int_equal(f->attached, 0);
	assert_int_equal(fake_block_pending(f), 0);
	if (f->destroyed)
		*f->destroyed = true;
	free(f->data);
	free(f);
}

static int fake_sync(struct block *b)
{
	return 0;
}

static int fake_stamp(const struct block *b, uint64_t *stamp)
{
	*stamp = 0;
	return 0;
}

static const struct block_ops fake_ops = {
	.submit = fake_submit,
	.attach = fake_attach,
	.detach = fake_detach,
	.destroy = fake_destroy,
	.sync = fake_sync,
	.stamp = fake_stamp,
};

struct fake_block *fake_block_create(uint64_t size)
{
	struct fake_block *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->data = calloc(1, size);
	assert_non_null(f->data);
	f->block = (struct block){
		.ops = &fake_ops,
		.size = size,
		.block_size = 512,
		.discard_align = 4096,
		.can_write_zeroes = true,
	};
	return f;
}

unsigned fake_block_pending(struct fake_block *f)
{
	return __atomic_load_n(&f->n_pending, __ATOMIC_SEQ_CST);
}

static void complete_one(struct fake_block *f, unsigned i, int result)
{
	unsigned n = fake_block_pending(f);
	struct block_req *req = f->pending[i];

	assert_true(i < n);
	memmove(&f->pending[i], &f->pending[i + 1], (n - i - 1) * sizeof(f->pending[0]));
	__atomic_store_n(&f->n_pending, n - 1, __ATOMIC_SEQ_CST);
	finish(f, req, result);
}

void fake_block_complete(struct fake_block *f, unsigned i, int result)
{
	complete_one(f, i, result);
	block_batch_end(&f->block);
}

void fake_block_complete_all(struct fake_block *f, int result)
{
	while (fake_block_pending(f))
		complete_one(f, fake_block_pending(f) - 1, result);
	block_batch_end(&f->block);
}
