/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/pci/msix.h"

#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The capability [PCI 3.0 6.8.2.1]. */
enum {
	MSIX_CAP_LEN = 12,
	MSIX_MESSAGE_CONTROL = 2,
	MSIX_TABLE = 4,
	MSIX_PBA = 8,
	MSIX_CONTROL_MASK = 1 << 14,
	MSIX_CONTROL_ENABLE = 1 << 15,
};

/* A table entry, in dwords [PCI 3.0 6.8.2.6]. */
enum { ENTRY_ADDR_LO, ENTRY_ADDR_HI, ENTRY_DATA, ENTRY_CONTROL, ENTRY_DWORDS };

uint32_t msix_table_len(unsigned n)
{
	return n * MSIX_ENTRY_LEN;
}

uint32_t msix_pba_len(unsigned n)
{
	return (n + 63) / 64 * 8;
}

static void set_power_on(struct msix_vector *v)
{
	v->addr_lo = v->addr_hi = v->data = 0;
	v->masked = true;
	v->pending = false;
}

static void free_parts(struct msix *m)
{
	free(m->vectors);
	free(m->sources);
	m->vectors = NULL;
	m->sources = NULL;
}

int msix_init(struct msix *m, struct pci_dev *d, unsigned n, unsigned bar, uint32_t table_off,
	      uint32_t pba_off, const struct msi *msi)
{
	int cap;

	memset(m, 0, sizeof(*m));
	if (!n || n > MSIX_VECTORS_MAX || bar >= PCI_BARS || table_off % 8 || pba_off % 8)
		return -EINVAL;
	m->vectors = calloc(n, sizeof(*m->vectors));
	m->sources = calloc(n, sizeof(*m->sources));
	cap = m->vectors && m->sources ? pci_dev_add_cap(d, PCI_CAP_ID_MSIX, MSIX_CAP_LEN)
				       : -ENOMEM;
	if (cap < 0) {
		free_parts(m);
		return cap;
	}
	m->msi = *msi;
	m->pci = d;
	m->cap = (unsigned)cap;
	m->n = n;
	for (unsigned i = 0; i < n; i++) {
		set_power_on(&m->vectors[i]);
		m->vectors[i].route = -1;
		m->sources[i].eventfd = -1;
	}
	pci_dev_define(d, m->cap + MSIX_MESSAGE_CONTROL, 2, n - 1,
		       MSIX_CONTROL_MASK | MSIX_CONTROL_ENABLE);
	pci_dev_define(d, m->cap + MSIX_TABLE, 4, table_off | bar, 0);
	pci_dev_define(d, m->cap + MSIX_PBA, 4, pba_off | bar, 0);
	pci_dev_seal(d);
	pthread_mutex_init(&m->lock, NULL);
	return 0;
}

void msix_fini(struct msix *m)
{
	if (!m->vectors)
		return;
	for (unsigned i = 0; i < m->n; i++)
		if (m->vectors[i].route >= 0)
			m->msi.ops->route_free(m->msi.ctx, m->vectors[i].route);
	free_parts(m);
	pthread_mutex_destroy(&m->lock);
}

/* --- sending; all with the lock held ------------------------------------------- */

static bool usable(const struct msix *m, const struct msix_vector *v)
{
	return m->enabled && !m->function_masked && !v->masked;
}

/* A route that carries the vector's present message: 0 or a negative errno. */
static int arm(struct msix *m, struct msix_vector *v, const struct msi_msg *msg)
{
	int ret;

	if (v->armed && v->carried.addr == msg->addr && v->carried.data == msg->data)
		return 0;
	if (v->route < 0) {
		ret = m->msi.ops->route_new(m->msi.ctx);
		if (ret < 0)
			return ret;
		v->route = ret;
	}
	/* A failure may leave the old message in place: it must not fire. */
	v->armed = false;
	ret = m->msi.ops->route_set(m->msi.ctx, v->route, msg);
	if (ret)
		return ret;
	v->armed = true;
	v->carried = *msg;
	return 0;
}

static struct msi_msg message(const struct msix_vector *v)
{
	return (struct msi_msg){
		.addr = (uint64_t)v->addr_hi << 32 | v->addr_lo,
		.data = v->data,
	};
}

static void fire(struct msix *m, struct msix_vector *v)
{
	const struct msi_msg msg = message(v);
	int ret = arm(m, v, &msg);

	if (!ret) {
		m->msi.ops->route_fire(m->msi.ctx, v->route);
		return;
	}
	/* Slower, but the guest gets its interrupt. What fails even so is a message
	 * that means nothing to the host: the guest wrote it. */
	ret = m->msi.ops->send(m->msi.ctx, &msg);
	if (ret < 0)
		log_guest(&m->complaints, "pci: %s: MSI-X vector %u: message 0x%llx/0x%x: %s",
			  m->pci->name, (unsigned)(v - m->vectors), (unsigned long long)msg.addr,
			  msg.data, strerror(-ret));
}

