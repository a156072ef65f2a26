/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tap is a queue of whole frames: each readv(2) and writev(2) moves one, between the
 * guest's buffers and the kernel. What the reader has no room for is cut off and gone.
 *
 * An interface that is down is no error: what is sent to it is dropped as on a cable
 * that ends nowhere. One that was deleted never comes back, which EBADFD tells.
 *
 * A tap with several queues spreads its frames over those that are attached to it. All but
 * the first are attached only while the device wants them.
 *
 * While vhost-net has the rings nobody reads here, so nobody would be told that. The tap's
 * descriptor cannot be watched for it without waking up for each frame. Instead we listen to
 * what the kernel says of its interfaces (rtnetlink), whatever it is, and ask the tap.
 */
#include "devices/backend/net_tap.h"

#include "devices/backend/net_vhost.h"
#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/base/le.h"
#include "vmm/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef TUN_F_USO4 /* linux/if_tun.h of Linux 6.2 */
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

/* struct virtio_net_hdr with num_buffers, which the kernel leaves to us. */
enum { HDR_LEN = 12 };

struct net_tap {
	struct net net;
	int fd; /* owned */
	bool vnet_hdr;
	bool spare; /* a queue that is attached while the device wants it; not the first */
	struct loop_fd *watch;
	bool wants, blocked, gone;
	char why[64];

	struct vhost vhost;
	int broken; /* eventfd, owned: what vhost signals */
	int links;  /* a netlink socket, owned; -1: nobody tells us */
	struct loop *loop;
	struct loop_fd *broken_watch, *links_watch; /* while it has the rings */
};

static struct net_tap *of(struct net *n)
{
	return (struct net_tap *)n;
}

static void set_watch(struct net_tap *t)
{
	if (t->watch)
		loop_fd_set(t->watch,
			    t->gone ? 0
				    : (t->wants ? LOOP_READ : 0) | (t->blocked ? LOOP_WRITE : 0));
}

static void gone(struct net_tap *t, int error)
{
	if (t->gone)
		return;
	t->gone = true;
	set_watch(t);
	if (error == EBADFD)
		snprintf(t->why, sizeof(t->why), "the tap %s is gone", t->net.ifname);
	else
		snprintf(t->why, sizeof(t->why), "the tap %s: %.32s", t->net.ifname,
			 strerror(error));
	t->net.lost(t->net.ctx, t->why);
}

/* --- frames ------------------------------------------------------------------------------ */

static ssize_t tap_receive(struct net *n, struct net_hdr *hdr, struct iovec *iov, int n_iov)
{
	struct net_tap *t = of(n);
	uint8_t wire[HDR_LEN] = {0};
	int first = t->vnet_hdr ? 0 : 1;
	ssize_t len;

	if (t->gone)
		return -EAGAIN;
	iov[0] = (struct iovec){wire, sizeof(wire)};
	do
		len = readv(t->fd, iov + first, n_iov - first);
	while (len < 0 && errno == EINTR);
	if (len < 0) {
		if (errno != EAGAIN)
			gone(t, errno);
		return -EAGAIN;
	}
	if (t->vnet_hdr && len < HDR_LEN)
		return -EBADMSG;
	*hdr = (struct net_hdr){
		.flags = wire[0],
		.gso_type = wire[1],
		.hdr_len = le16_get(wire + 2),
		.gso_size = le16_get(wire + 4),
		.csum_start = le16_get(wire + 6),
		.csum_offset = le16_get(wire + 8),
	};
	return t->vnet_hdr ? len - HDR_LEN : len;
}

/* A tap gives a frame whole or not at all. */
static bool tap_receiving(const struct net *n)
{
	return false;
}

static void tap_abandon(struct net *n)
{
}

static int tap_send(struct net *n, const struct net_hdr *hdr, struct iovec *iov, int n_iov,
		    size_t len)
{
	struct net_tap *t = of(n);
	uint8_t wire[HDR_LEN] = {hdr->flags, hdr->gso_type};
	int first = t->vnet_hdr ? 0 : 1;
	ssize_t sent;

	if (t->gone)
		return 0;
	le16_put(wire + 2, hdr->hdr_len);
	le16_put(wire + 4, hdr->gso_size);
	le16_put(wire + 6, hdr->csum_start);
	le16_put(wire + 8, hdr->csum_offset);
	iov[0] = (struct iovec){wire, sizeof(wire)};
	do
		sent = writev(t->fd, iov + first, n_iov - first);
	while (sent < 0 && errno == EINTR);
	if (sent < 0 && errno == EAGAIN) {
		t->blocked = true;
		set_watch(t);
		return -EAGAIN;
	}
	/* EIO is an interface that is down, EINVAL a frame that the kernel does not
	 * like, ENOMEM a host that has other worries: the frame is lost, as on a wire. */
	if (sent < 0 && errno == EBADFD)
		gone(t, errno);
	return 0;
}

