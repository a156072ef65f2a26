/* SPDX-License-Identifier: Apache-2.0 */
#include "firmware/init/dhcp.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { IP_LEN = 20, UDP_LEN = 8, PROTOCOL_UDP = 17, PORT_SERVER = 67, PORT_CLIENT = 68 };

/* Where the fields of a message are [RFC 2131 figure 1]. */
enum {
	OP = 0,
	HTYPE = 1,
	HLEN = 2,
	XID = 4,
	SECS = 8,
	YIADDR = 16,
	CHADDR = 28,
	SNAME = 44,
	FILE_FIELD = 108,
	COOKIE = 236,
	OPTIONS = 240,
};
enum { BOOTREQUEST = 1, BOOTREPLY = 2, HTYPE_ETHERNET = 1 };
static const uint8_t cookie[4] = {99, 130, 83, 99};

/* [RFC 2132] */
enum {
	PAD = 0,
	SUBNET_MASK = 1,
	ROUTER = 3,
	DOMAIN_NAME_SERVER = 6,
	DOMAIN_NAME = 15,
	INTERFACE_MTU = 26,
	REQUESTED_IP_ADDRESS = 50,
	OPTION_OVERLOAD = 52,
	DHCP_MESSAGE_TYPE = 53,
	SERVER_IDENTIFIER = 54,
	PARAMETER_REQUEST_LIST = 55,
	MAXIMUM_DHCP_MESSAGE_SIZE = 57,
	END = 255,
};
enum { OVERLOAD_FILE = 1, OVERLOAD_SNAME = 2, MTU_MIN = 68 };

