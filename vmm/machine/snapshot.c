/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine to a directory; restore.c is the way back.
 *
 * While it is written the machine stands still: its devices have nothing in flight, what its disks
 * took is on the host's disk, and registers, device state and RAM are of one moment. What is left
 * to do then, sums, compression, syncing, is for a thread of its own, unless somebody waits for it:
 *
 *	main loop: begin, stand, go on ----------------------------- end, tell
 *	thread:                       \-- sums, syncs, the place --/
 */
#include "vmm/machine/snapshot.h"

#include "vmm/arch/x86_64/cpuid_state.h"
#include "vmm/arch/x86_64/regs_state.h"
#include "vmm/base/fd.h"
#include "vmm/base/log.h"
#include "vmm/base/thread.h"
#include "vmm/config/write.h"
#include "vmm/core/clock.h"
#include "vmm/machine/live.h"
#include "vmm/machine/parts.h"
#include "vmm/snapshot/checksum.h"
#include "vmm/snapshot/dir.h"
#include "vmm/snapshot/packed.h"
#include "vmm/snapshot/ram.h"
#include "vmm/snapshot/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STACK_BYTES = 256 << 10 };

/* A snapshot that is being written. */
struct writing {
	const struct snapshot_wish *wish; /* until the machine goes on */
	struct snapshot_dir dir;
	char *path;          /* owned: where it is to be, for the log */
	int memory, state;   /* its files, */
	int packed;          /* and what takes the place of `memory`; -1: nothing */
	uint64_t config_sum; /* of the others */
	uint64_t ram_len;    /* in bytes */
	bool tracked;        /* m->tracking knows what was written until the machine stood */
	struct state_writer w;
	struct snapshot_told told;
	uint64_t sum; /* of the state */

	/* Of one that has a thread. */
	struct machine *m;
	pthread_t thread;
	snapshot_done_fn *done;
	void *ctx;
	struct err e; /* what the thread has come to */
};