/* --- the loop ---------------------------------------------------------------------------- */

static void on_events(void *ctx, int events)
{
	struct net_tap *t = ctx;

	if (events & LOOP_WRITE && t->blocked) {
		t->blocked = false;
		set_watch(t);
		t->net.writable(t->net.ctx);
	}
	if (events & LOOP_READ && t->wants)
		t->net.readable(t->net.ctx);
}

static int set_offloads(const struct net_tap *t, unsigned offloads)
{
	unsigned long bits = (offloads & NET_OFFLOAD_CSUM ? TUN_F_CSUM : 0) |
			     (offloads & NET_OFFLOAD_TSO4 ? TUN_F_TSO4 : 0) |
			     (offloads & NET_OFFLOAD_TSO6 ? TUN_F_TSO6 : 0) |
			     (offloads & NET_OFFLOAD_ECN ? TUN_F_TSO_ECN : 0) |
			     (offloads & NET_OFFLOAD_UFO ? TUN_F_UFO : 0) |
			     (offloads & NET_OFFLOAD_USO ? TUN_F_USO4 | TUN_F_USO6 : 0);

	/* They are the interface's: the first queue's say. */
	return t->vnet_hdr && !t->spare && ioctl(t->fd, TUNSETOFFLOAD, bits) ? -errno : 0;
}

/* Only a spare one has to: 0 or a negative errno. */
static int set_queue(const struct net_tap *t, short flag)
{
	struct ifreq ifr = {.ifr_flags = flag};

	return t->spare && ioctl(t->fd, TUNSETQUEUE, &ifr) ? -errno : 0;
}

static int tap_attach(struct net *n, struct loop *loop, unsigned offloads)
{
	struct net_tap *t = of(n);

	t->loop = loop;

	t->wants = t->blocked = false;
	t->watch = loop_fd_add(loop, t->fd, 0, on_events, t);
	if (!t->watch)
		return -ENOMEM;
	/* Of a tap that is gone, the first queue will tell. */
	if (set_queue(t, IFF_ATTACH_QUEUE))
		log_debug("%s: a queue cannot be attached: %s", t->net.ifname, strerror(errno));
	/* A tap that is gone shows itself when it is read. */
	set_offloads(t, offloads);
	return 0;
}

static void tap_detach(struct net *n)
{
	struct net_tap *t = of(n);

	loop_fd_del(t->watch);
	t->watch = NULL;
	set_offloads(t, 0);
	set_queue(t, IFF_DETACH_QUEUE);
}

static void tap_want(struct net *n, bool frames)
{
	struct net_tap *t = of(n);

	t->wants = frames;
	set_watch(t);
}

/* --- vhost -------------------------------------------------------------------------------- */

static bool still_there(const struct net_tap *t)
{
	struct ifreq ifr;

	return !ioctl(t->fd, TUNGETIFF, &ifr) || errno != EBADFD;
}

static void on_links(void *ctx, int events)
{
	struct net_tap *t = ctx;
	char news[4096];

	/* One at a time: there may be more than we should listen to in one go. */
	if (recv(t->links, news, sizeof(news), MSG_DONTWAIT) < 0 && errno == EAGAIN)
		return;
	if (!still_there(t))
		gone(t, EBADFD);
}

static void on_broken(void *ctx, int events)
{
	struct net_tap *t = ctx;
	uint64_t count;

	if (read(t->broken, &count, sizeof(count)) < 0)
		return;
	/* It also says so when it cannot send. */
	if (still_there(t))
		t->net.broken(t->net.ctx);
	else
		gone(t, EBADFD);
}

static void forget_vhost_watches(struct net_tap *t)
{
	loop_fd_del(t->broken_watch);
	loop_fd_del(t->links_watch);
	t->broken_watch = t->links_watch = NULL;
}

static int tap_take_rings(struct net *n, const struct guest_mem *gm, uint64_t features,
			  const struct vhost_ring rings[NET_RINGS])
{
	struct net_tap *t = of(n);
	int ret;

	if (t->vhost.fd < 0 || t->gone)
		return -ENOTSUP;
	t->broken_watch = loop_fd_add(t->loop, t->broken, LOOP_READ, on_broken, t);
	if (t->links >= 0)
		t->links_watch = loop_fd_add(t->loop, t->links, LOOP_READ, on_links, t);
	if (!t->broken_watch || (t->links >= 0 && !t->links_watch))
		ret = -ENOMEM;
	else
		ret = net_vhost_start(&t->vhost, gm, features, rings, t->broken, t->fd);
	if (ret)
		forget_vhost_watches(t);
	return ret;
}

