/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --dry-run: the machine as it would be.
 *
 * There is one description, as JSON; what people read is made from it, so that both are
 * told the same. Everything in it is read from the parts themselves: the buses, the PCI
 * functions and their BARs, the map that firmware hands to the guest.
 */
#include "firmware/e820.h"
#include "vmm/base/bytes.h"
#include "vmm/machine/parts.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* A range of addresses. */
static json_t *range(uint64_t base, uint64_t len)
{
	return json_pack("{s:I, s:I}", "base", (json_int_t)base, "len", (json_int_t)len);
}

/* JSON is UTF-8, and a path or a command line may be any bytes: each that makes it no
 * UTF-8 is told as '?', with all that are not ASCII. */
static json_t *any_text(const char *bytes)
{
	json_t *same = json_string(bytes);

	if (same)
		return same;
	char *copy = strdup(bytes);

	for (char *p = copy; p && *p; p++)
		if (*p & 0x80)
			*p = '?';
	same = copy ? json_string(copy) : NULL;
	free(copy);
	return same;
}

static json_t *named(json_t *object, const char *key, const char *name)
{
	json_object_set_new(object, key, json_string(name));
	return object;
}

/* --- memory ------------------------------------------------------------------------ */

static json_t *map_of(const struct board *b)
{
	json_t *list = json_array();
	struct e820 map;

	e820_build(&map, b);
	for (unsigned i = 0; i < map.n; i++)
		json_array_append_new(list,
				      named(range(map.entries[i].gpa, map.entries[i].len), "type",
					    map.entries[i].type == E820_RAM ? "ram" : "reserved"));
	/* Which firmware does not tell. */
	if (b->growth_len)
		json_array_append_new(list, named(range(b->growth, b->growth_len), "type", "mem"));
	return list;
}

/* What lies in RAM when the guest starts, lowest first. */
static json_t *contents_of(const struct machine *m, const char *cmdline)
{
	const struct kernel *k = &m->files.kernel;
	json_t *list = json_array();

	json_array_append_new(
		list, named(range(LAYOUT_CMDLINE, strlen(cmdline) + 1), "what", "command line"));
	json_array_append_new(list,
			      named(range(LAYOUT_ACPI, LAYOUT_ACPI_LEN), "what", "ACPI tables"));
	json_array_append_new(
		list, named(range(LAYOUT_VMGENID, VMGENID_LEN), "what", "VM generation ID"));
	json_array_append_new(list, named(range(k->start, k->end - k->start), "what", "kernel"));
	if (m->initrd_len)
		json_array_append_new(list,
				      named(range(m->initrd, m->initrd_len), "what", "initrd"));
	return list;
}

static json_t *memory_of(const struct machine *m, const char *cmdline)
{
	static const char *const pages[] = {
		[MEMORY_PAGES_HOST] = "host", [MEMORY_PAGES_SMALL] = "off",
		[MEMORY_PAGES_THP] = "thp",   [MEMORY_PAGES_2M] = "2M",
		[MEMORY_PAGES_1G] = "1G",
	};
	const struct vm_config *c = m->config;

	return json_pack("{s:I, s:I, s:s, s:b, s:b, s:o, s:o}", "bytes", (json_int_t)c->memory,
			 "max", (json_int_t)c->memory_max, "hugepages", pages[c->memory_pages],
			 "shared", c->memory_shared, "prefault", c->memory_prefault, "map",
			 map_of(&m->board), "contents", contents_of(m, cmdline));
}

/* --- devices ----------------------------------------------------------------------- */

/* The I/O APIC's pin of whoever answers at a place, or -1. */
static int pin_of(const struct machine *m, const char *name)
{
	static const struct {
		const char *name;
		int gsi;
	} chips[] = {
		{"com1", LAYOUT_GSI_COM1}, {"com2", LAYOUT_GSI_COM2}, {"power", LAYOUT_GSI_GED}};

	for (unsigned i = 0; i < ARRAY_LEN(chips); i++)
		if (strcmp(name, chips[i].name) == 0)
			return chips[i].gsi;
	for (unsigned i = 0; m->board.virtio_mmio && i < m->board.n_virtio; i++)
		if (strcmp(name, m->board.virtio[i].name) == 0)
			return (int)m->board.virtio[i].gsi;
	return -1;
}

