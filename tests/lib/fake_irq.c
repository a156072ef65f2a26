/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/fake_irq.h"

#include "vmm/base/bytes.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

/* --- lines ------------------------------------------------------------------ */

static void line_set(void *ctx, unsigned pin, bool level)
{
	struct fake_irq *f = ctx;

	assert(pin < FAKE_PINS);
	pthread_mutex_lock(&f->lock);
	if (level && !f->level[pin])
		f->raised[pin]++;
	f->level[pin] = level;
	pthread_mutex_unlock(&f->lock);
}

void fake_irq_init(struct fake_irq *f)
{
	memset(f, 0, sizeof(*f));
	pthread_mutex_init(&f->lock, NULL);
}

void fake_irq_fini(struct fake_irq *f)
{
	pthread_mutex_destroy(&f->lock);
}

struct irq_line fake_irq_line(struct fake_irq *f, unsigned pin)
{
	return (struct irq_line){.set = line_set, .ctx = f, .pin = pin};
}

bool fake_irq_level(struct fake_irq *f, unsigned pin)
{
	pthread_mutex_lock(&f->lock);
	bool level = f->level[pin];
	pthread_mutex_unlock(&f->lock);
	return level;
}

unsigned fake_irq_raised(struct fake_irq *f, unsigned pin)
{
	pthread_mutex_lock(&f->lock);
	unsigned n = f->raised[pin];
	pthread_mutex_unlock(&f->lock);
	return n;
}

/* --- messages --------------------------------------------------------------- */

static int route_new(void *ctx)
{
	struct fake_msi *f = ctx;
	int route = -ENOSPC;

	pthread_mutex_lock(&f->lock);
	f->news++;
	if (f->fail_new) {
		route = f->fail_new;
	} else {
		for (int i = 0; i < FAKE_MSI_ROUTES && route < 0; i++)
			if (!f->routes[i].used)
				route = i;
		if (route >= 0) {
			f->routes[route].used = true;
			f->routes[route].armed = false;
		}
	}
	pthread_mutex_unlock(&f->lock);
	return route;
}

static int route_set(void *ctx, int route, const struct msi_msg *msg)
{
	struct fake_msi *f = ctx;
	int ret;

	pthread_mutex_lock(&f->lock);
	assert(route >= 0 && route < FAKE_MSI_ROUTES && f->routes[route].used);
	f->sets++;
	ret = f->fail_set;
	/* After a failure the route carries nothing that the caller may count on. */
	f->routes[route].armed = !ret && msg;
	if (f->routes[route].armed)
		f->routes[route].msg = *msg;
	pthread_mutex_unlock(&f->lock);
	return ret;
}

/* Locked. */
static void deliver(struct fake_msi *f, const struct msi_msg *msg)
{
	if (f->delivered < FAKE_MSI_LOG)
		f->log[f->delivered] = *msg;
	f->delivered++;
}

static void route_fire(void *ctx, int route)
{
	struct fake_msi *f = ctx;

	pthread_mutex_lock(&f->lock);
	assert(route >= 0 && route < FAKE_MSI_ROUTES && f->routes[route].used);
	if (f->routes[route].armed)
		deliver(f, &f->routes[route].msg);
	else
		f->lost++;
	pthread_mutex_unlock(&f->lock);
}

/* Locked. Index of the bond of `eventfd` (0: of a free place), or -1. */
static int bond_of(const struct fake_msi *f, int eventfd)
{
	for (int i = 0; i < FAKE_MSI_BONDS; i++)
		if (f->bonds[i].eventfd == eventfd)
			return i;
	return -1;
}

/* Locked. */
static void take_signal(struct fake_msi *f, int eventfd, int route)
{
	uint64_t count;

	if (!f->routes[route].armed || read(eventfd, &count, sizeof(count)) != sizeof(count))
		return;
	deliver(f, &f->routes[route].msg);
}

