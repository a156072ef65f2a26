/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tap backend on real taps, in a network namespace of this program's own: the
 * kernel's side of the tap is a packet socket. Skipped where there is neither.
 */
#include "devices/backend/net_tap.h"
#include "tests/lib/virtq_driver.h"
#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/udp.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { SKIPPED = 77 };

static const char name[] = "mvtap0";

struct rig {
	struct net *net;
	struct loop *loop;
	int packets; /* a packet socket on the interface */
	unsigned readable, lost;
	char why[100];
	uint8_t room[NET_FRAME_MAX + 1];
};

static void on_readable(void *ctx)
{
	((struct rig *)ctx)->readable++;
}

static void on_writable(void *ctx)
{
	fail_msg("nothing was put off");
}

static void on_lost(void *ctx, const char *why)
{
	struct rig *r = ctx;

	r->lost++;
	strncpy(r->why, why, sizeof(r->why) - 1);
}

/* --- interfaces --------------------------------------------------------------------------- */

static int open_tap(const char *ifname, short flags)
{
	struct ifreq ifr = {.ifr_flags = flags};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
	if (fd >= 0 && ioctl(fd, TUNSETIFF, &ifr))
		fd_close(&fd);
	return fd;
}

/* An interface that stays when it is closed. */
static void make_tap(const char *ifname, short flags)
{
	int fd = open_tap(ifname, flags);

	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, TUNSETPERSIST, 1), 0);
	close(fd);
}

static void remove_tap(const char *ifname, short flags)
{
	int fd = open_tap(ifname, flags);

	if (fd < 0)
		return;
	ioctl(fd, TUNSETPERSIST, 0);
	close(fd);
}

static void change(const char *ifname, bool up, int mtu)
{
	struct ifreq ifr = {0};
	int sock = socket(AF_INET, SOCK_DGRAM, 0);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
	if (mtu) {
		ifr.ifr_mtu = mtu;
		assert_int_equal(ioctl(sock, SIOCSIFMTU, &ifr), 0);
	}
	ifr.ifr_flags = up ? IFF_UP : 0;
	assert_int_equal(ioctl(sock, SIOCSIFFLAGS, &ifr), 0);
	close(sock);
}

static void use(struct rig *r, struct net *n, unsigned offloads)
{
	r->net = n;
	n->readable = on_readable;
	n->writable = on_writable;
	n->lost = on_lost;
	n->ctx = r;
	assert_int_equal(n->ops->attach(n, r->loop, offloads), 0);
	n->ops->want(n, true);
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct err e = {0};

	log_set_level(LOG_QUIET);
	make_tap(name, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
	change(name, true, 3000);
	r->loop = loop_create();
	if (net_tap_open(&r->net, 1, name, NET_TAP_VHOST_AUTO, &e))
		fail_msg("%s", e.text);
	use(r, r->net, 0);

	struct sockaddr_ll at = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETH_P_ALL),
				 .sll_ifindex = (int)if_nametoindex(name)};

	r->packets = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
	assert_true(r->packets >= 0);
	assert_int_equal(bind(r->packets, (struct sockaddr *)&at, sizeof(at)), 0);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	if (r->net) {
		r->net->ops->detach(r->net);
		net_destroy(r->net);
	}
	close(r->packets);
	loop_destroy(r->loop);
	remove_tap(name, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
	free(r);
	return 0;
}

/* --- frames ---------------------------------------------------------------------------------- */

static void make_frame(uint8_t *frame, size_t len, uint8_t seed)
{
	static const uint8_t header[14] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,
					   0,    0,    0,    0,    9,    0x88, 0xb5};

	memcpy(frame, header, sizeof(header));
	for (size_t i = 14; i < len; i++)
		frame[i] = (uint8_t)(seed + i);
}

static ssize_t receive(struct rig *r, struct net_hdr *hdr, size_t room)
{
	struct iovec iov[4] = {
		{NULL, 0}, {r->room, 3}, {r->room + 3, 20}, {r->room + 23, room - 23}};

	return r->net->ops->receive(r->net, hdr, iov, 4);
}

