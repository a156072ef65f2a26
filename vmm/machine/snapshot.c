/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine to a directory, and back.
 *
 * While it is written the machine stands still: its devices have nothing in flight, what its disks
 * took is on the host's disk, and registers, device state and RAM are of one moment. The files are
 * synced only when it runs again.
 *
 * What comes back is judged in the order in which a machine is made: its size and its CPU
 * before there is a virtual machine, each device's state when that device is there.
 */
#include "vmm/machine/snapshot.h"

#include "vmm/arch/x86_64/cpuid_state.h"
#include "vmm/arch/x86_64/regs_state.h"
#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/base/log.h"
#include "vmm/config/write.h"
#include "vmm/core/clock.h"
#include "vmm/machine/live.h"
#include "vmm/machine/parts.h"
#include "vmm/snapshot/checksum.h"
#include "vmm/snapshot/dir.h"
#include "vmm/snapshot/ram.h"
#include "vmm/snapshot/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MACHINE_VERSION = 1, DISKS_VERSION = 1, RAM_VERSION = 1 };

/* More than machine.ini, or a kernel's command line, can have. */
enum { CONFIG_MAX = 256 << 10 };

/* A TSC that is this near to the saved one is the same one, measured again. */
enum { TSC_PPM = 250 };

/* --- writing ------------------------------------------------------------------------------------
 */

/* A snapshot that is being written. */
struct writing {
	const struct snapshot_wish *wish;
	struct snapshot_dir dir;
	int memory, state;   /* its files */
	uint64_t config_sum; /* of the others */
	bool tracked;        /* m->tracking knows what was written until the machine stood */
	struct state_writer w;
};

static void put_machine(const struct machine *m, uint64_t config_sum, uint64_t kvmclock_ns,
			struct state_writer *w)
{
	state_section_begin(w, "machine", MACHINE_VERSION);
	state_put_u64(w, m->board.ram_low);
	state_put_u64(w, m->board.ram_high);
	state_put_u64(w, m->board.growth_len);
	state_put_u32(w, m->board.cpus);
	state_put_u32(w, m->board.cpus_max);
	state_put_bool(w, m->board.virtio_mmio);
	state_put_u32(w, vcpu_tsc_khz(&m->vcpus.vcpus[0]));
	state_put_u64(w, (uint64_t)clock_wall_ns(&clock_host));
	state_put_u64(w, kvmclock_ns);
	state_put_u64(w, config_sum);
	state_section_end(w);
}

static void cpu_name(char name[STATE_NAME_BYTES], unsigned cpu)
{
	snprintf(name, STATE_NAME_BYTES, "cpu%u", cpu);
}

static int put_cpus(const struct machine *m, struct state_writer *w, struct err *e)
{
	struct msr_list *msrs = msr_list_read(&m->vm);
	char name[STATE_NAME_BYTES];
	int ret = msrs ? 0 : err_host(e, -ENOMEM, "snapshot: KVM does not list its MSRs");

	for (unsigned i = 0; i < m->vcpus.n && !ret; i++) {
		cpu_name(name, i);
		ret = regs_save(&m->vm, m->vcpus.vcpus[i].fd, msrs, name, w, e);
	}
	msr_list_free(msrs);
	return ret;
}

/* By which a disk that was written to since is known. */
static void put_disks(const struct machine *m, struct state_writer *w)
{
	state_section_begin(w, "disks", DISKS_VERSION);
	state_put_u32(w, m->config->n_disks);
	for (unsigned i = 0; i < m->config->n_disks; i++)
		state_put_u64(w, block_stamp(virtio_blk_disk(&m->disks[i].blk)));
	state_section_end(w);
}

static int memory_error(const struct writing *s, int ret, struct err *e)
{
	return err_host(e, ret, "snapshot %.200s: " SNAPSHOT_MEMORY ": %s", s->dir.path,
			strerror(-ret));
}

