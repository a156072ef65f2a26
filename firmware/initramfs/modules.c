/* SPDX-License-Identifier: Apache-2.0 */
/*
 * modules: a walk, depth first, over what modules say that they depend on. A
 * module goes to the list when all that it needs is there, so the list is the
 * load order.
 *
 * Two kinds of dependency. "depends=" names the modules whose symbols are used:
 * without them loading fails. "softdep=pre:" names what would be asked of modprobe
 * at run time, mostly an algorithm: ext4 computes its checksums with whatever
 * offers "crc32c", and mounts nothing when nobody does. In an initramfs without
 * modprobe that must be loaded beforehand, if it is a module at all.
 */
#include "firmware/initramfs/modinfo.h"
#include "firmware/initramfs/modules_priv.h"
#include "firmware/initramfs/unpack.h"
#include "vmm/base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Who offers an algorithm: the portable module and what is faster on x86, tried
 * both. modules.alias says the same, but only where depmod has run. */
static const struct {
	const char *name;
	const char *modules[3];
} providers[] = {
	{"crc32c", {"crc32c_generic", "crc32c_cryptoapi", "crc32c_intel"}},
	{"crc32", {"crc32_generic", "crc32_cryptoapi"}},
	{"xxhash64", {"xxhash_generic"}},
	{"blake2b-256", {"blake2b_generic", "blake2b"}},
	{"sha256", {"sha256_generic"}},
};

struct walk {
	struct modules *m;
	struct err *e;
	const char *top; /* what was asked for */
	unsigned depth;
};

static int add(struct walk *w, const char *name, size_t len, bool needed);

/* modules.order names files before they are compressed, a build tree's without
 * the "kernel/" that installing adds. */
static int read_module(const struct modules *m, const struct module_entry *x, uint8_t **bytes,
		       size_t *len)
{
	static const char *const tails[] = {".ko", ".ko.xz", ".ko.zst", ".ko.gz"};
	char path[600];
	int rc;

	snprintf(path, sizeof(path), "%.*s", (int)x->len, x->path);
	rc = unpack_file(bytes, len, m->dir, path, MODULE_BYTES_MAX);
	for (unsigned i = 0; rc == -ENOENT && i < ARRAY_LEN(tails); i++) {
		const char *from = x->path;
		int n = x->name + x->name_len;

		snprintf(path, sizeof(path), "%.*s%s", n, from, tails[i]);
		rc = unpack_file(bytes, len, m->dir, path, MODULE_BYTES_MAX);
		if (rc == -ENOENT && n > 7 && !strncmp(from, "kernel/", 7)) {
			snprintf(path, sizeof(path), "%.*s%s", n - 7, from + 7, tails[i]);
			rc = unpack_file(bytes, len, m->dir, path, MODULE_BYTES_MAX);
		}
	}
	return rc;
}

static int add_depends(struct walk *w, const char *list, bool needed)
{
	while (*list) {
		size_t n = strcspn(list, ",");
		int rc = n ? add(w, list, n, needed) : 0;

		if (rc)
			return rc;
		list += n + (list[n] == ',');
	}
	return 0;
}

/* A provider may be missing or unusable in any way; only memory may not run out. */
static int add_if_possible(struct walk *w, const char *name, size_t len)
{
	struct err *e = w->e;
	int rc;

	w->e = NULL;
	rc = add(w, name, len, false);
	w->e = e;
	return rc == -ENOMEM ? rc : 0;
}

static int add_algorithm(struct walk *w, const char *name, size_t len)
{
	if (len > 7 && !strncmp(name, "crypto-", 7)) {
		name += 7;
		len -= 7;
	}
	for (unsigned i = 0; i < ARRAY_LEN(providers); i++) {
		if (strlen(providers[i].name) != len || strncmp(name, providers[i].name, len))
			continue;
		for (unsigned k = 0; k < ARRAY_LEN(providers[i].modules); k++) {
			const char *p = providers[i].modules[k];
			int rc = p ? add_if_possible(w, p, strlen(p)) : 0;

			if (rc)
				return rc;
		}
	}
	return add_if_possible(w, name, len);
}

/* "pre: a b post: c": what is to be loaded afterwards adds convenience only. */
static int add_softdep(struct walk *w, const char *text)
{
	bool pre = false;

	while (*text) {
		size_t n = strcspn(text, " \t");

		if (n == 4 && !strncmp(text, "pre:", 4)) {
			pre = true;
		} else if (n == 5 && !strncmp(text, "post:", 5)) {
			pre = false;
		} else if (n && pre) {
			int rc = add_algorithm(w, text, n);

			if (rc)
				return rc;
		}
		text += n + strspn(text + n, " \t");
	}
	return 0;
}

