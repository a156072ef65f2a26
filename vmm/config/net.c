/* SPDX-License-Identifier: Apache-2.0 */
/* net: one --net, or one [net.NAME] of a file: the keys of spec.h that a network has. */
#include "vmm/config/size.h"
#include "vmm/config/spec.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FD_MAX = 1 << 20, PORT_MAX = 65535, FORWARD_TEXT_MAX = 80 };

/* Which of the three it is; each may be said once, and only one. */
static int set_kind(struct net_config *n, enum net_kind kind, const struct origin *o, struct err *e)
{
	if (n->kind != NET_NONE)
		return option_refuse(o, NULL, -EINVAL, e,
				     "a network is one of user, tap=NAME and fd=N");
	n->kind = kind;
	return 0;
}

static int set_user(void *thing, const char *value, const struct origin *o, struct err *e)
{
	bool on = false;
	int err = option_on_off(&on, value, o, e);

	return err || !on ? err : set_kind(thing, NET_USER, o, e);
}

static int set_tap(void *thing, const char *value, const struct origin *o, struct err *e)
{
	struct net_config *n = thing;
	size_t len = strlen(value);
	int err;

	/* What the kernel takes for the name of an interface. */
	if (!len || len >= IFNAMSIZ || strpbrk(value, "/: \t\n") || strcmp(value, ".") == 0 ||
	    strcmp(value, "..") == 0)
		return option_refuse(o, value, -EINVAL, e,
				     "not the name of an interface; give one of at most %d "
				     "characters, such as tap0",
				     IFNAMSIZ - 1);
	err = set_kind(n, NET_TAP, o, e);
	return err ? err : spec_text(&n->tap, value, o, e);
}

static int set_fd(void *thing, const char *value, const struct origin *o, struct err *e)
{
	struct net_config *n = thing;
	uint64_t fd = 0;

	if (number_parse(value, FD_MAX, &fd) || fd < 3)
		return option_refuse(
			o, value, -EINVAL, e,
			"not the number of an inherited descriptor; give one from 3 on");
	n->fd = (int)fd;
	return set_kind(n, NET_FD, o, e);
}

static int set_vhost(void *thing, const char *value, const struct origin *o, struct err *e)
{
	struct net_config *n = thing;
	bool on = false;

	if (strcmp(value, "auto") == 0) {
		n->vhost = CONFIG_VHOST_AUTO;
		return 0;
	}
	int err = option_on_off(&on, value, o, e);

	if (!err)
		n->vhost = on ? CONFIG_VHOST_ON : CONFIG_VHOST_OFF;
	return err;
}

static int set_queues(void *thing, const char *value, const struct origin *o, struct err *e)
{
	struct net_config *n = thing;
	uint64_t queues = 0;

	if (number_parse(value, CONFIG_NET_QUEUES_MAX, &queues) || !queues)
		return option_refuse(o, value, -EINVAL, e,
				     "not a number of pairs of queues; give 1 to %d",
				     CONFIG_NET_QUEUES_MAX);
	n->queues = (unsigned)queues;
	return 0;
}

static int set_mac(void *thing, const char *value, const struct origin *o, struct err *e)
{
	static const uint8_t zero[6];
	struct net_config *n = thing;
	uint8_t mac[6];
	int used = 0;

	if (strlen(value) != 17 ||
	    sscanf(value, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2],
		   &mac[3], &mac[4], &mac[5], &used) != 6 ||
	    used != 17 || strspn(value, "0123456789abcdefABCDEF:") != 17)
		return option_refuse(o, value, -EINVAL, e,
				     "not a MAC address; give one such as 52:54:00:12:34:56");
	if (mac[0] & 1)
		return option_refuse(
			o, value, -EINVAL, e,
			"a group's address, not one station's; make the first byte even");
	if (memcmp(mac, zero, sizeof(mac)) == 0)
		return option_refuse(o, value, -EINVAL, e,
				     "all zeroes is nobody's address; give one such as "
				     "52:54:00:12:34:56");
	memcpy(n->mac, mac, sizeof(mac));
	n->has_mac = true;
	return 0;
}