static uint16_t be16_get(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t be32_get(const uint8_t *p)
{
	return (uint32_t)be16_get(p) << 16 | be16_get(p + 2);
}

static void be16_put(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void be32_put(uint8_t *p, uint32_t v)
{
	be16_put(p, v >> 16);
	be16_put(p + 2, v);
}

/* The checksum of IP and UDP [RFC 1071], begun with `sum`. Of data that ends with its own it
 * is 0. */
static uint16_t checksum(uint32_t sum, const uint8_t *p, size_t len)
{
	for (; len > 1; p += 2, len -= 2)
		sum += be16_get(p);
	if (len)
		sum += (uint32_t)*p << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* --- queries -------------------------------------------------------------------------- */

static uint8_t *put_option(uint8_t *at, uint8_t code, const void *value, uint8_t len)
{
	*at++ = code;
	*at++ = len;
	memcpy(at, value, len);
	return at + len;
}

static uint8_t *put_number(uint8_t *at, uint8_t code, uint32_t value)
{
	uint8_t bytes[4];

	be32_put(bytes, value);
	return put_option(at, code, bytes, sizeof(bytes));
}

static void write_message(uint8_t *m, const struct dhcp_query *q)
{
	static const uint8_t wanted[] = {SUBNET_MASK, ROUTER, DOMAIN_NAME_SERVER, DOMAIN_NAME,
					 INTERFACE_MTU};
	const uint8_t type = (uint8_t)q->type;
	uint8_t size[2], *at = m + OPTIONS;

	m[OP] = BOOTREQUEST;
	m[HTYPE] = HTYPE_ETHERNET;
	m[HLEN] = sizeof(q->chaddr);
	be32_put(m + XID, q->xid);
	be16_put(m + SECS, q->secs);
	memcpy(m + CHADDR, q->chaddr, sizeof(q->chaddr));
	memcpy(m + COOKIE, cookie, sizeof(cookie));
	be16_put(size, DHCP_REPLY_MAX);
	at = put_option(at, DHCP_MESSAGE_TYPE, &type, 1);
	at = put_option(at, MAXIMUM_DHCP_MESSAGE_SIZE, size, sizeof(size));
	at = put_option(at, PARAMETER_REQUEST_LIST, wanted, sizeof(wanted));
	if (q->type == DHCPREQUEST) {
		at = put_number(at, REQUESTED_IP_ADDRESS, q->requested);
		at = put_number(at, SERVER_IDENTIFIER, q->server);
	}
	*at = END;
}

void dhcp_write(uint8_t packet[DHCP_QUERY_LEN], const struct dhcp_query *q)
{
	enum { UDP_ALL = DHCP_QUERY_LEN - IP_LEN };
	uint8_t *udp = packet + IP_LEN;
	uint16_t sum;

	memset(packet, 0, DHCP_QUERY_LEN);
	packet[0] = 4 << 4 | IP_LEN / 4;
	be16_put(packet + 2, DHCP_QUERY_LEN);
	packet[8] = 64; /* time to live */
	packet[9] = PROTOCOL_UDP;
	be32_put(packet + 16, UINT32_MAX);
	be16_put(packet + 10, checksum(0, packet, IP_LEN));
	be16_put(udp, PORT_CLIENT);
	be16_put(udp + 2, PORT_SERVER);
	be16_put(udp + 4, UDP_ALL);
	write_message(udp + UDP_LEN, q);
	/* Over both addresses, the protocol and the length as well [RFC 768]. */
	sum = checksum(2 * 0xffff + PROTOCOL_UDP + UDP_ALL, udp, UDP_ALL);
	be16_put(udp + 6, sum ? sum : 0xffff);
}

/* --- replies -------------------------------------------------------------------------- */

/* An address that one interface can have. */
static bool is_unicast(uint32_t address)
{
	uint32_t first = address >> 24;

	return first && first != 127 && first < 224;
}

/* Without a mask: as the classes have it [RFC 791 3.2]. */
static uint32_t class_mask(uint32_t address)
{
	return address >> 31 == 0 ? 0xff000000 : address >> 30 == 2 ? 0xffff0000 : 0xffffff00;
}

static void read_domain(char out[256], const uint8_t *value, uint8_t len)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789-_.";

	/* Some servers count the end of their own string. */
	while (len && !value[len - 1])
		len--;
	for (uint8_t i = 0; i < len; i++)
		if (!value[i] || !strchr(allowed, value[i]))
			return;
	memcpy(out, value, len);
	out[len] = '\0';
}

static void read_dns(struct dhcp_reply *r, const uint8_t *value, uint8_t len)
{
	for (; len >= 4 && r->n_dns < DHCP_DNS_MAX; value += 4, len -= 4)
		if (is_unicast(be32_get(value)))
			r->dns[r->n_dns++] = be32_get(value);
}

/* What has no sensible value is as good as not there. */
static void read_option(struct dhcp_reply *r, uint8_t code, const uint8_t *value, uint8_t len)
{
	uint32_t number = len >= 4 ? be32_get(value) : 0;

	if (code == DHCP_MESSAGE_TYPE && len == 1)
		r->type = (enum dhcp_type) * value;
	else if (code == SUBNET_MASK && len == 4 && !(~number & (~number + 1)))
		r->mask = number;
	else if (code == ROUTER && is_unicast(number))
		r->router = number;
	else if (code == SERVER_IDENTIFIER && len == 4 && is_unicast(number))
		r->server = number;
	else if (code == DOMAIN_NAME_SERVER)
		read_dns(r, value, len);
	else if (code == DOMAIN_NAME)
		read_domain(r->domain, value, len);
	else if (code == INTERFACE_MTU && len == 2 && be16_get(value) >= MTU_MIN)
		r->mtu = be16_get(value);
}

struct seen {
	bool codes[256];
	uint8_t overload;
};

/* The options in one of the places for them. Gives false if one ends behind it. */
static bool read_options(struct dhcp_reply *r, struct seen *seen, const uint8_t *at, size_t len)
{
	const uint8_t *end = at + len;

	while (at < end && *at != END) {
		uint8_t code = *at++, n;

		if (code == PAD)
			continue;
		if (at == end || (size_t)(end - at) - 1 < *at)
			return false;
		n = *at++;
		if (!seen->codes[code]) {
			seen->codes[code] = true;
			if (code == OPTION_OVERLOAD && n == 1)
				seen->overload = *at;
			read_option(r, code, at, n);
		}
		at += n;
	}
	return true;
}

/* The message within a packet from a server's port to ours; NULL: it is none. */
static const uint8_t *find_message(const uint8_t *packet, size_t *len)
{
	size_t ip_len, total, udp_len;

	if (*len < IP_LEN || packet[0] >> 4 != 4)
		return NULL;
	ip_len = (packet[0] & 15) * 4u;
	total = be16_get(packet + 2);
	if (ip_len < IP_LEN || total > *len || total < ip_len + UDP_LEN + OPTIONS ||
	    packet[9] != PROTOCOL_UDP || checksum(0, packet, ip_len))
		return NULL;
	if (be16_get(packet + 6) & 0x3fff) /* a fragment */
		return NULL;
	packet += ip_len;
	udp_len = be16_get(packet + 4);
	if (be16_get(packet) != PORT_SERVER || be16_get(packet + 2) != PORT_CLIENT ||
	    udp_len > total - ip_len || udp_len < UDP_LEN + OPTIONS)
		return NULL;
	*len = udp_len - UDP_LEN;
	return packet + UDP_LEN;
}

int dhcp_parse(struct dhcp_reply *r, const uint8_t *packet, size_t len, uint32_t xid,
	       const uint8_t chaddr[6])
{
	const uint8_t *m = find_message(packet, &len);
	struct seen seen = {0};

	if (!m || m[OP] != BOOTREPLY || m[HLEN] != 6 || be32_get(m + XID) != xid ||
	    memcmp(m + CHADDR, chaddr, 6) || memcmp(m + COOKIE, cookie, sizeof(cookie)))
		return -ENOMSG;
	*r = (struct dhcp_reply){.yiaddr = be32_get(m + YIADDR)};
	if (!read_options(r, &seen, m + OPTIONS, len - OPTIONS))
		return -EBADMSG;
	/* The file's name comes before the server's [RFC 2131 4.1]. */
	if ((seen.overload & OVERLOAD_FILE) &&
	    !read_options(r, &seen, m + FILE_FIELD, COOKIE - FILE_FIELD))
		return -EBADMSG;
	if ((seen.overload & OVERLOAD_SNAME) &&
	    !read_options(r, &seen, m + SNAME, FILE_FIELD - SNAME))
		return -EBADMSG;
	if (!r->server || (r->type != DHCPOFFER && r->type != DHCPACK && r->type != DHCPNAK) ||
	    (r->type != DHCPNAK && !is_unicast(r->yiaddr)))
		return -EBADMSG;
	if (!r->mask)
		r->mask = class_mask(r->yiaddr);
	return 0;
}