static void fire_if_pending(struct msix *m, struct msix_vector *v)
{
	if (!v->pending || !usable(m, v))
		return;
	v->pending = false;
	fire(m, v);
}

/* --- sources; likewise ----------------------------------------------------------- */

static void unbind(struct msix *m, struct msix_source *s)
{
	if (s->bound)
		m->msi.ops->route_unbind(m->msi.ctx, m->vectors[s->vector].route, s->eventfd);
	s->bound = false;
}

/* Bound if, and only if, its vector is usable: call it whenever that, or the vector's
 * message, may be another. */
static void rebind(struct msix *m, struct msix_source *s)
{
	struct msix_vector *v = s->vector < m->n ? &m->vectors[s->vector] : NULL;
	bool possible = v && m->msi.ops->route_bind && usable(m, v);

	if (possible) {
		const struct msi_msg msg = message(v);

		possible = !arm(m, v, &msg);
	}
	if (!possible)
		unbind(m, s);
	else if (!s->bound)
		s->bound = !m->msi.ops->route_bind(m->msi.ctx, v->route, s->eventfd);
}

static void rebind_vector(struct msix *m, unsigned vector)
{
	for (unsigned i = 0; i < m->n; i++)
		if (m->sources[i].eventfd >= 0 && m->sources[i].vector == vector)
			rebind(m, &m->sources[i]);
}

static void rebind_all(struct msix *m)
{
	for (unsigned i = 0; i < m->n; i++)
		if (m->sources[i].eventfd >= 0)
			rebind(m, &m->sources[i]);
}

/* The place of this eventfd, or NULL. -1: a free one. */
static struct msix_source *source_of(struct msix *m, int eventfd)
{
	for (unsigned i = 0; i < m->n; i++)
		if (m->sources[i].eventfd == eventfd)
			return &m->sources[i];
	return NULL;
}

void msix_source_set(struct msix *m, int eventfd, unsigned vector)
{
	pthread_mutex_lock(&m->lock);
	struct msix_source *s = source_of(m, eventfd);

	if (s)
		unbind(m, s);
	else
		s = source_of(m, -1);
	assert(eventfd >= 0 && s);
	*s = (struct msix_source){.eventfd = eventfd, .vector = vector};
	rebind(m, s);
	pthread_mutex_unlock(&m->lock);
}

void msix_source_del(struct msix *m, int eventfd)
{
	pthread_mutex_lock(&m->lock);
	struct msix_source *s = eventfd < 0 ? NULL : source_of(m, eventfd);

	if (s) {
		unbind(m, s);
		s->eventfd = -1;
	}
	pthread_mutex_unlock(&m->lock);
}

/* --- the device's side ----------------------------------------------------------- */

void msix_notify(struct msix *m, unsigned vector)
{
	struct msix_vector *v;

	if (vector >= m->n)
		return;
	pthread_mutex_lock(&m->lock);
	v = &m->vectors[vector];
	if (usable(m, v))
		fire(m, v);
	else if (m->enabled)
		v->pending = true;
	pthread_mutex_unlock(&m->lock);
}

bool msix_enabled(struct msix *m)
{
	return m->enabled;
}

/* --- the guest's side ------------------------------------------------------------ */

static bool lawful(uint64_t off, unsigned size, uint64_t len)
{
	return (size == 4 || size == 8) && !(off & (size - 1)) && range_within(off, size, len);
}

static uint32_t read_dword(const struct msix *m, unsigned dword)
{
	const struct msix_vector *v = &m->vectors[dword / ENTRY_DWORDS];

	switch (dword % ENTRY_DWORDS) {
	case ENTRY_ADDR_LO:
		return v->addr_lo;
	case ENTRY_ADDR_HI:
		return v->addr_hi;
	case ENTRY_DATA:
		return v->data;
	default:
		return v->masked;
	}
}

static void write_dword(struct msix *m, unsigned dword, uint32_t val)
{
	struct msix_vector *v = &m->vectors[dword / ENTRY_DWORDS];

	switch (dword % ENTRY_DWORDS) {
	case ENTRY_ADDR_LO:
		v->addr_lo = val & ~3u; /* reserved, zero */
		break;
	case ENTRY_ADDR_HI:
		v->addr_hi = val;
		break;
	case ENTRY_DATA:
		v->data = val;
		break;
	default:
		v->masked = val & 1;
		fire_if_pending(m, v);
	}
	rebind_vector(m, dword / ENTRY_DWORDS);
}

uint64_t msix_table_read(struct msix *m, uint64_t off, unsigned size)
{
	unsigned dword = (unsigned)(off / 4);
	uint64_t val;

	if (!lawful(off, size, msix_table_len(m->n)))
		return 0;
	pthread_mutex_lock(&m->lock);
	val = read_dword(m, dword);
	if (size == 8)
		val |= (uint64_t)read_dword(m, dword + 1) << 32;
	pthread_mutex_unlock(&m->lock);
	return val;
}