/* The file's sums, which are read back: the machine need not stand for that. */
static int put_ram_sums(const struct machine *m, struct writing *s, struct err *e)
{
	size_t n = ram_chunks(guest_mem_size(&m->ram));
	uint64_t *sums = calloc(n, sizeof(*sums));
	int ret = sums ? ram_sum(s->memory, guest_mem_size(&m->ram), sums) : -ENOMEM;

	state_section_begin(&s->w, "ram", RAM_VERSION);
	state_put_u32(&s->w, (uint32_t)n);
	for (size_t i = 0; i < n && !ret; i++)
		state_put_u64(&s->w, sums[i]);
	state_section_end(&s->w);
	free(sums);
	return ret ? memory_error(s, ret, e) : 0;
}

static int sync_disks(const struct machine *m, struct err *e)
{
	for (unsigned i = 0; i < m->config->n_disks; i++) {
		struct virtio_blk *b = &m->disks[i].blk;
		int ret = block_sync(b->lanes[0].backend);

		if (ret)
			return err_host(e, ret, "snapshot: %s: the host cannot write it: %s",
					b->v.name, strerror(-ret));
	}
	return 0;
}

static int write_ram(struct machine *m, struct writing *s, struct err *e)
{
	int ret = 0;

	if (s->wish->track || s->wish->base) {
		ret = tracking_collect(m);
		s->tracked = !ret;
	}
	if (!ret)
		ret = s->wish->base ? ram_write_dirty(&m->ram, s->memory, m->tracking.dirty)
				    : ram_write(&m->ram, s->memory);
	return ret ? memory_error(s, ret, e) : 0;
}

/* All that is of one moment, of a machine that stands still. */
static int write_moment(struct machine *m, struct writing *s, struct err *e)
{
	uint64_t kvmclock_ns = 0;
	int ret = sync_disks(m, e);

	if (!ret && kvm_vm_get_clock(&m->vm, &kvmclock_ns))
		ret = err_host(e, -EIO, "snapshot: KVM does not tell its clock");
	if (ret)
		return ret;
	put_machine(m, s->config_sum, kvmclock_ns, &s->w);
	put_disks(m, &s->w);
	cpuid_model_save(&m->cpuid, &s->w);
	ret = put_cpus(m, &s->w, e);
	if (ret)
		return ret;
	device_list_save(&m->devices, &s->w);
	return write_ram(m, s, e);
}

/* What cannot be carried over. */
static int check(const struct machine *m, struct err *e)
{
	if (m->command)
		return err_usage(e, -ENOTSUP,
				 "snapshot: a command runs in this guest, whose "
				 "streams cannot be saved");
	if (machine_has_added(m))
		return err_usage(e, -ENOTSUP,
				 "snapshot: a disk or a network was added while it runs, which "
				 "no restored machine would find again; remove it first");
	for (unsigned i = 0; i < m->config->n_shares; i++)
		if (share_mounted(m->shares[i].fs.backend))
			return err_usage(e, -ENOTSUP,
					 "snapshot: the guest has %s mounted, and files that are "
					 "open there cannot be saved; have it unmounted first",
					 m->config->shares[i].tag);
	return 0;
}

static int write_text(const struct snapshot_dir *d, const char *name, const char *text, size_t len,
		      struct err *e)
{
	_cleanup_fd_ int fd = snapshot_dir_file(d, name, e);
	int ret = fd < 0 ? fd : fd_write_full(fd, text, len);

	if (fd >= 0 && ret)
		return err_host(e, ret, "snapshot %.200s: %s: %s", d->path, name, strerror(-ret));
	return ret ? ret : snapshot_dir_sync(d, fd, name, e);
}

/* machine.ini, and the kernel's command line beside it, as that has no bounds. */
static int write_config(const struct machine *m, struct writing *s, struct err *e)
{
	const struct vm_config *c = m->config;
	const char *cmdline = c->cmdline ? c->cmdline : "";
	uint8_t macs[CONFIG_NETS_MAX][6];
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return err_host(e, -ENOMEM, "snapshot: out of memory");
	for (unsigned i = 0; i < c->n_nets; i++)
		memcpy(macs[i], m->nics[i].mac, sizeof(macs[i]));
	int ret = config_write(c, macs, c->cmdline ? SNAPSHOT_CMDLINE : NULL, f, e);

	fclose(f);
	if (!ret) {
		s->config_sum = checksum_of(cmdline, strlen(cmdline), checksum_of(text, len, 0));
		ret = write_text(&s->dir, SNAPSHOT_CONFIG, text, len, e);
	}
	if (!ret && c->cmdline)
		ret = write_text(&s->dir, SNAPSHOT_CMDLINE, cmdline, strlen(cmdline), e);
	free(text);
	return ret;
}

