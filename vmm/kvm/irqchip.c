/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvm/irqchip.h"

#include "vmm/base/bytes.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

int irqchip_init(struct irqchip *c, struct kvm_vm *vm, struct err *e)
{
	struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {IRQCHIP_PINS}};

	/* The routes are many, and each is cleared when it is taken. */
	c->vm = vm;
	c->n_routes = 0;
	memset(c->pins, 0, sizeof(c->pins));
	pthread_mutex_init(&c->lock, NULL);
	int ret = kvm_ioctl(vm->vm_fd, KVM_ENABLE_CAP, &split);

	if (ret)
		return err_host(e, ret, "/dev/kvm: cannot make a split irqchip: %s",
				strerror(-ret));
	return 0;
}

static uint32_t gsi_of(int route)
{
	return IRQCHIP_PINS + (uint32_t)route;
}

static int set_irqfd(const struct irqchip *c, int route, int eventfd, uint32_t flags)
{
	struct kvm_irqfd irqfd = {
		.fd = (uint32_t)eventfd,
		.gsi = gsi_of(route),
		.flags = flags,
	};

	return kvm_ioctl(c->vm->vm_fd, KVM_IRQFD, &irqfd);
}

void irqchip_fini(struct irqchip *c)
{
	if (!c->vm)
		return;
	pthread_mutex_destroy(&c->lock);
	c->vm = NULL;
}

static void put(struct kvm_irq_routing *table, uint32_t gsi, const struct irqchip_route *r)
{
	struct kvm_irq_routing_entry *entry = &table->entries[table->nr++];
	uint64_t addr = r->addr;

	*entry = (struct kvm_irq_routing_entry){.gsi = gsi, .type = KVM_IRQ_ROUTING_MSI};
	entry->u.msi.address_lo = (uint32_t)addr;
	entry->u.msi.address_hi = (uint32_t)(addr >> 32);
	entry->u.msi.data = r->data;
}

/* Hand KVM the whole table, under the lock. */
static int write_table(struct irqchip *c)
{
	struct kvm_irq_routing *table = calloc(
		1, sizeof(*table) + (IRQCHIP_PINS + c->n_routes) * sizeof(table->entries[0]));

	if (!table)
		return -ENOMEM;
	for (uint32_t i = 0; i < IRQCHIP_PINS; i++)
		if (c->pins[i].armed)
			put(table, i, &c->pins[i]);
	for (unsigned i = 0; i < c->n_routes; i++)
		if (c->routes[i].armed && c->routes[i].bonds)
			put(table, gsi_of((int)i), &c->routes[i]);
	int ret = kvm_ioctl(c->vm->vm_fd, KVM_SET_GSI_ROUTING, table);

	free(table);
	return ret;
}

static void set(struct irqchip_route *r, bool armed, const struct msi_msg *msg)
{
	if (!armed)
		r->armed = false;
	r->addr = msg->addr;
	r->data = msg->data;
	if (armed)
		r->armed = true;
}

/* Arm or disarm one; if it is `routed`, in KVM's table as well. */
static int change(struct irqchip *c, struct irqchip_route *r, const struct msi_msg *msg,
		  bool routed)
{
	const struct msi_msg old = {.addr = r->addr, .data = r->data};
	bool armed = r->armed;

	if (msg ? armed && old.addr == msg->addr && old.data == msg->data : !armed)
		return 0;
	set(r, msg, msg ? msg : &old);
	int ret = routed ? write_table(c) : 0;

	if (ret)
		set(r, armed, &old);
	return ret;
}

static int route_new(void *ctx)
{
	struct irqchip *c = ctx;
	int ret = -ENOSPC;

	pthread_mutex_lock(&c->lock);
	for (unsigned i = 0; i < IRQCHIP_ROUTES_MAX; i++) {
		if (i < c->n_routes && c->routes[i].used)
			continue;
		c->routes[i].used = true;
		c->routes[i].bonds = 0;
		c->routes[i].armed = false;
		if (i >= c->n_routes)
			c->n_routes = i + 1;
		ret = (int)i;
		break;
	}
	pthread_mutex_unlock(&c->lock);
	return ret;
}

static int route_set(void *ctx, int route, const struct msi_msg *msg)
{
	struct irqchip *c = ctx;
	struct irqchip_route *r = &c->routes[route];

	pthread_mutex_lock(&c->lock);
	int ret = change(c, r, msg, r->bonds);

	pthread_mutex_unlock(&c->lock);
	return ret;
}

