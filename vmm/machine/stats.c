/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/machine/stats.h"

#include "vmm/base/log.h"
#include "vmm/kvm/counters.h"
#include "vmm/machine/parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REASONS = 64 /* KVM's exit reasons end well below */, DEVICES = 96 };

struct device_count {
	const char *name; /* as the bus has it: one string for all regions of a device */
	uint64_t reads, writes;
};

/* Each vCPU counts for itself. */
struct cpu_count {
	uint64_t reasons[REASONS];
	unsigned n_devices;
	struct device_count devices[DEVICES];
};

struct stats {
	unsigned n;
	struct cpu_count cpus[];
};

/* --- counting: on the vCPUs' threads --------------------------------------------------- */

static struct device_count *device_of(struct cpu_count *c, const char *name)
{
	unsigned i = 0;

	while (i < c->n_devices && c->devices[i].name != name)
		i++;
	if (i == DEVICES)
		return NULL;
	if (i == c->n_devices)
		c->devices[c->n_devices++].name = name;
	return &c->devices[i];
}

static void count(void *ctx, unsigned cpu, uint32_t reason, const struct exit_access *access)
{
	static const char nobody[] = "nobody";
	struct stats *s = ctx;
	struct cpu_count *c = &s->cpus[cpu];
	struct device_count *d;

	if (reason < REASONS)
		c->reasons[reason]++;
	if (!access)
		return;
	const char *name = bus_name_at(access->bus, access->addr, access->size);

	d = device_of(c, name ? name : nobody);
	if (d)
		*(access->write ? &d->writes : &d->reads) += 1;
}

int stats_begin(struct machine *m)
{
	unsigned n = m->config->cpus_max;
	struct stats *s = calloc(1, sizeof(*s) + n * sizeof(s->cpus[0]));

	if (!s)
		return -ENOMEM;
	s->n = n;
	m->stats = s;
	m->exits.hook = count;
	m->exits.hook_ctx = s;
	return 0;
}

void stats_end(struct stats *s)
{
	free(s);
}

/* --- collecting ------------------------------------------------------------------------ */

/* The object `key` of `o`, made if need be; NULL for want of memory, which is then what
 * is said of it. */
static json_t *within(json_t *o, const char *key)
{
	json_t *inner = json_object_get(o, key);

	if (!inner && !json_object_set_new(o, key, json_object()))
		inner = json_object_get(o, key);
	return inner;
}

static void add(json_t *o, const char *key, uint64_t n)
{
	if (n)
		json_object_set_new(
			o, key,
			json_integer(json_integer_value(json_object_get(o, key)) + (json_int_t)n));
}

static void collect_exits(const struct stats *s, json_t *out)
{
	for (unsigned cpu = 0; cpu < s->n; cpu++) {
		const struct cpu_count *c = &s->cpus[cpu];

		for (uint32_t i = 0; i < REASONS; i++)
			if (c->reasons[i])
				add(within(out, "exits"), exit_name(i), c->reasons[i]);
		for (unsigned i = 0; i < c->n_devices; i++) {
			json_t *d = within(within(out, "devices"), c->devices[i].name);

			add(d, "reads", c->devices[i].reads);
			add(d, "writes", c->devices[i].writes);
		}
	}
}

/* The queue's thread may be counting. */
static struct virtq_counts look(const struct virtq_counts *c)
{
	return (struct virtq_counts){
		.kicks = __atomic_load_n(&c->kicks, __ATOMIC_RELAXED),
		.requests = __atomic_load_n(&c->requests, __ATOMIC_RELAXED),
		.from_guest = __atomic_load_n(&c->from_guest, __ATOMIC_RELAXED),
		.to_guest = __atomic_load_n(&c->to_guest, __ATOMIC_RELAXED),
		.interrupts = __atomic_load_n(&c->interrupts, __ATOMIC_RELAXED),
	};
}

