/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_init_dhcp: what the guest's init says to DHCP servers and believes of them. Packets
 * are parsed as copies of just their length, so that a sanitizer sees who reads on.
 */
#include "firmware/init/dhcp.h"

#include "vmm/base/bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { IP = 20, MESSAGE = IP + 8, OPTIONS = MESSAGE + 240, ROOM = 1500, XID = 0x12345678 };

static const uint8_t mac[6] = {2, 3, 4, 5, 6, 7};

struct packet {
	uint8_t bytes[ROOM];
	size_t len;
};

static uint16_t sum16(const uint8_t *p, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static void put16(uint8_t *p, size_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* The lengths and the header's checksum, for what is in it now. */
static void seal(struct packet *p)
{
	put16(p->bytes + 2, p->len);
	put16(p->bytes + IP + 4, p->len - IP);
	put16(p->bytes + 10, 0);
	put16(p->bytes + 10, (uint16_t)~sum16(p->bytes, IP, 0));
}

/* A reply with these options, END included or not. */
static struct packet reply(const void *options, size_t len)
{
	struct packet p = {.len = OPTIONS + len};
	uint8_t *m = p.bytes + MESSAGE;

	p.bytes[0] = 0x45;
	p.bytes[8] = 64;
	p.bytes[9] = 17;
	memcpy(p.bytes + 12, (const uint8_t[]){10, 0, 0, 1, 10, 0, 0, 9}, 8);
	put16(p.bytes + IP, 67);
	put16(p.bytes + IP + 2, 68);
	m[0] = 2;
	m[1] = 1;
	m[2] = 6;
	memcpy(m + 4, (const uint8_t[]){0x12, 0x34, 0x56, 0x78}, 4);
	memcpy(m + 16, (const uint8_t[]){10, 0, 0, 9}, 4);
	memcpy(m + 28, mac, sizeof(mac));
	memcpy(m + 236, (const uint8_t[]){99, 130, 83, 99}, 4);
	memcpy(p.bytes + OPTIONS, options, len);
	seal(&p);
	return p;
}

static int parse_first(struct dhcp_reply *r, const struct packet *p, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	int ret;

	assert_non_null(copy);
	memcpy(copy, p->bytes, len);
	memset(r, 0xa5, sizeof(*r));
	ret = dhcp_parse(r, copy, len, XID, mac);
	free(copy);
	return ret;
}

static int parse(struct dhcp_reply *r, const struct packet *p)
{
	return parse_first(r, p, p->len);
}

#define TYPE(t)       53, 1, t
#define SERVER        54, 4, 10, 0, 0, 1
#define reply_of(...) reply((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static const uint8_t whole[] = {0,   TYPE(2), SERVER, 1,   4,   255, 255, 240, 0,  0,   3,
				8,   10,      0,      0,   1,   10,  0,   0,   2,  6,   8,
				10,  0,       0,      53,  9,   9,   9,   9,   15, 7,   'l',
				'a', 'n',     '.',    't', '-', '1', 26,  2,   5,  220, 99,
				3,   1,       2,      3,   51,  4,   0,   0,   14, 16,  255};

static void a_query(void **state)
{
	const struct dhcp_query discover = {DHCPDISCOVER, XID, 7, {2, 3, 4, 5, 6, 7}, 0, 0};
	const struct dhcp_query request = {DHCPREQUEST,        XID,        0,
					   {2, 3, 4, 5, 6, 7}, 0x0a000009, 0x0a000001};
	static const uint8_t options[] = {99,  130, 83, 99, 53, 1, 1,  57, 2,  5,
					  220, 55,  5,  1,  3,  6, 15, 26, 255};
	static const uint8_t more[] = {50, 4, 10, 0, 0, 9, 54, 4, 10, 0, 0, 1, 255};
	uint8_t p[DHCP_QUERY_LEN];

	dhcp_write(p, &discover);
	assert_int_equal(sum16(p, IP, 0), 0xffff);
	assert_int_equal(p[0], 0x45);
	assert_int_equal(p[2] << 8 | p[3], DHCP_QUERY_LEN);
	assert_memory_equal(p + 12, ((const uint8_t[]){0, 0, 0, 0, 255, 255, 255, 255}), 8);
	assert_memory_equal(p + IP, ((const uint8_t[]){0, 68, 0, 67, 1, 52}), 6);
	/* With the pseudo header: the addresses, the protocol, the length. */
	assert_int_equal(sum16(p + IP, sizeof(p) - IP, 0xffff + 0xffff + 17 + 308), 0xffff);
	assert_memory_equal(p + MESSAGE,
			    ((const uint8_t[]){1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78, 0, 7, 0, 0}),
			    12);
	assert_memory_equal(p + MESSAGE + 28, mac, sizeof(mac));
	assert_memory_equal(p + OPTIONS - 4, options, sizeof(options));
	dhcp_write(p, &request);
	assert_int_equal(p[OPTIONS + 2], DHCPREQUEST);
	assert_memory_equal(p + OPTIONS - 4 + sizeof(options) - 1, more, sizeof(more));
	assert_int_equal(sum16(p + IP, sizeof(p) - IP, 0xffff + 0xffff + 17 + 308), 0xffff);
}

static void a_reply(void **state)
{
	struct packet p = reply(whole, sizeof(whole));
	struct dhcp_reply r;

	assert_int_equal(parse(&r, &p), 0);
	assert_int_equal(r.type, DHCPOFFER);
	assert_int_equal(r.yiaddr, 0x0a000009);
	assert_int_equal(r.mask, 0xfffff000);
	assert_int_equal(r.server, 0x0a000001);
	assert_int_equal(r.router, 0x0a000001);
	assert_int_equal(r.n_dns, 2);
	assert_int_equal(r.dns[0], 0x0a000035);
	assert_int_equal(r.dns[1], 0x09090909);
	assert_int_equal(r.mtu, 1500);
	assert_string_equal(r.domain, "lan.t-1");
	/* An IP header with options, and what a driver leaves behind the packet. */
	memmove(p.bytes + IP + 4, p.bytes + IP, p.len - IP);
	memset(p.bytes + IP, 1, 4);
	p.bytes[0] = 0x46;
	p.len += 4;
	put16(p.bytes + 2, p.len);
	put16(p.bytes + 10, 0);
	put16(p.bytes + 10, (uint16_t)~sum16(p.bytes, IP + 4, 0));
	p.len += 30;
	assert_int_equal(parse(&r, &p), 0);
	assert_int_equal(r.router, 0x0a000001);
}

/* The least: no END, no mask but the class's; a NAK has no address. */
static void a_short_reply(void **state)
{
	struct packet p = reply_of(TYPE(5), SERVER);
	struct dhcp_reply r;

	assert_int_equal(parse(&r, &p), 0);
	assert_int_equal(r.type, DHCPACK);
	assert_int_equal(r.mask, 0xff000000);
	assert_int_equal(r.router, 0);
	assert_int_equal(r.n_dns, 0);
	assert_int_equal(r.mtu, 0);
	assert_string_equal(r.domain, "");
	p.bytes[MESSAGE + 16] = 172;
	assert_int_equal(parse(&r, &p), 0);
	assert_int_equal(r.mask, 0xffff0000);
	p.bytes[MESSAGE + 16] = 192;
	assert_int_equal(parse(&r, &p), 0);
	assert_int_equal(r.mask, 0xffffff00);
	p = reply_of(TYPE(6), SERVER, 255);
	memset(p.bytes + MESSAGE + 16, 0, 4);
	assert_int_equal(parse(&r, &p), 0);
	assert_int_equal(r.type, DHCPNAK);
}

/* Options where names could be; what was there before counts, END ends each place. */
static void overload(void **state)
{
	struct packet p = reply_of(TYPE(2), 52, 1, 3, 255, 3, 4, 1, 1, 1, 1);
	uint8_t *sname = p.bytes + MESSAGE + 44, *file = p.bytes + MESSAGE + 108;
	struct dhcp_reply r;

	memcpy(file, (const uint8_t[]){SERVER, 3, 4, 10, 0, 0, 7, 255}, 13);
	memcpy(sname, (const uint8_t[]){3, 4, 10, 0, 0, 8, 1, 4, 255, 255, 0, 0, 255}, 13);
	assert_int_equal(parse(&r, &p), 0);
	assert_int_equal(r.router, 0x0a000007);
	assert_int_equal(r.mask, 0xffff0000);
	/* Only one of them; and not what nobody said. */
	p.bytes[OPTIONS + 5] = 1;
	assert_int_equal(parse(&r, &p), 0);
	assert_int_equal(r.mask, 0xff000000);
	p.bytes[OPTIONS + 5] = 2;
	assert_int_equal(parse(&r, &p), -EBADMSG);
	p.bytes[OPTIONS + 5] = 0;
	assert_int_equal(parse(&r, &p), -EBADMSG);
	/* An option that ends behind its place. */
	p.bytes[OPTIONS + 5] = 3;
	memset(sname, 0, 64);
	sname[62] = 3;
	sname[63] = 4;
	assert_int_equal(parse(&r, &p), -EBADMSG);
	sname[62] = 0;
	assert_int_equal(parse(&r, &p), -EBADMSG);
	sname[63] = 0;
	assert_int_equal(parse(&r, &p), 0);
}

static void cut_anywhere(void **state)
{
	struct packet p = reply(whole, sizeof(whole)), q;
	struct dhcp_reply r;

	for (size_t len = 0; len < p.len; len++)
		assert_int_equal(parse_first(&r, &p, len), -ENOMSG);
	/* And with lengths that say so: then it may end between two options. */
	for (size_t len = OPTIONS; len < p.len; len++) {
		q = p;
		q.len = len;
		seal(&q);
		int ret = parse(&r, &q);

		if (ret && ret != -EBADMSG)
			fail_msg("%zu: %d", len, ret);
		if (!ret)
			assert_true(r.type == DHCPOFFER && r.server);
	}
	for (size_t len = IP + 8; len < OPTIONS; len++) {
		q = p;
		q.len = len;
		seal(&q);
		assert_int_equal(parse(&r, &q), -ENOMSG);
	}
}

static void not_for_us(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
	} cases[] = {
		{0, 0x65},         {0, 0x44},
		{0, 0x4f},         {9, 6},
		{6, 0x20},         {7, 1},
		{IP + 1, 68},      {IP + 3, 67},
		{IP + 4, 9},       {MESSAGE, 1},
		{MESSAGE + 2, 16}, {MESSAGE + 7, 0x79},
		{MESSAGE + 33, 8}, {OPTIONS - 1, 98},
	};
	struct dhcp_reply r;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct packet p = reply(whole, sizeof(whole));

		p.bytes[cases[i].at] = cases[i].value;
		put16(p.bytes + 10, 0);
		put16(p.bytes + 10, (uint16_t)~sum16(p.bytes, IP, 0));
		if (parse(&r, &p) != -ENOMSG)
			fail_msg("byte %zu as %#x is taken", cases[i].at, cases[i].value);
	}
	struct packet p = reply(whole, sizeof(whole));

	p.bytes[10] ^= 1;
	assert_int_equal(parse(&r, &p), -ENOMSG);
}

