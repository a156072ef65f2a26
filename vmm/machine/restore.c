/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine from a directory that snapshot.c wrote.
 *
 * What comes back is judged in the order in which a machine is made: its size and its CPU
 * before there is a virtual machine, each device's state when that device is there.
 */
#include "vmm/arch/x86_64/cpuid_state.h"
#include "vmm/arch/x86_64/regs_state.h"
#include "vmm/base/fd.h"
#include "vmm/base/log.h"
#include "vmm/core/clock.h"
#include "vmm/machine/parts.h"
#include "vmm/machine/snapshot.h"
#include "vmm/snapshot/checksum.h"
#include "vmm/snapshot/dir.h"
#include "vmm/snapshot/packed.h"
#include "vmm/snapshot/ram.h"
#include "vmm/snapshot/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* More than machine.ini, or a kernel's command line, can have. */
enum { CONFIG_MAX = 256 << 10 };

/* A TSC that is this near to the saved one is the same one, measured again. */
enum { TSC_PPM = 250 };

static int differs(const char *what, uint64_t saved, uint64_t now, struct err *e)
{
	return err_usage(e, -EINVAL,
			 "--restore: the saved machine has %s %lu, and %lu is what it would have; "
			 "leave that setting away",
			 what, saved, now);
}

/* Its RAM and what it may grow into: as long as the file is. */
static uint64_t whole_memory(const struct vm_config *c)
{
	return c->memory + board_growth(c->memory, c->memory_max);
}

static int load_machine(struct machine *m, struct err *e)
{
	struct saved_machine *s = &m->saved;
	struct state_reader *r = &s->state;
	const struct vm_config *c = m->config;
	int ret = state_section_expect(r, "machine", SAVED_MACHINE_VERSION, e);

	if (ret)
		return ret;
	uint64_t low = state_get_u64(r), high = state_get_u64(r), growth = state_get_u64(r);
	uint32_t cpus = state_get_u32(r), cpus_max = state_get_u32(r);
	bool mmio = state_get_bool(r);

	s->tsc_khz = state_get_u32(r);
	s->wall_ns = (int64_t)state_get_u64(r);
	s->kvmclock_ns = state_get_u64(r);
	s->config_sum = state_get_u64(r);
	ret = state_section_close(r, e);
	if (ret)
		return ret;
	if (low + high != c->memory)
		return differs("a memory in bytes of", low + high, c->memory, e);
	if (growth != board_growth(c->memory, c->memory_max))
		return differs("room to grow (--memory max) in bytes of", growth,
			       board_growth(c->memory, c->memory_max), e);
	if (cpus != c->cpus)
		return differs("a number of CPUs of", cpus, c->cpus, e);
	if (cpus_max != c->cpus_max)
		return differs("a largest number of CPUs of", cpus_max, c->cpus_max, e);
	if (mmio != (c->transport == TRANSPORT_MMIO))
		return err_usage(e, -EINVAL,
				 "--restore: the saved machine's devices are on %s; leave "
				 "--transport away",
				 mmio ? "mmio" : "pci");
	return 0;
}

static int open_file(int dir, const char *path, const char *name, struct err *e)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return err_usage(e, -errno, "--restore %.200s: %s: %s", path, name,
				 strerror(errno));
	if (!fstat(fd, &st) && S_ISREG(st.st_mode))
		return fd;
	fd_close(&fd);
	return err_usage(e, -EINVAL, "--restore %.200s: %s: is not a regular file", path, name);
}

/* The next part of the sum of a small file; one that is not there counts as empty. */
static int add_sum(int dir, const char *path, const char *name, uint64_t *sum, struct err *e)
{
	_cleanup_fd_ int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	char *text = malloc(CONFIG_MAX);
	ssize_t len = 0;

	if (text && fd >= 0)
		len = pread(fd, text, CONFIG_MAX, 0);
	if (text && len >= 0)
		*sum = checksum_of(text, (size_t)len, *sum);
	free(text);
	return text && len >= 0 ? 0
				: err_host(e, text ? -errno : -ENOMEM, "--restore %.200s: %s: %s",
					   path, name, strerror(text ? errno : ENOMEM));
}

static int check_config(const struct machine *m, int dir, struct err *e)
{
	const char *path = m->config->restore.dir;
	uint64_t sum = 0;
	int ret = add_sum(dir, path, SNAPSHOT_CONFIG, &sum, e);

	if (!ret)
		ret = add_sum(dir, path, SNAPSHOT_CMDLINE, &sum, e);
	if (!ret && sum != m->saved.config_sum)
		ret = err_host(e, -EBADMSG,
			       "--restore %.200s: " SNAPSHOT_CONFIG
			       " is not as it was written; what is to differ goes on the command "
			       "line",
			       path);
	return ret;
}