static int check_vermagic(struct walk *w, const struct modinfo *info, const char *name)
{
	const char *magic = modinfo_next(info, "vermagic", NULL);
	size_t n = magic ? strcspn(magic, " ") : 0;

	if (magic && (n != strlen(w->m->version) || strncmp(magic, w->m->version, n)))
		return err_usage(
			w->e, -EINVAL,
			"--kernel %s: is release %s, but the module %s in %s is of %.*s; name "
			"the right modules with --modules DIR, or %s",
			w->m->kernel, w->m->version, name, w->m->path, (int)(n > 80 ? 80 : n),
			magic, w->m->instead);
	return 0;
}

/* All that `info` names, before the module itself. */
static int add_dependencies(struct walk *w, const struct modinfo *info, bool needed)
{
	const char *v = NULL;
	int rc = 0;

	while (!rc && (v = modinfo_next(info, "softdep", v)))
		rc = add_softdep(w, v);
	v = NULL;
	while (!rc && (v = modinfo_next(info, "depends", v)))
		rc = add_depends(w, v, needed);
	return rc;
}

static int missing(struct walk *w, const char *name)
{
	return err_usage(w->e, -ENOENT,
			 "--kernel %s: needs the module %s%s%s%s, which is not in %s; install that "
			 "kernel's package, or name its modules with --modules DIR, or %s",
			 w->m->kernel, name, strcmp(name, w->top) ? " (for " : "",
			 strcmp(name, w->top) ? w->top : "", strcmp(name, w->top) ? ")" : "",
			 w->m->path, w->m->instead);
}

static const char *why(int rc)
{
	switch (rc) {
	case -EBADMSG:
		return "its compressed data is damaged";
	case -EFBIG:
		return "it is larger than 64 MiB";
	case -ENOEXEC:
		return "it is no module for a 64-bit kernel";
	case -ENODATA:
		return "it has no .modinfo";
	default:
		return strerror(-rc);
	}
}

static int too_many(struct walk *w)
{
	return err_usage(w->e, -E2BIG, "--kernel %s: the modules that %s needs in %s are too many",
			 w->m->kernel, w->top, w->m->path);
}

static int list_module(struct walk *w, struct module_entry *x, const char *name, bool needed)
{
	struct modinfo info;
	struct module *out;
	uint8_t *bytes = NULL;
	size_t len = 0;
	int rc;

	if (w->m->reads >= MODULES_READS_MAX || w->m->read_bytes >= MODULES_BYTES_MAX)
		return too_many(w);
	w->m->reads++;
	rc = read_module(w->m, x, &bytes, &len);
	if (rc == -ENOENT)
		return missing(w, name);
	w->m->read_bytes += len;
	if (!rc)
		rc = modinfo_find(&info, bytes, len);
	if (rc) {
		free(bytes);
		return err_usage(w->e, rc == -ENOMEM ? rc : -EINVAL,
				 "--kernel %s: its module %s in %s: %s", w->m->kernel, name,
				 w->m->path, why(rc));
	}
	rc = check_vermagic(w, &info, name);
	if (!rc)
		rc = add_dependencies(w, &info, needed);
	if (!rc && w->m->n == MODULES_MAX)
		rc = too_many(w);
	if (rc) {
		free(bytes);
		return rc;
	}
	out = &w->m->list[w->m->n];
	*out = (struct module){.bytes = bytes, .len = len, .needed = needed};
	snprintf(out->name, sizeof(out->name), "%s", name);
	x->listed = w->m->n++;
	return 0;
}

static int add(struct walk *w, const char *given, size_t len, bool needed)
{
	struct module_entry *x = modules_find(w->m, given, len);
	char name[sizeof(w->m->list[0].name)];
	int rc;

	snprintf(name, sizeof(name), "%.*s", (int)(len > 100 ? 100 : len), given);
	for (char *p = name; *p; p++)
		*p = *p == '-' ? '_' : *p;
	if (!x)
		return missing(w, name);
	if (x->builtin)
		return 0;
	if (x->state == MODULE_LISTED) {
		w->m->list[x->listed].needed |= needed;
		return 0;
	}
	if (x->state == MODULE_VISITING)
		return err_usage(w->e, -ELOOP, "--kernel %s: its module %s in %s depends on itself",
				 w->m->kernel, name, w->m->path);
	if (w->depth == MODULES_MAX)
		return too_many(w);
	x->state = MODULE_VISITING;
	w->depth++;
	rc = list_module(w, x, name, needed);
	w->depth--;
	x->state = rc ? MODULE_UNSEEN : MODULE_LISTED;
	return rc;
}

int modules_add(struct modules *m, const char *name, bool needed, struct err *e)
{
	struct walk w = {.m = m, .e = e, .top = name};

	if (!needed)
		return add_if_possible(&w, name, strlen(name));
	return add(&w, name, strlen(name), true);
}