static json_t *bus_of(const struct machine *m, const struct bus *b)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < b->n; i++) {
		const struct bus_region *r = &b->regions[i];
		json_t *region = named(range(r->base, r->len), "name", r->name);
		int gsi = pin_of(m, r->name);

		if (gsi >= 0)
			json_object_set_new(region, "gsi", json_integer(gsi));
		json_array_append_new(list, region);
	}
	return list;
}

/* From the capability's Message Control [PCI 3.0 6.8.2.3]; 0 without MSI-X. */
static int msix_vectors(const struct pci_dev *d)
{
	unsigned cap = d->config[PCI_CAPABILITIES_POINTER];

	for (unsigned i = 0; cap && i < PCI_CONFIG_LEN / 4; i++, cap = d->config[cap + 1])
		if (d->config[cap] == PCI_CAP_ID_MSIX)
			return (pci_config_get16(d, cap + 2) & 0x7ff) + 1;
	return 0;
}

static json_t *function_of(const struct pci_dev *d)
{
	json_t *bars = json_array();

	for (unsigned i = 0; i < PCI_BARS; i++)
		if (d->bars[i].size) {
			json_t *bar = range(pci_bar_address(d, i), d->bars[i].size);

			json_object_set_new(bar, "index", json_integer(i));
			json_array_append_new(bars, bar);
		}
	return json_pack("{s:i, s:s, s:i, s:i, s:i, s:o}", "slot", (int)d->slot, "name", d->name,
			 "vendor", pci_config_get16(d, PCI_VENDOR_ID), "device",
			 pci_config_get16(d, PCI_DEVICE_ID), "msix_vectors", msix_vectors(d),
			 "bars", bars);
}

static json_t *pci_of(const struct machine *m)
{
	json_t *list = json_array();

	for (unsigned i = 0; !m->board.virtio_mmio && i < PCI_SLOTS; i++)
		if (m->pci.slots[i])
			json_array_append_new(list, function_of(m->pci.slots[i]));
	return list;
}

static json_t *disks_of(const struct machine *m)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < m->config->n_disks; i++) {
		const struct disk_config *c = &m->config->disks[i];
		const struct virtio_blk *blk = &m->disks[i].blk;
		const struct rates limit = machine_rates(&c->limit);

		json_array_append_new(list,
				      json_pack("{s:s, s:o, s:s, s:b, s:I, s:i, s:i, s:o}", "id",
						c->id, "path", any_text(c->path), "serial",
						c->serial, "readonly", c->readonly, "bytes",
						(json_int_t)virtio_blk_size(blk), "queues",
						(int)blk->v.n_queues, "threads", (int)blk->n_lanes,
						"limit", machine_limit_json(&limit, false)));
	}
	return list;
}

/* The address that the guest is given; of an inherited tap it rests on its name, which
 * is not asked for here. */
static json_t *nets_of(const struct machine *m)
{
	static const char *const kinds[] = {
		[NET_USER] = "user", [NET_TAP] = "tap", [NET_FD] = "fd"};
	json_t *list = json_array();

	for (unsigned i = 0; i < m->config->n_nets; i++) {
		const struct net_config *c = &m->config->nets[i];
		const uint8_t *mac = m->nics[i].mac;
		char text[18];
		const struct rates limit = machine_rates(&c->limit);
		json_t *net = json_pack("{s:s, s:s, s:o}", "id", c->id, "kind", kinds[c->kind],
					"limit", machine_limit_json(&limit, true));

		snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1],
			 mac[2], mac[3], mac[4], mac[5]);
		if (c->has_mac || c->kind != NET_FD)
			json_object_set_new(net, "mac", json_string(text));
		json_array_append_new(list, net);
	}
	return list;
}

static json_t *shares_of(const struct machine *m)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < m->config->n_shares; i++) {
		const struct share_config *c = &m->config->shares[i];
		json_t *share = json_pack("{s:s, s:o, s:b}", "tag", c->tag, "path",
					  any_text(c->path), "readonly", !c->rw);

		if (c->mountpoint)
			json_object_set_new(share, "mountpoint", any_text(c->mountpoint));
		json_array_append_new(list, share);
	}
	return list;
}