static int write_stopped(struct machine *m, struct writing *s, uint64_t *paused_ns, struct err *e)
{
	bool stood = m->paused;
	uint64_t began = clock_monotonic_ns(&clock_host);
	int ret = machine_pause(m, e);

	if (ret)
		return ret;
	ret = check(m, e);
	if (!ret)
		ret = write_moment(m, s, e);
	if (!stood)
		machine_resume(m);
	*paused_ns = clock_monotonic_ns(&clock_host) - began;
	return ret;
}

enum { BASE_FLAGS = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK };

/* Begin with the RAM of the snapshot since which changes were counted. */
static int copy_base(const struct machine *m, const struct writing *s, struct err *e)
{
	const char *path = s->wish->base;
	_cleanup_fd_ int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_fd_ int state = dir < 0 ? dir : openat(dir, SNAPSHOT_STATE, BASE_FLAGS);
	_cleanup_fd_ int memory = state < 0 ? state : openat(dir, SNAPSHOT_MEMORY, BASE_FLAGS);
	uint64_t sum = 0;
	int ret = memory < 0 ? -errno : state_file_sum(state, &sum);

	if (ret)
		return err_usage(e, ret, "snapshot: base %.200s: %s", path, strerror(-ret));
	if (!tracking_is_on(m) || m->tracking.base != sum)
		return err_usage(e, -EINVAL,
				 "snapshot: base %.200s: is not the one since which this machine's "
				 "changes are noted; take one without a base, with track",
				 path);
	ret = ram_copy(memory, s->memory, guest_mem_size(&m->ram));
	return ret ? memory_error(s, ret, e) : 0;
}

/* What the machine need not stand for, before and after. */
static int write_all(struct machine *m, struct writing *s, struct snapshot_told *told,
		     struct err *e)
{
	uint64_t sum = 0;
	int ret = write_config(m, s, e);

	if (!ret && s->wish->base)
		ret = copy_base(m, s, e);
	if (!ret)
		ret = write_stopped(m, s, &told->paused_ns, e);
	if (!ret)
		ret = put_ram_sums(m, s, e);
	if (!ret) {
		ret = state_file_write(s->state, &s->w, &sum);
		if (ret)
			err_host(e, ret, "snapshot %.200s: " SNAPSHOT_STATE ": %s", s->dir.path,
				 strerror(-ret));
	}
	if (!ret)
		ret = snapshot_dir_sync(&s->dir, s->memory, SNAPSHOT_MEMORY, e);
	if (!ret)
		ret = snapshot_dir_sync(&s->dir, s->state, SNAPSHOT_STATE, e);
	if (ret) {
		snapshot_dir_abandon(&s->dir);
		return ret;
	}
	struct stat st;

	told->bytes = fstat(s->memory, &st) ? 0 : (uint64_t)st.st_blocks * 512;
	ret = snapshot_dir_commit(&s->dir, e);
	if (!ret && s->tracked)
		tracking_saved(m, sum);
	return ret;
}

int machine_snapshot(struct machine *m, const struct snapshot_wish *wish,
		     struct snapshot_told *told, struct err *e)
{
	struct writing s = {.wish = wish, .memory = -1, .state = -1};
	int ret = check(m, e);

	if (!ret)
		ret = snapshot_dir_begin(&s.dir, wish->path, e);
	if (ret)
		return ret;
	state_writer_init(&s.w);
	s.memory = snapshot_dir_file(&s.dir, SNAPSHOT_MEMORY, e);
	s.state = s.memory < 0 ? -1 : snapshot_dir_file(&s.dir, SNAPSHOT_STATE, e);
	if (s.state < 0) {
		ret = e->code;
		snapshot_dir_abandon(&s.dir);
	} else {
		ret = write_all(m, &s, told, e);
	}
	fd_close(&s.state);
	fd_close(&s.memory);
	state_writer_fini(&s.w);
	if (!ret)
		log_info("snapshot %s: stood for %lu ms", wish->path, told->paused_ns / 1000000);
	return ret;
}

