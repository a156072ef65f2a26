/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parts: what a machine is made of, for the files of vmm/machine only.
 *
 * Parts are listed in the order in which they come to be; each knows only those
 * above it. The functions below are the steps of machine_create(), one file each.
 */
#ifndef VMM_MACHINE_PARTS_H
#define VMM_MACHINE_PARTS_H

#include "devices/backend/vsock_command.h"
#include "devices/cpu/hotplug.h"
#include "devices/irq/ioapic.h"
#include "devices/pci/conf1.h"
#include "devices/pci/host.h"
#include "devices/pci/hotplug.h"
#include "devices/power/power.h"
#include "devices/power/pvpanic.h"
#include "devices/power/vmgenid.h"
#include "devices/ps2/i8042.h"
#include "devices/rtc/cmos.h"
#include "devices/serial/uart16550.h"
#include "devices/virtio/balloon.h"
#include "devices/virtio/blk.h"
#include "devices/virtio/console.h"
#include "devices/virtio/fs.h"
#include "devices/virtio/mem.h"
#include "devices/virtio/mmio.h"
#include "devices/virtio/net.h"
#include "devices/virtio/pci.h"
#include "devices/virtio/rng.h"
#include "devices/virtio/vsock.h"
#include "firmware/initramfs/initramfs.h"
#include "firmware/kernel.h"
#include "vmm/arch/x86_64/board.h"
#include "vmm/arch/x86_64/boot_entry.h"
#include "vmm/arch/x86_64/cpuid.h"
#include "vmm/arch/x86_64/regs.h"
#include "vmm/core/bus.h"
#include "vmm/core/device.h"
#include "vmm/core/guest_mem.h"
#include "vmm/core/loop.h"
#include "vmm/kvm/coalesced.h"
#include "vmm/kvm/irqchip.h"
#include "vmm/kvm/vcpu.h"
#include "vmm/kvm/vm.h"
#include "vmm/machine/console.h"
#include "vmm/machine/events.h"
#include "vmm/machine/machine.h"
#include "vmm/machine/snapshot.h"
#include "vmm/machine/stats.h"
#include "vmm/machine/tracking.h"
#include "vmm/snapshot/lazy.h"

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>

/* What the guest boots from, opened but not yet in RAM. */
struct boot_files {
	struct kernel kernel;
	struct initrd_file {
		int fd; /* owned */
		uint64_t len;
	} initrds[CONFIG_INITRDS_MAX]; /* as many as n_initrds says */
	unsigned n_initrds;
	struct initramfs packed; /* without --initrd: what the kernel needs, or empty */
};

/* A virtio device's place on the transport, of which a machine has one kind. */
struct virtio_slot {
	union {
		struct virtio_pci pci;
		struct virtio_mmio mmio;
	};
};

/* A virtio-blk device and the threads that serve it. */
struct disk {
	/* A way to the disk for each thread, owned until the device is made. */
	struct block *backends[VIRTIO_BLK_LANES_MAX];
	struct io_thread *threads[VIRTIO_BLK_LANES_MAX];
	unsigned n_threads;
	struct virtio_blk blk;
	struct virtio_slot slot;
};

/* A virtio-net device and the thread that serves it. */
struct nic {
	/* One for each pair of queues, owned until the device is made. */
	struct net *backends[VIRTIO_NET_PAIRS_MAX];
	unsigned n_backends;
	uint8_t mac[6];
	struct io_thread *thread;
	struct virtio_net net;
	struct virtio_slot slot;
};

/* A disk or a network that was added to the running machine (hotplug.c). */
struct added {
	const char *id; /* of the machine's names */
	unsigned slot;
	bool is_net;
	bool asked;                     /* the guest, to give it up */
	bool ejected;                   /* it did; what is left is ours */
	const char *file;               /* the disk's, by its path; NULL: it has none. Not owned */
	struct disk_config disk_config; /* of its strings nothing is owned */
	struct net_config net_config;   /* likewise */
	dev_t host_dev;                 /* the disk's file */
	ino_t host_ino;
	struct disk disk;
	struct nic nic;
};

/* A name that devices have had, which counters and traces may still know. */
struct device_name {
	struct device_name *next;
	char text[];
};

/* A virtio-fs device and the thread that serves it. */
struct shared_dir {
	struct share *backend; /* owned until the device is made */
	struct io_thread *thread;
	struct virtio_fs fs;
	struct virtio_slot slot;
};

/* The virtio-vsock device and the thread that serves it. */
struct vsock {
	struct vsock_backend *backend; /* owned until the device is made; NULL: there is none */
	struct vsock_backend
		*sockets; /* that, or a part of it: of --vsock PATH; NULL: not wanted */
	struct io_thread *thread;
	struct virtio_vsock dev;
	struct virtio_slot slot;
};