/* What must be there is not, or is none. */
static void lacking(void **state)
{
	struct packet bad[] = {
		reply_of(SERVER, 255),
		reply_of(TYPE(2), 255),
		reply_of(TYPE(0), SERVER, 255),
		reply_of(TYPE(1), SERVER, 255),
		reply_of(TYPE(4), SERVER, 255),
		reply_of(TYPE(200), SERVER, 255),
		reply_of(53, 0, SERVER, 255),
		reply_of(53, 2, 2, 2, SERVER, 255),
		reply_of(TYPE(2), 54, 3, 10, 0, 0, 255),
		reply_of(TYPE(2), 54, 4, 255, 255, 255, 255, 255),
		reply_of(TYPE(2), SERVER, 3),
		reply_of(TYPE(2), SERVER, 3, 4, 10, 0, 0),
		reply_of(TYPE(2), SERVER, 99, 255),
		reply_of(255, TYPE(2), SERVER),
	};
	static const uint8_t addresses[][4] = {
		{0, 0, 0, 0}, {0, 1, 2, 3}, {127, 0, 0, 1}, {224, 0, 0, 1}, {255, 255, 255, 255}};
	struct dhcp_reply r;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (parse(&r, &bad[i]) != -EBADMSG)
			fail_msg("number %zu is taken", i);
	for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
		struct packet p = reply_of(TYPE(5), SERVER, 255);

		memcpy(p.bytes + MESSAGE + 16, addresses[i], 4);
		assert_int_equal(parse(&r, &p), -EBADMSG);
	}
}

