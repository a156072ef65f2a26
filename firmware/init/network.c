/* SPDX-License-Identifier: Apache-2.0 */
/*
 * network: the networks that the host has given, up before the command begins.
 *
 * All of them ask for an address at once [RFC 2131 4.4], so that who has no server costs
 * nothing but the wait for it. The packets go through packet sockets: without an address there
 * is no other way, and a server may answer to the address that it offers. A lease is not
 * renewed: guests are gone before it ends, or their server forgives.
 */
#include "firmware/init/command.h"

#include "firmware/init/dhcp.h"
#include "firmware/init/report.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/route.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	NETS_MAX = 8,
	/* RFC 2131 4.1 has seconds here, for networks of many. This one begins at our host. */
	AGAIN_MS = 250, /* and twice as long two times */
	REQUESTS = 4,   /* before the offer is given up */
	LINKS_MAX = 40,
};

struct network {
	const char *id; /* as the host calls it */
	uint8_t mac[6];
	unsigned patience_ms;
	char name[IFNAMSIZ]; /* as the kernel does */
	int fd;              /* -1: nothing is to be done any more */
	unsigned index;
	/* DHCPDISCOVER until something was offered, DHCPREQUEST until that is ours. */
	struct dhcp_query query;
	unsigned tries;
	uint64_t next_ms;
	struct dhcp_reply lease; /* a DHCPACK, in the end */
};

static int warnings; /* where a person reads them */

