/* SPDX-License-Identifier: Apache-2.0 */
/* The vsock, for a command, for --vsock, or for both: its path is judged with the other files, so
 * that a wrong one shows at once, and made with the device. It has a thread of its own, be it for
 * events alone where the host's kernel does the rest. */
#include "devices/backend/vsock_unix.h"
#include "devices/backend/vsock_vhost.h"
#include "vmm/base/fd.h"
#include "vmm/machine/parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Of the process's descriptors connections get a quarter at most, and no more than a share. */
enum { FDS_PARTS_MIN = 4, CONNS_MIN = 16 };

static unsigned conns_max(const struct machine *m)
{
	unsigned parts = machine_fd_parts(m->config);

	if (m->dry || !m->vsock.sockets)
		return CONNS_MIN;
	return fd_part_of_limit(parts < FDS_PARTS_MIN ? FDS_PARTS_MIN : parts, CONNS_MIN,
				VIRTIO_VSOCK_CONNS_MAX);
}

static void destroy_nothing(struct vsock_backend *b)
{
	free(b);
}

/* A machine that is only described takes no address from others: its device is never started, so
 * nobody calls but at its end. */
static int describe_vhost(struct vsock_backend **out, struct err *e)
{
	static const struct vsock_backend_ops ops = {.destroy = destroy_nothing};

	*out = calloc(1, sizeof(**out));
	if (!*out)
		return err_host(e, -ENOMEM, "--vsock: out of memory");
	(*out)->ops = &ops;
	return 0;
}

int machine_open_vsock(struct machine *m, struct err *e)
{
	const struct vsock_config *c = &m->config->vsock;
	struct vsock *v = &m->vsock;

	if (c->vhost)
		return m->dry ? describe_vhost(&v->backend, e)
			      : vsock_vhost_open(&v->backend, "--vsock " CONFIG_VSOCK_VHOST, c->cid,
						 e);
	int ret = c->path ? vsock_unix_create(&v->sockets, "--vsock", c->path, e) : 0;

	v->backend = v->sockets;
	if (!ret && m->config->command.wanted) {
		m->command = command_create(e);
		ret = m->command ? 0 : e->code;
		v->backend = ret ? v->sockets : command_backend(m->command, v->sockets);
	}
	return ret || !v->sockets ? ret : vsock_unix_check(v->sockets, e);
}

void machine_close_vsock(struct machine *m)
{
	vsock_backend_destroy(m->vsock.backend);
}

int machine_make_vsock(struct machine *m, struct err *e)
{
	struct vsock *v = &m->vsock;
	struct vsock_backend *backend = v->backend;
	int ret = m->dry || !v->sockets ? 0 : vsock_unix_listen(v->sockets, e);

	if (ret)
		return ret;
	v->thread = machine_start_thread(THREAD_VSOCK, MACHINE_VSOCK_NAME, e);
	if (!v->thread)
		return e->code;
	const struct virtio_vsock_options options = {
		.name = MACHINE_VSOCK_NAME,
		.cid = config_has_vsock(&m->config->vsock) ? m->config->vsock.cid
							   : VIRTIO_VSOCK_CID_MIN,
		.conns_max = conns_max(m),
	};

	v->backend = NULL; /* the device's from here on, also if it fails */
	ret = virtio_vsock_init(&v->dev, backend, &options, &m->ram, io_thread_loop(v->thread));
	if (ret)
		return err_host(e, ret, "--vsock: %s", strerror(-ret));
	return machine_plug(m, &v->slot, &v->dev.v, e);
}

void machine_end_vsock(struct machine *m)
{
	virtio_vsock_fini(&m->vsock.dev);
	io_thread_destroy(m->vsock.thread);
}