/* Options without sense are as good as not there. */
static void hostile_options(void **state)
{
	struct packet p =
		reply_of(TYPE(5), SERVER, 1, 4, 255, 0, 255, 0, 3, 4, 255, 255, 255, 255, 26, 2, 0,
			 67, 6, 13, 0, 0, 0, 0, 127, 0, 0, 1, 8, 8, 8, 8, 9, 255);
	static const uint8_t domains[][12] = {"a\nsearch b", "a b",      "a;b",
					      "a\0b\0c",     "\x80\xff", "#"};
	struct dhcp_reply r;

	assert_int_equal(parse(&r, &p), 0);
	assert_int_equal(r.mask, 0xff000000);
	assert_int_equal(r.router, 0);
	assert_int_equal(r.mtu, 0);
	assert_int_equal(r.n_dns, 1);
	assert_int_equal(r.dns[0], 0x08080808);
	for (size_t i = 0; i < ARRAY_LEN(domains); i++) {
		uint8_t options[32] = {TYPE(5), SERVER, 15, sizeof(domains[i])};

		memcpy(options + 11, domains[i], sizeof(domains[i]));
		p = reply(options, 11 + sizeof(domains[i]));
		assert_int_equal(parse(&r, &p), 0);
		assert_string_equal(r.domain, "");
	}
	/* As long as one can be, and more servers than there is room for. */
	uint8_t options[600] = {TYPE(5), SERVER, 15, 255};

	memset(options + 11, 'd', 255);
	options[266] = 6;
	options[267] = 252;
	for (unsigned i = 0; i < 252; i++)
		options[268 + i] = (uint8_t)(1 + i / 4);
	p = reply(options, 520);
	assert_int_equal(parse(&r, &p), 0);
	assert_int_equal(strlen(r.domain), 255);
	assert_int_equal(r.n_dns, DHCP_DNS_MAX);
	assert_int_equal(r.dns[2], 0x03030303);
	/* A string with its end counted. */
	p = reply_of(TYPE(5), SERVER, 15, 4, 'a', 'b', 0, 0);
	assert_int_equal(parse(&r, &p), 0);
	assert_string_equal(r.domain, "ab");
}

/* Whatever is changed: taken or refused, and what is taken is whole. */
static void changed_at_random(void **state)
{
	const struct packet p = reply(whole, sizeof(whole));
	struct dhcp_reply r;
	uint32_t seed = 1;

	for (unsigned i = 0; i < 100000; i++) {
		struct packet q = p;

		for (unsigned n = i % 5 + 1; n; n--) {
			seed = seed * 1664525 + 1013904223;
			size_t at = i & 1 ? OPTIONS + (seed >> 16) % sizeof(whole)
					  : (seed >> 16) % q.len;

			q.bytes[at] = (uint8_t)(seed >> 8);
		}
		seal(&q);
		if (parse(&r, &q))
			continue;
		assert_true(r.n_dns <= DHCP_DNS_MAX);
		assert_true(r.type == DHCPNAK || r.yiaddr);
		assert_non_null(memchr(r.domain, '\0', sizeof(r.domain)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_query),           cmocka_unit_test(a_reply),
		cmocka_unit_test(a_short_reply),     cmocka_unit_test(overload),
		cmocka_unit_test(cut_anywhere),      cmocka_unit_test(not_for_us),
		cmocka_unit_test(lacking),           cmocka_unit_test(hostile_options),
		cmocka_unit_test(changed_at_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
