/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A console that nobody looks at: its last bytes are kept for the case that the guest
 * fails. Or it is shown as it comes, on stderr, so that stdout is somebody else's.
 */
#include "devices/backend/char_backend.h"
#include "devices/backend/char_last.h"
#include "devices/backend/char_out.h"
#include "vmm/base/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DRAIN_MS = 2000 };

struct char_kept {
	struct char_backend b;
	struct char_out_fd *shown; /* NULL: it is kept only */
	struct char_out port;      /* of `shown` */
	bool tell;
	struct char_last last;
};

static struct char_kept *kept_of(struct char_backend *b)
{
	return container_of(b, struct char_kept, b);
}

static struct char_out kept_out(struct char_backend *b)
{
	struct char_kept *k = kept_of(b);

	return char_last_tap(&k->last, k->shown ? &k->port : NULL);
}

static struct char_room kept_room(struct char_backend *b)
{
	return (struct char_room){0};
}

static int kept_start(struct char_backend *b, const struct char_in *in, struct err *e)
{
	return 0;
}

char *char_kept_last(struct char_backend *b)
{
	return char_last_lines(&kept_of(b)->last);
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
	char_last_fini(&k->last);
	free(k);
}

static const struct char_backend_ops ops = {kept_out, kept_room, kept_start, kept_close};

struct char_backend *char_kept_create(const char *name, bool show, struct err *e)
{
	struct char_kept *k = calloc(1, sizeof(*k));

	if (!k || char_last_init(&k->last)) {
		if (k)
			char_last_fini(&k->last);
		free(k);
		err_host(e, -ENOMEM, "%s: out of memory", name);
		return NULL;
	}
	k->b = (struct char_backend){&ops, name};
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