/* null without one. */
static json_t *vsock_of(const struct machine *m)
{
	const struct vsock_config *c = &m->config->vsock;

	if (!config_has_vsock(c))
		return json_null();
	return json_pack("{s:o, s:b, s:I}", "path", c->path ? any_text(c->path) : json_null(),
			 "vhost", c->vhost, "cid", (json_int_t)c->cid);
}

static json_t *kernel_of(const struct kernel *k, const struct boot_entry *entry)
{
	return json_pack("{s:o, s:s, s:o, s:s, s:I}", "path", any_text(k->path), "format",
			 k->kind == KERNEL_ELF ? "ELF" : "bzImage", "version", any_text(k->version),
			 "entered_by", boot_protocol_name(k->protocol), "entry",
			 (json_int_t)entry->rip);
}

static json_t *describe(const struct machine *m, const struct boot_entry *entry)
{
	const char *cmdline = guest_mem_hva(&m->ram, LAYOUT_CMDLINE, LAYOUT_CMDLINE_MAX);

	return json_pack("{s:o, s:{s:i, s:i}, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
			 "kernel", kernel_of(&m->files.kernel, entry), "cpus", "count",
			 (int)m->board.cpus, "max", (int)m->board.cpus_max, "memory",
			 memory_of(m, cmdline), "transport", m->board.virtio_mmio ? "mmio" : "pci",
			 "ports", bus_of(m, &m->pio), "mmio", bus_of(m, &m->mmio), "pci", pci_of(m),
			 "disks", disks_of(m), "nets", nets_of(m), "shares", shares_of(m), "vsock",
			 vsock_of(m), "command_line", any_text(cmdline));
}

/* --- for people -------------------------------------------------------------------- */

