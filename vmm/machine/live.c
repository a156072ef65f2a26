/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/machine/live.h"

#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/core/clock.h"
#include "vmm/machine/parts.h"
#include "vmm/machine/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Delivery mode NMI to the boot processor, whose kernel is to hear of it; the vector
 * does not matter [SDM 3A 11.11.2]. */
#define NMI_ADDRESS 0xfee00000ull
#define NMI_DATA    0x400u

static const char by_control[] = "over the control socket";

/* --- standing still ------------------------------------------------------------------ */

int machine_pause(struct machine *m, struct err *e)
{
	int ret;

	if (m->paused)
		return 0;
	vcpus_park(&m->vcpus);
	ret = device_list_pause(&m->devices);
	if (ret) {
		vcpus_resume(&m->vcpus);
		return err_host(e, ret, "a disk does not finish its I/O: %s", strerror(-ret));
	}
	m->paused = true;
	log_info("paused");
	return 0;
}

void machine_resume(struct machine *m)
{
	if (!m->paused)
		return;
	m->paused = false;
	device_list_resume(&m->devices);
	vcpus_tell_stood(&m->vcpus);
	vcpus_resume(&m->vcpus);
	log_info("resumed");
	/* What the guest gave up at the last moment had to stay as it was. */
	machine_collect_ejected(m);
}

bool machine_paused(const struct machine *m)
{
	return m->paused;
}

/* --- buttons --------------------------------------------------------------------------- */

void machine_shut_down(struct machine *m, unsigned patience_s)
{
	machine_resume(m);
	power_button_press(&m->power);
	if (patience_s && m->stop_timer)
		loop_timer_start(m->stop_timer, patience_s * 1000ull);
}

int machine_reset(struct machine *m, struct err *e)
{
	if (m->command)
		return err_usage(e, -EINVAL, "a command runs in this guest, once; stop ends it");
	m->end.reset_asked = true;
	stop_request(&m->stop, STOP_RESET, by_control);
	return 0;
}

void machine_stop(struct machine *m)
{
	stop_request(&m->stop, STOP_USER, by_control);
}

int machine_nmi(struct machine *m)
{
	const struct msi msi = irqchip_msi(&m->irqchip);
	const struct msi_msg nmi = {NMI_ADDRESS, NMI_DATA};
	int ret = msi.ops->send(msi.ctx, &nmi);

	if (ret < 0) {
		log_warn("the NMI does not get through: %s", strerror(-ret));
		return ret;
	}
	log_info("NMI");
	return 0;
}

int machine_set_link(struct machine *m, const char *id, bool up, struct err *e)
{
	struct net_config *c;
	struct nic *nic = machine_find_net(m, id, &c, e);

	if (!nic)
		return e->code;
	if (up && virtio_net_lost(&nic->net))
		return err_host(e, -EPIPE, "%s: its network is gone", id);
	virtio_net_set_link(&nic->net, up);
	log_info("%s: the link is %s", id, up ? "up" : "down");
	return 0;
}

int machine_resize_disk(struct machine *m, const char *id, uint64_t *size, struct err *e)
{
	struct disk_config *c;
	struct disk *d = machine_find_disk(m, id, &c, e);

	if (!d)
		return e->code;
	int ret = virtio_blk_resize(&d->blk, *size, e);

	*size = virtio_blk_size(&d->blk);
	if (!ret)
		log_info("%s: has %lu bytes", id, *size);
	return ret;
}

/* What the guest has by now. */
static uint64_t ram_of(const struct machine *m)
{
	return m->config->memory + (machine_can_grow(m->config) ? virtio_mem_plugged(&m->mem) : 0);
}

/* No Linux does with less. */
#define BALLOON_LEAVES (16 * MiB)

int machine_set_balloon(struct machine *m, int64_t target, struct err *e)
{
	uint64_t ram = ram_of(m);

	if (!m->config->balloon)
		return err_usage(e, -ENOENT,
				 "this machine has no balloon; start it with --balloon");
	if (target < (int64_t)BALLOON_LEAVES || (uint64_t)target > ram)
		return err_usage(e, -ERANGE, "target has to be %lu to %lu bytes: the machine's RAM",
				 BALLOON_LEAVES, ram);
	virtio_balloon_set_target(&m->balloon,
				  (uint32_t)((ram - (uint64_t)target) / VIRTIO_BALLOON_PAGE));
	log_info("the balloon is to leave the guest %ld bytes", target);
	return 0;
}

int machine_set_memory(struct machine *m, int64_t size, struct err *e)
{
	const struct vm_config *c = m->config;
	uint64_t least = c->memory;
	uint64_t most = least + align_down(c->memory_max - least, VIRTIO_MEM_BLOCK);

	if (!machine_can_grow(c))
		return err_usage(e, -ENOENT,
				 "this machine has no room to grow; start it with --memory "
				 "SIZE,max=SIZE");
	if (size < (int64_t)least || (uint64_t)size > most)
		return err_usage(e, -ERANGE,
				 "size has to be %lu to %lu bytes: what it started with, and max",
				 least, most);
	if (((uint64_t)size - least) % VIRTIO_MEM_BLOCK)
		return err_usage(e, -EINVAL,
				 "size has to be %lu bytes, which it started with, and a multiple "
				 "of %llu; give %lu",
				 least, VIRTIO_MEM_BLOCK,
				 least + align_up((uint64_t)size - least, VIRTIO_MEM_BLOCK));
	virtio_mem_request(&m->mem, (uint64_t)size - least);
	log_info("the guest is to have %ld bytes of memory", size);
	return 0;
}