static void put_machine(const struct machine *m, uint64_t config_sum, uint64_t kvmclock_ns,
			struct state_writer *w)
{
	state_section_begin(w, "machine", SAVED_MACHINE_VERSION);
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

static int put_cpus(const struct machine *m, struct state_writer *w, struct err *e)
{
	struct msr_list *msrs = msr_list_read(&m->vm);
	char name[STATE_NAME_BYTES];
	int ret = msrs ? 0 : err_host(e, -ENOMEM, "snapshot: KVM does not list its MSRs");

	for (unsigned i = 0; i < m->vcpus.n && !ret; i++) {
		saved_cpu_name(name, i);
		ret = regs_save(&m->vm, m->vcpus.vcpus[i].fd, msrs, name, w, e);
	}
	msr_list_free(msrs);
	return ret;
}

/* By which a disk that was written to since is known. */
static int put_disks(const struct machine *m, struct state_writer *w, struct err *e)
{
	struct disk *all[MACHINE_DISKS_MAX];
	unsigned n = machine_all_disks(m, all);
	uint64_t stamp;

	state_section_begin(w, "disks", SAVED_DISKS_VERSION);
	state_put_u32(w, n);
	for (unsigned i = 0; i < n; i++) {
		int ret = block_stamp(virtio_blk_disk(&all[i]->blk), &stamp);

		if (ret)
			return err_host(e, ret,
					"snapshot: disk %u: the host does not tell when it was "
					"written to: %s",
					i, strerror(-ret));
		state_put_u64(w, stamp);
	}
	state_section_end(w);
	return 0;
}

static int memory_error(const struct writing *s, int ret, struct err *e)
{
	return err_host(e, ret, "snapshot %.200s: " SNAPSHOT_MEMORY ": %s", s->dir.path,
			strerror(-ret));
}

/* The file's sums, which are read back, and what is to take its place: the machine need not stand
 * for that. */
static int put_ram_index(struct writing *s, struct err *e)
{
	bool pack = s->packed >= 0;
	struct ram_index x;
	int ret = ram_index_init(&x, s->ram_len, pack);

	if (!ret)
		ret = pack ? packed_write(s->memory, s->ram_len, s->packed, &x)
			   : ram_sum(s->memory, s->ram_len, x.sums);
	if (!ret)
		ram_index_save(&x, &s->w);
	ram_index_fini(&x);
	return ret ? memory_error(s, ret, e) : 0;
}

static int sync_disks(const struct machine *m, struct err *e)
{
	struct disk *all[MACHINE_DISKS_MAX];
	unsigned n = machine_all_disks(m, all);

	for (unsigned i = 0; i < n; i++) {
		struct virtio_blk *b = &all[i]->blk;
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
	ret = put_disks(m, &s->w, e);
	if (ret)
		return ret;
	cpuid_model_save(&m->cpuid, &s->w);
	ret = put_cpus(m, &s->w, e);
	if (ret)
		return ret;
	device_list_save(&m->devices, &s->w);
	return write_ram(m, s, e);
}

/* What cannot be carried over. */
static int check(struct machine *m, const struct snapshot_wish *wish, struct err *e)
{
	/* Its log of stores has the rings and not what it receives: drivers/vhost/vsock.c. */
	if (m->config->vsock.vhost && (wish->track || wish->base))
		return err_usage(e, -ENOTSUP,
				 "snapshot: --vsock vhost: what the host's kernel writes for it "
				 "is not noted, so there is no track and no base with it; take a "
				 "whole snapshot, or have the guest's sockets as a path");
	if (wish->pack && (wish->base || wish->track))
		return err_usage(e, -EINVAL,
				 "snapshot: compress is not together with base or track: a "
				 "compressed snapshot is no base for the next one");
	if (m->command)
		return err_usage(e, -ENOTSUP,
				 "snapshot: a command runs in this guest, whose "
				 "streams cannot be saved");
	for (unsigned i = 0; i < m->config->n_shares; i++)
		if (share_mounted(m->shares[i].fs.backend))
			return err_usage(e, -ENOTSUP,
					 "snapshot: the guest has %s mounted, and files that are "
					 "open there cannot be saved; have it unmounted first",
					 m->config->shares[i].tag);
	return machine_check_added(m, e);
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
	const char *cmdline = m->config->cmdline ? m->config->cmdline : "";
	struct vm_config *c = malloc(sizeof(*c));
	uint8_t macs[CONFIG_NETS_MAX][6];
	char *text = NULL;
	size_t len;
	FILE *f = c ? open_memstream(&text, &len) : NULL;
	int ret = f ? machine_config_with_added(m, c, e)
		    : err_host(e, -ENOMEM, "snapshot: out of memory");

	for (unsigned i = 0; !ret && i < c->n_nets; i++)
		memcpy(macs[i], m->nics[i].net.mac, sizeof(macs[i]));
	if (!ret)
		ret = config_write(c, macs, c->cmdline ? SNAPSHOT_CMDLINE : NULL, f, e);
	if (f)
		fclose(f);
	if (!ret) {
		s->config_sum = checksum_of(cmdline, strlen(cmdline), checksum_of(text, len, 0));
		ret = write_text(&s->dir, SNAPSHOT_CONFIG, text, len, e);
	}
	if (!ret && c->cmdline)
		ret = write_text(&s->dir, SNAPSHOT_CMDLINE, cmdline, strlen(cmdline), e);
	free(text);
	free(c);
	return ret;
}

static int write_stopped(struct machine *m, struct writing *s, uint64_t *paused_ns, struct err *e)
{
	bool stood = m->paused;
	uint64_t began = clock_monotonic_ns(&clock_host);
	int ret = machine_pause(m, e);

	if (ret)
		return ret;
	ret = check(m, s->wish, e);
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
	_cleanup_fd_ int dir = snapshot_dir_open_at(s->wish->base_at, path);
	_cleanup_fd_ int state = dir < 0 ? dir : openat(dir, SNAPSHOT_STATE, BASE_FLAGS);
	_cleanup_fd_ int memory = state < 0 ? state : openat(dir, SNAPSHOT_MEMORY, BASE_FLAGS);
	uint64_t sum = 0;
	struct stat st;
	int ret = dir < 0 ? dir : memory < 0 ? -errno : state_file_sum(state, &sum);

	if (ret == -ENOENT && state >= 0 && !fstatat(dir, SNAPSHOT_PACKED, &st, 0))
		return err_usage(
			e, -ENOTSUP,
			"snapshot: base %.200s: is compressed, and no base therefore; take "
			"one without a base, with track",
			path);
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

/* Until the machine goes on. */
static int write_first(struct machine *m, struct writing *s, struct err *e)
{
	int ret = write_config(m, s, e);

	if (!ret && s->wish->base)
		ret = copy_base(m, s, e);
	if (!ret)
		ret = write_stopped(m, s, &s->told.paused_ns, e);
	s->ram_len = guest_mem_size(&m->ram);
	return ret;
}

/* What is left, for which there need be no machine. It has its place then, or is abandoned. Any
 * thread. */
static int write_rest(struct writing *s, struct err *e)
{
	int file = s->packed >= 0 ? s->packed : s->memory;
	struct stat st;
	int ret = put_ram_index(s, e);

	if (!ret) {
		ret = state_file_write(s->state, &s->w, &s->sum);
		if (ret)
			err_host(e, ret, "snapshot %.200s: " SNAPSHOT_STATE ": %s", s->dir.path,
				 strerror(-ret));
	}
	if (!ret && s->packed >= 0)
		snapshot_dir_remove(&s->dir, SNAPSHOT_MEMORY);
	if (!ret)
		ret = snapshot_dir_sync(&s->dir, file,
					s->packed >= 0 ? SNAPSHOT_PACKED : SNAPSHOT_MEMORY, e);
	if (!ret)
		ret = snapshot_dir_sync(&s->dir, s->state, SNAPSHOT_STATE, e);
	if (ret) {
		snapshot_dir_abandon(&s->dir);
		return ret;
	}
	s->told.bytes = fstat(file, &st) ? 0 : (uint64_t)st.st_blocks * 512;
	return snapshot_dir_commit(&s->dir, e);
}

static int open_files(struct writing *s, struct err *e)
{
	s->memory = snapshot_dir_file(&s->dir, SNAPSHOT_MEMORY, e);
	if (s->memory >= 0 && s->wish->pack)
		s->packed = snapshot_dir_file(&s->dir, SNAPSHOT_PACKED, e);
	if (s->memory >= 0 && (s->packed >= 0 || !s->wish->pack))
		s->state = snapshot_dir_file(&s->dir, SNAPSHOT_STATE, e);
	return s->state < 0 ? e->code : 0;
}

static void end(struct writing *s)
{
	fd_close(&s->state);
	fd_close(&s->packed);
	fd_close(&s->memory);
	state_writer_fini(&s->w);
	free(s->path);
	free(s);
}

/* Is now a time for one? */
static int check_now(struct machine *m, const struct snapshot_wish *wish, struct err *e)
{
	if (m->writing)
		return err_host(e, -EBUSY,
				"snapshot: another one is being written; it is answered when it "
				"is done");
	/* All of it is there before it can be written again. */
	int lazy = lazy_complete(m->lazy);

	if (lazy)
		return err_host(e, lazy,
				"snapshot: the memory of the one that this machine goes on from "
				"cannot be had: %s",
				strerror(-lazy));
	return check(m, wish, e);
}

/* As far as it needs the machine: for write_rest() then. Or NULL with *e filled and nothing left.
 */
static struct writing *begin(struct machine *m, const struct snapshot_wish *wish, struct err *e)
{
	if (check_now(m, wish, e))
		return NULL;
	struct writing *s = malloc(sizeof(*s));

	if (!s) {
		err_host(e, -ENOMEM, "snapshot: out of memory");
		return NULL;
	}
	*s = (struct writing){.wish = wish, .m = m, .memory = -1, .state = -1, .packed = -1};
	state_writer_init(&s->w);
	if (snapshot_dir_begin(&s->dir, wish->at, wish->path, e)) {
		end(s);
		return NULL;
	}
	s->path = strdup(wish->path);
	int ret = open_files(s, e);

	if (!ret)
		ret = write_first(m, s, e);
	s->wish = NULL;
	if (!ret)
		return s;
	snapshot_dir_abandon(&s->dir);
	end(s);
	return NULL;
}

static void note(struct machine *m, const struct writing *s)
{
	if (s->tracked)
		tracking_saved(m, s->sum);
	log_info("snapshot %s: stood for %lu ms", s->path ? s->path : "",
		 s->told.paused_ns / 1000000);
}

int machine_snapshot(struct machine *m, const struct snapshot_wish *wish,
		     struct snapshot_told *told, struct err *e)
{
	struct writing *s = begin(m, wish, e);
	int ret = s ? write_rest(s, e) : e->code;

	if (!ret) {
		note(m, s);
		*told = s->told;
	}
	if (s)
		end(s);
	return ret;
}

static void on_written(void *arg)
{
	machine_snapshot_end(arg);
}

static void *run(void *arg)
{
	struct writing *s = arg;

	write_rest(s, &s->e);
	/* Without the memory for that, it is told at the machine's end. */
	loop_post(s->m->loop, on_written, s->m);
	return NULL;
}

int machine_snapshot_begin(struct machine *m, const struct snapshot_wish *wish,
			   snapshot_done_fn *done, void *ctx, struct err *e)
{
	struct writing *s = begin(m, wish, e);

	if (!s)
		return e->code;
	s->done = done;
	s->ctx = ctx;
	int ret = thread_start(&s->thread, THREAD_SNAPSHOT, "snapshot", STACK_BYTES, run, s);

	if (ret) {
		err_host(e, ret, "snapshot: no thread for it: %s", strerror(-ret));
		snapshot_dir_abandon(&s->dir);
		end(s);
		return ret;
	}
	m->writing = s;
	return 0;
}

void machine_snapshot_end(struct machine *m)
{
	struct writing *s = m->writing;

	if (!s)
		return;
	pthread_join(s->thread, NULL);
	m->writing = NULL;
	if (!s->e.kind)
		note(m, s);
	s->done(s->ctx, &s->told, &s->e);
	end(s);
}
