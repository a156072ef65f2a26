/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config: what the user asked for, as one plain struct.
 *
 * argv, the environment and the INI file end here; the machine begins here.
 * Everything is checked in form and range; nothing of it has been opened yet.
 */
#ifndef VMM_CONFIG_CONFIG_H
#define VMM_CONFIG_CONFIG_H

#include "vmm/base/err.h"
#include "vmm/base/log.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	CONFIG_CPUS_MAX = 64,
	CONFIG_DISKS_MAX = 24,
	CONFIG_INITRDS_MAX = 16,
	CONFIG_NETS_MAX = 8,
	CONFIG_FORWARDS_MAX = 32,
	CONFIG_NET_QUEUES_MAX = 8, /* pairs */
	CONFIG_SHARES_MAX = 16,
	CONFIG_HOTPLUG_MAX = 31,
};

/* Below 32 MiB no Linux starts; the ceiling is what the address map leaves room for. */
#define CONFIG_MEMORY_MIN (32ull << 20)
#define CONFIG_MEMORY_MAX (1ull << 40)

enum { CONFIG_DISK_QUEUES_MAX = 16 };

/* The most that may go in a second: bytes, operations (of a network: frames); 0: no limit. And how
 * much at once after a lull; 0: a tenth of a second's worth. A burst only with its rate. Each
 * at most CONFIG_RATE_MAX. */
#define CONFIG_RATE_MAX (1ull << 40)
struct rate_config {
	uint64_t bps, burst;
	uint64_t ops, ops_burst;
};

struct disk_config {
	char *path;
	char *id;     /* names the device: unique; default "disk0", "disk1", ... */
	char *serial; /* what GET_ID answers, 20 bytes at most; default: the id */
	bool readonly;
	unsigned queues;  /* 1 to CONFIG_DISK_QUEUES_MAX; 0: as many as CPUs, 4 at most */
	unsigned threads; /* that serve them: 1 to `queues`; 0: one */
	bool direct;      /* past the host's page cache */
	unsigned slot;    /* of a saved machine: it came while it ran, into that PCI slot; 0: it did
			     not */
	struct rate_config limit;
};

enum net_kind { NET_NONE, NET_USER, NET_TAP, NET_FD };

/* A port of the host that leads to one of the guest. */
struct forward_config {
	bool udp;
	char *address; /* of the host's, where it listens; NULL: all */
	uint16_t host, guest;
};

/* Does the host's kernel serve a tap (devices/backend/net_tap.h)? */
enum vhost_choice { CONFIG_VHOST_AUTO, CONFIG_VHOST_OFF, CONFIG_VHOST_ON };

struct net_config {
	enum net_kind kind;
	char *tap;       /* NET_TAP: the interface */
	int fd;          /* NET_FD: inherited, 3 or more */
	unsigned queues; /* pairs, at most CONFIG_NET_QUEUES_MAX; 0: one. More only for NET_TAP */
	enum vhost_choice vhost;  /* auto but for NET_TAP and NET_FD */
	struct rate_config limit; /* of each direction; none with CONFIG_VHOST_ON */
	char *id;                 /* names the device: unique; default "net0", "net1", ... */
	unsigned slot;            /* as a disk's; only NET_TAP and NET_FD */
	bool has_mac;
	uint8_t mac[6];                                      /* unicast; without has_mac: made up */
	struct forward_config forwards[CONFIG_FORWARDS_MAX]; /* NET_USER only */
	unsigned n_forwards;
};

/* What the guest may keep of a share (devices/backend/share.h). */
enum cache_choice { CONFIG_CACHE_AUTO, CONFIG_CACHE_NONE, CONFIG_CACHE_ALWAYS };

/* A directory of the host. */
struct share_config {
	char *path;
	char *mountpoint; /* where our own init mounts it; NULL: it is the guest's affair */
	char *tag;        /* names the device, and what the guest mounts; default "share0", ... */
	bool rw;
	enum cache_choice cache;
};

/* A list of strings that ends in NULL. */
struct string_list {
	char **strings; /* owned, as are they; NULL: empty */
	unsigned n;
};

/* What the guest is for: it boots, runs this, and goes (`minivmm run -- COMMAND`). */
struct command_config {
	bool wanted;
	struct string_list words; /* none: a shell */
	struct string_list env;   /* all of what the command gets: NAME=VALUE */
	char *dir;                /* where it starts, in the guest */
	char *user;               /* USER[:GROUP] of the guest's, whose it is; NULL: root's, */
	bool user_self;           /* or it has the numbers of whoever runs minivmm */
	char *root;               /* the directory that is its root; NULL: a disk is */
	bool init;                /* the disk's own init boots it first */
	bool root_rw;             /* it writes there; else into a layer that is thrown away */
	unsigned boot_timeout_s;  /* until the command starts; 0: none */
	char *junit;              /* where its result goes as JUnit XML; NULL: nowhere */
};

