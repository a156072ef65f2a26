/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A console that nobody looks at: its last bytes are kept for the case that the guest
 * fails. Or it is shown as it comes, on stderr, so that stdout is somebody else's.
 */
#include "devices/backend/char_backend.h"
#include "devices/backend/char_out.h"
#include "vmm/base/bytes.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	TOLD_LINES = 60, /* of a guest that failed */
	DRAIN_MS = 2000,
};

struct char_kept {
	struct char_backend b;
	struct char_out_fd *shown; /* NULL: it is kept only */
	struct char_out port;      /* of `shown` */
	bool tell;
	pthread_mutex_t lock; /* of the ring */
	struct char_ring ring;
};

static struct char_kept *kept_of(struct char_backend *b)
{
	return container_of(b, struct char_kept, b);
}

static void keep(void *ctx, const uint8_t *bytes, size_t len)
{
	struct char_kept *k = ctx;

	pthread_mutex_lock(&k->lock);
	char_ring_append(&k->ring, bytes, len);
	pthread_mutex_unlock(&k->lock);
	if (k->shown)
		k->port.send(k->port.ctx, bytes, len);
}

static struct char_out kept_out(struct char_backend *b)
{
	return (struct char_out){keep, kept_of(b)};
}

static struct char_room kept_room(struct char_backend *b)
{
	return (struct char_room){0};
}

static int kept_start(struct char_backend *b, const struct char_in *in, bool fresh, struct err *e)
{
	return 0;
}

/* Where the last TOLD_LINES of `len` bytes begin, at a whole line. */
static size_t last_lines(const uint8_t *bytes, size_t len)
{
	unsigned lines = 0;
	size_t at = len;

	while (at && lines < TOLD_LINES)
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

char *char_kept_last(struct char_backend *b)
{
	struct char_kept *k = kept_of(b);
	uint8_t *bytes = malloc(CHAR_RING + 2);
	size_t len, start;

	if (!bytes)
		return NULL;
	pthread_mutex_lock(&k->lock);
	struct char_ring looked_at = k->ring; /* what is taken from it stays in the other */

	len = char_ring_take(&looked_at, bytes, CHAR_RING);
	pthread_mutex_unlock(&k->lock);
	len = drop_returns(bytes, len);
	if (len && bytes[len - 1] != '\n')
		bytes[len++] = '\n';
	start = last_lines(bytes, len);
	memmove(bytes, bytes + start, len - start);
	bytes[len - start] = '\0';
	return (char *)bytes;
}

static void tell(struct char_kept *k)
{
	char *lines = char_kept_last(&k->b);
	struct err e = {0};
	struct char_out_fd *out = lines ? char_out_create(STDERR_FILENO, &e) : NULL;

	if (out) {
		const struct char_out port = char_out_port(out);

		port.send(port.ctx, (const uint8_t *)lines, strlen(lines));
		char_out_drain(out, DRAIN_MS);
	}
	char_out_destroy(out);
	free(lines);
}

static void kept_close(struct char_backend *b)
{
	struct char_kept *k = kept_of(b);

	if (k->shown)
		char_out_drain(k->shown, DRAIN_MS);
	else if (k->tell)
		tell(k);
	char_out_destroy(k->shown);
	char_ring_fini(&k->ring);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

static const struct char_backend_ops ops = {kept_out, kept_room, kept_start, kept_close};

struct char_backend *char_kept_create(const char *name, bool show, struct err *e)
{
	struct char_kept *k = calloc(1, sizeof(*k));

	if (!k || char_ring_init(&k->ring)) {
		free(k);
		err_host(e, -ENOMEM, "%s: out of memory", name);
		return NULL;
	}
	k->b = (struct char_backend){&ops, name};
	pthread_mutex_init(&k->lock, NULL);
	if (show) {
		k->shown = char_out_create(STDERR_FILENO, e);
		if (!k->shown) {
			kept_close(&k->b);
			return NULL;
		}
		k->port = char_out_port(k->shown);
	}
	return &k->b;
}

void char_kept_tell(struct char_backend *b)
{
	kept_of(b)->tell = true;
}
