/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/snapshot/ram_index.h"

#include "vmm/snapshot/packed.h"
#include "vmm/snapshot/ram.h"

#include <errno.h>
#include <stdlib.h>

enum { VERSION_PLAIN = 1, VERSION_PACKED = 2 };

int ram_index_init(struct ram_index *x, uint64_t len, bool packed)
{
	*x = (struct ram_index){.n = ram_chunks(len)};
	x->sums = calloc(x->n, sizeof(*x->sums));
	if (packed)
		x->lengths = calloc(x->n, sizeof(*x->lengths));
	if (x->sums && (x->lengths || !packed))
		return 0;
	ram_index_fini(x);
	return -ENOMEM;
}

void ram_index_fini(struct ram_index *x)
{
	free(x->sums);
	free(x->lengths);
	*x = (struct ram_index){0};
}

void ram_index_save(const struct ram_index *x, struct state_writer *w)
{
	state_section_begin(w, RAM_INDEX_SECTION, x->lengths ? VERSION_PACKED : VERSION_PLAIN);
	state_put_u32(w, (uint32_t)x->n);
	for (size_t i = 0; i < x->n; i++) {
		state_put_u64(w, x->sums[i]);
		if (x->lengths)
			state_put_u32(w, x->lengths[i]);
	}
	state_section_end(w);
}

/* What no writer of frames says. */
static bool makes_sense(const struct ram_index *x)
{
	for (size_t i = 0; x->lengths && i < x->n; i++)
		if (x->lengths[i] > PACKED_FRAME_MAX || !x->lengths[i] != !x->sums[i])
			return false;
	return true;
}

int ram_index_load(struct ram_index *x, const struct state_reader *r, uint64_t len, struct err *e)
{
	struct state_reader found;
	int version = state_find(&found, r, RAM_INDEX_SECTION, e);

	*x = (struct ram_index){0};
	if (version < 0)
		return version;
	if (version > VERSION_PACKED)
		return err_host(e, -EBADMSG,
				"saved state: '" RAM_INDEX_SECTION "' has unknown version %d",
				version);
	if (state_get_u32(&found) != ram_chunks(len))
		return err_host(e, -EBADMSG, "saved state: its sums are not of this memory");
	if (ram_index_init(x, len, version == VERSION_PACKED))
		return err_host(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < x->n; i++) {
		x->sums[i] = state_get_u64(&found);
		if (x->lengths)
			x->lengths[i] = state_get_u32(&found);
	}
	int ret = state_section_close(&found, e);

	if (!ret && !makes_sense(x))
		ret = err_host(e, -EBADMSG, "saved state: its memory's frames make no sense");
	if (ret)
		ram_index_fini(x);
	return ret;
}

uint64_t ram_index_packed_len(const struct ram_index *x)
{
	uint64_t sum = 0;

	for (size_t i = 0; x->lengths && i < x->n; i++)
		sum += x->lengths[i];
	return sum;
}