static void collect_queues(const struct machine *m, json_t *out)
{
	for (unsigned i = 0; i < m->n_plugged; i++) {
		const struct virtio *v = m->plugged[i];

		for (unsigned q = 0; q < v->n_queues; q++) {
			const struct virtq_counts c = look(&v->queues[q].counts);
			char name[64];

			if (!c.kicks && !c.requests)
				continue;
			snprintf(name, sizeof(name), "%s.%u", v->name, q);
			json_t *o = within(within(out, "queues"), name);

			add(o, "kicks", c.kicks);
			add(o, "requests", c.requests);
			add(o, "from_guest", c.from_guest);
			add(o, "to_guest", c.to_guest);
			add(o, "interrupts", c.interrupts);
		}
	}
}

/* What the guest has said last: of such, 0 is worth telling. */
static void collect_balloon(struct virtio_balloon *b, json_t *out)
{
	static const char *const names[VIRTIO_BALLOON_S_N] = {
		[VIRTIO_BALLOON_S_SWAP_IN] = "swap_in",
		[VIRTIO_BALLOON_S_SWAP_OUT] = "swap_out",
		[VIRTIO_BALLOON_S_MAJFLT] = "major_faults",
		[VIRTIO_BALLOON_S_MINFLT] = "minor_faults",
		[VIRTIO_BALLOON_S_MEMFREE] = "free",
		[VIRTIO_BALLOON_S_MEMTOT] = "total",
		[VIRTIO_BALLOON_S_AVAIL] = "available",
		[VIRTIO_BALLOON_S_CACHES] = "caches",
		[VIRTIO_BALLOON_S_HTLB_PGALLOC] = "hugetlb_allocated",
		[VIRTIO_BALLOON_S_HTLB_PGFAIL] = "hugetlb_failed",
	};
	struct virtio_balloon_stats s;
	uint64_t age_ms;

	if (!virtio_balloon_stats(b, &s, &age_ms))
		return;
	json_t *o = within(out, "balloon");

	json_object_set_new(o, "age_ms", json_integer((json_int_t)age_ms));
	for (unsigned i = 0; i < VIRTIO_BALLOON_S_N; i++)
		if (s.known & 1u << i)
			json_object_set_new(o, names[i], json_integer((json_int_t)s.values[i]));
}

static void collect_kvm(void *ctx, const char *name, uint64_t value)
{
	add(within(ctx, "kvm"), name, value);
}

json_t *stats_collect(struct machine *m)
{
	json_t *out = json_object();

	if (!out)
		return NULL;
	if (m->stats)
		collect_exits(m->stats, out);
	/* Of a device that does not let go of its I/O, the queues are its thread's still. */
	if (!m->stuck)
		collect_queues(m, out);
	if (m->config->balloon)
		collect_balloon(&m->balloon, out);
	for (unsigned i = 0; i < m->vcpus.n; i++)
		kvm_counters_read(m->vcpus.vcpus[i].fd, collect_kvm, out);
	return out;
}

/* --- telling --------------------------------------------------------------------------- */

/* "reads 12, writes 3", into `text`. */
static void spell(const json_t *counts, char *text, size_t size)
{
	size_t used = 0;
	const char *key;
	json_t *n;

	*text = '\0';
	json_object_foreach((json_t *)counts, key, n) if (used < size) used +=
		(size_t)snprintf(text + used, size - used, "%s%s %" JSON_INTEGER_FORMAT,
				 used ? ", " : "", key, json_integer_value(n));
}

void stats_print(const json_t *stats)
{
	const char *group, *name;
	json_t *rows, *row;

	json_object_foreach((json_t *)stats, group, rows) json_object_foreach(rows, name, row)
	{
		char text[256];

		if (json_is_integer(row))
			snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT,
				 json_integer_value(row));
		else
			spell(row, text, sizeof(text));
		log_line(LOG_QUIET, "%-8s %-24s %s", group, name, text);
	}
}