/* The next of our frames; what the kernel says by itself (IPv6) is none. */
static ssize_t receive_ours(struct rig *r, struct net_hdr *hdr, size_t room)
{
	ssize_t n;

	do
		n = receive(r, hdr, room);
	while (n >= 14 && (r->room[12] != 0x88 || r->room[13] != 0xb5));
	return n;
}

/* Sends until it comes: an interface that has just got its carrier takes a moment
 * until it sends. */
static void arrives(struct rig *r, const uint8_t *frame, size_t len)
{
	struct net_hdr hdr;
	ssize_t n = -EAGAIN;

	for (int i = 0; i < 3000 && n == -EAGAIN; i++) {
		assert_int_equal(send(r->packets, frame, len, 0), len);
		n = receive_ours(r, &hdr, sizeof(r->room));
		if (n == -EAGAIN)
			usleep(10000);
	}
	assert_int_equal(n, len);
	assert_memory_equal(r->room, frame, len);
}

static void test_what_it_says_of_itself(void **state)
{
	struct rig *r = *state;

	assert_string_equal(r->net->ifname, name);
	assert_int_equal(r->net->mtu, 3000);
	assert_int_equal(r->net->offloads & NET_OFFLOAD_CSUM, NET_OFFLOAD_CSUM);
}

static void test_receive(void **state)
{
	struct rig *r = *state;
	struct net_hdr hdr;
	uint8_t frame[3014];

	assert_int_equal(receive_ours(r, &hdr, sizeof(r->room)), -EAGAIN);
	r->readable = 0;
	make_frame(frame, 60, 1);
	arrives(r, frame, 60);
	while (receive_ours(r, &hdr, sizeof(r->room)) != -EAGAIN)
		;
	for (size_t len = 60; len <= sizeof(frame); len += 211) {
		make_frame(frame, len, (uint8_t)len);
		assert_int_equal(send(r->packets, frame, len, 0), len);
		loop_settle(r->loop);
		assert_true(r->readable > 0);
		assert_int_equal(receive_ours(r, &hdr, sizeof(r->room)), len);
		assert_memory_equal(r->room, frame, len);
		assert_int_equal(hdr.gso_type, NET_HDR_GSO_NONE);
	}
	/* What there is no room for is cut off, and then it is too long. */
	assert_int_equal(send(r->packets, frame, 1000, 0), 1000);
	assert_true(receive_ours(r, &hdr, 100) >= 100);
	assert_int_equal(receive_ours(r, &hdr, 100), -EAGAIN);
	r->net->ops->want(r->net, false);
	r->readable = 0;
	send(r->packets, frame, 1000, 0);
	loop_settle(r->loop);
	assert_int_equal(r->readable, 0);
}

static int send_frame(struct rig *r, const struct net_hdr *hdr, uint8_t *frame, size_t len)
{
	struct iovec iov[4] = {{NULL, 0}, {frame, 1}, {frame + 1, 13}, {frame + 14, len - 14}};

	return r->net->ops->send(r->net, hdr, iov, 4, len);
}

static void test_send(void **state)
{
	struct rig *r = *state;
	const struct net_hdr hdr = {0};
	uint8_t frame[3014], got[4000];

	for (size_t len = 14; len <= sizeof(frame); len += 500) {
		ssize_t n;

		make_frame(frame, len, 1);
		assert_int_equal(send_frame(r, &hdr, frame, len), 0);
		do
			n = recv(r->packets, got, sizeof(got), MSG_DONTWAIT);
		while (n >= 14 && (got[12] != 0x88 || got[13] != 0xb5));
		assert_int_equal(n, len);
		assert_memory_equal(got, frame, len);
	}
	/* What the kernel does not like is lost, and nothing else happens. */
	assert_int_equal(
		send_frame(r, &(struct net_hdr){.gso_type = 0x7f, .gso_size = 1}, frame, 1000), 0);
	assert_int_equal(
		send_frame(r, &(struct net_hdr){.flags = 1, .csum_start = 60000}, frame, 1000), 0);
	assert_int_equal(r->lost, 0);
}