static int route_bind(void *ctx, int route, int eventfd)
{
	struct fake_msi *f = ctx;
	int ret;

	pthread_mutex_lock(&f->lock);
	assert(route >= 0 && route < FAKE_MSI_ROUTES && f->routes[route].used);
	ret = f->fail_bind ? f->fail_bind : bond_of(f, eventfd) >= 0 ? -EBUSY : 0;
	if (!ret) {
		int i = bond_of(f, 0);

		assert(i >= 0 && eventfd > 0);
		f->bonds[i].eventfd = eventfd;
		f->bonds[i].route = route;
		take_signal(f, eventfd, route);
	}
	pthread_mutex_unlock(&f->lock);
	return ret;
}

static void route_unbind(void *ctx, int route, int eventfd)
{
	struct fake_msi *f = ctx;
	int i;

	pthread_mutex_lock(&f->lock);
	i = bond_of(f, eventfd);
	assert(i >= 0 && f->bonds[i].route == route);
	f->bonds[i].eventfd = 0;
	pthread_mutex_unlock(&f->lock);
}

static void route_free(void *ctx, int route)
{
	struct fake_msi *f = ctx;

	pthread_mutex_lock(&f->lock);
	assert(route >= 0 && route < FAKE_MSI_ROUTES && f->routes[route].used);
	for (int i = 0; i < FAKE_MSI_BONDS; i++)
		assert(!f->bonds[i].eventfd || f->bonds[i].route != route);
	f->routes[route].used = f->routes[route].armed = false;
	pthread_mutex_unlock(&f->lock);
}

static int msi_send(void *ctx, const struct msi_msg *msg)
{
	struct fake_msi *f = ctx;
	int ret;

	pthread_mutex_lock(&f->lock);
	f->sends++;
	ret = f->fail_send;
	if (!ret)
		deliver(f, msg);
	pthread_mutex_unlock(&f->lock);
	return ret;
}

static int pin_set(void *ctx, unsigned pin, const struct msi_msg *msg, bool level)
{
	struct fake_msi *f = ctx;

	if (pin >= FAKE_MSI_PINS)
		return -EINVAL;
	pthread_mutex_lock(&f->lock);
	f->pins[pin].set = msg;
	f->pins[pin].level = level;
	f->pins[pin].msg = msg ? *msg : (struct msi_msg){0};
	pthread_mutex_unlock(&f->lock);
	return 0;
}

static const struct msi_ops msi_ops = {
	.route_new = route_new,
	.route_set = route_set,
	.route_fire = route_fire,
	.route_bind = route_bind,
	.route_unbind = route_unbind,
	.route_free = route_free,
	.send = msi_send,
	.pin_set = pin_set,
};

void fake_msi_init(struct fake_msi *f)
{
	memset(f, 0, sizeof(*f));
	pthread_mutex_init(&f->lock, NULL);
}

void fake_msi_fini(struct fake_msi *f)
{
	pthread_mutex_destroy(&f->lock);
}

struct msi fake_msi_wire(struct fake_msi *f)
{
	return (struct msi){.ops = &msi_ops, .ctx = f};
}

unsigned fake_msi_delivered(struct fake_msi *f)
{
	pthread_mutex_lock(&f->lock);
	unsigned n = f->delivered;
	pthread_mutex_unlock(&f->lock);
	return n;
}

unsigned fake_msi_routes(struct fake_msi *f)
{
	unsigned n = 0;

	pthread_mutex_lock(&f->lock);
	for (unsigned i = 0; i < FAKE_MSI_ROUTES; i++)
		n += f->routes[i].used;
	pthread_mutex_unlock(&f->lock);
	return n;
}

unsigned fake_msi_bonds(struct fake_msi *f)
{
	unsigned n = 0;

	pthread_mutex_lock(&f->lock);
	for (unsigned i = 0; i < FAKE_MSI_BONDS; i++)
		n += f->bonds[i].eventfd > 0;
	pthread_mutex_unlock(&f->lock);
	return n;
}

int fake_msi_bond(struct fake_msi *f, int eventfd)
{
	pthread_mutex_lock(&f->lock);
	int i = bond_of(f, eventfd), route = i < 0 ? -1 : f->bonds[i].route;

	pthread_mutex_unlock(&f->lock);
	return route;
}

