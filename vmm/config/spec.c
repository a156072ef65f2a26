/* SPDX-License-Identifier: Apache-2.0 */
/* spec: a word is cut at its commas, a piece at its first '='. See spec.h. */
#include "vmm/config/spec.h"

#include "vmm/config/size.h"
#include "vmm/config/suggest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char id_chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

int spec_text(char **out, const char *value, const struct origin *o, struct err *e)
{
	char *copy = strdup(value);

	if (!copy)
		return option_nomem(o, e);
	free(*out);
	*out = copy;
	return 0;
}

bool config_is_id(const char *text)
{
	size_t len = strlen(text);

	return len >= 1 && len <= CONFIG_ID_MAX && strspn(text, id_chars) == len;
}

int spec_id(char **out, const char *value, const struct origin *o, struct err *e)
{
	if (!config_is_id(value))
		return option_refuse(o, value, -EINVAL, e,
				     "not a name; give 1 to %d of letters, digits, '_' and '-'",
				     CONFIG_ID_MAX);
	return spec_text(out, value, o, e);
}

int spec_rate_bytes(uint64_t *out, const char *value, const struct origin *o, struct err *e)
{
	uint64_t n = 0;
	int err = bytes_parse(value, &n);

	if (err || n > CONFIG_RATE_MAX)
		return option_refuse(o, value, err ? err : -ERANGE, e,
				     "%s; give one such as 10M, at most 1T (0: no limit)",
				     err == -EINVAL ? "not a number of bytes" : "too many bytes");
	*out = n;
	return 0;
}

int spec_rate_ops(uint64_t *out, const char *value, const struct origin *o, struct err *e)
{
	int err = number_parse(value, CONFIG_RATE_MAX, out);

	if (err)
		return option_refuse(o, value, err, e, "%s; give one such as 500 (0: no limit)",
				     err == -ERANGE ? "too high a number" : "not a number");
	return 0;
}

int spec_slot(unsigned *out, const char *value, const struct origin *o, struct err *e)
{
	uint64_t slot = 0;

	if (number_parse(value, CONFIG_HOTPLUG_MAX, &slot) || !slot)
		return option_refuse(o, value, -EINVAL, e, "not a PCI slot; give 1 to %d",
				     CONFIG_HOTPLUG_MAX);
	*out = (unsigned)slot;
	return 0;
}

int spec_rate_check(const struct rate_config *r, const char *ops, const struct origin *o,
		    const char *value, struct err *e)
{
	if (r->burst && !r->bps)
		return option_refuse(o, value, -EINVAL, e, "burst goes with bps; give both");
	if (r->ops_burst && !r->ops)
		return option_refuse(o, value, -EINVAL, e, "%s-burst goes with %s; give both", ops,
				     ops);
	return 0;
}

/* Gives the key's index, or that of the end of the list. */
static unsigned find(const struct spec *s, const char *name)
{
	unsigned i = 0;

	while (s->keys[i].name && strcmp(name, s->keys[i].name) != 0)
		i++;
	return i;
}

int spec_set_key(const struct spec *s, void *thing, const char *key, const char *value,
		 const struct origin *o, struct err *e)
{
	const struct spec_key *k = &s->keys[find(s, key)];
	struct suggestion near = {0};
	struct origin at = *o;

	at.part = key;
	if (k->name)
		return k->set(thing, value, &at, e);
	for (k = s->keys; k->name; k++)
		suggest_offer(&near, key, k->name);
	if (near.name)
		return option_refuse(&at, NULL, -EINVAL, e, "unknown key; did you mean %s?",
				     near.name);
	return option_refuse(&at, NULL, -EINVAL, e, "unknown key; %s", s->keys_text);
}

/* Cuts the next piece off *rest, in place: up to a single comma, `,,` folded into
 * one. *rest becomes NULL behind the last piece. */
static char *next_piece(char **rest)
{
	char *piece = *rest, *from = piece, *to = piece;

	*rest = NULL;
	for (; *from; from++) {
		if (*from == ',' && *++from != ',') {
			*rest = from;
			break;
		}
		*to++ = *from;
	}
	*to = '\0';
	return piece;
}

static int set_piece(const struct spec *s, void *thing, const char *word, char *piece,
		     uint32_t *seen, const struct origin *o, struct err *e)
{
	const char *value = "on";
	char *eq = strchr(piece, '=');
	unsigned i;

	if (eq) {
		*eq = '\0';
		value = eq + 1;
	}
	i = find(s, piece);
	if (!eq && !s->keys[i].flag)
		return option_refuse(o, word, -EINVAL, e, "\"%.20s\" is no key=value; %s", piece,
				     s->bare_text);
	if (s->keys[i].name && *seen & 1u << i && !s->keys[i].repeats)
		return option_refuse(o, word, -EINVAL, e, "has %s twice; give it once", piece);
	*seen |= 1u << i;
	return spec_set_key(s, thing, piece, value, o, e);
}

int spec_set_word(const struct spec *s, void *thing, const char *word, const struct origin *o,
		  struct err *e)
{
	char *copy = strdup(word), *rest = copy;
	uint32_t seen = 0;
	int err = 0;

	if (!copy)
		return option_nomem(o, e);
	if (s->first_is_value) {
		err = s->keys[0].set(thing, next_piece(&rest), o, e);
		seen = 1;
	}
	while (!err && rest)
		err = set_piece(s, thing, word, next_piece(&rest), &seen, o, e);
	free(copy);
	return err;
}