static int set_id(void *thing, const char *value, const struct origin *o, struct err *e)
{
	struct net_config *n = thing;

	return spec_id(&n->id, value, o, e);
}

static bool parse_port(const char *text, uint16_t *out)
{
	uint64_t port = 0;

	if (number_parse(text, PORT_MAX, &port) || !port)
		return false;
	*out = (uint16_t)port;
	return true;
}

static bool is_address(const char *text)
{
	uint8_t any[16];

	return inet_pton(AF_INET, text, any) == 1 || inet_pton(AF_INET6, text, any) == 1;
}

/* [tcp:|udp:][ADDRESS/]PORT[:PORT], cut up in place. */
static bool parse_forward(char *text, struct forward_config *f)
{
	char *slash, *colon;

	if (strncmp(text, "tcp:", 4) == 0 || strncmp(text, "udp:", 4) == 0) {
		f->udp = *text == 'u';
		text += 4;
	}
	slash = strchr(text, '/');
	if (slash) {
		*slash = '\0';
		if (!is_address(text))
			return false;
		f->address = text;
		text = slash + 1;
	}
	colon = strchr(text, ':');
	if (colon)
		*colon = '\0';
	return parse_port(text, &f->host) && parse_port(colon ? colon + 1 : text, &f->guest);
}

static bool same_place(const struct forward_config *a, const struct forward_config *b)
{
	return a->udp == b->udp && a->host == b->host &&
	       (!a->address || !b->address || strcmp(a->address, b->address) == 0);
}

static int add_forward(struct net_config *n, char *text, const struct origin *o, struct err *e)
{
	struct forward_config f = {0};
	char shown[FORWARD_TEXT_MAX];

	snprintf(shown, sizeof(shown), "%s", text);
	if (n->n_forwards == CONFIG_FORWARDS_MAX)
		return option_refuse(o, shown, -E2BIG, e, "one forward too many; %d are the most",
				     CONFIG_FORWARDS_MAX);
	if (strlen(text) >= sizeof(shown) || !parse_forward(text, &f))
		return option_refuse(o, shown, -EINVAL, e,
				     "not a forward; give HOST-PORT:GUEST-PORT, or all of "
				     "[tcp:|udp:][ADDRESS/]PORT[:PORT]");
	for (unsigned i = 0; i < n->n_forwards; i++)
		if (same_place(&n->forwards[i], &f))
			return option_refuse(o, shown, -EEXIST, e,
					     "that port of the host is forwarded already");
	if (f.address && !(f.address = strdup(f.address)))
		return option_nomem(o, e);
	n->forwards[n->n_forwards++] = f;
	return 0;
}

/* Several in one value are separated by blanks: a file has no key twice. */
static int set_forward(void *thing, const char *value, const struct origin *o, struct err *e)
{
	char *copy = strdup(value), *save = NULL, *word = copy;
	int err = 0;

	if (!copy)
		return option_nomem(o, e);
	word = strtok_r(copy, " \t", &save);
	if (!word)
		err = option_refuse(o, value, -EINVAL, e, "no forward; give HOST-PORT:GUEST-PORT");
	for (; word && !err; word = strtok_r(NULL, " \t", &save))
		err = add_forward(thing, word, o, e);
	free(copy);
	return err;
}

static int set_slot(void *thing, const char *value, const struct origin *o, struct err *e)
{
	return spec_slot(&((struct net_config *)thing)->slot, value, o, e);
}

static int set_bps(void *thing, const char *value, const struct origin *o, struct err *e)
{
	return spec_rate_bytes(&((struct net_config *)thing)->limit.bps, value, o, e);
}

static int set_burst(void *thing, const char *value, const struct origin *o, struct err *e)
{
	return spec_rate_bytes(&((struct net_config *)thing)->limit.burst, value, o, e);
}

static int set_pps(void *thing, const char *value, const struct origin *o, struct err *e)
{
	return spec_rate_ops(&((struct net_config *)thing)->limit.ops, value, o, e);
}

