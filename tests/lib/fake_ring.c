/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/fake_ring.h"

#include <endian.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

uint16_t fake_ring_use(struct vhost_ring *r, uint32_t len)
{
	const uint16_t *avail = r->avail;
	uint16_t *used = r->used, slot = r->next % r->size;
	uint32_t *elems = (uint32_t *)r->used + 1;
	const uint64_t one = 1;

	assert_true(r->next != le16toh(avail[1]));
	elems[2 * slot] = htole32(le16toh(avail[2 + slot]));
	elems[2 * slot + 1] = htole32(len);
	r->next++;
	__atomic_store_n(&used[1], htole16(r->next), __ATOMIC_RELEASE);
	assert_int_equal(write(r->call, &one, sizeof(one)), sizeof(one));
	return le16toh(avail[2 + slot]);
}
