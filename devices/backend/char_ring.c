/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/backend/char_ring.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

int char_ring_init(struct char_ring *r)
{
	void *p = mmap(NULL, CHAR_RING, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	*r = (struct char_ring){0};
	if (p == MAP_FAILED)
		return -errno;
	r->bytes = p;
	return 0;
}

void char_ring_fini(struct char_ring *r)
{
	if (r->bytes)
		munmap(r->bytes, CHAR_RING);
	r->bytes = NULL;
}

static void drop(struct char_ring *r, uint64_t n)
{
	r->dropped += n;
	r->lost += n;
}

void char_ring_append(struct char_ring *r, const uint8_t *bytes, size_t len)
{
	size_t at, first;

	if (len > CHAR_RING) {
		drop(r, len - CHAR_RING);
		bytes += len - CHAR_RING;
		len = CHAR_RING;
	}
	uint64_t room = CHAR_RING - char_ring_waiting(r);

	if (len > room) {
		drop(r, len - room);
		r->tail += len - room;
	}
	at = r->head % CHAR_RING;
	first = len < CHAR_RING - at ? len : CHAR_RING - at;
	memcpy(r->bytes + at, bytes, first);
	memcpy(r->bytes, bytes + first, len - first);
	r->head += len;
}

size_t char_ring_take(struct char_ring *r, uint8_t *to, size_t len)
{
	size_t at = r->tail % CHAR_RING, n = char_ring_waiting(r), first;

	if (n > len)
		n = len;
	first = n < CHAR_RING - at ? n : CHAR_RING - at;
	memcpy(to, r->bytes + at, first);
	memcpy(to + first, r->bytes, n - first);
	r->tail += n;
	/* Empty: start over, so that a quiet guest's ring stays a page or two. */
	if (r->head == r->tail)
		r->head = r->tail = 0;
	return n;
}

size_t char_ring_mark(struct char_ring *r, uint8_t *to, const char *eol)
{
	int n;

	if (!r->dropped)
		return 0;
	n = snprintf((char *)to, CHAR_MARK_MAX,
		     "%s[minivmm: %llu bytes of console output dropped]%s", eol,
		     (unsigned long long)r->dropped, eol);
	r->dropped = 0;
	return (size_t)n;
}

void char_ring_lose(struct char_ring *r, uint64_t n)
{
	drop(r, n);
}

void char_ring_forget(struct char_ring *r)
{
	r->lost += char_ring_waiting(r);
	r->tail = r->head = 0;
}