static void tap_give_rings(struct net *n, struct vhost_ring rings[NET_RINGS])
{
	struct net_tap *t = of(n);
	uint64_t count;

	net_vhost_stop(&t->vhost, rings);
	forget_vhost_watches(t);
	/* What was wrong with these is no fault of the next ones. */
	if (read(t->broken, &count, sizeof(count)) < 0)
		return;
}

/* What the kernel says of the interfaces of our network namespace. Where it is silent, a
 * tap that is deleted is not noticed while vhost has it, and no more is lost. */
static int listen_to_links(void)
{
	const struct sockaddr_nl at = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd >= 0 && bind(fd, (const struct sockaddr *)&at, sizeof(at)))
		fd_close(&fd);
	return fd;
}

static int open_vhost(struct net_tap *t, enum net_tap_vhost vhost, const char *option,
		      struct err *e)
{
	int ret;

	if (vhost == NET_TAP_VHOST_OFF)
		return 0;
	if (!t->vnet_hdr)
		return vhost == NET_TAP_VHOST_AUTO
			       ? 0
			       : err_usage(e, -EINVAL,
					   "%s: vhost=on wants a tap that was opened with "
					   "IFF_VNET_HDR",
					   option);
	ret = net_vhost_open(&t->vhost);
	if (ret && vhost == NET_TAP_VHOST_AUTO)
		return 0;
	if (ret)
		return err_usage(e, ret, "%s: vhost=on: /dev/vhost-net: %s%s", option,
				 strerror(-ret),
				 ret == -ENOENT || ret == -ENODEV ? "; modprobe vhost_net"
				 : ret == -EACCES ? "; it does without, by vhost=auto"
						  : "");
	t->broken = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (t->broken < 0)
		return err_host(e, -errno, "%s: %s", option, strerror(errno));
	if (!t->spare)
		t->links = listen_to_links();
	return 0;
}

/* --- life -------------------------------------------------------------------------------- */

static void tap_destroy(struct net *n)
{
	struct net_tap *t = of(n);

	vhost_close(&t->vhost);
	fd_close(&t->broken);
	fd_close(&t->links);
	fd_close(&t->fd);
	free(t);
}

static const struct net_ops ops = {
	.attach = tap_attach,
	.detach = tap_detach,
	.want = tap_want,
	.receive = tap_receive,
	.receiving = tap_receiving,
	.abandon = tap_abandon,
	.send = tap_send,
	.take_rings = tap_take_rings,
	.give_rings = tap_give_rings,
	.destroy = tap_destroy,
};

/* `t->fd` is an attached tap: agree on the header, and see what it can. */
static int prepare(struct net_tap *t, const char *option, struct err *e)
{
	/* The most that kernels have: since Linux 6.2, before, and at least. */
	const unsigned old = NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 |
			     NET_OFFLOAD_ECN | NET_OFFLOAD_UFO;
	const unsigned sets[] = {old | NET_OFFLOAD_USO, old, NET_OFFLOAD_CSUM};
	int hdr_len = HDR_LEN, little = 1, flags = fcntl(t->fd, F_GETFL);

	if (flags < 0 || fcntl(t->fd, F_SETFL, flags | O_NONBLOCK))
		return err_host(e, -errno, "%s: %s", option, strerror(errno));
	if (!t->vnet_hdr)
		return 0;
	/* Where there is no TUNSETVNETLE, the header is in the host's order: ours. */
	if (ioctl(t->fd, TUNSETVNETHDRSZ, &hdr_len) ||
	    (ioctl(t->fd, TUNSETVNETLE, &little) && errno != EINVAL))
		return err_host(e, -errno, "%s: cannot agree on a header: %s", option,
				strerror(errno));
	for (size_t i = 0; i < ARRAY_LEN(sets) && !t->net.offloads; i++)
		if (!set_offloads(t, sets[i]))
			t->net.offloads = sets[i];
	set_offloads(t, 0);
	return 0;
}

/* What the host says of an interface in our own network namespace. */
static void ask_interface(struct net_tap *t, const char *option)
{
	struct ifreq ifr = {0};
	_cleanup_fd_ int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", t->net.ifname);
	if (sock < 0)
		return;
	if (!ioctl(sock, SIOCGIFMTU, &ifr) && ifr.ifr_mtu >= 68 && ifr.ifr_mtu <= UINT16_MAX)
		t->net.mtu = (uint16_t)ifr.ifr_mtu;
	if (!ioctl(sock, SIOCGIFFLAGS, &ifr) && !(ifr.ifr_flags & IFF_UP))
		log_warn("%s: is down; for traffic: ip link set %s up", option, t->net.ifname);
}

