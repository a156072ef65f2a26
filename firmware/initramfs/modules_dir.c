/* SPDX-License-Identifier: Apache-2.0 */
/*
 * modules_dir: where a kernel's modules are, and the index of their names.
 *
 * The index is a table of pointers into the text of modules.dep (or .order) and
 * modules.builtin: one pass over the text, no directory is ever listed. Thousands
 * of entries are searched a dozen times, so a linear search is the fast one.
 */
#include "firmware/init/boot_options.h"
#include "firmware/initramfs/modules_priv.h"
#include "firmware/initramfs/unpack.h"
#include "vmm/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { INDEX_MAX = 16 << 20 };

static size_t ends_with(const char *s, size_t len, const char *tail)
{
	size_t n = strlen(tail);

	return len > n && !memcmp(s + len - n, tail, n) ? n : 0;
}

/* The length of a name without what says how the file is stored. A build tree's
 * modules.order has .o for what becomes a .ko. */
static size_t stem(const char *s, size_t len)
{
	static const char *const tails[] = {".gz", ".xz", ".zst"};
	size_t n;

	for (unsigned i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
		n = ends_with(s, len, tails[i]);
		if (n) {
			len -= n;
			break;
		}
	}
	n = ends_with(s, len, ".ko");
	if (!n)
		n = ends_with(s, len, ".o");
	return n ? len - n : 0;
}

/* Only files below the directory: an index that came with a download must not
 * make us read others. */
static bool is_below(const char *path, size_t len)
{
	if (!len || len >= 512 || path[0] == '/')
		return false;
	for (size_t i = 0; i + 1 < len; i++)
		if (path[i] == '.' && path[i + 1] == '.' && (i == 0 || path[i - 1] == '/') &&
		    (i + 2 == len || path[i + 2] == '/'))
			return false;
	return !memchr(path, '\0', len);
}

static int add_entry(struct modules *m, const char *path, size_t len, bool builtin)
{
	const char *slash = memrchr(path, '/', len);
	size_t name = slash ? (size_t)(slash + 1 - path) : 0;
	size_t name_len = stem(path + name, len - name);

	if (!is_below(path, len) || !name_len || name_len >= sizeof(m->list[0].name))
		return 0;
	if (m->n_entries == m->room) {
		size_t room = m->room ? m->room * 2 : 1024;
		struct module_entry *entries = reallocarray(m->entries, room, sizeof(*entries));

		if (!entries)
			return -ENOMEM;
		m->entries = entries;
		m->room = room;
	}
	m->entries[m->n_entries++] = (struct module_entry){
		.path = path,
		.len = (uint16_t)len,
		.name = (uint16_t)name,
		.name_len = (uint16_t)name_len,
		.builtin = builtin,
	};
	return 0;
}

/* "path: dependencies" or "path", a line each: what is before the colon counts. */
static int index_file(struct modules *m, char **text, const char *file, bool builtin)
{
	uint8_t *bytes;
	size_t len;
	const char *at, *end;
	int rc = unpack_file(&bytes, &len, m->dir, file, INDEX_MAX);

	if (rc)
		return rc;
	*text = (char *)bytes;
	at = *text;
	end = at + len;
	while (at < end && !rc) {
		const char *line_end = memchr(at, '\n', (size_t)(end - at));
		const char *stop;

		if (!line_end)
			line_end = end;
		stop = memchr(at, ':', (size_t)(line_end - at));
		if (!stop)
			stop = line_end;
		while (stop > at && (stop[-1] == ' ' || stop[-1] == '\r'))
			stop--;
		rc = add_entry(m, at, (size_t)(stop - at), builtin);
		at = line_end + 1;
	}
	return rc;
}

struct module_entry *modules_find(const struct modules *m, const char *name, size_t len)
{
	char wanted[sizeof(m->list[0].name)];

	if (!len || len >= sizeof(wanted))
		return NULL;
	memcpy(wanted, name, len);
	wanted[len] = '\0';
	for (size_t i = 0; i < m->n_entries; i++) {
		struct module_entry *x = &m->entries[i];

		if (x->name_len == len && boot_options_same_name(x->path + x->name, len, wanted))
			return x;
	}
	return NULL;
}

