/* SPDX-License-Identifier: Apache-2.0 */
/* The vsock, for a command or for --vsock: its path is judged with the other files, so that a wrong
 * one shows at once, and made with the device. It has a thread of its own. */
#include "devices/backend/vsock_unix.h"
#include "vmm/base/fd.h"
#include "vmm/machine/parts.h"

#include <string.h>

/* Of the process's descriptors connections get a quarter at most, and no more than a share. */
enum { FDS_PARTS_MIN = 4, CONNS_MIN = 16 };

static unsigned conns_max(const struct machine *m)
{
	unsigned parts = machine_fd_parts(m->config);

	if (m->dry || m->command)
		return CONNS_MIN;
	return fd_part_of_limit(parts < FDS_PARTS_MIN ? FDS_PARTS_MIN : parts, CONNS_MIN,
				VIRTIO_VSOCK_CONNS_MAX);
}

int machine_open_vsock(struct machine *m, struct err *e)
{
	const struct vsock_config *c = &m->config->vsock;

	if (m->config->command.wanted) {
		m->command = command_create(e);
		m->vsock.backend = m->command ? command_backend(m->command) : NULL;
		return m->command ? 0 : e->code;
	}
	int ret = c->path ? vsock_unix_create(&m->vsock.backend, "--vsock", c->path, e) : 0;

	return ret || !c->path ? ret : vsock_unix_check(m->vsock.backend, e);
}

void machine_close_vsock(struct machine *m)
{
	vsock_backend_destroy(m->vsock.backend);
}

int machine_make_vsock(struct machine *m, struct err *e)
{
	struct vsock *v = &m->vsock;
	struct vsock_backend *backend = v->backend;
	int ret = m->dry || m->command ? 0 : vsock_unix_listen(backend, e);

	if (ret)
		return ret;
	v->thread = machine_start_thread(MACHINE_VSOCK_NAME, e);
	if (!v->thread)
		return e->code;
	const struct virtio_vsock_options options = {
		.name = MACHINE_VSOCK_NAME,
		.cid = m->command ? VIRTIO_VSOCK_CID_MIN : m->config->vsock.cid,
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