static int set_iff(int fd, const char *name, short flags)
{
	struct ifreq ifr = {.ifr_flags = flags};

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	return ioctl(fd, TUNSETIFF, &ifr) ? -errno : 0;
}

static int attach_by_name(struct net_tap *t, const char *name, bool several, const char *option,
			  struct err *e)
{
	const short flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	int ret;

	if (!if_nametoindex(name))
		return err_usage(e, -ENODEV,
				 "%s: there is no such interface; make it: ip tuntap add %s mode "
				 "tap user $USER && ip link set %s up",
				 option, name, name);
	t->fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (t->fd < 0)
		return err_usage(e, -errno, "%s: /dev/net/tun: %s%s", option, strerror(errno),
				 errno == ENOENT || errno == ENODEV ? "; modprobe tun" : "");
	ret = several ? -EINVAL : set_iff(t->fd, name, flags);
	/* One that was made for several queues takes one who says so. */
	if (ret == -EINVAL)
		ret = set_iff(t->fd, name, flags | IFF_MULTI_QUEUE);
	if (ret == -EINVAL && several && !set_iff(t->fd, name, flags))
		return err_usage(e, ret,
				 "%s: has one queue only; make it with: ip tuntap add %s mode tap "
				 "multi_queue user $USER",
				 option, name);
	if (ret == -EINVAL)
		return err_usage(e, ret, "%s: is not a tap interface", option);
	if (ret == -EBUSY)
		return err_usage(e, ret, "%s: is in use by another process", option);
	if (ret == -EPERM)
		return err_usage(e, ret,
				 "%s: belongs to somebody else; its owner is set by: ip tuntap add "
				 "%s mode tap user $USER",
				 option, name);
	if (ret)
		return err_host(e, ret, "%s: %s", option, strerror(-ret));
	t->vnet_hdr = true;
	snprintf(t->net.ifname, sizeof(t->net.ifname), "%s", name);
	return 0;
}

static int attach_by_fd(struct net_tap *t, int fd, const char *option, struct err *e)
{
	struct ifreq ifr = {0};

	t->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (t->fd < 0)
		return err_usage(e, -errno, "%s: %s", option,
				 errno == EBADF ? "is not open; start minivmm with it"
						: strerror(errno));
	/* No child of ours has any business with it. */
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (ioctl(t->fd, TUNGETIFF, &ifr) || !(ifr.ifr_flags & IFF_TAP))
		return err_usage(e, -EINVAL, "%s: is not a tap that was attached to its interface",
				 option);
	if (!(ifr.ifr_flags & IFF_NO_PI))
		return err_usage(e, -EINVAL, "%s: was opened without IFF_NO_PI", option);
	t->vnet_hdr = ifr.ifr_flags & IFF_VNET_HDR;
	snprintf(t->net.ifname, sizeof(t->net.ifname), "%.15s", ifr.ifr_name);
	return 0;
}

/* By `name`, or if that is NULL, by `fd`. `first`: NULL, or the queue that this is one more
 * of. */
static int make(struct net **out, const char *name, bool several, const struct net_tap *first,
		int fd, enum net_tap_vhost vhost, struct err *e)
{
	struct net_tap *t = calloc(1, sizeof(*t));
	char option[48];
	int ret;

	if (!t)
		return err_host(e, -ENOMEM, "--net: out of memory");
	t->net.ops = &ops;
	t->fd = t->vhost.fd = t->broken = t->links = -1;
	if (name)
		snprintf(option, sizeof(option), "--net tap=%s", name);
	else
		snprintf(option, sizeof(option), "--net fd=%d", fd);
	ret = name ? attach_by_name(t, name, several, option, e) : attach_by_fd(t, fd, option, e);
	if (!ret && !first)
		ret = prepare(t, option, e);
	if (!ret && first) {
		t->spare = true;
		t->net.offloads = first->net.offloads;
		set_queue(t, IFF_DETACH_QUEUE);
	}
	if (!ret)
		ret = open_vhost(t, vhost, option, e);
	if (ret) {
		tap_destroy(&t->net);
		return ret;
	}
	if (name && !first)
		ask_interface(t, option);
	*out = &t->net;
	return 0;
}

int net_tap_open(struct net *out[], unsigned n, const char *name, enum net_tap_vhost vhost,
		 struct err *e)
{
	for (unsigned i = 0; i < n; i++) {
		int ret = make(&out[i], name, n > 1, i ? of(out[0]) : NULL, -1, vhost, e);

		if (!ret)
			continue;
		while (i--) {
			net_destroy(out[i]);
			out[i] = NULL;
		}
		return ret;
	}
	return 0;
}

int net_tap_inherit(struct net **out, int fd, enum net_tap_vhost vhost, struct err *e)
{
	return make(out, NULL, false, NULL, fd, vhost, e);
}