static const char *text(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

static unsigned long long num(const json_t *o, const char *key)
{
	return (unsigned long long)json_integer_value(json_object_get(o, key));
}

static void print_range(const json_t *o, int digits, FILE *out)
{
	fprintf(out, "  %0*llx-%0*llx", digits, num(o, "base"), digits,
		num(o, "base") + num(o, "len") - 1);
}

/* Ranges with what is in them, under `key`, and their pins. */
static void print_ranges(const char *title, const json_t *list, const char *key, int digits,
			 FILE *out)
{
	const json_t *o;
	size_t i;

	fprintf(out, "\n%s\n", title);
	json_array_foreach(list, i, o)
	{
		print_range(o, digits, out);
		fprintf(out, "  %s", text(o, key));
		if (json_object_get(o, "gsi"))
			fprintf(out, ", IRQ %llu", num(o, "gsi"));
		fputc('\n', out);
	}
}

static void print_pci(const json_t *list, FILE *out)
{
	const json_t *o, *bar;
	size_t i, j;

	if (json_array_size(list))
		fprintf(out, "\nPCI, bus 0\n");
	json_array_foreach(list, i, o)
	{
		fprintf(out, "  00:%02llx.0  %04llx:%04llx  %s", num(o, "slot"), num(o, "vendor"),
			num(o, "device"), text(o, "name"));
		if (num(o, "msix_vectors"))
			fprintf(out, ", %llu MSI-X vectors", num(o, "msix_vectors"));
		fputc('\n', out);
		json_array_foreach(json_object_get(o, "bars"), j, bar)
		{
			fprintf(out, "    BAR %llu", num(bar, "index"));
			print_range(bar, 8, out);
			fputc('\n', out);
		}
	}
}

static void print_limit(const json_t *limit, FILE *out)
{
	if (num(limit, "bps"))
		fprintf(out, ", %llu bytes a second (burst %llu)", num(limit, "bps"),
			num(limit, "burst"));
	if (num(limit, "iops"))
		fprintf(out, ", %llu operations a second (burst %llu)", num(limit, "iops"),
			num(limit, "iops_burst"));
	if (num(limit, "pps"))
		fprintf(out, ", %llu packets a second (burst %llu)", num(limit, "pps"),
			num(limit, "pps_burst"));
	fputc('\n', out);
}

static void print_disks(const json_t *list, FILE *out)
{
	const json_t *o;
	size_t i;

	if (json_array_size(list))
		fprintf(out, "\nDisks\n");
	json_array_foreach(list, i, o)
	{
		fprintf(out, "  %s: %s, %llu bytes, queues %llu, threads %llu%s", text(o, "id"),
			text(o, "path"), num(o, "bytes"), num(o, "queues"), num(o, "threads"),
			json_is_true(json_object_get(o, "readonly")) ? ", read-only" : "");
		print_limit(json_object_get(o, "limit"), out);
	}
}

static void print_nets(const json_t *list, FILE *out)
{
	const json_t *o;
	size_t i;

	if (json_array_size(list))
		fprintf(out, "\nNetworks\n");
	json_array_foreach(list, i, o)
	{
		fprintf(out, "  %s: %s%s%s", text(o, "id"), text(o, "kind"),
			json_object_get(o, "mac") ? ", MAC " : "",
			json_object_get(o, "mac") ? text(o, "mac") : "");
		print_limit(json_object_get(o, "limit"), out);
	}
}

static void print_shares(const json_t *list, FILE *out)
{
	const json_t *o;
	size_t i;

	if (json_array_size(list))
		fprintf(out, "\nShares\n");
	json_array_foreach(list, i, o)
		fprintf(out, "  %s: %s%s%s%s\n", text(o, "tag"), text(o, "path"),
			json_object_get(o, "mountpoint") ? " on " : "",
			json_object_get(o, "mountpoint") ? text(o, "mountpoint") : "",
			json_is_true(json_object_get(o, "readonly")) ? ", read-only" : "");
}

static void print_vsock(const json_t *o, FILE *out)
{
	if (!json_is_null(o))
		fprintf(out, "\nVsock\n  CID %llu: %s\n", num(o, "cid"),
			json_is_true(json_object_get(o, "vhost")) ? "vhost" : text(o, "path"));
}

static void print(const json_t *all, FILE *out)
{
	const json_t *kernel = json_object_get(all, "kernel"), *cpus = json_object_get(all, "cpus");
	const json_t *memory = json_object_get(all, "memory");

	fprintf(out, "kernel        %s (%s%s%s), entered by %s at %#llx\n", text(kernel, "path"),
		text(kernel, "format"), *text(kernel, "version") ? ", " : "",
		text(kernel, "version"), text(kernel, "entered_by"), num(kernel, "entry"));
	fprintf(out, "processors    %llu of %llu\n", num(cpus, "count"), num(cpus, "max"));
	fprintf(out, "memory        %llu KiB of %llu, hugepages=%s%s%s\n",
		num(memory, "bytes") / KiB, num(memory, "max") / KiB, text(memory, "hugepages"),
		json_is_true(json_object_get(memory, "shared")) ? ",shared=on" : "",
		json_is_true(json_object_get(memory, "prefault")) ? ",prefault=on" : "");
	fprintf(out, "command line  %s\n", text(all, "command_line"));
	print_ranges("Memory map", json_object_get(memory, "map"), "type", 12, out);
	print_ranges("In memory", json_object_get(memory, "contents"), "what", 12, out);
	print_ranges("Ports", json_object_get(all, "ports"), "name", 4, out);
	print_ranges("Memory-mapped", json_object_get(all, "mmio"), "name", 12, out);
	print_pci(json_object_get(all, "pci"), out);
	print_disks(json_object_get(all, "disks"), out);
	print_nets(json_object_get(all, "nets"), out);
	print_shares(json_object_get(all, "shares"), out);
	print_vsock(json_object_get(all, "vsock"), out);
}

int machine_print(const struct machine *m, const struct boot_entry *entry, bool json, FILE *out)
{
	json_t *all = describe(m, entry);
	int ret = 0;

	if (!all)
		return -ENOMEM;
	if (!json)
		print(all, out);
	else if (json_dumpf(all, out, JSON_INDENT(2)) || fputc('\n', out) == EOF)
		ret = -EIO;
	json_decref(all);
	return fflush(out) || ferror(out) ? -EIO : ret;
}