/* The ports at which a person or a program can talk to the guest. */
enum { CONSOLE_SERIAL, CONSOLE_SERIAL2, CONSOLE_HVC, N_CONSOLES };

struct machine {
	struct vm_config *config; /* changed are the limits alone: limits.c */
	struct events *events;    /* NULL: nobody wants them */
	bool paused;              /* it stands still: live.c */
	bool dry; /* it is only to be described: no KVM, and nothing is made outside of us */

	/* who says why it ended */
	pthread_mutex_t end_lock;
	struct machine_end end;
	struct stop_sink stop;

	struct saved_machine saved; /* what it goes on from, until it runs */

	/* the host's side */
	struct loop *loop;             /* of the main thread */
	struct loop_timer *stop_timer; /* of machine_run(): no patience is left when it rings */
	struct boot_files files;
	struct disk *disks;        /* config->n_disks of them */
	struct nic *nics;          /* config->n_nets of them */
	struct shared_dir *shares; /* config->n_shares of them */
	struct vsock vsock;
	struct console consoles[N_CONSOLES];
	struct command *command;   /* NULL: none */
	struct terminal *terminal; /* that the command has; NULL: none */

	/* the virtual machine */
	struct kvm_vm vm;
	struct cpuid_model cpuid;
	struct board board;
	struct guest_mem ram;
	struct lazy *lazy;           /* that still fills it, or has; NULL: it is filled */
	uint64_t initrd, initrd_len; /* where it lies in RAM */
	struct tracking tracking;
	struct writing *writing; /* a snapshot that is left to its thread; NULL: none is */
	struct irqchip irqchip;
	struct exit_env exits;
	struct coalesced coalesced;
	struct stats *stats; /* NULL: exits are not counted */
	struct vcpu_group vcpus;
	unsigned cpus_ready; /* of them, that have their CPUID and MSRs */
	/* What a processor is at power-on, if machine_may_begin_anew(): a section as regs_save()
	 * writes it. */
	struct state_writer power_on;

	/* its devices */
	struct bus pio, mmio;
	struct device_list devices;
	bool stuck; /* a device did not let go of its I/O: its thread may never end */
	struct ioapic ioapic;
	struct uart16550 uarts[2]; /* of the consoles with the same index */
	struct cmos cmos;
	struct i8042 i8042;
	struct power power;
	struct cpu_hotplug cpu_hotplug; /* if board_cpus_change() */
	struct pvpanic pvpanic;
	struct vmgenid vmgenid;
	struct pci_host pci; /* not with --transport mmio */
	struct pci_conf1 conf1;
	unsigned n_plugged; /* virtio devices so far: those of board.n_virtio, */
	struct virtio *plugged[BOARD_VIRTIO_MAX]; /* which are these, and then what was added */
	struct pci_hotplug hotplug;               /* if board.n_hotplug */
	struct added *added[BOARD_PCI_SLOTS];     /* by slot; owned */
	struct device_name *names;                /* of what was added, ever; owned */
	struct loop_timer *hotplug_again;         /* an ejected one would not let go of its I/O */
	struct io_thread *light_io;               /* serves the devices that are no burden */
	struct virtio_rng rng;
	struct virtio_slot rng_slot;
	struct virtio_console hvc;
	struct virtio_slot hvc_slot;
	struct virtio_balloon balloon; /* if config->balloon */
	struct virtio_slot balloon_slot;
	struct virtio_mem mem; /* if machine_can_grow() */
	struct virtio_slot mem_slot;
};

/* machine.c: has anybody said why it ends? That was not the last end. */
bool machine_has_ended(struct machine *m);
void machine_ends_not(struct machine *m);

/* files.c: open the kernel, the initrd (or pack one) and the disks, look at where the
 * console goes: nearly everything a user can get wrong, before anything is created. */
int machine_open_files(struct machine *m, struct err *e);
/* Of these, what the guest boots from; close it. */
int machine_open_boot(struct machine *m, struct err *e);
void machine_close_boot(struct machine *m);
/* One disk. What there is of it on a failure is for whoever closes backends. */
int machine_open_disk(struct disk *d, const struct disk_config *c, struct err *e);
void machine_close_files(struct machine *m);

/* memory.c: the guest's RAM, as --memory wants it held, and the room that it has to grow. */
static inline bool machine_can_grow(const struct vm_config *c)
{
	return c->memory_max > c->memory;
}
int machine_map_ram(struct machine *m, struct err *e);

/* consoles.c: could what they need be opened? Open all of them; start them once the devices are
 * there; ask them what the guest said at the end (as console_panicked(), of the first that knows);
 * close. */