/* --- questions ------------------------------------------------------------------------- */

/* {"size": bytes, "limit": machine_limit_json()}. */
static json_t *a_disk(struct disk *d)
{
	const struct rates limit = virtio_blk_limit(&d->blk);

	return json_pack("{s:I, s:o}", "size", (json_int_t)virtio_blk_size(&d->blk), "limit",
			 machine_limit_json(&limit, false));
}

/* {"link": "up" or "down", "mac": "02:...", "limit": as above}. */
static json_t *a_net(struct nic *nic)
{
	const struct rates limit = virtio_net_limit(&nic->net);
	const uint8_t *mac = nic->net.mac;
	char text[18];

	snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	return json_pack("{s:s, s:s, s:o}", "link", virtio_net_link(&nic->net) ? "up" : "down",
			 "mac", text, "limit", machine_limit_json(&limit, true));
}

/* What came later: the same by their names in `o`, and "removing": was the guest asked for it? */
static void put_added(json_t *o, const struct machine *m, bool nets)
{
	for (unsigned s = 0; o && s < BOARD_PCI_SLOTS; s++) {
		struct added *a = m->added[s];

		if (!a || a->is_net != nets)
			continue;
		json_t *its = nets ? a_net(&a->nic) : a_disk(&a->disk);

		json_object_set_new(its, "removing", json_boolean(a->asked));
		json_object_set_new(o, a->id, its);
	}
}

static json_t *disks(const struct machine *m)
{
	json_t *o = json_object();

	for (unsigned i = 0; o && i < m->config->n_disks; i++)
		json_object_set_new(o, m->config->disks[i].id, a_disk(&m->disks[i]));
	put_added(o, m, false);
	return o;
}

static json_t *nets(const struct machine *m)
{
	json_t *o = json_object();

	for (unsigned i = 0; o && i < m->config->n_nets; i++)
		json_object_set_new(o, m->config->nets[i].id, a_net(&m->nics[i]));
	put_added(o, m, true);
	return o;
}

/* What `pages` in the balloon leave of RAM; the guest may claim any number. */
static json_int_t left(const struct machine *m, uint32_t pages)
{
	uint64_t ram = ram_of(m), taken = pages * VIRTIO_BALLOON_PAGE;

	return (json_int_t)(taken < ram ? ram - taken : 0);
}

/* What the guest is to have left, and has; null without a balloon. */
static json_t *balloon(const struct machine *m)
{
	const struct virtio_balloon *b = &m->balloon;

	return m->config->balloon
		       ? json_pack("{s:I, s:I}", "target", left(m, virtio_balloon_target(b)),
				   "actual", left(m, virtio_balloon_actual(b)))
		       : json_null();
}

/* Bytes: of RAM in all, of it what is plugged, and how much of that there should be; null if it
 * cannot grow. */
static json_t *mem(const struct machine *m)
{
	return machine_can_grow(m->config)
		       ? json_pack("{s:I, s:I, s:I}", "size", (json_int_t)ram_of(m), "plugged",
				   (json_int_t)virtio_mem_plugged(&m->mem), "requested",
				   (json_int_t)virtio_mem_requested(&m->mem))
		       : json_null();
}

/* null without one that programs can use. */
static json_t *vsock(const struct machine *m)
{
	const struct vsock_config *c = &m->config->vsock;

	return config_has_vsock(c)
		       ? json_pack("{s:I, s:b}", "cid", (json_int_t)c->cid, "vhost", c->vhost)
		       : json_null();
}

json_t *machine_status(const struct machine *m)
{
	const struct vm_config *c = m->config;
	uint64_t uptime = clock_monotonic_ns(&clock_host) - m->end.began_ns;
	json_t *devices = json_array();

	for (unsigned i = 0; devices && i < m->devices.n; i++)
		json_array_append_new(devices, json_string(m->devices.items[i].name));
	return json_pack("{s:s, s:i, s:I, s:o, s:i, s:I, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
			 "state", m->paused ? "paused" : "running", "pid", (int)getpid(),
			 "uptime_ms", (json_int_t)(uptime / 1000000), "kernel",
			 json_text(c->kernel), "cpus", (int)machine_cpus(m), "memory",
			 (json_int_t)c->memory, "command", c->command.wanted, "devices", devices,
			 "disks", disks(m), "nets", nets(m), "balloon", balloon(m), "mem", mem(m),
			 "vsock", vsock(m), "cpu", machine_cpu_json(m));
}

json_t *machine_stats(struct machine *m)
{
	bool stood = m->paused;

	if (!stood)
		vcpus_park(&m->vcpus);
	json_t *stats = stats_collect(m);

	/* For who asks the next time: a guest answers when it gets to it, if ever. */
	if (m->config->balloon)
		virtio_balloon_ask(&m->balloon);
	if (!stood)
		vcpus_resume(&m->vcpus);
	return stats;
}

json_t *machine_screenshot(struct machine *m)
{
	char *lines = machine_last_lines(m);
	json_t *o = lines ? json_text(lines) : json_null();

	free(lines);
	return o;
}