/* Which file has it. */
static const char *saved_memory_name(const struct machine *m)
{
	return m->saved.index.lengths ? SNAPSHOT_PACKED : SNAPSHOT_MEMORY;
}

static int memory_error(const struct machine *m, int ret, struct err *e)
{
	return err_host(e, ret, "--restore %.200s: %s: %s", m->config->restore.dir,
			saved_memory_name(m), strerror(-ret));
}

static int open_memory(struct machine *m, int dir, struct err *e)
{
	struct saved_machine *s = &m->saved;
	const char *path = m->config->restore.dir;
	uint64_t want = whole_memory(m->config);
	struct stat st;

	/* A file of another size is refused in any case, all sums only if there is time. */
	int ret = ram_index_load(&s->index, &s->state, want, e);

	if (ret)
		return ret;
	if (s->index.lengths)
		want = ram_index_packed_len(&s->index);
	s->memory = open_file(dir, path, saved_memory_name(m), e);
	if (s->memory < 0)
		return s->memory;
	if (fstat(s->memory, &st))
		return memory_error(m, -errno, e);
	if ((uint64_t)st.st_size != want)
		return err_host(e, -EBADMSG,
				"--restore %.200s: %s has %ld bytes and not the machine's %lu: it "
				"was cut short, or is another's",
				path, saved_memory_name(m), st.st_size, want);
	return 0;
}

static int damaged_memory(const struct machine *m, int ret, uint64_t at, struct err *e)
{
	if (ret == -EBADMSG)
		return err_host(e, ret,
				"--restore %.200s: %s is damaged, in the 2 MiB from byte %lu on",
				m->config->restore.dir, saved_memory_name(m), at);
	return ret ? memory_error(m, ret, e) : 0;
}

/* What is packed is looked at when it is read. */
static int verify_memory(struct machine *m, struct err *e)
{
	const struct saved_machine *s = &m->saved;
	uint64_t at = 0;
	int ret = s->index.lengths
			  ? 0
			  : ram_verify(s->memory, whole_memory(m->config), s->index.sums, &at);

	return damaged_memory(m, ret, at, e);
}

/* Those that came while it ran have a section as well; without one for each that it began with,
 * saved_load_cpus() finds which is missing. */
static void count_cpus(struct saved_machine *s, const struct vm_config *c)
{
	char name[STATE_NAME_BYTES];

	for (s->cpus = c->cpus; s->cpus < c->cpus_max; s->cpus++) {
		saved_cpu_name(name, s->cpus);
		if (!state_has(&s->state, name))
			return;
	}
}

/* Frames cannot be mapped. */
static void map_or_not(struct machine *m)
{
	if (m->saved.index.lengths && m->ram.kind == GUEST_MEM_FILE)
		guest_mem_init(&m->ram, GUEST_MEM_ANON);
}

static int open_directory(struct machine *m, struct err *e)
{
	struct saved_machine *s = &m->saved;
	const char *path = m->config->restore.dir;
	_cleanup_fd_ int dir = snapshot_dir_open(path, e);
	_cleanup_fd_ int state = dir < 0 ? -1 : open_file(dir, path, SNAPSHOT_STATE, e);
	size_t len = 0;

	if (state < 0)
		return e->code;
	int ret = state_file_read(state, path, &s->bytes, &len, e);

	if (ret)
		return ret;
	state_reader_init(&s->state, s->bytes, len);
	ret = state_file_sum(state, &s->state_sum);
	if (ret)
		return err_host(e, ret, "--restore %.200s: " SNAPSHOT_STATE ": %s", path,
				strerror(-ret));
	ret = load_machine(m, e);
	if (!ret)
		count_cpus(s, m->config);
	if (!ret)
		ret = check_config(m, dir, e);
	if (!ret)
		ret = open_memory(m, dir, e);
	if (!ret && s->index.lengths && m->config->restore.memory == RESTORE_LAZY)
		ret = err_usage(e, -ENOTSUP,
				"--restore %.200s: memory=lazy: its memory is compressed and can "
				"only be read as a whole; leave memory=lazy away",
				path);
	if (!ret)
		map_or_not(m);
	if (!ret && m->config->restore.verify)
		ret = verify_memory(m, e);
	if (!ret && m->config->restore.memory == RESTORE_LAZY)
		s->dir = fd_take(&dir);
	return ret;
}

