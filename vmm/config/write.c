/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/config/write.h"

#include "vmm/base/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* As ini.c takes them: a line has 1020 bytes, the longest key with its blanks is in the rest. */
enum { VALUE_MAX = 980 };

struct out {
	FILE *file;
	char *cwd; /* owned; ends in '/' */
	struct err *e;
	int error; /* the first */
};

static void put(struct out *o, const char *key, const char *value)
{
	char quote = strchr(value, '"') ? '\'' : '"';

	if (o->error)
		return;
	if (strlen(value) > VALUE_MAX || (quote == '\'' && strchr(value, '\''))) {
		o->error = err_usage(o->e, -EILSEQ,
				     "%s: %.80s...: is too long for an INI file, or has both kinds "
				     "of quotes",
				     key, value);
		return;
	}
	for (const char *p = value; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f) {
			o->error = err_usage(o->e, -EILSEQ,
					     "%s: has a control character, which no INI file says",
					     key);
			return;
		}
	fprintf(o->file, "%s = %c%s%c\n", key, quote, value, quote);
}

static void put_path(struct out *o, const char *key, const char *path)
{
	char *whole = NULL;

	if (asprintf(&whole, "%s%s", *path == '/' ? "" : o->cwd, path) < 0) {
		o->error = err_host(o->e, -ENOMEM, "%s: out of memory", key);
		return;
	}
	put(o, key, whole);
	free(whole);
}

static void put_on(struct out *o, const char *key, bool on)
{
	fprintf(o->file, "%s = %s\n", key, on ? "on" : "off");
}

static void put_paths(struct out *o, const char *key, char *const *paths, unsigned n)
{
	char *all = NULL;
	size_t size;
	FILE *f = open_memstream(&all, &size);

	if (!f) {
		o->error = err_host(o->e, -ENOMEM, "%s: out of memory", key);
		return;
	}
	/* As --initrd has them: a comma within is doubled. */
	for (unsigned i = 0; i < n; i++) {
		fprintf(f, "%s%s", i ? "," : "", *paths[i] == '/' ? "" : o->cwd);
		for (const char *p = paths[i]; *p; p++)
			fprintf(f, *p == ',' ? ",," : "%c", *p);
	}
	fclose(f);
	put(o, key, all);
	free(all);
}

static void put_boot(struct out *o, const struct vm_config *c, const char *cmdline_file)
{
	static const char *const entries[] = {
		[BOOT_CHOICE_AUTO] = "auto",
		[BOOT_CHOICE_LINUX64] = "linux64",
		[BOOT_CHOICE_LINUX32] = "linux32",
		[BOOT_CHOICE_PVH] = "pvh",
	};

	fprintf(o->file, "[boot]\n");
	if (c->kernel)
		put_path(o, "kernel", c->kernel);
	if (c->n_initrds)
		put_paths(o, "initrd", c->initrds, c->n_initrds);
	if (c->modules && !strcmp(c->modules, "none"))
		put(o, "modules", c->modules);
	else if (c->modules)
		put_path(o, "modules", c->modules);
	if (cmdline_file)
		put(o, "cmdline-file", cmdline_file);
	if (c->append)
		put(o, "append", c->append);
	put(o, "boot", entries[c->boot]);
}

static void put_machine(struct out *o, const struct vm_config *c)
{
	static const char *const pages[] = {
		[MEMORY_PAGES_HOST] = "",
		[MEMORY_PAGES_SMALL] = ",hugepages=off",
		[MEMORY_PAGES_THP] = ",hugepages=thp",
		[MEMORY_PAGES_2M] = ",hugepages=2M",
		[MEMORY_PAGES_1G] = ",hugepages=1G",
	};

	fprintf(o->file, "\n[machine]\ncpus = %u", c->cpus);
	if (c->cpus_max != c->cpus)
		fprintf(o->file, ",max=%u", c->cpus_max);
	fprintf(o->file, "\nmemory = %luK", c->memory / KiB);
	if (c->memory_max != c->memory)
		fprintf(o->file, ",max=%luK", c->memory_max / KiB);
	fprintf(o->file, "%s%s%s\n", pages[c->memory_pages], c->memory_shared ? ",shared=on" : "",
		c->memory_prefault ? ",prefault=on" : "");
	fprintf(o->file, "transport = %s\n", c->transport == TRANSPORT_MMIO ? "mmio" : "pci");
	if (c->hotplug)
		fprintf(o->file, "hotplug = %u\n", c->hotplug);
}

/* `ops` is "iops" or "pps". */
static void put_limit(struct out *o, const struct rate_config *r, const char *ops)
{
	if (r->bps)
		fprintf(o->file, "bps = %lu\n", r->bps);
	if (r->burst)
		fprintf(o->file, "burst = %lu\n", r->burst);
	if (r->ops)
		fprintf(o->file, "%s = %lu\n", ops, r->ops);
	if (r->ops_burst)
		fprintf(o->file, "%s-burst = %lu\n", ops, r->ops_burst);
}

static void put_slot(struct out *o, unsigned slot)
{
	if (slot)
		fprintf(o->file, "slot = %u\n", slot);
}

static void put_disk(struct out *o, const struct disk_config *d)
{
	fprintf(o->file, "\n[disk.%s]\n", d->id);
	put_path(o, "path", d->path);
	put(o, "serial", d->serial);
	put_on(o, "readonly", d->readonly);
	put(o, "cache", d->direct ? "none" : "writeback");
	if (d->queues)
		fprintf(o->file, "queues = %u\n", d->queues);
	if (d->threads)
		fprintf(o->file, "threads = %u\n", d->threads);
	put_slot(o, d->slot);
	put_limit(o, &d->limit, "iops");
}

