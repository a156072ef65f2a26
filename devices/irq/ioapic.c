/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One redirection table entry (RTE) a pin says which message its interrupt is.
 *
 *	edge:   line goes up  -> send
 *	level:  line is up, no Remote IRR -> send, set Remote IRR;
 *	        EOI for the vector -> clear Remote IRR, look again
 *
 * Masked pins. The data sheet drops an edge on a masked pin. A driver that
 * unmasks after its device has raised the line would then wait for an edge that
 * never comes, so an edge is kept until the pin is unmasked, once; at worst a
 * handler finds nothing to do. A level needs no memory: it is still there on
 * unmask or it is not.
 *
 * Polarity is stored and not looked at: whoever drives a pin says "active" or
 * "inactive", not a voltage.
 *
 * Routes. KVM reports the EOI of those vectors only that it knows to belong to
 * a level pin, hence pin_set(). Telling it is dear (it swaps its whole table),
 * and Linux masks and unmasks level pins around threaded handlers; so a level
 * pin keeps its route while masked, which the EOI of an interrupt in service
 * needs anyway, and only changes of the message are told.
 */
#include "devices/irq/ioapic.h"

#include "vmm/base/bytes.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* Memory-mapped registers. */
enum { IOREGSEL = 0x00, IOWIN = 0x10, EOIR = 0x40 };

/* Behind IOREGSEL. */
enum { IOAPICID = 0, IOAPICVER = 1, IOAPICARB = 2, IOREDTBL = 0x10 };

enum { VERSION = 0x20, ID_SHIFT = 24, MAX_ENTRY_SHIFT = 16, STATE_VERSION = 1 };

#define RTE_VECTOR     0xffull
#define RTE_DELIVERY   (7ull << 8)
#define RTE_LOGICAL    (1ull << 11)
#define RTE_POLARITY   (1ull << 13)
#define RTE_REMOTE_IRR (1ull << 14)
#define RTE_LEVEL      (1ull << 15)
#define RTE_MASKED     (1ull << 16)
#define RTE_DEST_SHIFT 56
#define RTE_DEST       (0xffull << RTE_DEST_SHIFT)
#define RTE_WRITABLE \
	(RTE_VECTOR | RTE_DELIVERY | RTE_LOGICAL | RTE_POLARITY | RTE_LEVEL | RTE_MASKED | RTE_DEST)

enum { DELIVERY_LOWEST = 1 << 8 };

/* Message format [SDM 3A 11.11]. */
#define MSI_ADDR          0xfee00000ull
#define MSI_ADDR_LOGICAL  (1ull << 2)
#define MSI_ADDR_REDIRECT (1ull << 3)
enum { MSI_ADDR_DEST_SHIFT = 12, MSI_DATA_ASSERT = 1 << 14, MSI_DATA_LEVEL = 1 << 15 };

static struct msi_msg message_of(uint64_t rte)
{
	struct msi_msg m = {
		.addr = MSI_ADDR | (rte & RTE_DEST) >> RTE_DEST_SHIFT << MSI_ADDR_DEST_SHIFT,
		.data = (uint32_t)(rte & (RTE_VECTOR | RTE_DELIVERY)),
	};

	if (rte & RTE_LOGICAL)
		m.addr |= MSI_ADDR_LOGICAL;
	if ((rte & RTE_DELIVERY) == DELIVERY_LOWEST)
		m.addr |= MSI_ADDR_REDIRECT;
	if (rte & RTE_LEVEL)
		m.data |= MSI_DATA_LEVEL | MSI_DATA_ASSERT;
	return m;
}

/* --- delivery ---------------------------------------------------------------- */

static void send(struct ioapic *a, unsigned pin)
{
	struct msi_msg m = message_of(a->rte[pin]);
	int ret = a->msi.ops->send(a->msi.ctx, &m);

	/* A destination that no local APIC has is the guest's choice. */
	if (ret < 0)
		log_guest(&a->complaints,
			  "ioapic: pin %u: message %#x to %#llx was not delivered: %s", pin, m.data,
			  (unsigned long long)m.addr, strerror(-ret));
}

static void service(struct ioapic *a, unsigned pin)
{
	uint64_t bit = 1ull << pin;
	uint64_t rte = a->rte[pin];

	if (rte & RTE_MASKED)
		return;
	if (rte & RTE_LEVEL) {
		if (!(a->lines & bit) || rte & RTE_REMOTE_IRR)
			return;
		a->rte[pin] |= RTE_REMOTE_IRR;
	} else {
		if (!(a->edges & bit))
			return;
	}
	a->edges &= ~bit;
	send(a, pin);
}

