/* SPDX-License-Identifier: Apache-2.0 */
/*
 * initramfs: from a request to an archive, in four questions.
 *
 *	Where is the root?   root= is compared with what is on the disks.
 *	What is on it?       Its superblock, or rootfstype=, names a file system.
 *	What is built in?    modules.builtin, or for want of it the kernel itself.
 *	What is missing?     Those modules, and what they depend on, in load order.
 *
 * Every byte costs boot time twice, when it is copied and when the kernel
 * unpacks it. So only the root's own file system goes along, if that can be
 * told; the others are on the root, for later.
 */
#include "firmware/initramfs/initramfs.h"

#include "firmware/init/boot_options.h"
#include "firmware/init/root_spec.h"
#include "firmware/initramfs/cpio.h"
#include "firmware/initramfs/disk_probe.h"
#include "firmware/initramfs/init_program.h"
#include "firmware/initramfs/modules.h"
#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TYPES_MAX = 8 };

/* What the archive has to achieve. */
struct plan {
	struct boot_options options;
	struct root_spec spec;
	struct disk_probe disks;
	char types[TYPES_MAX][32]; /* file systems */
	unsigned n_types;
	bool types_needed; /* or are they guesses? */
	bool kernel_finds_root;
};

static void add_type(struct plan *p, const char *type, size_t len)
{
	if (!len || len >= sizeof(p->types[0]) || p->n_types == TYPES_MAX)
		return;
	for (unsigned i = 0; i < p->n_types; i++)
		if (strlen(p->types[i]) == len && !memcmp(p->types[i], type, len))
			return;
	memcpy(p->types[p->n_types], type, len);
	p->types[p->n_types++][len] = '\0';
}

/* With nothing named, the root is the first disk if it holds a file system, or
 * what alone holds one. FAT is what firmware boots from, no root. */
static const struct root_candidate *likely_root(const struct disk_probe *disks)
{
	const struct root_candidate *only = NULL;
	unsigned n = 0;

	for (unsigned i = 0; i < disks->n; i++) {
		const struct root_candidate *c = &disks->found[i];

		if (!strcmp(c->sb.type, "vfat"))
			continue;
		if (!strcmp(c->name, "vda"))
			return c;
		only = c;
		n++;
	}
	return n == 1 ? only : NULL;
}

static void choose_types(struct plan *p, const struct root_candidate *root)
{
	const char *s = p->options.rootfstype;

	if (*s) {
		for (; *s; s += strcspn(s, ",:"), s += *s != '\0')
			add_type(p, s, strcspn(s, ",:"));
		p->types_needed = p->n_types == 1;
	} else if (root) {
		add_type(p, root->sb.type, strlen(root->sb.type));
		p->types_needed = true;
	} else {
		for (unsigned i = 0; i < p->disks.n; i++) {
			const char *type = p->disks.found[i].sb.type;

			if (strcmp(type, "vfat"))
				add_type(p, type, strlen(type));
		}
	}
}

static int make_plan(struct plan *p, struct initramfs *out, const struct initramfs_request *req,
		     struct err *e)
{
	const struct root_candidate *root = NULL;

	memset(p, 0, sizeof(*p));
	boot_options_parse(&p->options, req->cmdline ? req->cmdline : "");
	if (p->options.too_long ||
	    root_spec_parse(&p->spec, p->options.root, p->options.rootfstype))
		return err_usage(
			e, -EINVAL,
			"%s=%s on the kernel's command line: not understood; give a device "
			"(/dev/vda), UUID=, LABEL=, PARTUUID= or PARTLABEL=%s",
			p->options.too_long ? p->options.too_long : "root",
			p->options.too_long ? "..." : p->options.root,
			req->command ? "" : ", or an --initrd");
	disk_probe(&p->disks, req->disks, req->n_disks);
	if (p->spec.kind == ROOT_ANY) {
		root = likely_root(&p->disks);
		if (root)
			snprintf(out->root, sizeof(out->root), "/dev/%s", root->name);
	} else if (p->spec.kind != ROOT_NUMBER) { /* numbers are the guest's affair */
		for (unsigned i = 0; i < p->disks.n && !root; i++)
			if (root_spec_matches(&p->spec, &p->disks.found[i]))
				root = &p->disks.found[i];
	}
	p->kernel_finds_root = root_spec_kernel_knows(&p->spec) || out->root[0];
	choose_types(p, root);
	return 0;
}