void fake_msi_signal(struct fake_msi *f, int eventfd)
{
	const uint64_t one = 1;
	ssize_t n = sizeof(one);

	pthread_mutex_lock(&f->lock);
	int i = bond_of(f, eventfd);

	/* Bound, it is used up before anybody else can read it. */
	if (i >= 0 && f->routes[f->bonds[i].route].armed)
		deliver(f, &f->routes[f->bonds[i].route].msg);
	else
		n = write(eventfd, &one, sizeof(one));
	assert(n == sizeof(one));
	(void)n;
	pthread_mutex_unlock(&f->lock);
}

struct msi_msg fake_msi_last(struct fake_msi *f)
{
	struct msi_msg msg = {0};

	pthread_mutex_lock(&f->lock);
	if (f->delivered && f->delivered <= FAKE_MSI_LOG)
		msg = f->log[f->delivered - 1];
	pthread_mutex_unlock(&f->lock);
	return msg;
}

/* --- doorbells -------------------------------------------------------------- */

/* Locked. The index, or f->n. */
static unsigned find_entry(const struct fake_doorbell *f, const struct fake_doorbell_entry *e)
{
	unsigned i = 0;

	while (i < f->n && (f->entries[i].gpa != e->gpa || f->entries[i].eventfd != e->eventfd ||
			    f->entries[i].match != e->match || f->entries[i].data != e->data))
		i++;
	return i;
}

static int attach(void *ctx, uint64_t gpa, int eventfd, bool match, uint32_t data)
{
	struct fake_doorbell_entry e = {gpa, eventfd, match, data};
	struct fake_doorbell *f = ctx;
	int ret = 0;

	pthread_mutex_lock(&f->lock);
	if (f->fail_attach) {
		ret = f->fail_attach;
	} else if (find_entry(f, &e) < f->n) {
		f->strays++;
		ret = -EEXIST;
	} else if (f->n == FAKE_DOORBELLS) {
		ret = -ENOSPC;
	} else {
		f->entries[f->n++] = e;
		f->attaches++;
	}
	pthread_mutex_unlock(&f->lock);
	return ret;
}

static void detach(void *ctx, uint64_t gpa, int eventfd, bool match, uint32_t data)
{
	struct fake_doorbell_entry e = {gpa, eventfd, match, data};
	struct fake_doorbell *f = ctx;
	unsigned i;

	pthread_mutex_lock(&f->lock);
	i = find_entry(f, &e);
	if (i == f->n) {
		f->strays++;
	} else {
		f->entries[i] = f->entries[--f->n];
		f->detaches++;
	}
	pthread_mutex_unlock(&f->lock);
}

static const struct doorbell_ops doorbell_ops = {.attach = attach, .detach = detach};

void fake_doorbell_init(struct fake_doorbell *f)
{
	memset(f, 0, sizeof(*f));
	pthread_mutex_init(&f->lock, NULL);
}

void fake_doorbell_fini(struct fake_doorbell *f)
{
	pthread_mutex_destroy(&f->lock);
}

struct doorbell fake_doorbell_wire(struct fake_doorbell *f)
{
	return (struct doorbell){.ops = &doorbell_ops, .ctx = f};
}

unsigned fake_doorbell_count(struct fake_doorbell *f)
{
	pthread_mutex_lock(&f->lock);
	unsigned n = f->n;
	pthread_mutex_unlock(&f->lock);
	return n;
}

bool fake_doorbell_store(struct fake_doorbell *f, uint64_t gpa, unsigned size, uint64_t val)
{
	const uint64_t one = 1;
	bool rung = false;

	pthread_mutex_lock(&f->lock);
	for (unsigned i = 0; i < f->n && !rung; i++) {
		const struct fake_doorbell_entry *e = &f->entries[i];

		if (e->gpa != gpa || (e->match && (size != 4 || e->data != (uint32_t)val)))
			continue;
		/* An eventfd takes 2^64 - 2 rings before it would block. */
		rung = write(e->eventfd, &one, sizeof(one)) == sizeof(one);
	}
	pthread_mutex_unlock(&f->lock);
	return rung;
}