/* Of what was judged only the settings can be others. */
static int take_kept(struct machine *m, struct snapshot_kept *kept, struct err *e)
{
	m->saved = kept->saved;
	m->cpuid = kept->cpuid;
	*kept = (struct snapshot_kept){.saved = {.memory = -1, .dir = -1}};
	map_or_not(m);
	state_reader_init(&m->saved.state, m->saved.bytes, m->saved.state.len);
	return load_machine(m, e);
}

int saved_open(struct machine *m, struct err *e)
{
	struct snapshot_kept *kept = m->config->restore.kept;

	return kept ? take_kept(m, kept, e) : open_directory(m, e);
}

/* The host's kernel reads ahead what it likes of the file. */
static int keep(struct machine *m, struct err *e)
{
	int ret = open_directory(m, e);

	if (!ret)
		ret = kvm_vm_open(&m->vm, e);
	if (!ret)
		ret = cpuid_model_init(&m->cpuid, &m->vm, m->config->cpus_max, e);
	if (!ret)
		posix_fadvise(m->saved.memory, 0, 0, POSIX_FADV_WILLNEED);
	return ret;
}

int machine_keep(struct vm_config *config, struct err *e)
{
	struct snapshot_kept *kept = calloc(1, sizeof(*kept));
	struct machine *m = calloc(1, sizeof(*m));
	int ret = kept && m ? 0 : err_host(e, -ENOMEM, "--restore: out of memory");

	if (!ret) {
		*m = (struct machine){

			.config = config,
			.saved = {.memory = -1, .dir = -1},
			.vm = {.kvm_fd = -1, .vm_fd = -1}};
		ret = keep(m, e);
		kvm_vm_close(&m->vm);
		*kept = (struct snapshot_kept){m->saved, m->cpuid};
	}
	free(m);
	if (ret)
		machine_keep_no_more(kept);
	else
		config->restore.kept = kept;
	return ret;
}

void machine_keep_no_more(struct snapshot_kept *kept)
{
	if (!kept)
		return;
	free(kept->saved.bytes);
	ram_index_fini(&kept->saved.index);
	fd_close(&kept->saved.memory);
	fd_close(&kept->saved.dir);
	cpuid_model_fini(&kept->cpuid);
	free(kept);
}

int saved_map_ram(struct machine *m, struct err *e)
{
	int ret;

	if (m->ram.kind == GUEST_MEM_FILE)
		return board_map_saved_ram(&m->board, &m->ram, m->saved.memory, e);
	ret = board_map_ram(&m->board, &m->ram, e);
	if (ret)
		return ret;
	if (m->config->restore.memory == RESTORE_LAZY) {
		const struct lazy_source from = {.memory = fd_take(&m->saved.memory),
						 .dir = fd_take(&m->saved.dir),
						 .state_sum = m->saved.state_sum,
						 .quiet_ms = LAZY_QUIET_MS};

		return lazy_start(&m->lazy, &m->ram, &from, e);
	}
	if (m->saved.index.lengths) {
		uint64_t at = 0;

		ret = packed_read(&m->ram, m->saved.memory, guest_mem_size(&m->ram),
				  &m->saved.index, &at);
		return damaged_memory(m, ret, at, e);
	}
	ret = ram_read(&m->ram, m->saved.memory);
	return ret ? memory_error(m, ret, e) : 0;
}

int saved_load_cpuid(struct machine *m, struct err *e)
{
	return cpuid_model_load(&m->cpuid, m->config->restore.any_cpu, &m->saved.state, e);
}

/* A disk that somebody wrote to is not what the guest has in its caches. */
int saved_check_disks(struct machine *m, struct err *e)
{
	struct state_reader *r = &m->saved.state;
	const struct vm_config *c = m->config;
	int ret = state_section_expect(r, "disks", SAVED_DISKS_VERSION, e);

	if (ret)
		return ret;
	struct disk *all[MACHINE_DISKS_MAX];
	unsigned there = machine_all_disks(m, all);
	uint32_t n = state_get_u32(r);

	if (n != there)
		return differs("a number of disks of", n, there, e);
	/* In the config those that were added are in the order of their slots, too. */
	for (uint32_t i = 0; i < n; i++) {
		uint64_t stamp = state_get_u64(r), now;

		ret = block_stamp(all[i]->backends[0], &now);
		if (ret)
			return err_host(e, ret, "--disk %.200s: when it was written to: %s",
					c->disks[i].path, strerror(-ret));
		if (stamp == now || c->restore.any_disks)
			continue;
		return err_usage(e, -ESTALE,
				 "--disk %.200s: was written to after the snapshot, so the guest's "
				 "caches do not fit it; give the disk as it was, or disks=any if "
				 "this is a copy of it",
				 c->disks[i].path);
	}
	return state_section_close(r, e);
}

