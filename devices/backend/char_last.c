/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/backend/char_last.h"

#include <stdlib.h>
#include <string.h>

enum { LINES = 60 };

int char_last_init(struct char_last *l)
{
	*l = (struct char_last){0};
	pthread_mutex_init(&l->lock, NULL);
	return char_ring_init(&l->ring);
}

void char_last_fini(struct char_last *l)
{
	char_ring_fini(&l->ring);
	pthread_mutex_destroy(&l->lock);
}

static void keep(void *ctx, const uint8_t *bytes, size_t len)
{
	struct char_last *l = ctx;

	pthread_mutex_lock(&l->lock);
	char_ring_append(&l->ring, bytes, len);
	pthread_mutex_unlock(&l->lock);
	if (l->next.send)
		l->next.send(l->next.ctx, bytes, len);
}

struct char_out char_last_tap(struct char_last *l, const struct char_out *next)
{
	l->next = next ? *next : (struct char_out){0};
	return (struct char_out){keep, l};
}

/* Where the last LINES of `len` bytes begin, at a whole line. */
static size_t last_lines(const uint8_t *bytes, size_t len)
{
	unsigned lines = 0;
	size_t at = len;

	while (at && lines < LINES)
		lines += bytes[--at] == '\n' && at != len - 1;
	return at ? at + 1 : 0;
}

/* The carriage returns are for terminals; a log has none. */
static size_t drop_returns(uint8_t *bytes, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		if (bytes[i] != '\r')
			bytes[n++] = bytes[i] ? bytes[i] : '?';
	return n;
}

char *char_last_lines(struct char_last *l)
{
	uint8_t *bytes = malloc(CHAR_RING + 2);
	size_t len, start;

	if (!bytes)
		return NULL;
	pthread_mutex_lock(&l->lock);
	struct char_ring looked_at = l->ring; /* what is taken from it stays in the other */

	len = char_ring_take(&looked_at, bytes, CHAR_RING);
	pthread_mutex_unlock(&l->lock);
	len = drop_returns(bytes, len);
	if (len && bytes[len - 1] != '\n')
		bytes[len++] = '\n';
	start = last_lines(bytes, len);
	memmove(bytes, bytes + start, len - start);
	bytes[len - start] = '\0';
	return (char *)bytes;
}