static int send(void *ctx, const struct msi_msg *msg)
{
	struct irqchip *c = ctx;
	struct kvm_msi m = {
		.address_lo = (uint32_t)msg->addr,
		.address_hi = (uint32_t)(msg->addr >> 32),
		.data = msg->data,
	};
	int ret = kvm_ioctl(c->vm->vm_fd, KVM_SIGNAL_MSI, &m);

	return ret < 0 ? ret : 0;
}

static void route_fire(void *ctx, int route)
{
	struct irqchip *c = ctx;
	const struct irqchip_route *r = &c->routes[route];
	struct msi_msg msg;

	if (!r->armed)
		return;
	msg = (struct msi_msg){.addr = r->addr, .data = r->data};
	send(c, &msg);
}

/* The route first: an irqfd looks it up when it is assigned. */
static int route_bind(void *ctx, int route, int eventfd)
{
	struct irqchip *c = ctx;
	struct irqchip_route *r = &c->routes[route];
	int ret = 0;

	pthread_mutex_lock(&c->lock);
	/* The table may hold what it was when it was last bound. */
	if (!r->bonds++)
		ret = write_table(c);
	if (!ret)
		ret = set_irqfd(c, route, eventfd, 0);
	if (ret)
		r->bonds--;
	pthread_mutex_unlock(&c->lock);
	return ret;
}

/* What is left of it in KVM's table nobody fires any more. */
static void route_unbind(void *ctx, int route, int eventfd)
{
	struct irqchip *c = ctx;

	set_irqfd(c, route, eventfd, KVM_IRQFD_FLAG_DEASSIGN);
	pthread_mutex_lock(&c->lock);
	c->routes[route].bonds--;
	pthread_mutex_unlock(&c->lock);
}

static void route_free(void *ctx, int route)
{
	struct irqchip *c = ctx;

	pthread_mutex_lock(&c->lock);
	c->routes[route].armed = false;
	c->routes[route].used = false;
	pthread_mutex_unlock(&c->lock);
}

/* KVM exits for an end-of-interrupt only if the vector belongs to a routed pin
 * [KVM api 7.5 KVM_CAP_SPLIT_IRQCHIP]. Edge pins need none, and keeping them out
 * spares a grace period for each of the entries that Linux writes at boot. */
static int pin_set(void *ctx, unsigned pin, const struct msi_msg *msg, bool level)
{
	struct irqchip *c = ctx;
	int ret;

	pthread_mutex_lock(&c->lock);
	ret = change(c, &c->pins[pin], level ? msg : NULL, true);
	pthread_mutex_unlock(&c->lock);
	return ret;
}

static const struct msi_ops msi_ops = {
	.route_new = route_new,
	.route_set = route_set,
	.route_fire = route_fire,
	.route_bind = route_bind,
	.route_unbind = route_unbind,
	.route_free = route_free,
	.send = send,
	.pin_set = pin_set,
};

struct msi irqchip_msi(struct irqchip *c)
{
	return (struct msi){&msi_ops, c};
}

/* --- doorbells --------------------------------------------------------------- */

static int ring(const struct kvm_vm *vm, uint64_t gpa, int fd, bool match, uint32_t data,
		uint32_t flags)
{
	/* Length 0 answers a store of any size: Linux stores 2 bytes, others 4. */
	struct kvm_ioeventfd io = {
		.addr = gpa,
		.len = match                      ? 4
		       : vm->ioeventfd_any_length ? 0
						  : 2,
		.fd = fd,
		.datamatch = data,
		.flags = flags | (match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0),
	};

	return kvm_ioctl(vm->vm_fd, KVM_IOEVENTFD, &io);
}

static int doorbell_attach(void *ctx, uint64_t gpa, int fd, bool match, uint32_t data)
{
	return ring(ctx, gpa, fd, match, data, 0);
}

static void doorbell_detach(void *ctx, uint64_t gpa, int fd, bool match, uint32_t data)
{
	const struct kvm_vm *vm = ctx;

	if (!vm->ending)
		ring(vm, gpa, fd, match, data, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

static const struct doorbell_ops doorbell_ops = {doorbell_attach, doorbell_detach};

struct doorbell kvm_doorbell(struct kvm_vm *vm)
{
	return (struct doorbell){&doorbell_ops, vm};
}