static void put_forwards(struct out *o, const struct net_config *n)
{
	fprintf(o->file, "forward =");
	for (unsigned i = 0; i < n->n_forwards; i++) {
		const struct forward_config *f = &n->forwards[i];

		fprintf(o->file, " %s:%s%s%u:%u", f->udp ? "udp" : "tcp",
			f->address ? f->address : "", f->address ? "/" : "", f->host, f->guest);
	}
	fputc('\n', o->file);
}

static void put_net(struct out *o, const struct net_config *n, const uint8_t mac[6])
{
	static const char *const vhost[] = {
		[CONFIG_VHOST_AUTO] = "auto",
		[CONFIG_VHOST_OFF] = "off",
		[CONFIG_VHOST_ON] = "on",
	};

	fprintf(o->file, "\n[net.%s]\n", n->id);
	if (n->kind == NET_USER)
		put_on(o, "user", true);
	else if (n->kind == NET_TAP)
		put(o, "tap", n->tap);
	else
		fprintf(o->file, "fd = %d\n", n->fd);
	if (n->vhost != CONFIG_VHOST_AUTO)
		put(o, "vhost", vhost[n->vhost]);
	if (n->queues)
		fprintf(o->file, "queues = %u\n", n->queues);
	if (mac)
		fprintf(o->file, "mac = %02x:%02x:%02x:%02x:%02x:%02x\n", mac[0], mac[1], mac[2],
			mac[3], mac[4], mac[5]);
	if (n->n_forwards)
		put_forwards(o, n);
	put_slot(o, n->slot);
	put_limit(o, &n->limit, "pps");
}

static void put_share(struct out *o, const struct share_config *s)
{
	static const char *const caches[] = {
		[CONFIG_CACHE_AUTO] = "auto",
		[CONFIG_CACHE_NONE] = "none",
		[CONFIG_CACHE_ALWAYS] = "always",
	};

	fprintf(o->file, "\n[share.%s]\n", s->tag);
	put_path(o, "path", s->path);
	if (s->mountpoint)
		put(o, "mountpoint", s->mountpoint);
	put_on(o, "rw", s->rw);
	put(o, "cache", caches[s->cache]);
}

static void put_vsock(struct out *o, const struct vsock_config *v)
{
	char *spec = NULL;
	size_t size;
	FILE *f = open_memstream(&spec, &size);

	if (!f) {
		o->error = err_host(o->e, -ENOMEM, "vsock: out of memory");
		return;
	}
	if (v->vhost)
		fputs(CONFIG_VSOCK_VHOST, f);
	else
		fputs(*v->path == '/' ? "" : o->cwd, f);
	for (const char *p = v->vhost ? "" : v->path; *p; p++)
		fprintf(f, *p == ',' ? ",," : "%c", *p);
	fprintf(f, ",cid=%u", v->cid);
	fclose(f);
	put(o, "vsock", spec);
	free(spec);
}

static void put_console(struct out *o, const char *key, const struct char_config *c)
{
	char *value = NULL;
	const char *path = c->path ? c->path : "";

	switch (c->kind) {
	case CHAR_FILE:
	case CHAR_SOCKET:
		if (asprintf(&value, "%s=%s%s", c->kind == CHAR_FILE ? "file" : "socket",
			     *path == '/' ? "" : o->cwd, path) >= 0)
			put(o, key, value);
		else
			o->error = err_host(o->e, -ENOMEM, "%s: out of memory", key);
		free(value);
		return;
	case CHAR_TTY:
		put(o, key, "tty");
		return;
	case CHAR_PTY:
		put(o, key, "pty");
		return;
	default:
		put(o, key, "off");
	}
}

static char *cwd_slash(void)
{
	char *cwd = getcwd(NULL, 0), *slash = NULL;

	if (cwd && asprintf(&slash, "%s/", cwd) < 0)
		slash = NULL;
	free(cwd);
	return slash;
}

int config_write(const struct vm_config *c, const uint8_t (*macs)[6], const char *cmdline_file,
		 FILE *file, struct err *e)
{
	struct out o = {.file = file, .cwd = cwd_slash(), .e = e};

	if (!o.cwd)
		return err_host(e, -errno, "the current directory: %s", strerror(errno));
	put_boot(&o, c, cmdline_file);
	put_machine(&o, c);
	for (unsigned i = 0; i < c->n_disks + c->n_late_disks; i++)
		put_disk(&o, &c->disks[i]);
	for (unsigned i = 0; i < c->n_nets + c->n_late_nets; i++)
		put_net(&o, &c->nets[i],
			macs && i < c->n_nets ? macs[i]
			: c->nets[i].has_mac  ? c->nets[i].mac
					      : NULL);
	for (unsigned i = 0; i < c->n_shares; i++)
		put_share(&o, &c->shares[i]);
	fprintf(file, "\n[devices]\n");
	put_on(&o, "rng", c->rng);
	put_on(&o, "balloon", c->balloon);
	if (config_has_vsock(&c->vsock))
		put_vsock(&o, &c->vsock);
	fprintf(file, "\n[console]\n");
	put_console(&o, "serial", &c->serial);
	put_console(&o, "serial2", &c->serial2);
	put_console(&o, "hvc", &c->hvc);
	fprintf(file, "\n[run]\non-reboot = %s\n",
		c->on_reboot == ON_REBOOT_RESTART ? "restart" : "exit");
	free(o.cwd);
	if (!o.error && ferror(file))
		o.error = err_host(e, -EIO, "the config: %s", strerror(EIO));
	return o.error;
}