static void tell_route(struct ioapic *a, unsigned pin)
{
	uint64_t rte = a->rte[pin];
	bool level = rte & RTE_LEVEL;
	struct msi_msg m = message_of(rte);
	bool armed = !(rte & RTE_MASKED) || (level && a->told[pin].armed);

	if (armed == a->told[pin].armed &&
	    (!armed || (level == a->told[pin].level && m.addr == a->told[pin].msg.addr &&
			m.data == a->told[pin].msg.data)))
		return;
	int ret = a->msi.ops->pin_set(a->msi.ctx, pin, armed ? &m : NULL, level);

	if (ret < 0)
		log_guest(&a->complaints, "ioapic: pin %u: the host refused its route: %s", pin,
			  strerror(-ret));
	a->told[pin].armed = armed;
	a->told[pin].level = level;
	a->told[pin].msg = m;
}

void ioapic_set(void *ctx, unsigned pin, bool level)
{
	struct ioapic *a = ctx;
	uint64_t bit;

	if (pin >= a->pins)
		return;
	bit = 1ull << pin;
	pthread_mutex_lock(&a->lock);
	if (level && !(a->lines & bit)) {
		a->lines |= bit;
		if (!(a->rte[pin] & RTE_LEVEL))
			a->edges |= bit;
		service(a, pin);
	} else if (!level) {
		a->lines &= ~bit;
	}
	pthread_mutex_unlock(&a->lock);
}

static void end_of_interrupt(struct ioapic *a, uint8_t vector)
{
	for (unsigned pin = 0; pin < a->pins; pin++) {
		if ((a->rte[pin] & RTE_VECTOR) != vector || !(a->rte[pin] & RTE_REMOTE_IRR))
			continue;
		a->rte[pin] &= ~RTE_REMOTE_IRR;
		service(a, pin);
	}
}

void ioapic_eoi(struct ioapic *a, uint8_t vector)
{
	pthread_mutex_lock(&a->lock);
	end_of_interrupt(a, vector);
	pthread_mutex_unlock(&a->lock);
}

/* --- registers --------------------------------------------------------------- */

static uint32_t read_register(const struct ioapic *a)
{
	unsigned i = a->ioregsel;

	switch (i) {
	case IOAPICID:
	case IOAPICARB: /* nobody arbitrates: the ID that was loaded last */
		return (uint32_t)a->id << ID_SHIFT;
	case IOAPICVER:
		return VERSION | (a->pins - 1) << MAX_ENTRY_SHIFT;
	default:
		if (i < IOREDTBL || i >= IOREDTBL + 2 * a->pins)
			return UINT32_MAX;
		return (uint32_t)(a->rte[(i - IOREDTBL) / 2] >> (i & 1 ? 32 : 0));
	}
}

static void write_rte(struct ioapic *a, unsigned pin, unsigned shift, uint32_t val)
{
	uint64_t before = a->rte[pin];
	uint64_t half = (uint64_t)UINT32_MAX << shift & RTE_WRITABLE;
	uint64_t rte = (before & ~half) | ((uint64_t)val << shift & half);

	/* Turning a pin to edge and back is how Linux gets rid of a stuck Remote
	 * IRR on old chips. */
	if (!(rte & RTE_LEVEL))
		rte &= ~RTE_REMOTE_IRR;
	if ((before ^ rte) & RTE_LEVEL)
		a->edges &= ~(1ull << pin);
	a->rte[pin] = rte;
	/* The route first: the EOI may follow the message at once. */
	tell_route(a, pin);
	service(a, pin);
}

static void write_register(struct ioapic *a, uint32_t val)
{
	unsigned i = a->ioregsel;

	if (i == IOAPICID)
		a->id = val >> ID_SHIFT & 0x0f;
	else if (i >= IOREDTBL && i < IOREDTBL + 2 * a->pins)
		write_rte(a, (i - IOREDTBL) / 2, i & 1 ? 32 : 0, val);
}

/* The registers are accessed as 32-bit words at their own addresses; narrower
 * and wider accesses there are taken for that, all others hit nothing. */
static uint64_t ioapic_read(void *dev, uint64_t off, unsigned size)
{
	struct ioapic *a = dev;
	uint64_t val = 0;

	pthread_mutex_lock(&a->lock);
	if (off == IOREGSEL)
		val = a->ioregsel;
	else if (off == IOWIN)
		val = read_register(a);
	pthread_mutex_unlock(&a->lock);
	return val;
}