/* Does an uncompressed kernel contain the string `name`, as the name of a driver or
 * file system that is built in stands there? Only asked for want of modules.builtin. */
static bool contains(const uint8_t *image, size_t len, const char *name)
{
	char text[48];
	size_t n = strlen(name) + 2;

	if (n > sizeof(text))
		return false;
	text[0] = '\0';
	memcpy(text + 1, name, n - 1);
	if (memmem(image, len, text, n))
		return true;
	for (char *c = text + 1; *c; c++) /* the driver of virtio_pci is virtio-pci */
		*c = *c == '_' ? '-' : *c;
	return memmem(image, len, text, n);
}

/* A kernel made for virtual machines often is a vmlinux alone, everything built
 * in. Asking its user for modules that never were would be no help. */
static bool kernel_has_all(const struct plan *p, const struct initramfs_request *req)
{
	enum { MAX = 512 << 20 };
	_cleanup_fd_ int fd = open(req->kernel, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	off_t len = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	uint8_t magic[4], *image;
	bool all = true;

	if (len <= 0 || len > MAX || fd_pread_full(fd, magic, sizeof(magic), 0) ||
	    memcmp(magic,
		   "\x7f"
		   "ELF",
		   4))
		return false;
	image = malloc((size_t)len);
	if (!image || fd_pread_full(fd, image, (size_t)len, 0)) {
		free(image);
		return false;
	}
	for (unsigned i = 0; all && i < req->n_drivers; i++)
		all = contains(image, (size_t)len, req->drivers[i]);
	for (unsigned i = 0; all && p->types_needed && i < p->n_types; i++)
		all = contains(image, (size_t)len, p->types[i]);
	free(image);
	return all;
}

/* FAT translates names with tables that are modules of their own. */
static int add_nls(struct modules *m, struct err *e)
{
	static const char *const tables[] = {"nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8"};

	for (unsigned i = 0; i < ARRAY_LEN(tables); i++) {
		int rc = modules_add(m, tables[i], false, e);

		if (rc)
			return rc;
	}
	return 0;
}

static int choose_modules(struct modules *m, const struct plan *p,
			  const struct initramfs_request *req, struct err *e)
{
	int rc = 0;

	for (unsigned i = 0; !rc && i < req->n_drivers; i++)
		rc = modules_add(m, req->drivers[i], true, e);
	for (unsigned i = 0; !rc && i < p->n_types; i++) {
		rc = modules_add(m, p->types[i], p->types_needed, e);
		if (!rc && (!strcmp(p->types[i], "vfat") || !strcmp(p->types[i], "msdos")))
			rc = add_nls(m, e);
	}
	return rc;
}

/* Extras come last, and alone are no reason for an initramfs. */
static int choose_extras(struct modules *m, const struct initramfs_request *req, struct err *e)
{
	int rc = 0;

	for (unsigned i = 0; !rc && i < req->n_extras; i++)
		rc = modules_add(m, req->extras[i], false, e);
	return rc;
}

/* "TAG ro|rw PLACE" for each. */
static int write_mounts(struct cpio *c, const struct initramfs_request *req)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	for (unsigned i = 0; f && i < req->n_mounts; i++)
		fprintf(f, "%s %s %s\n", req->mounts[i].tag, req->mounts[i].read_only ? "ro" : "rw",
			req->mounts[i].on);
	if (!f || fclose(f)) {
		free(text);
		return -ENOMEM;
	}
	if (len)
		cpio_file(c, "m/mounts", 0644, text, len);
	free(text);
	return 0;
}

