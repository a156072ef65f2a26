/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dhcp: the messages of a DHCP client, as whole IPv4 packets [RFC 2131, RFC 2132].
 *
 * Whole packets, for there is no address yet that a socket could have. Whoever is on the
 * network may answer: nothing in a reply is believed that was not checked. Addresses are
 * numbers in the processor's order; 0 is none.
 */
#ifndef FIRMWARE_INIT_DHCP_H
#define FIRMWARE_INIT_DHCP_H

#include <stddef.h>
#include <stdint.h>

/* DHCP message type [RFC 2132 9.6]. */
enum dhcp_type {
	DHCPDISCOVER = 1,
	DHCPOFFER = 2,
	DHCPREQUEST = 3,
	DHCPACK = 5,
	DHCPNAK = 6,
};

enum {
	DHCP_QUERY_LEN =
		20 + 8 + 300,  /* IP, UDP, and what BOOTP relays want at least [RFC 1542 2.1] */
	DHCP_REPLY_MAX = 1500, /* what we tell servers that we take */
	DHCP_DNS_MAX = 3,      /* as many as resolv.conf(5) has */
};

struct dhcp_query {
	enum dhcp_type type;        /* DHCPDISCOVER, or DHCPREQUEST of what was offered */
	uint32_t xid;               /* tells our transactions from others' */
	uint16_t secs;              /* since we began */
	uint8_t chaddr[6];          /* our MAC */
	uint32_t requested, server; /* of the offer; DHCPREQUEST only */
};

struct dhcp_reply {
	enum dhcp_type type; /* DHCPOFFER, DHCPACK or DHCPNAK, of which only the server is of use */
	uint32_t yiaddr;     /* the address that is to be ours */
	uint32_t mask;       /* of its network: ones, then zeroes */
	uint32_t server;     /* server identifier */
	uint32_t router;
	uint32_t dns[DHCP_DNS_MAX];
	unsigned n_dns;
	uint16_t mtu;     /* 0: not told, or below what IPv4 needs (68) */
	char domain[256]; /* letters, digits, '-', '_', '.'; "": not told, or other characters */
};

/* Write the packet to be broadcast, from address 0 to all ones, port 68 to 67. */
void dhcp_write(uint8_t packet[DHCP_QUERY_LEN], const struct dhcp_query *q);

/* Judge and read `len` bytes that begin with an IP header: is it a server's reply to `xid` of
 * `chaddr`? Gives 0 with *r filled; -ENOMSG: something else; -EBADMSG: damaged, or it lacks
 * what it must have (RFC 2131 table 3). The UDP checksum is not looked at: between a host and
 * its guest it may be left to hardware that is none. Of an option that is there twice
 * the first counts. */
int dhcp_parse(struct dhcp_reply *r, const uint8_t *packet, size_t len, uint32_t xid,
	       const uint8_t chaddr[6]);

#endif