int machine_check_consoles(const struct vm_config *c, struct err *e);
int machine_open_consoles(struct machine *m, struct err *e);
int machine_start_consoles(struct machine *m, struct err *e);
/* For a guest that begins anew, as console_renew(). */
void machine_renew_consoles(struct machine *m);
bool machine_console_panicked(const struct machine *m, char *buf, size_t size);
bool machine_console_rebooted(const struct machine *m);
/* What nobody saw of them is told at close. */
void machine_tell_consoles(struct machine *m);
/* The same lines, a new string; NULL if there is no such console. */
char *machine_last_lines(struct machine *m);
void machine_close_consoles(struct machine *m);

/* platform.c: the chips of the board, on their buses and interrupt lines. */
int machine_make_platform(struct machine *m, struct err *e);

/* pci.c: the host bridge; with --transport mmio only the reset register. */
int machine_make_pci(struct machine *m, struct err *e);

/* net.c: attach to the taps and start passt, whose children of ours are confined by
 * themselves; then, once all else is there that can be wrong, wait until they are
 * ready. The last two: as with the other virtio devices. */
int machine_open_nets(struct machine *m, struct err *e);
int machine_await_nets(struct machine *m, struct err *e);
void machine_close_nets(struct machine *m);
int machine_make_nets(struct machine *m, struct err *e);
void machine_end_nets(struct machine *m);
/* Open the one of *n, the `i`th that this machine has; on a failure, with *e filled, its backends
 * are for whoever closes them. */
int machine_open_net(struct machine *m, struct nic *nic, const struct net_config *n, unsigned i,
		     struct err *e);
/* One of them, of its backends, behind no transport yet. On a failure, with *e filled, what there
 * is of it is for machine_end_net(), and for whoever closes backends. */
int machine_make_net(struct machine *m, struct nic *nic, const struct net_config *c, struct err *e);
void machine_end_net(struct nic *nic);

/* hotplug.c: the chip, if the board has slots for it; what the guest has ejected goes for good; the
 * end of all that was added. The last two: of the network or disk that is called `id`, from the
 * start or since; NULL: there is none, and *e is filled. The config is `config`'s. */
int machine_make_hotplug(struct machine *m, struct err *e);
void machine_collect_ejected(struct machine *m);
/* A guest that begins anew does not know that it was asked to give something up. */
void machine_forget_asked(struct machine *m);
void machine_end_added(struct machine *m);
struct disk *machine_find_disk(struct machine *m, const char *id, struct disk_config **config,
			       struct err *e);
struct nic *machine_find_net(struct machine *m, const char *id, struct net_config **config,
			     struct err *e);
/* Of a machine that is restored, what was added to it before: open its files, with the others;
 * then, behind the devices that it started with, make it. 0, or a negative errno with *e filled. */
int machine_open_added(struct machine *m, struct err *e);
int machine_make_added(struct machine *m, struct err *e);

/* added.c: what a machine's config would be with all that was added, for a snapshot: what `c` holds
 * is the machine's. 0, or a negative errno with *e filled: something could not be found again. */
int machine_config_with_added(const struct machine *m, struct vm_config *c, struct err *e);
/* Is all that was added still the guest's? 0, or -EBUSY with *e filled. The machine stands, or the
 * answer is old. */
int machine_check_added(struct machine *m, struct err *e);
/* All of its disks, from the start and since, as a snapshot has them in order; gives how many. */
enum { MACHINE_DISKS_MAX = CONFIG_DISKS_MAX + BOARD_PCI_SLOTS };
unsigned machine_all_disks(const struct machine *m, struct disk *all[MACHINE_DISKS_MAX]);

/* cpus.c: the chip, if the board has processors that come and go. And when the vCPUs and it are
 * complete, new or restored, before they run: those that are not there are taken out. 0, or a
 * negative errno with *e filled. */
int machine_make_cpus(struct machine *m, struct err *e);
int machine_place_cpus(struct machine *m, struct err *e);
/* How many the guest has; and {"count": that, "target", "max"}, or null if that cannot change. */
unsigned machine_cpus(const struct machine *m);
json_t *machine_cpu_json(const struct machine *m);

/* limits.c: a limit as devices take it, and as it is told: {"bps", "burst", "iops", "iops_burst"},
 * or "pps" and "pps_burst"; 0: none. */
struct rates machine_rates(const struct rate_config *r);
json_t *machine_limit_json(const struct rates *r, bool net);

/* shares.c: open the shared directories; close; the last two: as with the other virtio
 * devices. */
