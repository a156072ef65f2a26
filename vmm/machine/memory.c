/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's RAM, and whether the host has it.
 *
 * RAM is taken from the host as the guest touches it, so a size beyond the host's is
 * no error: a guest may never use it. It is a warning, since one that does is killed.
 * Where all of it is wanted at once (prefault, pages from the pool), less than all
 * is an error, found before anything is taken.
 */
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/core/clock.h"
#include "vmm/core/host_memory.h"
#include "vmm/machine/parts.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static enum guest_mem_pages pages_of(const struct vm_config *c)
{
	switch (c->memory_pages) {
	case MEMORY_PAGES_SMALL:
		return GUEST_MEM_PAGES_SMALL;
	case MEMORY_PAGES_THP:
		return GUEST_MEM_PAGES_THP;
	case MEMORY_PAGES_2M:
		return GUEST_MEM_PAGES_2M;
	case MEMORY_PAGES_1G:
		return GUEST_MEM_PAGES_1G;
	case MEMORY_PAGES_HOST:
		break;
	}
	return GUEST_MEM_PAGES_HOST;
}

static int check_pool(const struct vm_config *c, struct err *e)
{
	bool giant = c->memory_pages == MEMORY_PAGES_1G;
	uint64_t page = giant ? GiB : 2 * MiB;
	/* Of the pool, what the guest may grow into is reserved as well. */
	uint64_t need = (c->memory + board_growth(c->memory, c->memory_max)) / page;
	const char *size = giant ? "1G" : "2M";
	struct host_huge_pages pool;

	host_huge_pages_read(&pool, page, "");
	if (!pool.exists)
		return err_host(e, -ENOTSUP,
				"--memory hugepages=%s: this host has no huge pages of that size; "
				"give %s or thp",
				size, giant ? "2M" : "off");
	if (need <= pool.to_have)
		return 0;
	uint64_t missing = need - pool.to_have;

	if (giant)
		return err_host(
			e, -ENOMEM,
			"--memory hugepages=1G: %lu huge pages of 1G are missing (%lu needed, "
			"%lu to be had); write %lu to /sys/kernel/mm/hugepages/"
			"hugepages-1048576kB/nr_hugepages, or boot the host with "
			"hugepagesz=1G hugepages=%lu",
			missing, need, pool.to_have, pool.total + missing, pool.total + missing);
	return err_host(
		e, -ENOMEM,
		"--memory hugepages=2M: %lu huge pages of 2M are missing (%lu needed, %lu to "
		"be had); write %lu to /proc/sys/vm/nr_hugepages",
		missing, need, pool.to_have, pool.total + missing);
}

/* What the host says of itself, against what is asked of it. */
static int check_host(const struct vm_config *c, struct err *e)
{
	struct host_memory host;

	if (c->memory_pages == MEMORY_PAGES_2M || c->memory_pages == MEMORY_PAGES_1G)
		return check_pool(c, e);
	host_memory_read(&host, "");
	if (c->memory_prefault && c->memory > host_memory_now(&host))
		return err_host(
			e, -ENOMEM,
			"--memory prefault: %lu MiB are wanted at once and the host has %lu "
			"MiB%s; give less, or leave prefault to the guest",
			c->memory / MiB, host_memory_now(&host) / MiB,
			host.limit_left < host.available ? " for its control group" : "");
	if (c->memory > host_memory_most(&host))
		log_warn("--memory: the guest's %lu MiB are more than the host's %lu MiB%s; it is "
			 "killed if it uses that much",
			 c->memory / MiB, host_memory_most(&host) / MiB,
			 host.limit < host.total ? " for this control group" : "");
	if (c->memory_pages == MEMORY_PAGES_THP && !host_gives_thp(""))
		log_warn("--memory hugepages=thp: this host gives none; write madvise to "
			 "/sys/kernel/mm/transparent_hugepage/enabled");
	return 0;
}

/* How far it is, for one who waits at a terminal. */
struct waiting {
	uint64_t began_ns, told_ns, total;
	bool told;
};

static void tell(void *ctx, uint64_t done)
{
	enum { PATIENCE_NS = 500000000, PERIOD_NS = 100000000 };
	struct waiting *w = ctx;
	uint64_t now = clock_monotonic_ns(&clock_host);

	if (now - w->began_ns < PATIENCE_NS || now - w->told_ns < PERIOD_NS)
		return;
	w->told_ns = now;
	w->told = true;
	fprintf(stderr, "\rminivmm: taking memory: %lu of %lu MiB", done / MiB, w->total / MiB);
}

static int prefault(struct machine *m, struct err *e)
{
	struct waiting w = {.began_ns = clock_monotonic_ns(&clock_host),
			    .total = m->config->memory};
	bool person = isatty(STDERR_FILENO) && !m->config->log_file && log_enabled(LOG_WARN);
	/* Not what it may grow into. */
	int ret = guest_mem_prefault(&m->ram, m->board.growth, person ? tell : NULL, &w, e);

	if (w.told)
		fputs("\r\033[K", stderr);
	return ret;
}

int machine_map_ram(struct machine *m, struct err *e)
{
	int ret = check_host(m->config, e);

	if (ret)
		return ret;
	if (!m->dry)
		guest_mem_use_pages(&m->ram, pages_of(m->config));
	ret = m->saved.bytes ? saved_map_ram(m, e) : board_map_ram(&m->board, &m->ram, e);
	if (!ret && m->config->memory_prefault && !m->dry)
		ret = prefault(m, e);
	return ret;
}
