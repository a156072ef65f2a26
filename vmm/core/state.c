/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/core/state.h"

#include "vmm/base/le.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	NAME_LEN = STATE_NAME_BYTES,
	VERSION_AT = NAME_LEN,
	LENGTH_AT = NAME_LEN + 4,
	HEADER_LEN = NAME_LEN + 8
};

/* --- writing ----------------------------------------------------------------- */

void state_writer_init(struct state_writer *w)
{
	*w = (struct state_writer){.section = SIZE_MAX};
}

void state_writer_fini(struct state_writer *w)
{
	free(w->data);
	state_writer_init(w);
}

static uint8_t *grow(struct state_writer *w, size_t len)
{
	if (w->error)
		return NULL;
	if (len > w->cap - w->len) {
		size_t cap = w->cap ? w->cap * 2 : 4096;

		while (cap - w->len < len)
			cap *= 2;
		uint8_t *data = realloc(w->data, cap);

		if (!data) {
			w->error = -ENOMEM;
			return NULL;
		}
		w->data = data;
		w->cap = cap;
	}
	w->len += len;
	return w->data + w->len - len;
}

void state_section_begin(struct state_writer *w, const char *name, uint32_t version)
{
	size_t at = w->len;
	uint8_t *h = grow(w, HEADER_LEN);

	assert(w->section == SIZE_MAX && strlen(name) < NAME_LEN && version);
	if (!h)
		return;
	memset(h, 0, HEADER_LEN);
	memcpy(h, name, strlen(name));
	le32_put(h + VERSION_AT, version);
	w->section = at;
}

void state_section_end(struct state_writer *w)
{
	if (w->error)
		return;
	assert(w->section != SIZE_MAX);
	le32_put(w->data + w->section + LENGTH_AT, (uint32_t)(w->len - w->section - HEADER_LEN));
	w->section = SIZE_MAX;
}

void state_put_bytes(struct state_writer *w, const void *p, size_t len)
{
	uint8_t *to = grow(w, len);

	if (to && len)
		memcpy(to, p, len);
}

void state_put_u8(struct state_writer *w, uint8_t v)
{
	state_put_bytes(w, &v, 1);
}

void state_put_u16(struct state_writer *w, uint16_t v)
{
	uint8_t b[2];

	le16_put(b, v);
	state_put_bytes(w, b, sizeof(b));
}

void state_put_u32(struct state_writer *w, uint32_t v)
{
	uint8_t b[4];

	le32_put(b, v);
	state_put_bytes(w, b, sizeof(b));
}

void state_put_u64(struct state_writer *w, uint64_t v)
{
	uint8_t b[8];

	le64_put(b, v);
	state_put_bytes(w, b, sizeof(b));
}

void state_put_bool(struct state_writer *w, bool v)
{
	state_put_u8(w, v);
}

/* --- reading ----------------------------------------------------------------- */

void state_reader_init(struct state_reader *r, const void *data, size_t len)
{
	*r = (struct state_reader){.data = data, .len = len};
}

int state_section_open(struct state_reader *r, const char *name, struct err *e)
{
	const uint8_t *h = r->data + r->pos;
	char want[NAME_LEN] = "";
	uint32_t version, length;

	assert(strlen(name) < NAME_LEN);
	if (r->error)
		return err_host(e, r->error, "saved state: damaged before section '%s'", name);
	if (r->len - r->pos < HEADER_LEN) {
		r->error = -EBADMSG;
		return err_host(e, -EBADMSG, "saved state: ends before section '%s'", name);
	}
	memcpy(want, name, strlen(name));
	version = le32_get(h + VERSION_AT);
	length = le32_get(h + LENGTH_AT);
	if (memcmp(h, want, NAME_LEN) || !version || version > INT32_MAX ||
	    length > r->len - r->pos - HEADER_LEN) {
		r->error = -EBADMSG;
		return err_host(e, -EBADMSG, "saved state: section '%s' is missing or damaged",
				name);
	}
	r->pos += HEADER_LEN;
	r->end = r->pos + length;
	return (int)version;
}

int state_section_expect(struct state_reader *r, const char *name, uint32_t version, struct err *e)
{
	int ret = state_section_open(r, name, e);

	if (ret < 0 || ret == (int)version)
		return ret < 0 ? ret : 0;
	r->error = -EBADMSG;
	return err_host(e, -EBADMSG, "saved state: '%s' has unknown version %d", name, ret);
}

void state_section_name(const struct state_reader *r, char name[STATE_NAME_BYTES])
{
	memset(name, 0, STATE_NAME_BYTES);
	if (!r->error && r->len - r->pos >= HEADER_LEN)
		memcpy(name, r->data + r->pos, STATE_NAME_BYTES - 1);
}

/* *out stands before the first section called `name`, or where there are no more. */
static void seek(struct state_reader *out, const struct state_reader *r, const char *name)
{
	char want[NAME_LEN] = "";

	*out = *r;
	assert(strlen(name) < NAME_LEN);
	memcpy(want, name, strlen(name));
	while (out->len - out->pos >= HEADER_LEN && memcmp(out->data + out->pos, want, NAME_LEN)) {
		size_t length = le32_get(out->data + out->pos + LENGTH_AT);

		if (length > out->len - out->pos - HEADER_LEN)
			break;
		out->pos += HEADER_LEN + length;
	}
}

bool state_has(const struct state_reader *r, const char *name)
{
	char there[STATE_NAME_BYTES];
	struct state_reader at;

	seek(&at, r, name);
	state_section_name(&at, there);
	return !strcmp(there, name);
}

int state_find(struct state_reader *out, const struct state_reader *r, const char *name,
	       struct err *e)
{
	seek(out, r, name);
	return state_section_open(out, name, e);
}

int state_section_close(struct state_reader *r, struct err *e)
{
	if (!r->error && r->pos != r->end)
		r->error = -EBADMSG;
	if (r->error)
		return err_host(e, r->error, "saved state: a section does not hold what it should");
	return 0;
}

void state_get_bytes(struct state_reader *r, void *p, size_t len)
{
	if (r->error || len > r->end - r->pos) {
		r->error = r->error ? r->error : -EBADMSG;
		memset(p, 0, len);
		return;
	}
	memcpy(p, r->data + r->pos, len);
	r->pos += len;
}

uint8_t state_get_u8(struct state_reader *r)
{
	uint8_t v;

	state_get_bytes(r, &v, 1);
	return v;
}

uint16_t state_get_u16(struct state_reader *r)
{
	uint8_t b[2];

	state_get_bytes(r, b, sizeof(b));
	return le16_get(b);
}

uint32_t state_get_u32(struct state_reader *r)
{
	uint8_t b[4];

	state_get_bytes(r, b, sizeof(b));
	return le32_get(b);
}

uint64_t state_get_u64(struct state_reader *r)
{
	uint8_t b[8];

	state_get_bytes(r, b, sizeof(b));
	return le64_get(b);
}

bool state_get_bool(struct state_reader *r)
{
	uint8_t v = state_get_u8(r);

	if (v > 1 && !r->error)
		r->error = -EBADMSG;
	return v == 1;
}