/* Addresses of guests on AF_VSOCK: what virtio-vsock leaves for them [virtio 1.3 5.10.4]. */
#define CONFIG_CID_MIN 3u
#define CONFIG_CID_MAX 0xfffffffeu

/* Instead of a path: the host's kernel has the guest's sockets. */
#define CONFIG_VSOCK_VHOST "vhost"

/* Sockets between the guest and its host. */
struct vsock_config {
	char *path; /* of the host's unix sockets; NULL: none of those */
	bool vhost; /* instead: of AF_VSOCK, by the host's kernel */
	uint32_t cid;
};

/* Is there such a device, but for a command's? */
static inline bool config_has_vsock(const struct vsock_config *v)
{
	return v->path || v->vhost;
}

/* Where programs meet us; neither: nowhere. */
enum { MEETING_FD_SYSTEMD = -1 };
struct meeting_config {
	char *path; /* made */
	int fd;     /* inherited: 3 or more; or, of --control, the one that LISTEN_FDS tells of */
};

/* Which pages the host holds guest RAM in. */
enum memory_pages {
	MEMORY_PAGES_HOST,  /* as the host's policy for transparent huge pages has it */
	MEMORY_PAGES_SMALL, /* small ones, whatever the policy */
	MEMORY_PAGES_THP,   /* huge ones where it finds them */
	MEMORY_PAGES_2M,    /* from the host's pool of huge pages, */
	MEMORY_PAGES_1G,    /* all of it or no start */
};

/* What a console talks to on the host. DEFAULT is in no complete config. KEPT: to nobody,
 * but its last lines are told if the guest fails, or all of it as it comes with -v. */
enum char_kind { CHAR_DEFAULT, CHAR_OFF, CHAR_TTY, CHAR_FILE, CHAR_PTY, CHAR_SOCKET, CHAR_KEPT };

struct char_config {
	enum char_kind kind;
	char *path; /* of CHAR_FILE and CHAR_SOCKET; else NULL */
};

/* How the memory of a saved machine comes back: mapped, and read as the guest touches it; read
 * before it runs; or put in while it runs, first what was touched the last time. */
enum restore_memory { RESTORE_MAP, RESTORE_READ, RESTORE_LAZY };

/* A saved machine that goes on. */
struct snapshot_kept;
struct restore_config {
	char *dir; /* its snapshot; NULL: the machine boots */
	struct snapshot_kept
		*kept; /* that has been opened (vmm/machine/machine.h); NULL: not yet */
	bool verify;   /* look at all of its memory before it runs */
	enum restore_memory memory;
	bool any_cpu;   /* also where this host's CPU lacks features that the guest knows of */
	bool any_disks; /* also with disks that have been written to since */
	bool is_clone;  /* one of several: its networks have MAC addresses of their own, */
	uint32_t clone; /* and this is its number */
};

enum transport { TRANSPORT_PCI, TRANSPORT_MMIO };
/* BOOT_CHOICE_AUTO: the best entry that the kernel has. */
enum boot_choice {
	BOOT_CHOICE_AUTO,
	BOOT_CHOICE_LINUX64,
	BOOT_CHOICE_LINUX32,
	BOOT_CHOICE_PVH,
};
enum reboot_action { ON_REBOOT_EXIT, ON_REBOOT_RESTART };
/* CONFIG_SANDBOX_LOG: the host's kernel logs what would have ended the process. */
enum sandbox_choice { CONFIG_SANDBOX_OFF, CONFIG_SANDBOX_LOG, CONFIG_SANDBOX_ON };

struct vm_config {
	struct command_config command;
	struct restore_config restore;

	/* boot */
	char *kernel; /* required, but for a command (then the host's own) and a restore */
	bool kernel_is_hosts;
	/* Read one behind the other; none: pack one if the kernel needs modules. */
	char *initrds[CONFIG_INITRDS_MAX];
	unsigned n_initrds;
	char *modules; /* NULL: look for /lib/modules/VERSION, or next to the kernel; "none" */
	char *cmdline; /* replaces the default command line; NULL: the default */
	const char *cmdline_option; /* "--cmdline" or "--cmdline-file": who said it */
	char *append;               /* every --append, joined by blanks; NULL: none */
	enum boot_choice boot;      /* the entry to take */