static int set_pps_burst(void *thing, const char *value, const struct origin *o, struct err *e)
{
	return spec_rate_ops(&((struct net_config *)thing)->limit.ops_burst, value, o, e);
}

static const struct spec_key keys[] = {
	{.name = "user", .set = set_user, .flag = true},
	{.name = "tap", .set = set_tap},
	{.name = "fd", .set = set_fd},
	{.name = "vhost", .set = set_vhost},
	{.name = "queues", .set = set_queues},
	{.name = "mac", .set = set_mac},
	{.name = "id", .set = set_id},
	{.name = "forward", .set = set_forward, .repeats = true},
	{.name = "slot", .set = set_slot},
	{.name = "bps", .set = set_bps},
	{.name = "burst", .set = set_burst},
	{.name = "pps", .set = set_pps},
	{.name = "pps-burst", .set = set_pps_burst},
	{.name = NULL},
};
static const struct spec spec = {
	.keys = keys,
	.keys_text = "a network has user, tap or fd, and vhost, queues, mac, id, forward, slot, "
		     "bps, burst, pps and pps-burst",
	.bare_text = "a network is user, tap=NAME or fd=N",
};

int net_set_key(struct net_config *n, const char *key, const char *value, const struct origin *o,
		struct err *e)
{
	return spec_set_key(&spec, n, key, value, o, e);
}

static void net_fini(struct net_config *n)
{
	for (unsigned i = 0; i < n->n_forwards; i++)
		free(n->forwards[i].address);
	free(n->tap);
	free(n->id);
	memset(n, 0, sizeof(*n));
}

void net_clear_all(struct vm_config *c)
{
	while (c->n_late_nets)
		net_fini(&c->nets[c->n_nets + --c->n_late_nets]);
	while (c->n_nets)
		net_fini(&c->nets[--c->n_nets]);
}

int net_begin(struct vm_config *c, const char *id, const struct origin *o, struct err *e)
{
	struct net_config n = {0};
	int err;

	if (c->n_nets == CONFIG_NETS_MAX)
		return option_refuse(o, id, -E2BIG, e, "one network too many; %d are the most",
				     CONFIG_NETS_MAX);
	err = id ? spec_id(&n.id, id, o, e) : 0;
	if (err)
		return err;
	c->nets[c->n_nets++] = n;
	return 0;
}

int net_check(const struct net_config *n, const struct origin *o, const char *value, struct err *e)
{
	if (n->kind == NET_NONE)
		return option_refuse(
			o, value, -EINVAL, e,
			"what to connect it to is missing; give user, tap=NAME or fd=N");
	if (n->n_forwards && n->kind != NET_USER)
		return option_refuse(
			o, value, -EINVAL, e,
			"forward goes with user; a tap forwards as the host's routing and "
			"firewall say");
	if (n->vhost != CONFIG_VHOST_AUTO && n->kind == NET_USER)
		return option_refuse(
			o, value, -EINVAL, e,
			"vhost goes with tap and fd; passt is no part of the host's kernel");
	if (n->queues > 1 && n->kind != NET_TAP)
		return option_refuse(o, value, -EINVAL, e, "several queues go with tap; %s",
				     n->kind == NET_USER ? "passt has one pair of them"
							 : "a descriptor is one of them");
	if (n->vhost == CONFIG_VHOST_ON && (n->limit.bps || n->limit.ops))
		return option_refuse(
			o, value, -EINVAL, e,
			"the kernel's driver knows no limits; leave vhost=on away, or bps and pps");
	return spec_rate_check(&n->limit, "pps", o, value, e);
}

int net_set_spec(struct vm_config *c, const char *word, const struct origin *o, struct err *e)
{
	int err = net_begin(c, NULL, o, e);

	if (err)
		return err;
	struct net_config *n = &c->nets[c->n_nets - 1];

	err = spec_set_word(&spec, n, word, o, e);
	if (!err)
		err = net_check(n, o, word, e);
	if (err)
		net_fini(&c->nets[--c->n_nets]);
	return err;
}
