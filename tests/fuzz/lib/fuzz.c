/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/lib/fuzz.h"

#include "vmm/base/bytes.h"
#include "vmm/base/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void fuzz_broken(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
	abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_in in = {data, len};
	/* Complaints are still put into words, for the sake of their format strings. */
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	log_set_fd(null);
	fuzz_one(&in);
	log_set_fd(STDERR_FILENO);
	close(null);
	return 0;
}

/* --- the input ------------------------------------------------------------------- */

uint64_t fuzz_uint(struct fuzz_in *in, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes && in->left; i++, in->at++, in->left--)
		v |= (uint64_t)*in->at << 8 * i;
	return v;
}

uint64_t fuzz_below(struct fuzz_in *in, uint64_t n)
{
	unsigned bytes = 0;

	while (bytes < 8 && (n - 1) >> 8 * bytes)
		bytes++;
	return fuzz_uint(in, bytes) % n;
}

size_t fuzz_bytes(struct fuzz_in *in, size_t len, const uint8_t **at)
{
	if (len > in->left)
		len = in->left;
	*at = in->at;
	in->at += len;
	in->left -= len;
	return len;
}

/* --- a guest's accesses ------------------------------------------------------------ */

uint64_t fuzz_access(struct fuzz_in *in, struct bus *b, uint64_t base, uint64_t len)
{
	uint8_t how = fuzz_u8(in);
	unsigned size = 1u << (how & 3);
	uint64_t addr = base + fuzz_below(in, len), val = 0;

	if (how & 4) {
		bus_write(b, addr, size, fuzz_uint(in, size));
		return 0;
	}
	bool answered = bus_read(b, addr, size, &val);

	fuzz_check(!(val & ~size_mask(size)));
	fuzz_check(answered || val == size_mask(size));
	return val;
}

/* --- saved state ------------------------------------------------------------------- */

static void save(const struct device_ops *ops, void *dev, struct state_writer *w)
{
	state_writer_init(w);
	ops->save(dev, w);
	fuzz_check(!w->error && w->len);
}

static bool same(const struct state_writer *a, const struct state_writer *b)
{
	return a->len == b->len && !memcmp(a->data, b->data, a->len);
}

static int load(const struct device_ops *ops, void *dev, const struct state_writer *w)
{
	/* Of its own size, so that a read beyond the end is seen. */
	uint8_t *bytes = malloc(w->len + !w->len);
	struct err e = {0};
	struct state_reader r;
	int ret;

	fuzz_check(bytes);
	memcpy(bytes, w->data, w->len);
	state_reader_init(&r, bytes, w->len);
	ret = ops->load(dev, &r, &e);
	fuzz_check(ret ? ret < 0 && e.kind != ERR_NONE && *e.text : e.kind == ERR_NONE);
	free(bytes);
	return ret;
}

bool fuzz_state(struct fuzz_in *in, const struct device_ops *ops, void *dev, int how)
{
	unsigned changes = fuzz_u8(in) % 8;
	struct state_writer before, hostile, after;
	bool untouched = !changes;
	int ret;

	save(ops, dev, &hostile);
	while (changes--) {
		size_t at = fuzz_below(in, hostile.len);

		hostile.data[at] = fuzz_u8(in);
	}
	if (fuzz_u8(in) & 1) {
		hostile.len = fuzz_below(in, hostile.len);
		untouched = false;
	}
	if (how & FUZZ_STATE_FRESH)
		ops->reset(dev);
	save(ops, dev, &before);
	ret = load(ops, dev, &hostile);
	save(ops, dev, &after);
	fuzz_check(!ret || !untouched);
	fuzz_check(!ret || same(&after, &before));
	fuzz_check(ret || !(how & FUZZ_STATE_EXACT) || same(&after, &hostile));
	if (!ret)
		fuzz_round_trip(ops, dev);
	state_writer_fini(&before);
	state_writer_fini(&hostile);
	state_writer_fini(&after);
	return !ret;
}

void fuzz_round_trip(const struct device_ops *ops, void *dev)
{
	struct state_writer before, after;

	save(ops, dev, &before);
	if (ops->reset)
		ops->reset(dev);
	fuzz_check(!load(ops, dev, &before));
	save(ops, dev, &after);
	fuzz_check(same(&before, &after));
	state_writer_fini(&before);
	state_writer_fini(&after);
}
