/* SPDX-License-Identifier: Apache-2.0 */
/* A packet from whoever is on the network, to the DHCP client of the guest's init. Lengths and
 * the checksum of its IP header are put right if the first byte is odd, or few would get in. */
#include "firmware/init/dhcp.h"
#include "tests/fuzz/lib/fuzz.h"

#include <errno.h>
#include <string.h>

static void put16(uint8_t *p, size_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void seal(uint8_t *p, size_t len)
{
	uint32_t sum = 0;

	put16(p + 2, len);
	put16(p + 24, len - 20);
	put16(p + 10, 0);
	for (unsigned i = 0; i < 20; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	put16(p + 10, (uint16_t)~sum);
}

void fuzz_one(struct fuzz_in *in)
{
	static const uint8_t mac[6] = {2, 3, 4, 5, 6, 7};
	uint8_t packet[DHCP_REPLY_MAX], how = fuzz_u8(in);
	struct dhcp_reply r;
	size_t len = 0;
	int ret;

	while (fuzz_more(in) && len < sizeof(packet))
		packet[len++] = fuzz_u8(in);
	if ((how & 1) && len >= 28)
		seal(packet, len);
	ret = dhcp_parse(&r, packet, len, 0x12345678, mac);
	if (ret) {
		fuzz_check(ret == -ENOMSG || ret == -EBADMSG);
		return;
	}
	fuzz_check(r.type == DHCPOFFER || r.type == DHCPACK || r.type == DHCPNAK);
	fuzz_check(r.server && r.n_dns <= DHCP_DNS_MAX);
	fuzz_check(r.type == DHCPNAK || (r.yiaddr && r.mask && !(~r.mask & (~r.mask + 1))));
	fuzz_check(memchr(r.domain, 0, sizeof(r.domain)) && !strpbrk(r.domain, " \n#;"));
}