/* Gives 0, -ENOENT if that is no modules directory, or another errno. */
static int open_dir(struct modules *m, const char *path)
{
	int builtin, rc;

	m->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (m->dir < 0)
		return errno == ENOTDIR ? -ENOENT : -errno;
	m->path = strdup(path);
	if (!m->path)
		return -ENOMEM;
	builtin = index_file(m, &m->texts[0], "modules.builtin", true);
	rc = builtin == 0 || builtin == -ENOENT ? index_file(m, &m->texts[1], "modules.dep", false)
						: builtin;
	if (rc == -ENOENT)
		rc = index_file(m, &m->texts[1], "modules.order", false);
	/* A kernel without any loadable module has modules.builtin alone. */
	return rc == -ENOENT ? builtin : rc;
}

static void close_dir(struct modules *m)
{
	fd_close(&m->dir);
	free(m->path);
	free(m->texts[0]);
	free(m->texts[1]);
	free(m->entries);
	m->path = m->texts[0] = m->texts[1] = NULL;
	m->entries = NULL;
	m->n_entries = m->room = 0;
}

static int try_dir(struct modules *m, struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int try_dir(struct modules *m, struct err *e, const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list args;
	int n, rc;

	va_start(args, fmt);
	n = vsnprintf(path, sizeof(path), fmt, args);
	va_end(args);
	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENOENT;
	rc = open_dir(m, path);
	if (!rc)
		return 0;
	close_dir(m);
	if (rc != -ENOENT)
		err_usage(e, rc, "--modules %s: %s", path, strerror(-rc));
	return rc;
}

/* A directory that is not named after the release must say what it is for: a
 * build tree does, in include/config/kernel.release. */
static bool is_for(const char *dir, const char *version)
{
	const char *base = strrchr(dir, '/');
	char path[PATH_MAX], text[256];
	int fd, n;
	ssize_t got;

	if (base && !strcmp(base + 1, version))
		return true;
	n = snprintf(path, sizeof(path), "%s/include/config/kernel.release", dir);
	if (n < 0 || (size_t)n >= sizeof(path))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return false;
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (got <= 0)
		return false;
	text[got] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return !strcmp(text, version);
}

/* Where links lead to is where the kernel's package is. */
static int try_beside(struct modules *m, struct err *e)
{
	char *dir = realpath(m->kernel, NULL), *slash = dir ? strrchr(dir, '/') : NULL;
	const char *const build = "/arch/x86/boot";
	int rc = -ENOENT;

	if (slash) {
		*slash = '\0';
		rc = try_dir(m, e, "%s/../lib/modules/%s", dir, m->version);
		/* Some distributions keep a kernel among its modules; a build tree has its
		 * vmlinux there too, and its bzImage below. */
		if (rc == -ENOENT && is_for(dir, m->version))
			rc = try_dir(m, e, "%s", dir);
		if (rc == -ENOENT && ends_with(dir, strlen(dir), build)) {
			dir[strlen(dir) - strlen(build)] = '\0';
			if (is_for(dir, m->version))
				rc = try_dir(m, e, "%s", dir);
		}
	}
	free(dir);
	return rc;
}

static bool version_is_sane(const char *version)
{
	return version[0] && version[0] != '.' && strlen(version) < 128 && !strchr(version, '/');
}

int modules_open(struct modules *m, const char *kernel, const char *version, const char *option,
		 const char *instead, struct err *e)
{
	int rc;

	memset(m, 0, sizeof(*m));
	m->dir = -1;
	m->kernel = kernel;
	m->version = version;
	m->instead = instead;
	if (!version_is_sane(version))
		return err_usage(e, -ENOENT, "--kernel %s: its release '%s' names no modules",
				 kernel, version);
	if (option) {
		rc = try_dir(m, e, "%s", option);
		if (rc == -ENOENT)
			rc = try_dir(m, e, "%s/%s", option, version);
		if (rc == -ENOENT)
			rc = try_dir(m, e, "%s/lib/modules/%s", option, version);
		return rc == -ENOENT
			       ? err_usage(
					 e, rc,
					 "--modules %s: has no modules of %s: no modules.dep or "
					 "modules.order in it, in its %s or in its lib/modules/%s",
					 option, version, version, version)
			       : rc;
	}
	rc = try_beside(m, e);
	if (rc == -ENOENT)
		rc = try_dir(m, e, "/lib/modules/%s", version);
	if (rc == -ENOENT)
		err_usage(e, rc,
			  "--kernel %s: no modules of %s in /lib/modules/%s nor next to it in "
			  "../lib/modules; install that kernel's package, or name its modules with "
			  "--modules DIR (none: all that it needs is built in), or %s",
			  kernel, version, version, instead);
	return rc;
}

void modules_fini(struct modules *m)
{
	for (unsigned i = 0; i < m->n; i++)
		free(m->list[i].bytes);
	m->n = 0;
	close_dir(m);
}