/* An interface that is down loses frames, and comes back. */
static void test_down_and_up(void **state)
{
	struct rig *r = *state;
	const struct net_hdr hdr = {0};
	uint8_t frame[60];
	struct net_hdr in;
	int error = 0;
	socklen_t len = sizeof(error);

	make_frame(frame, sizeof(frame), 1);
	change(name, false, 0);
	assert_int_equal(send_frame(r, &hdr, frame, sizeof(frame)), 0);
	assert_int_equal(receive_ours(r, &in, sizeof(r->room)), -EAGAIN);
	loop_settle(r->loop);
	assert_int_equal(r->lost, 0);
	change(name, true, 0);
	/* The packet socket has a word to say of it first. */
	assert_int_equal(getsockopt(r->packets, SOL_SOCKET, SO_ERROR, &error, &len), 0);
	assert_int_equal(error, ENETDOWN);
	arrives(r, frame, sizeof(frame));
}

/* Deleted under us: told once, by whichever way it is noticed, and no end of events. */
static void delete_tap(struct rig *r)
{
	char command[100];

	snprintf(command, sizeof(command), "ip link delete %s", name);
	assert_int_equal(system(command), 0);
	(void)r;
}

static void test_deleted_while_receiving(void **state)
{
	struct rig *r = *state;
	struct net_hdr hdr;

	delete_tap(r);
	loop_settle(r->loop);
	assert_true(r->readable > 0);
	assert_int_equal(receive(r, &hdr, sizeof(r->room)), -EAGAIN);
	assert_int_equal(r->lost, 1);
	assert_string_equal(r->why, "the tap mvtap0 is gone");
	r->readable = 0;
	loop_settle(r->loop);
	assert_int_equal(r->readable, 0);
	assert_int_equal(receive(r, &hdr, sizeof(r->room)), -EAGAIN);
	assert_int_equal(r->lost, 1);
}

static void test_deleted_while_sending(void **state)
{
	struct rig *r = *state;
	uint8_t frame[60];

	make_frame(frame, sizeof(frame), 1);
	r->net->ops->want(r->net, false);
	delete_tap(r);
	for (int i = 0; i < 3; i++)
		assert_int_equal(send_frame(r, &(struct net_hdr){0}, frame, sizeof(frame)), 0);
	assert_int_equal(r->lost, 1);
}

/* --- UDP in one piece ---------------------------------------------------------------------------
 */

enum { UDP_PORT = 4711, UDP_LEN = 3000, UDP_HEADERS = 14 + 20 + 8, UDP_PIECE = 1000 };

static void run(const char *command)
{
	if (system(command))
		fail_msg("%s", command);
}

/* The tap's end of the host is 10.99.0.1; the guest would be 10.99.0.2. */
static int udp_socket(struct rig *r)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_port = htons(UDP_PORT),
				 .sin_addr.s_addr = htonl(0x0a630001)};
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	uint8_t frame[60];

	run("ip address add 10.99.0.1/24 dev mvtap0");
	run("ip neighbour add 10.99.0.2 lladdr 02:00:00:00:00:09 dev mvtap0");
	make_frame(frame, sizeof(frame), 1);
	arrives(r, frame, sizeof(frame));
	assert_true(sock >= 0);
	assert_int_equal(bind(sock, (struct sockaddr *)&at, sizeof(at)), 0);
	return sock;
}

