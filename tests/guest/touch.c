/* SPDX-License-Identifier: Apache-2.0 */
/*
 * touch: all RAM above the first 16 MiB, page by page: each keeps what was written to it. The lines
 * with "bench:" are marks for scripts/bench (its row "pages").
 *
 * QEMU: -m 64M
 * PVH:
 * RUN: --memory 64M
 * EXPECT: 12288 pages
 * RUN: --memory 64M,hugepages=thp
 * EXPECT: 12288 pages
 * RUN: --memory 66M,shared=on
 * EXPECT: 12800 pages
 */
#include "guest.h"

enum { PAGE = 4096, OURS = 16 << 20 };

/* Write or look at the first word of each page; gives how many there were. */
static uint64_t walk(bool write)
{
	uint64_t pages = 0;
	struct ram_range r;

	for (unsigned i = 0; memory_map(i, &r); i++) {
		if (r.type != 1)
			continue;
		map_high(r.base, r.len);
		for (uint64_t at = r.base; at + PAGE <= r.base + r.len; at += PAGE) {
			if (at < OURS)
				continue;
			if (write)
				write64(at, ~at);
			else
				expect_equal(read64(at), ~at);
			pages++;
		}
	}
	return pages;
}

void guest_main(void)
{
	uint64_t pages;

	puts("bench: from\n");
	pages = walk(true);
	puts("bench: to first\n");
	puts("bench: from\n");
	walk(false);
	puts("bench: to again\n");
	printf("%lu pages\n", pages);
}
