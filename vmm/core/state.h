/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state: saved state as named, versioned sections of little-endian fields.
 *
 *	section := name (24 bytes, NUL-padded) version u32, length u32, fields
 *
 * A writer grows a buffer and remembers a failed allocation, so that devices
 * write their fields without an if after each. A reader does the same with the
 * first error: read all the fields, then ask state_reader_end() once. What a
 * reader gives is untrusted; each device judges its values.
 */
#ifndef VMM_CORE_STATE_H
#define VMM_CORE_STATE_H

#include "vmm/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct state_writer {
	uint8_t *data; /* owned */
	size_t len, cap;
	size_t section; /* offset of the open section's header, or SIZE_MAX */
	int error;      /* 0 or -ENOMEM */
};

void state_writer_init(struct state_writer *w);
void state_writer_fini(struct state_writer *w);
void state_section_begin(struct state_writer *w, const char *name, uint32_t version);
void state_section_end(struct state_writer *w);
void state_put_u8(struct state_writer *w, uint8_t v);
void state_put_u16(struct state_writer *w, uint16_t v);
void state_put_u32(struct state_writer *w, uint32_t v);
void state_put_u64(struct state_writer *w, uint64_t v);
void state_put_bool(struct state_writer *w, bool v);
void state_put_bytes(struct state_writer *w, const void *p, size_t len);

struct state_reader {
	const uint8_t *data; /* borrowed */
	size_t len, pos;
	size_t end; /* of the section that is open */
	int error;  /* 0 or -EBADMSG */
};

void state_reader_init(struct state_reader *r, const void *data, size_t len);
/* Open the next section, which must be called `name`; gives its version (> 0),
 * or -EBADMSG and fills *e. */
int state_section_open(struct state_reader *r, const char *name, struct err *e);
/* The same where one version alone is known: 0 or -EBADMSG. */
int state_section_expect(struct state_reader *r, const char *name, uint32_t version, struct err *e);
/* What the next section is called, as far as it has a name; "" at the end. */
enum { STATE_NAME_BYTES = 24 };
void state_section_name(const struct state_reader *r, char name[STATE_NAME_BYTES]);
/* Is there a section called `name` from where `r` stands on? */
bool state_has(const struct state_reader *r, const char *name);
/* A reader of its own, *out, on the first section called `name` from where `r` stands on, which
 * stays where it is: its version (> 0), or -EBADMSG with *e filled. */
int state_find(struct state_reader *out, const struct state_reader *r, const char *name,
	       struct err *e);
/* Close it: 0 if every field was there and every byte was read, else -EBADMSG. */
int state_section_close(struct state_reader *r, struct err *e);
/* Past the end of the section each of these gives 0 and sets r->error. A bool
 * other than 0 or 1 is an error as well. */
uint8_t state_get_u8(struct state_reader *r);
uint16_t state_get_u16(struct state_reader *r);
uint32_t state_get_u32(struct state_reader *r);
uint64_t state_get_u64(struct state_reader *r);
bool state_get_bool(struct state_reader *r);
void state_get_bytes(struct state_reader *r, void *p, size_t len);

#endif