static int write_archive(struct initramfs *out, const struct modules *m,
			 const struct initramfs_request *req)
{
	static const char *const dirs[] = {"dev", "proc", "sys", "root", "m"};
	char list[MODULES_MAX * 80], name[96];
	struct cpio c = {0};
	size_t used = 0;
	int rc;

	for (unsigned i = 0; i < ARRAY_LEN(dirs); i++)
		cpio_dir(&c, dirs[i]);
	/* init's descriptors 0 to 2, opened before it can mount anything. */
	cpio_chardev(&c, "dev/console", 0600, 5, 1);
	cpio_file(&c, "init", 0755, init_program, (size_t)(init_program_end - init_program));
	for (unsigned i = 0; i < m->n; i++) {
		const struct module *x = &m->list[i];

		snprintf(name, sizeof(name), "m/%02u-%s.ko", i, x->name);
		cpio_file(&c, name, 0644, x->bytes, x->len);
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s %s\n",
					 x->needed ? "need" : "try", name + 2);
	}
	if (m->n)
		cpio_file(&c, "m/list", 0644, list, used);
	if (req->command)
		cpio_file(&c, "m/command", 0600, req->command, req->command_len);
	rc = write_mounts(&c, req);
	if (!rc)
		rc = cpio_finish(&c);
	if (rc) {
		cpio_fini(&c);
		return rc;
	}
	out->bytes = c.bytes;
	out->len = c.len;
	return 0;
}

static int refuse_32bit(const struct initramfs_request *req, struct err *e)
{
	if (req->command)
		return err_usage(e, -ENOEXEC,
				 "--kernel %s: a 32-bit kernel: minivmm's own init, which runs the "
				 "command, is a 64-bit program; give a 64-bit kernel",
				 req->kernel);
	return err_usage(e, -ENOEXEC,
			 "--kernel %s: a 32-bit kernel: minivmm cannot make an initramfs for it; "
			 "give an --initrd, or --modules none and root=/dev/... if its drivers are "
			 "built in",
			 req->kernel);
}

/* *m is ready for modules_fini in any case. */
static int find_modules(struct modules *m, const struct plan *p,
			const struct initramfs_request *req, struct err *e)
{
	/* A command is run by our init, so no other initramfs will do. */
	const char *instead = req->command ? "give a --kernel that has all of them built in, as "
					     "scripts/build-kernel makes one"
					   : "give an --initrd";
	struct err why = {0};
	int rc;

	memset(m, 0, sizeof(*m));
	m->dir = -1;
	if ((req->modules && !strcmp(req->modules, "none")) || !req->version || !req->version[0])
		return 0;
	rc = modules_open(m, req->kernel, req->version, req->modules, instead, &why);
	if (!rc) {
		/* 32-bit modules are none to us: whatever is wrong with them, they are
		 * needed. */
		rc = choose_modules(m, p, req, req->only_32bit ? &why : e);
		return rc && req->only_32bit ? refuse_32bit(req, e) : rc;
	}
	if (rc == -ENOENT && !req->modules && kernel_has_all(p, req)) {
		log_debug("--kernel %s: no modules found, none needed", req->kernel);
		return 0;
	}
	if (rc == -ENOENT && req->only_32bit)
		return refuse_32bit(req, e);
	return why.kind == ERR_HOST ? err_host(e, rc, "%s", why.text)
				    : err_usage(e, rc, "%s", why.text);
}

int initramfs_pack(struct initramfs *out, const struct initramfs_request *req, struct err *e)
{
	struct boot_options options;
	struct modules *m;
	struct plan *p;
	bool needed;
	int rc;

	memset(out, 0, sizeof(*out));
	boot_options_parse(&options, req->cmdline ? req->cmdline : "");
	if (!req->n_disks && strcmp(options.rootfstype, "virtiofs") != 0)
		return 0;
	p = malloc(sizeof(*p));
	m = calloc(1, sizeof(*m));
	if (!p || !m) {
		free(p);
		free(m);
		return err_host(e, -ENOMEM, "packing an initramfs: out of memory");
	}
	m->dir = -1;
	rc = make_plan(p, out, req, e);
	if (!rc)
		rc = find_modules(m, p, req, e);
	needed = m->n || !p->kernel_finds_root || req->n_mounts || req->command;
	if (!rc && needed && req->only_32bit) {
		rc = refuse_32bit(req, e);
	} else if (!rc && needed) {
		rc = choose_extras(m, req, e);
		if (!rc)
			rc = write_archive(out, m, req);
	}
	if (rc == -ENOMEM)
		err_host(e, rc, "packing an initramfs: out of memory");
	else if (rc)
		err_host(e, rc, "packing an initramfs: %s", strerror(-rc));
	modules_fini(m);
	free(m);
	free(p);
	return rc;
}

void initramfs_fini(struct initramfs *out)
{
	free(out->bytes);
	memset(out, 0, sizeof(*out));
}