	/* machine */
	unsigned cpus, cpus_max;     /* 1 to CONFIG_CPUS_MAX, cpus <= cpus_max */
	uint64_t memory, memory_max; /* bytes, multiples of memory_pages, memory <= memory_max */
	enum memory_pages memory_pages;
	bool memory_shared;       /* a memfd, which others can map */
	bool memory_prefault;     /* all of it is taken from the host at the start */
	enum transport transport; /* of the virtio devices; with MMIO there is no PCI */
	unsigned hotplug;         /* PCI slots for what comes later, to CONFIG_HOTPLUG_MAX */

	/* devices */
	struct disk_config disks[CONFIG_DISKS_MAX];
	unsigned n_disks,
		n_late_disks; /* behind the n_disks those that have a slot, lowest first */
	struct net_config nets[CONFIG_NETS_MAX];
	unsigned n_nets, n_late_nets; /* likewise */
	struct share_config shares[CONFIG_SHARES_MAX];
	unsigned n_shares;
	struct vsock_config vsock;
	bool rng;
	bool balloon;

	/* consoles: at most one of them is CHAR_TTY */
	struct char_config serial, serial2; /* ttyS0, ttyS1 */
	struct char_config hvc;             /* hvc0 */

	/* running and stopping */
	unsigned timeout_s;      /* 0: none */
	unsigned stop_timeout_s; /* after SIGTERM; 0: at once */
	enum reboot_action on_reboot;
	struct meeting_config control; /* a unix socket */
	enum sandbox_choice sandbox;

	bool dry_run; /* tell what the machine would be, and make none */
	bool json;    /* of queries: answer for machines */

	/* logs */
	struct meeting_config events; /* the file is emptied, if it is there */
	bool timing;                  /* tell at the end what took how long, */
	bool stats;                   /* and what was counted */
	enum log_level log_level;
	char *log_file; /* NULL: stderr */
};

/* A device's name: 1 to CONFIG_ID_MAX letters, digits, '_' and '-'. A serial number: as many
 * printable ASCII characters, none of them blank; GET_ID answers 20 bytes [virtio 1.3 5.2.6], so an
 * id can always stand in for one. */
enum { CONFIG_ID_MAX = 20 };
bool config_is_id(const char *text);
bool config_is_serial(const char *text);

static inline bool config_has_control(const struct vm_config *c)
{
	return c->control.path || c->control.fd;
}

/* Defaults: 1 CPU, 256 MiB, PCI, rng on, the first serial port on the terminal, stop
 * timeout 10 s. */
void vm_config_init(struct vm_config *c);

/* Frees what *c owns and leaves it as zeroes; harmless when called twice. */
void vm_config_fini(struct vm_config *c);

/* What main should do with a parsed command line. */
enum config_action {
	CONFIG_RUN,     /* run the VM */
	CONFIG_DONE,    /* --help was answered on stdout: exit 0 */
	CONFIG_DOCTOR,  /* `doctor`: of the config only `json` and `sandbox` (ON or OFF) are set */
	CONFIG_VERSION, /* `version` or --version: main prints its own and exits 0 */
};

/*
 * Merge defaults, then the --config file, then the environment, then the command
 * line, into *c, which this initialises and which owns all its strings: argv may
 * go away. Gives a config_action, or a negative errno with *e filled; *c may be
 * handed to vm_config_fini() in every case, and is a whole VM only with
 * CONFIG_RUN. Never exits, never writes to stderr; opens nothing but the --config
 * file and the --cmdline-file. For the main thread, before there are others.
 */
int config_parse(struct vm_config *c, int argc, char **argv, struct err *e);

/* The same in two steps, for machines that go on from one snapshot and are forked in between. First
 * what the snapshot that `word` names (as --restore has it) and the environment say, into *c, which
 * this initialises; 0, or a negative errno with *e filled and nothing to free. */
int config_parse_saved(struct vm_config *c, const char *word, struct err *e);
/* Then what is said of one of them, clone `number`: argv[0] is not looked at. 0, or a negative
 * errno with *e filled; *c is the caller's to free in either case. */
int config_parse_clone(struct vm_config *c, unsigned number, int argc, char **argv, struct err *e);

/* The section of a file that `key` belongs into, or NULL: no file can have it. */
const char *config_section_of(const char *key);

/* Is a command to be run in the guest ("--" is among the words)? Also of a command line that
 * config_parse() refuses. */
bool config_has_command(int argc, char **argv);

#endif