static void warn(const struct network *n, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void warn(const struct network *n, const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	dprintf(warnings, "minivmm: %s%s%s\n", n ? n->id : "", n ? ": " : "", text);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- interfaces ----------------------------------------------------------------------- */

static bool parse_mac(uint8_t mac[6], const char *text)
{
	char *end;

	for (unsigned i = 0; i < 6; i++, text = end + 1) {
		mac[i] = (uint8_t)strtoul(text, &end, 16);
		if (end != text + 2 || (i < 5 && *end != ':'))
			return false;
	}
	return true;
}

/* Which interface has that MAC? The kernel's names tell nothing of the host's order. */
static bool find_interface(struct network *n)
{
	DIR *d = opendir("/sys/class/net");
	struct dirent *entry;
	char path[300], text[32];
	uint8_t mac[6];
	bool found = false;

	while (d && !found && (entry = readdir(d))) {
		snprintf(path, sizeof(path), "/sys/class/net/%s/address", entry->d_name);
		found = strlen(entry->d_name) < IFNAMSIZ && !read_text(path, text, sizeof(text)) &&
			parse_mac(mac, text) && !memcmp(mac, n->mac, sizeof(mac));
		if (found)
			memcpy(n->name, entry->d_name, strlen(entry->d_name) + 1);
	}
	if (d)
		closedir(d);
	n->index = found ? if_nametoindex(n->name) : 0;
	return n->index;
}

static struct ifreq request_of(const struct network *n)
{
	struct ifreq r = {0};

	memcpy(r.ifr_name, n->name, sizeof(n->name));
	return r;
}

static struct sockaddr address_of(uint32_t address)
{
	const struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
	struct sockaddr sa;

	memcpy(&sa, &in, sizeof(sa));
	return sa;
}

static int raise_interface(const struct network *n, int control)
{
	struct ifreq r = request_of(n);

	if (ioctl(control, SIOCGIFFLAGS, &r))
		return -errno;
	r.ifr_flags |= IFF_UP | IFF_RUNNING;
	return ioctl(control, SIOCSIFFLAGS, &r) ? -errno : 0;
}

static int add_route(const struct network *n, int control, uint32_t to, uint32_t mask,
		     uint32_t gateway, short metric)
{
	struct rtentry r = {
		.rt_dst = address_of(to),
		.rt_genmask = address_of(mask),
		.rt_gateway = address_of(gateway),
		.rt_flags = (unsigned short)(RTF_UP | (gateway ? RTF_GATEWAY : 0)),
		.rt_metric = (short)(metric + 1), /* one more than what it means */
		.rt_dev = (char *)n->name,
	};

	return ioctl(control, SIOCADDRT, &r) && errno != EEXIST ? -errno : 0;
}

/* What the lease says. The first network's router is the one that is asked first. */
static int configure(const struct network *n, int control, short metric)
{
	const struct dhcp_reply *l = &n->lease;
	struct ifreq r = request_of(n);
	int ret = 0;

	r.ifr_addr = address_of(l->yiaddr);
	if (ioctl(control, SIOCSIFADDR, &r))
		return -errno;
	r.ifr_netmask = address_of(l->mask);
	if (ioctl(control, SIOCSIFNETMASK, &r))
		return -errno;
	r.ifr_mtu = l->mtu;
	if (l->mtu && ioctl(control, SIOCSIFMTU, &r))
		say("%s: an MTU of %u: %s", n->id, l->mtu, strerror(errno));
	/* A router outside of the network is on its link all the same. */
	if (l->router && (l->router & l->mask) != (l->yiaddr & l->mask))
		ret = add_route(n, control, l->router, UINT32_MAX, 0, metric);
	if (l->router && !ret)
		ret = add_route(n, control, 0, 0, l->router, metric);
	return ret;
}

/* --- DHCP ----------------------------------------------------------------------------- */

static void discover(struct network *n)
{
	n->query.type = DHCPDISCOVER;
	n->tries = 0;
	n->next_ms = 0;
	if (getrandom(&n->query.xid, sizeof(n->query.xid), GRND_NONBLOCK) < 0)
		n->query.xid = (uint32_t)now_ms() * 2654435761u + n->index;
}

static int open_socket(struct network *n)
{
	const struct sockaddr_ll address = {.sll_family = AF_PACKET,
					    .sll_protocol = htons(ETH_P_IP),
					    .sll_ifindex = (int)n->index};

	n->fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (n->fd < 0)
		return -errno;
	if (bind(n->fd, (const struct sockaddr *)&address, sizeof(address))) {
		int error = errno;

		close(n->fd);
		n->fd = -1;
		return -error;
	}
	return 0;
}

static void send_query(struct network *n, uint64_t now, uint64_t began)
{
	struct sockaddr_ll address = {.sll_family = AF_PACKET,
				      .sll_protocol = htons(ETH_P_IP),
				      .sll_ifindex = (int)n->index,
				      .sll_halen = ETH_ALEN};
	uint8_t packet[DHCP_QUERY_LEN];
	unsigned wait = AGAIN_MS << (n->tries < 2 ? n->tries : 2);

	if (n->query.type == DHCPREQUEST && n->tries == REQUESTS)
		discover(n);
	n->tries++;
	n->next_ms = now + wait;
	n->query.secs = (uint16_t)((now - began) / 1000);
	memset(address.sll_addr, 0xff, ETH_ALEN);
	dhcp_write(packet, &n->query);
	/* One that is lost is sent again. */
	(void)!sendto(n->fd, packet, sizeof(packet), 0, (struct sockaddr *)&address,
		      sizeof(address));
}

static void hear(struct network *n, const struct dhcp_reply *r)
{
	if (n->query.type == DHCPDISCOVER && r->type == DHCPOFFER) {
		n->query.type = DHCPREQUEST;
		n->query.requested = r->yiaddr;
		n->query.server = r->server;
		n->tries = 0;
		n->next_ms = 0;
	} else if (n->query.type == DHCPREQUEST && r->server == n->query.server) {
		if (r->type == DHCPNAK)
			discover(n);
		if (r->type != DHCPACK)
			return;
		n->lease = *r;
		close(n->fd);
		n->fd = -1;
	}
}

static void receive(struct network *n)
{
	uint8_t packet[DHCP_REPLY_MAX];
	struct dhcp_reply r;
	ssize_t len;

	while (n->fd >= 0 && (len = recv(n->fd, packet, sizeof(packet), 0)) >= 0)
		if (!dhcp_parse(&r, packet, (size_t)len, n->query.xid, n->query.chaddr))
			hear(n, &r);
}

/* Until each has a lease, or has waited long enough for one. */
static void get_leases(struct network *nets, unsigned count)
{
	const uint64_t began = now_ms();

	for (;;) {
		struct pollfd fds[NETS_MAX];
		uint64_t now = now_ms(), until = UINT64_MAX;

		for (unsigned i = 0; i < count; i++) {
			struct network *n = &nets[i];

			if (n->fd >= 0 && now - began >= n->patience_ms) {
				close(n->fd);
				n->fd = -1;
				warn(n,
				     "no DHCP server has answered within %u s; %s is up without an "
				     "address",
				     n->patience_ms / 1000, n->name);
			}
			fds[i] = (struct pollfd){n->fd, POLLIN, 0};
			if (n->fd < 0)
				continue;
			if (n->next_ms <= now)
				send_query(n, now, began);
			if (n->next_ms < until)
				until = n->next_ms;
			if (began + n->patience_ms < until)
				until = began + n->patience_ms;
		}
		if (until == UINT64_MAX)
			return;
		poll(fds, count, (int)(until - now));
		for (unsigned i = 0; i < count; i++)
			receive(&nets[i]);
	}
}

/* --- names ---------------------------------------------------------------------------- */

/* The file that `path` means in the end, there or not, with the directories that lead to it. */
static int follow(char path[PATH_MAX])
{
	char link[PATH_MAX], next[PATH_MAX];

	for (unsigned i = 0; i < LINKS_MAX; i++) {
		ssize_t n = readlink(path, link, sizeof(link) - 1);
		const char *slash = strrchr(path, '/');
		int dir = (int)(slash - path);

		if (n < 0)
			return errno == EINVAL || errno == ENOENT ? 0 : -errno;
		link[n] = '\0';
		n = *link == '/' ? snprintf(next, sizeof(next), "%s", link)
				 : snprintf(next, sizeof(next), "%.*s/%s", dir, path, link);
		if (n >= (int)sizeof(next))
			return -ENAMETOOLONG;
		memcpy(path, next, (size_t)n + 1);
	}
	return -ELOOP;
}

static int make_file(char *path)
{
	int fd;

	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(path, 0755);
		*slash = '/';
	}
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* Put `ours` in the place of what programs read. The root's own file stays as it is: it may
 * be the host's, and on a disk it is for the next boot. Where it has none, there is an empty
 * one then. */
static int cover_file(const char *ours, const char *theirs)
{
	char path[PATH_MAX];
	int ret;

	snprintf(path, sizeof(path), "%s", theirs);
	ret = follow(path);
	if (!ret && access(path, F_OK))
		ret = make_file(path);
	if (!ret && mount(ours, path, NULL, MS_BIND, NULL))
		ret = -errno;
	return ret;
}

static void put_nameserver(FILE *f, uint32_t address)
{
	fprintf(f, "nameserver %u.%u.%u.%u\n", address >> 24, address >> 16 & 255,
		address >> 8 & 255, address & 255);
}

/* Give the resolver what the leases say, in the order of the networks. */
static void set_resolver(const struct network *nets, unsigned count)
{
	static const char theirs[] = "/etc/resolv.conf";
	/* A root without /run has a /dev. */
	const char *ours = access("/run", W_OK) ? "/dev/resolv.conf" : "/run/resolv.conf";
	unsigned n_dns = 0;
	FILE *f = NULL;
	int ret = 0;

	for (unsigned i = 0; i < count && !ret; i++) {
		const struct dhcp_reply *l = &nets[i].lease;

		if (!l->n_dns)
			continue;
		if (!f && !(f = fopen(ours, "we"))) {
			ret = -errno;
			break;
		}
		for (unsigned j = 0; j < l->n_dns && n_dns < DHCP_DNS_MAX; j++, n_dns++)
			put_nameserver(f, l->dns[j]);
		if (*l->domain)
			fprintf(f, "search %s\n", l->domain);
	}
	if (!f && !ret)
		return;
	if (f && fclose(f))
		ret = -EIO;
	if (!ret)
		ret = cover_file(ours, theirs);
	if (ret)
		warn(NULL, "%s: %s; names are not found", theirs, strerror(-ret));
}

/* --- all ------------------------------------------------------------------------------ */

/* "SECONDS MAC NAME", as the host has written it. */
static bool read_network(struct network *n, char *text)
{
	char *end;

	*n = (struct network){.fd = -1};
	n->patience_ms = (unsigned)strtoul(text, &end, 10) * 1000;
	if (*end != ' ' || !parse_mac(n->mac, end + 1) || !(n->id = strchr(end + 1, ' ')))
		return false;
	n->id++;
	memcpy(n->query.chaddr, n->mac, sizeof(n->mac));
	return true;
}

static int begin(struct network *n, int control)
{
	int ret = raise_interface(n, control);

	if (!ret)
		ret = open_socket(n);
	discover(n);
	return ret;
}

void raise_networks(char *const *texts, int stderr_fd)
{
	static struct network nets[NETS_MAX];
	int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	unsigned count = 0;

	warnings = stderr_fd;
	for (; *texts && count < NETS_MAX; texts++) {
		struct network *n = &nets[count];
		int ret;

		if (!read_network(n, *texts)) {
			complain("/m/command: the network '%s' is not understood", *texts);
			continue;
		}
		count++;
		if (!find_interface(n)) {
			warn(n, "the guest's kernel has no interface for it (is its driver "
				"virtio_net among the modules?)");
			continue;
		}
		ret = begin(n, control);
		if (ret)
			warn(n, "%s: %s", n->name, strerror(-ret));
	}
	get_leases(nets, count);
	for (unsigned i = 0; i < count; i++) {
		int ret = nets[i].lease.type ? configure(&nets[i], control, (short)i) : 0;

		if (ret)
			warn(&nets[i], "%s: what its DHCP server says: %s", nets[i].name,
			     strerror(-ret));
	}
	set_resolver(nets, count);
	close(control);
}