static uint16_t add_up(const uint8_t *at, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i += 2)
		sum += (uint32_t)(at[i] << 8 | at[i + 1]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static void put16(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* A datagram from the guest, whose checksum is left to the host. */
static void make_datagram(uint8_t frame[UDP_HEADERS + UDP_LEN])
{
	static const uint8_t guest[6] = {2, 0, 0, 0, 0, 9};
	static const uint8_t addresses[8] = {10, 99, 0, 2, 10, 99, 0, 1};
	struct ifreq ifr = {0};
	int sock = socket(AF_INET, SOCK_DGRAM, 0);
	uint8_t *ip = frame + 14, *udp = ip + 20;

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	assert_int_equal(ioctl(sock, SIOCGIFHWADDR, &ifr), 0);
	close(sock);
	memset(frame, 0, UDP_HEADERS);
	memcpy(frame, ifr.ifr_hwaddr.sa_data, 6);
	memcpy(frame + 6, guest, 6);
	put16(frame + 12, ETH_P_IP);
	ip[0] = 0x45;
	put16(ip + 2, 20 + 8 + UDP_LEN);
	ip[8] = 64;
	ip[9] = IPPROTO_UDP;
	memcpy(ip + 12, addresses, sizeof(addresses));
	put16(ip + 10, (uint16_t)~add_up(ip, 20, 0));
	put16(udp, 1);
	put16(udp + 2, UDP_PORT);
	put16(udp + 4, 8 + UDP_LEN);
	put16(udp + 6, add_up(addresses, sizeof(addresses), IPPROTO_UDP + 8 + UDP_LEN));
	for (size_t i = 0; i < UDP_LEN; i++)
		udp[8 + i] = (uint8_t)(i / 7);
}

/* How many datagrams came, each of `len` bytes, and all together what was sent. */
static unsigned datagrams(int sock, const uint8_t *payload, ssize_t len)
{
	uint8_t got[UDP_LEN + 1];
	unsigned n = 0;

	while (recv(sock, got, sizeof(got), 0) == len) {
		assert_memory_equal(got, payload + n * (size_t)len, (size_t)len);
		n++;
	}
	assert_int_equal(errno, EAGAIN);
	return n;
}

/* By UFO it stays one datagram, whatever the host makes of it on a wire; by USO it is as many as
 * gso_size makes of it. */
static void test_send_udp_in_one_piece(void **state)
{
	struct rig *r = *state;
	uint8_t frame[UDP_HEADERS + UDP_LEN];
	struct net_hdr hdr = {NET_HDR_F_NEEDS_CSUM, NET_HDR_GSO_UDP, UDP_HEADERS, UDP_PIECE, 34, 6};
	int sock = udp_socket(r);

	assert_true(r->net->offloads & NET_OFFLOAD_UFO);
	make_datagram(frame);
	assert_int_equal(send_frame(r, &hdr, frame, sizeof(frame)), 0);
	assert_int_equal(datagrams(sock, frame + UDP_HEADERS, UDP_LEN), 1);
	if (r->net->offloads & NET_OFFLOAD_USO) {
		hdr.gso_type = NET_HDR_GSO_UDP_L4;
		make_datagram(frame);
		assert_int_equal(send_frame(r, &hdr, frame, sizeof(frame)), 0);
		assert_int_equal(datagrams(sock, frame + UDP_HEADERS, UDP_PIECE),
				 UDP_LEN / UDP_PIECE);
	}
	close(sock);
}

/* Frames of the host's datagrams: how many, with the header of the last. */
static unsigned udp_frames(struct rig *r, struct net_hdr *hdr, ssize_t *len)
{
	unsigned n = 0;
	struct net_hdr h;
	ssize_t got;

	while ((got = receive(r, &h, sizeof(r->room))) != -EAGAIN)
		if (got > UDP_HEADERS && r->room[12] == 8 && r->room[23] == IPPROTO_UDP) {
			*hdr = h;
			*len = got;
			n++;
		}
	return n;
}

static void test_receive_udp_in_one_piece(void **state)
{
	struct rig *r = *state;
	const struct sockaddr_in guest = {
		.sin_family = AF_INET, .sin_port = htons(1), .sin_addr.s_addr = htonl(0x0a630002)};
	static const unsigned ways[] = {NET_OFFLOAD_CSUM, NET_OFFLOAD_CSUM | NET_OFFLOAD_USO};
	int sock = udp_socket(r), piece = UDP_PIECE;
	uint8_t data[UDP_LEN] = {0};

	assert_int_equal(setsockopt(sock, IPPROTO_UDP, UDP_SEGMENT, &piece, sizeof(piece)), 0);
	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		bool whole = ways[i] & r->net->offloads & NET_OFFLOAD_USO;
		struct net_hdr hdr = {0};
		ssize_t len = 0;

		r->net->ops->detach(r->net);
		use(r, r->net, ways[i] & r->net->offloads);
		assert_int_equal(sendto(sock, data, sizeof(data), 0,
					(const struct sockaddr *)&guest, sizeof(guest)),
				 sizeof(data));
		assert_int_equal(udp_frames(r, &hdr, &len), whole ? 1 : UDP_LEN / UDP_PIECE);
		assert_int_equal(len, UDP_HEADERS + (whole ? UDP_LEN : UDP_PIECE));
		assert_int_equal(hdr.flags & NET_HDR_F_NEEDS_CSUM, NET_HDR_F_NEEDS_CSUM);
		assert_int_equal(hdr.gso_type, whole ? NET_HDR_GSO_UDP_L4 : NET_HDR_GSO_NONE);
		if (whole)
			assert_int_equal(hdr.gso_size, UDP_PIECE);
	}
	close(sock);
}

/* --- opening ------------------------------------------------------------------------------------
 */

static void refuse(int ret, const struct err *e, int code, const char *words)
{
	assert_int_equal(ret, code);
	assert_int_equal(e->kind, ERR_USAGE);
	if (!strstr(e->text, words))
		fail_msg("\"%s\" does not say \"%s\"", e->text, words);
	assert_null(strchr(e->text, '\n'));
}

static void test_refused_names(void **state)
{
	struct net *n = NULL;
	struct err e;

	e = (struct err){0};
	refuse(net_tap_open(&n, 1, "nothere0", NET_TAP_VHOST_AUTO, &e), &e, -ENODEV,
	       "no such interface");
	assert_int_equal(if_nametoindex("nothere0"), 0);
	e = (struct err){0};
	refuse(net_tap_open(&n, 1, "lo", NET_TAP_VHOST_AUTO, &e), &e, -EINVAL, "not a tap");
	e = (struct err){0};
	refuse(net_tap_open(&n, 1, name, NET_TAP_VHOST_AUTO, &e), &e, -EBUSY, "in use");
	make_tap("mvtun0", IFF_TUN | IFF_NO_PI);
	e = (struct err){0};
	refuse(net_tap_open(&n, 1, "mvtun0", NET_TAP_VHOST_AUTO, &e), &e, -EINVAL, "not a tap");
	remove_tap("mvtun0", IFF_TUN | IFF_NO_PI);
	assert_null(n);
	(void)state;
}

static void test_a_tap_for_several_queues(void **state)
{
	const short flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;
	struct net *n[4] = {NULL};
	struct rig *r = *state;
	struct err e = {0};

	make_tap("mvmq0", flags);
	if (net_tap_open(n, 1, "mvmq0", NET_TAP_VHOST_OFF, &e))
		fail_msg("%s", e.text);
	net_destroy(n[0]);
	if (net_tap_open(n, 4, "mvmq0", NET_TAP_VHOST_OFF, &e))
		fail_msg("%s", e.text);
	/* They come and go in any order, and frames with them. */
	for (unsigned i = 0; i < 12; i++) {
		struct net *one = n[i * 7 % 4];

		use(&(struct rig){.loop = r->loop}, one, 0);
		assert_int_equal(one->offloads, n[0]->offloads);
		uint8_t frame[60];
		struct iovec iov[2] = {{NULL, 0}, {frame, sizeof(frame)}};

		make_frame(frame, sizeof(frame), 1);
		assert_int_equal(one->ops->send(one, &(struct net_hdr){0}, iov, 2, sizeof(frame)),
				 0);
		loop_settle(r->loop);
		one->ops->detach(one);
	}
	for (unsigned i = 0; i < 4; i++)
		net_destroy(n[i]);
	remove_tap("mvmq0", flags);

	/* One that was not made for it; nothing is left of the attempt. */
	make_tap("mvmq1", flags & ~IFF_MULTI_QUEUE);
	memset(n, 0, sizeof(n));
	refuse(net_tap_open(n, 2, "mvmq1", NET_TAP_VHOST_OFF, &e), &e, -EINVAL, "multi_queue");
	assert_null(n[0]);
	e = (struct err){0};
	if (net_tap_open(n, 1, "mvmq1", NET_TAP_VHOST_OFF, &e))
		fail_msg("%s", e.text);
	net_destroy(n[0]);
	remove_tap("mvmq1", flags & ~IFF_MULTI_QUEUE);
}

static void test_inherited(void **state)
{
	struct rig *r = *state;
	struct err e = {0};
	uint8_t frame[60];
	int fd;

	r->net->ops->detach(r->net);
	net_destroy(r->net);
	r->net = NULL;
	/* Without the header, too: then there are no offloads. */
	for (int vnet_hdr = 0; vnet_hdr < 2; vnet_hdr++) {
		struct net *n = NULL;

		fd = open_tap(name, (short)(IFF_TAP | IFF_NO_PI | (vnet_hdr ? IFF_VNET_HDR : 0)));
		assert_true(fd >= 0);
		if (net_tap_inherit(&n, fd, NET_TAP_VHOST_AUTO, &e))
			fail_msg("%s", e.text);
		assert_int_equal(!!n->offloads, vnet_hdr);
		assert_string_equal(n->ifname, name);
		use(r, n, 0);
		change(name, true, 0);
		make_frame(frame, sizeof(frame), 9);
		arrives(r, frame, sizeof(frame));
		n->ops->detach(n);
		net_destroy(n);
		r->net = NULL;
		/* Ours was a duplicate. */
		assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
		close(fd);
	}
}

static void test_refused_descriptors(void **state)
{
	struct net *n = NULL;
	struct err e = {0};
	int fd = open("/dev/null", O_RDWR);

	refuse(net_tap_inherit(&n, fd, NET_TAP_VHOST_AUTO, &e), &e, -EINVAL, "not a tap");
	close(fd);
	e = (struct err){0};
	refuse(net_tap_inherit(&n, fd, NET_TAP_VHOST_AUTO, &e), &e, -EBADF, "not open");
	/* Opened, but of no interface. */
	fd = open("/dev/net/tun", O_RDWR);
	e = (struct err){0};
	refuse(net_tap_inherit(&n, fd, NET_TAP_VHOST_AUTO, &e), &e, -EINVAL, "not a tap");
	close(fd);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
		TEST(test_what_it_says_of_itself),
		TEST(test_receive),
		TEST(test_send),
		TEST(test_down_and_up),
		TEST(test_deleted_while_receiving),
		TEST(test_deleted_while_sending),
		TEST(test_send_udp_in_one_piece),
		TEST(test_receive_udp_in_one_piece),
		TEST(test_refused_names),
		TEST(test_a_tap_for_several_queues),
		TEST(test_inherited),
		TEST(test_refused_descriptors),
	};
	int fd;

	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET)) {
		printf("SKIP: no network namespace of our own: %s\n", strerror(errno));
		return SKIPPED;
	}
	fd = open_tap(name, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
	if (fd < 0) {
		printf("SKIP: no tap can be made: %s\n", strerror(errno));
		return SKIPPED;
	}
	close(fd);
	if (system("ip link >/dev/null 2>&1")) {
		printf("SKIP: no ip (Debian package iproute2)\n");
		return SKIPPED;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
