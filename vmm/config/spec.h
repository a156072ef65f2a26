/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec: one thing with a few keys, such as a disk or a network.
 *
 * On the command line all of it is one word, `PATH,readonly=on,id=data`; in a file
 * it is a section and each key a line. Either way a key ends in the same setter.
 * Within a word a comma that belongs to a value is written twice, as people know it
 * from QEMU, so everything can be said.
 *
 * Internal to vmm/config.
 */
#ifndef VMM_CONFIG_SPEC_H
#define VMM_CONFIG_SPEC_H

#include "vmm/config/options.h"

struct spec_key {
	const char *name;
	/* `thing` is what the spec describes. The origin names the key. */
	int (*set)(void *thing, const char *value, const struct origin *o, struct err *e);
	bool repeats; /* may be given several times in a word */
	bool flag;    /* `key` alone means key=on */
};

struct spec {
	const struct spec_key *keys; /* ends with a NULL name; at most 32 */
	const char *keys_text;       /* for an unknown one: "a disk has path, readonly, ..." */
	const char *bare_text;       /* for a piece that is no key=value */
	bool first_is_value;         /* a word begins with the value of the first key */
};

/* Sets one key of *thing, said by `o`. 0, or a negative errno with *e filled. */
int spec_set_key(const struct spec *s, void *thing, const char *key, const char *value,
		 const struct origin *o, struct err *e);

/* Sets all that `word` says. On an error *thing may be half filled. */
int spec_set_word(const struct spec *s, void *thing, const char *word, const struct origin *o,
		  struct err *e);

/* The setter for an id, as config_is_id() wants it: a new string in *out, of which the old one is
 * freed. */
int spec_id(char **out, const char *value, const struct origin *o, struct err *e);
/* Any text, likewise. */
int spec_text(char **out, const char *value, const struct origin *o, struct err *e);

/* Of a limit: a rate or a burst in bytes, in operations. And is it a whole one? Its operations are
 * called `ops` ("iops"); `value` is repeated if it is not, NULL: nothing is. */
int spec_rate_bytes(uint64_t *out, const char *value, const struct origin *o, struct err *e);
int spec_rate_ops(uint64_t *out, const char *value, const struct origin *o, struct err *e);
/* A PCI slot in which a device may come: 1 to CONFIG_HOTPLUG_MAX. */
int spec_slot(unsigned *out, const char *value, const struct origin *o, struct err *e);
int spec_rate_check(const struct rate_config *r, const char *ops, const struct origin *o,
		    const char *value, struct err *e);

#endif