int machine_open_shares(struct machine *m, struct err *e);
void machine_close_shares(struct machine *m);
/* What root= should say if a share is to be the root: "TAG rootfstype=virtiofs", in `root`,
 * which is "" if none is. Gives `root`. */
enum { MACHINE_ROOT_MAX = 64 };
const char *machine_share_root(const struct vm_config *c, char root[MACHINE_ROOT_MAX]);
int machine_make_shares(struct machine *m, struct err *e);
void machine_end_shares(struct machine *m);

/* command.c: does the command have the terminal that we have, stdin and stdout? And the file
 * that the guest's init reads (vmm/core/command_wire.h): *len bytes, the caller's to free;
 * NULL for want of memory. The networks are open. */
bool machine_command_has_terminal(void);
char *machine_pack_command(const struct machine *m, size_t *len);

/* vsock.c: could --vsock's path be made? It is, with the device; vhost-vsock is opened, but for a
 * machine that is only described. The last two: as with the other virtio devices. */
#define MACHINE_VSOCK_NAME "vsock"
static inline bool machine_has_vsock(const struct vm_config *c)
{
	return config_has_vsock(&c->vsock) || c->command.wanted;
}
/* How many there are that hold descriptors for a guest: the shares, and a vsock that it may open
 * connections with. Each gets no more than its part, that the machine has some left for itself. */
static inline unsigned machine_fd_parts(const struct vm_config *c)
{
	return c->n_shares + !!c->vsock.path;
}
int machine_open_vsock(struct machine *m, struct err *e);
void machine_close_vsock(struct machine *m);
int machine_make_vsock(struct machine *m, struct err *e);
void machine_end_vsock(struct machine *m);

/* sandbox.c: with --sandbox, once all is open and before the first thread: threads confine
 * themselves from now on. */
int machine_enter_sandbox(struct machine *m, struct err *e);
/* Let the guest run; with --sandbox, its threads stand until the main one is confined as well. */
int machine_start_vcpus(struct machine *m, struct err *e);

/* virtio.c: the virtio devices, each in its place on the transport. First the list of
 * them, which firmware and --dry-run read; it needs no machine. b->virtio_mmio is set
 * here. machine_make_virtio() makes the same ones in the same order. */
int machine_list_virtio(const struct vm_config *c, struct board *b, struct err *e);
int machine_make_virtio(struct machine *m, struct err *e);
/* Start an I/O thread: NULL, with *e filled, on failure. */
struct io_thread *machine_start_thread(enum thread_kind kind, const char *name, struct err *e);
/* Put *v (initialised; it outlives the slot) behind the transport's registers and onto
 * the list of devices, which ends the slot. 0, or a negative errno with *e filled. */
int machine_plug(struct machine *m, struct virtio_slot *slot, struct virtio *v, struct err *e);
/* One disk, likewise. */
int machine_make_disk(struct machine *m, struct disk *d, const struct disk_config *c,
		      struct err *e);
void machine_end_disk(struct disk *d);
/* Put *v into that PCI slot, which is free, and onto the list of devices. 0, or a negative errno.
 */
int machine_plug_pci(struct machine *m, struct virtio_pci *p, struct virtio *v, unsigned slot);
/* After the devices' fini: what is behind their slots, and their threads. */
void machine_end_virtio(struct machine *m);

/* guest.c: what firmware would have left in RAM, which needs no KVM; and with it, the
 * first registers. */
int machine_fill_ram(struct machine *m, struct boot_entry *entry, struct err *e);
int machine_load_guest(struct machine *m, struct err *e);
/* Before that, once: the processors are what the guest will find them to be. */
int machine_power_on(struct machine *m, struct err *e);

/* reset.c: can the guest have another beginning? Then what it boots from stays open in a sandbox,
 * where nothing can be opened by then. */
static inline bool machine_may_begin_anew(const struct vm_config *c)
{
	return !c->command.wanted && (c->on_reboot == ON_REBOOT_RESTART || config_has_control(c));
}
static inline bool machine_keeps_boot(const struct vm_config *c)
{
	return c->sandbox != CONFIG_SANDBOX_OFF && machine_may_begin_anew(c);
}
/* Note, for that, what the boot processor is at power-on: once it has its CPUID, and before it is
 * given anything else. */
int machine_note_power_on(struct machine *m, struct err *e);
/* All stands, and nothing is in flight: everything goes back to power-on, and the guest is loaded
 * again. 0, or a negative errno with *e filled: then it cannot run. */
int machine_begin_anew(struct machine *m, struct err *e);

/* describe.c: a machine that is complete but for its processors, for people or as JSON.
 * 0, -ENOMEM, or -EIO if `out` did not take it. */
int machine_print(const struct machine *m, const struct boot_entry *entry, bool json, FILE *out);

#endif