static void ioapic_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct ioapic *a = dev;

	pthread_mutex_lock(&a->lock);
	if (off == IOREGSEL)
		a->ioregsel = (uint8_t)val;
	else if (off == IOWIN && size >= 4)
		write_register(a, (uint32_t)val);
	else if (off == EOIR)
		end_of_interrupt(a, (uint8_t)val);
	pthread_mutex_unlock(&a->lock);
}

const struct io_ops ioapic_io_ops = {ioapic_read, ioapic_write};

/* --- life -------------------------------------------------------------------- */

void ioapic_init(struct ioapic *a, const struct msi *msi, uint8_t id, unsigned pins)
{
	assert(pins && pins <= IOAPIC_PINS_MAX);
	memset(a, 0, sizeof(*a));
	a->pins = pins;
	pthread_mutex_init(&a->lock, NULL);
	a->msi = *msi;
	a->id = id & 0x0f;
	for (unsigned pin = 0; pin < a->pins; pin++)
		a->rte[pin] = RTE_MASKED;
}

/* The pins belong to the devices, which keep their levels; only what the guest
 * wrote goes. */
static void ioapic_reset(void *dev)
{
	struct ioapic *a = dev;

	pthread_mutex_lock(&a->lock);
	a->ioregsel = 0;
	a->edges = 0;
	for (unsigned pin = 0; pin < a->pins; pin++) {
		a->rte[pin] = RTE_MASKED;
		tell_route(a, pin);
	}
	pthread_mutex_unlock(&a->lock);
}

static void ioapic_fini(void *dev)
{
	struct ioapic *a = dev;

	pthread_mutex_destroy(&a->lock);
}

static void ioapic_save(void *dev, struct state_writer *w)
{
	struct ioapic *a = dev;

	pthread_mutex_lock(&a->lock);
	state_section_begin(w, "ioapic", STATE_VERSION);
	state_put_u8(w, (uint8_t)a->pins);
	state_put_u8(w, a->id);
	state_put_u8(w, a->ioregsel);
	state_put_u64(w, a->lines);
	state_put_u64(w, a->edges);
	for (unsigned pin = 0; pin < a->pins; pin++)
		state_put_u64(w, a->rte[pin]);
	state_section_end(w);
	pthread_mutex_unlock(&a->lock);
}

static int ioapic_load(void *dev, struct state_reader *r, struct err *e)
{
	struct ioapic *a = dev, s = {0};
	int ret = state_section_expect(r, "ioapic", STATE_VERSION, e);
	uint64_t levels = 0, beyond = a->pins < 64 ? UINT64_MAX << a->pins : 0;
	bool ok;

	if (ret)
		return ret;
	ok = state_get_u8(r) == a->pins;
	s.id = state_get_u8(r);
	s.ioregsel = state_get_u8(r);
	s.lines = state_get_u64(r);
	s.edges = state_get_u64(r);
	for (unsigned pin = 0; pin < a->pins; pin++) {
		s.rte[pin] = state_get_u64(r);
		ok = ok && !(s.rte[pin] & ~(RTE_WRITABLE | RTE_REMOTE_IRR)) &&
		     (s.rte[pin] & RTE_LEVEL || !(s.rte[pin] & RTE_REMOTE_IRR));
		if (s.rte[pin] & RTE_LEVEL)
			levels |= 1ull << pin;
	}
	ret = state_section_close(r, e);
	if (ret)
		return ret;
	if (!ok || s.id > 0x0f || (s.lines | s.edges) & beyond || s.edges & levels)
		return err_host(e, -EBADMSG, "saved state: ioapic that cannot be");
	pthread_mutex_lock(&a->lock);
	a->id = s.id;
	a->ioregsel = s.ioregsel;
	a->lines = s.lines;
	a->edges = s.edges;
	for (unsigned pin = 0; pin < a->pins; pin++) {
		a->rte[pin] = s.rte[pin];
		/* In service while masked: its EOI has to be reported all the same. */
		a->told[pin].armed |= s.rte[pin] & RTE_REMOTE_IRR ? true : false;
		tell_route(a, pin);
	}
	pthread_mutex_unlock(&a->lock);
	return 0;
}

/* An interrupt that was due when the state was taken, if any, is sent now that
 * the local APICs have theirs. */
static void ioapic_resume(void *dev)
{
	struct ioapic *a = dev;

	pthread_mutex_lock(&a->lock);
	for (unsigned pin = 0; pin < a->pins; pin++)
		service(a, pin);
	pthread_mutex_unlock(&a->lock);
}

const struct device_ops ioapic_device_ops = {
	.reset = ioapic_reset,
	.resume = ioapic_resume,
	.save = ioapic_save,
	.load = ioapic_load,
	.fini = ioapic_fini,
};
