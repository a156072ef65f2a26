/* SPDX-License-Identifier: Apache-2.0 */
/* The shared directories: opened with the other files, so that a wrong path shows at once;
 * each is a virtio-fs device with a thread of its own. */
#include "vmm/base/bytes.h"
#include "vmm/machine/parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int machine_open_shares(struct machine *m, struct err *e)
{
	static const enum share_cache caches[] = {
		[CONFIG_CACHE_AUTO] = SHARE_CACHE_AUTO,
		[CONFIG_CACHE_NONE] = SHARE_CACHE_NONE,
		[CONFIG_CACHE_ALWAYS] = SHARE_CACHE_ALWAYS,
	};
	const struct vm_config *c = m->config;
	unsigned fds_max;
	int ret = 0;

	if (!c->n_shares)
		return 0;
	m->shares = calloc(c->n_shares, sizeof(*m->shares));
	if (!m->shares)
		return err_host(e, -ENOMEM, "out of memory");
	fds_max = m->dry ? SHARE_FDS_MIN : share_raise_limit(machine_fd_parts(c));
	for (unsigned i = 0; i < c->n_shares && !ret; i++) {
		const struct share_options options = {
			.name = c->shares[i].tag,
			.option = !i && c->command.root ? "--root" : NULL,
			.writable = c->shares[i].rw,
			.cache = caches[c->shares[i].cache],
			/* The command is no root there, but the same user. */
			.owners_shown = c->command.user_self,
			.fds_max = fds_max,
		};

		ret = share_open(&m->shares[i].backend, c->shares[i].path, &options, e);
	}
	return ret;
}

void machine_close_shares(struct machine *m)
{
	for (unsigned i = 0; m->shares && i < m->config->n_shares; i++)
		share_destroy(m->shares[i].backend);
	free(m->shares);
}

const char *machine_share_root(const struct vm_config *c, char root[MACHINE_ROOT_MAX])
{
	*root = '\0';
	for (unsigned i = 0; i < c->n_shares; i++)
		if (c->shares[i].mountpoint && !strcmp(c->shares[i].mountpoint, "/"))
			snprintf(root, MACHINE_ROOT_MAX, "%s rootfstype=virtiofs",
				 c->shares[i].tag);
	return root;
}

static int make_share(struct machine *m, struct shared_dir *s, const struct share_config *c,
		      struct err *e)
{
	const struct virtio_fs_options options = {
		.name = c->tag, .tag = c->tag, .n_request_queues = 1};
	struct share *backend = s->backend;

	s->thread = machine_start_thread(THREAD_SHARE, c->tag, e);
	if (!s->thread)
		return e->code;
	s->backend = NULL; /* the device's from here on, also if it fails */
	int ret = virtio_fs_init(&s->fs, backend, &options, &m->ram, io_thread_loop(s->thread));

	if (ret)
		return err_host(e, ret, "--share %s: %s", c->path, strerror(-ret));
	return machine_plug(m, &s->slot, &s->fs.v, e);
}

int machine_make_shares(struct machine *m, struct err *e)
{
	int ret = 0;

	for (unsigned i = 0; i < m->config->n_shares && !ret; i++)
		ret = make_share(m, &m->shares[i], &m->config->shares[i], e);
	return ret;
}

void machine_end_shares(struct machine *m)
{
	for (unsigned i = m->shares ? m->config->n_shares : 0; i-- > 0;) {
		virtio_fs_fini(&m->shares[i].fs);
		io_thread_destroy(m->shares[i].thread);
	}
}