void msix_table_write(struct msix *m, uint64_t off, unsigned size, uint64_t val)
{
	unsigned dword = (unsigned)(off / 4);

	if (!lawful(off, size, msix_table_len(m->n)))
		return;
	pthread_mutex_lock(&m->lock);
	write_dword(m, dword, (uint32_t)val);
	if (size == 8)
		write_dword(m, dword + 1, (uint32_t)(val >> 32));
	pthread_mutex_unlock(&m->lock);
}

uint64_t msix_pba_read(struct msix *m, uint64_t off, unsigned size)
{
	unsigned first = (unsigned)(off * 8);
	uint64_t bits = 0;

	if (!lawful(off, size, msix_pba_len(m->n)))
		return 0;
	pthread_mutex_lock(&m->lock);
	for (unsigned i = 0; i < size * 8 && first + i < m->n; i++)
		bits |= (uint64_t)m->vectors[first + i].pending << i;
	pthread_mutex_unlock(&m->lock);
	return bits;
}

void msix_config_written(struct msix *m, unsigned off, unsigned size)
{
	uint16_t control;

	if (!ranges_overlap(off, size, m->cap + MSIX_MESSAGE_CONTROL, 2))
		return;
	control = pci_config_get16(m->pci, m->cap + MSIX_MESSAGE_CONTROL);
	pthread_mutex_lock(&m->lock);
	m->enabled = control & MSIX_CONTROL_ENABLE;
	m->function_masked = control & MSIX_CONTROL_MASK;
	for (unsigned i = 0; i < m->n; i++) {
		/* A driver that comes later must not get its predecessor's interrupts. */
		if (!m->enabled)
			m->vectors[i].pending = false;
		fire_if_pending(m, &m->vectors[i]);
	}
	rebind_all(m);
	pthread_mutex_unlock(&m->lock);
}

/* --- life -------------------------------------------------------------------------- */

void msix_reset(struct msix *m)
{
	pthread_mutex_lock(&m->lock);
	m->enabled = m->function_masked = false;
	for (unsigned i = 0; i < m->n; i++)
		set_power_on(&m->vectors[i]);
	rebind_all(m);
	pthread_mutex_unlock(&m->lock);
}

void msix_save(struct msix *m, struct state_writer *w)
{
	pthread_mutex_lock(&m->lock);
	state_put_u16(w, (uint16_t)m->n);
	for (unsigned i = 0; i < m->n; i++) {
		const struct msix_vector *v = &m->vectors[i];

		state_put_u32(w, v->addr_lo);
		state_put_u32(w, v->addr_hi);
		state_put_u32(w, v->data);
		state_put_bool(w, v->masked);
		state_put_bool(w, v->pending);
	}
	pthread_mutex_unlock(&m->lock);
}

int msix_load_check(const struct msix *m, struct state_reader *r, const struct pci_saved *config,
		    struct msix_saved *out, struct err *e)
{
	uint16_t control = le16_get(config->config + m->cap + MSIX_MESSAGE_CONTROL);
	unsigned n = state_get_u16(r);

	if (!r->error && n != m->n)
		return err_host(e, -EBADMSG,
				"saved state: '%s' had %u MSI-X vectors, here it has %u",
				m->pci->name, n, m->n);
	for (unsigned i = 0; i < m->n && !r->error; i++) {
		struct msix_saved *v = &out[i];

		v->addr_lo = state_get_u32(r);
		v->addr_hi = state_get_u32(r);
		v->data = state_get_u32(r);
		v->masked = state_get_bool(r);
		v->pending = state_get_bool(r);
		/* Only what is enabled and masked can have been waiting. */
		if (v->addr_lo & 3 || (v->pending && (!(control & MSIX_CONTROL_ENABLE) ||
						      !(v->masked || control & MSIX_CONTROL_MASK))))
			return err_host(e, -EBADMSG,
					"saved state: '%s': MSI-X vector %u is not possible",
					m->pci->name, i);
	}
	return r->error ? err_host(e, r->error, "saved state: '%s' is cut short", m->pci->name) : 0;
}

void msix_restore(struct msix *m, const struct pci_saved *config, const struct msix_saved *saved)
{
	uint16_t control = le16_get(config->config + m->cap + MSIX_MESSAGE_CONTROL);

	pthread_mutex_lock(&m->lock);
	m->enabled = control & MSIX_CONTROL_ENABLE;
	m->function_masked = control & MSIX_CONTROL_MASK;
	for (unsigned i = 0; i < m->n; i++) {
		struct msix_vector *v = &m->vectors[i];

		v->addr_lo = saved[i].addr_lo;
		v->addr_hi = saved[i].addr_hi;
		v->data = saved[i].data;
		v->masked = saved[i].masked;
		v->pending = saved[i].pending;
	}
	rebind_all(m);
	pthread_mutex_unlock(&m->lock);
}