/* Time has gone on meanwhile, for the TSC as for KVM's clock: a guest may use either. */
static int set_clocks(struct machine *m, uint64_t *tsc_gone, struct err *e)
{
	const struct saved_machine *s = &m->saved;
	int64_t gone_ns = clock_wall_ns(&clock_host) - s->wall_ns;
	uint32_t khz = vcpu_tsc_khz(&m->vcpus.vcpus[0]);
	uint64_t apart = khz > s->tsc_khz ? khz - s->tsc_khz : s->tsc_khz - khz;
	int ret = 0;

	if (gone_ns < 0)
		gone_ns = 0;
	for (unsigned i = 0; i < m->vcpus.n && apart * 1000000 > (uint64_t)khz * TSC_PPM && !ret;
	     i++)
		ret = vcpu_set_tsc_khz(&m->vcpus.vcpus[i], s->tsc_khz);
	if (ret && !m->config->restore.any_cpu)
		return err_host(
			e, ret,
			"--restore: the guest knows a TSC of %u kHz and this host has one of "
			"%u, which its KVM cannot scale; restore on another host, or with "
			"cpu=any",
			s->tsc_khz, khz);
	*tsc_gone = (uint64_t)((unsigned __int128)gone_ns * s->tsc_khz / 1000000);
	ret = kvm_vm_set_clock(&m->vm, s->kvmclock_ns + (uint64_t)gone_ns);
	return ret ? err_host(e, ret, "--restore: KVM does not take the clock: %s", strerror(-ret))
		   : 0;
}

/* Before Linux 6.8 KVM takes a TSC that is set to less than a second from what it is for an attempt
 * to have all the same, and leaves it: a guest that was saved in its first second would go back in
 * time. All are moved by what the first one lacks, so they stay together. */
static void mend_tsc(struct machine *m, uint64_t want)
{
	const struct vcpu_group *g = &m->vcpus;
	uint64_t now = 0;
	int ret = regs_read_tsc(g->vcpus[0].fd, &now);

	for (unsigned i = 0; i < g->n && !ret && now < want; i++)
		ret = regs_shift_tsc(g->vcpus[i].fd, (int64_t)(want - now));
	if (ret)
		log_warn("the guest's TSC cannot be set: %s", strerror(-ret));
}

int saved_load_cpus(struct machine *m, struct err *e)
{
	char name[STATE_NAME_BYTES];
	uint64_t tsc_gone = 0, first = 0;
	int ret = set_clocks(m, &tsc_gone, e);

	for (unsigned i = 0; i < m->vcpus.n && !ret; i++) {
		int fd = m->vcpus.vcpus[i].fd;
		uint64_t tsc = 0;

		saved_cpu_name(name, i);
		ret = cpuid_model_apply(&m->cpuid, fd, i);
		if (ret)
			return err_host(e, ret, "--restore: KVM does not take the CPUID: %s",
					strerror(-ret));
		ret = i ? 0 : machine_note_power_on(m, e);
		if (ret)
			return ret;
		ret = regs_load(&m->vm, fd, name, tsc_gone, &tsc, &m->saved.state, e);
		first = i ? first : tsc;
	}
	if (!ret)
		mend_tsc(m, first);
	return ret;
}

int saved_load_devices(struct machine *m, struct err *e)
{
	char name[STATE_NAME_BYTES];
	int ret = device_list_load(&m->devices, &m->saved.state, e);

	m->paused = true;
	state_section_name(&m->saved.state, name);
	if (!ret && strcmp(name, RAM_INDEX_SECTION) != 0)
		return err_usage(
			e, -EINVAL,
			"--restore: the saved machine has a device '%s' that this one would "
			"not have; leave the setting away that takes it from it",
			name);
	return ret ? ret : vmgenid_renew(&m->vmgenid, e);
}

void saved_close(struct machine *m)
{
	free(m->saved.bytes);
	m->saved.bytes = NULL;
	ram_index_fini(&m->saved.index);
	fd_close(&m->saved.memory);
	fd_close(&m->saved.dir);
}