/* --- restoring ----------------------------------------------------------------------------------
 */

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
	int ret = state_section_expect(r, "machine", MACHINE_VERSION, e);

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

static int open_memory(struct machine *m, int dir, struct err *e)
{
	const char *path = m->config->restore.dir;
	struct stat st;

	m->saved.memory = open_file(dir, path, SNAPSHOT_MEMORY, e);
	if (m->saved.memory < 0)
		return m->saved.memory;
	if (fstat(m->saved.memory, &st))
		return err_host(e, -errno, "--restore %.200s: " SNAPSHOT_MEMORY ": %s", path,
				strerror(errno));
	if ((uint64_t)st.st_size != whole_memory(m->config))
		return err_host(e, -EBADMSG,
				"--restore %.200s: " SNAPSHOT_MEMORY
				" has %ld bytes and not the machine's %lu: it was cut short, or is "
				"another's",
				path, st.st_size, whole_memory(m->config));
	return 0;
}

/* The sums are the last section: they are looked at with another reader. */
static int verify_memory(struct machine *m, struct err *e)
{
	const char *path = m->config->restore.dir;
	struct state_reader r;
	uint64_t *sums = NULL, at = 0;
	int ret = state_find(&r, &m->saved.state, "ram", RAM_VERSION, e);

	if (ret)
		return ret;
	uint32_t n = state_get_u32(&r);

	if (n != ram_chunks(whole_memory(m->config)))
		return err_host(e, -EBADMSG, "--restore %.200s: its sums are not of this memory",
				path);
	sums = calloc(n, sizeof(*sums));
	if (!sums)
		return err_host(e, -ENOMEM, "--restore: out of memory");
	for (uint32_t i = 0; i < n; i++)
		sums[i] = state_get_u64(&r);
	ret = r.error ? r.error : ram_verify(m->saved.memory, whole_memory(m->config), sums, &at);
	free(sums);
	if (ret == -EBADMSG)
		return err_host(e, ret,
				"--restore %.200s: " SNAPSHOT_MEMORY
				" is damaged, in the 2 MiB from byte %lu on",
				path, at);
	return ret ? err_host(e, ret, "--restore %.200s: " SNAPSHOT_MEMORY ": %s", path,
			      strerror(-ret))
		   : 0;
}

int saved_open(struct machine *m, struct err *e)
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
	ret = load_machine(m, e);
	if (!ret)
		ret = check_config(m, dir, e);
	if (!ret)
		ret = open_memory(m, dir, e);
	if (!ret && m->config->restore.verify)
		ret = verify_memory(m, e);
	return ret;
}

int saved_map_ram(struct machine *m, struct err *e)
{
	int ret;

	if (m->ram.kind == GUEST_MEM_FILE)
		return board_map_saved_ram(&m->board, &m->ram, m->saved.memory, e);
	ret = board_map_ram(&m->board, &m->ram, e);
	if (ret)
		return ret;
	ret = ram_read(&m->ram, m->saved.memory);
	return ret ? err_host(e, ret, "--restore %.200s: " SNAPSHOT_MEMORY ": %s",
			      m->config->restore.dir, strerror(-ret))
		   : 0;
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
	int ret = state_section_expect(r, "disks", DISKS_VERSION, e);

	if (ret)
		return ret;
	uint32_t n = state_get_u32(r);

	if (n != c->n_disks)
		return differs("a number of disks of", n, c->n_disks, e);
	for (uint32_t i = 0; i < n; i++) {
		uint64_t stamp = state_get_u64(r);

		if (stamp == block_stamp(m->disks[i].backends[0]) || c->restore.any_disks)
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

		cpu_name(name, i);
		ret = cpuid_model_apply(&m->cpuid, fd, i);
		if (ret)
			return err_host(e, ret, "--restore: KVM does not take the CPUID: %s",
					strerror(-ret));
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
	if (!ret && strcmp(name, "ram") != 0)
		return err_usage(
			e, -EINVAL,
			"--restore: the saved machine has a device '%s' that this one would "
			"not have; leave the setting away that takes it from it",
			name);
	return ret;
}

void saved_close(struct machine *m)
{
	free(m->saved.bytes);
	m->saved.bytes = NULL;
	fd_close(&m->saved.memory);
}
