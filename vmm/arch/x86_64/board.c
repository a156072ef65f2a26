/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/arch/x86_64/board.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

uint64_t board_growth(uint64_t memory, uint64_t memory_max)
{
	return align_up(memory_max - memory, LAYOUT_GROWTH_STEP);
}

int board_init(struct board *b, uint64_t memory, uint64_t memory_max, unsigned cpus,
	       unsigned cpus_max, unsigned address_bits, struct err *e)
{
	uint64_t limit = address_bits < 64 ? 1ull << address_bits : UINT64_MAX;

	*b = (struct board){.cpus = cpus, .cpus_max = cpus_max, .serial = true};
	b->ram_low = memory < LAYOUT_HOLE ? memory : LAYOUT_HOLE;
	b->ram_high = memory - b->ram_low;
	b->growth_len = board_growth(memory, memory_max);
	b->growth = LAYOUT_HOLE_END + b->ram_high;
	if (b->growth_len)
		b->growth = align_up(b->growth, LAYOUT_GROWTH_ALIGN);
	/* BARs of up to 1 GiB stay naturally aligned from here. */
	b->mmio64 = align_up(b->growth + b->growth_len, GiB);
	if (b->mmio64 >= limit)
		return err_usage(e, -EINVAL,
				 "--memory %lu MiB: more than this host's guests can address "
				 "(%u bits); give less",
				 memory_max / MiB, address_bits);
	b->mmio64_len = limit - b->mmio64;
	if (b->mmio64_len > 64 * GiB)
		b->mmio64_len = 64 * GiB;
	return 0;
}

int board_add_virtio(struct board *b, const char *name, struct err *e)
{
	unsigned i = b->n_virtio, max = b->virtio_mmio ? BOARD_VIRTIO_MAX : BOARD_PCI_SLOTS - 1;

	if (i == max)
		return err_usage(
			e, -ENOSPC,
			"%s: there is room for %u virtio devices with --transport %s; give "
			"fewer",
			name, max, b->virtio_mmio ? "mmio" : "pci");
	b->virtio[i] = (struct board_virtio){.name = name};
	if (b->virtio_mmio) {
		b->virtio[i].base = LAYOUT_VIRTIO_MMIO + i * LAYOUT_VIRTIO_MMIO_LEN;
		b->virtio[i].gsi = LAYOUT_GSI_VIRTIO + i;
	} else {
		b->virtio[i].slot = 1 + i;
	}
	b->n_virtio++;
	return 0;
}

int board_set_hotplug(struct board *b, unsigned n, struct err *e)
{
	unsigned room = BOARD_PCI_SLOTS - board_hotplug_slot(b);

	if (n && b->virtio_mmio)
		return err_usage(e, -ENOTSUP,
				 "--hotplug %u: devices come and go on PCI only; leave "
				 "--transport mmio away",
				 n);
	if (!b->virtio_mmio && n > room)
		return err_usage(e, -ENOSPC,
				 "--hotplug %u: of the 31 PCI slots this machine's devices leave "
				 "%u; give no more",
				 n, room);
	b->n_hotplug = n;
	return 0;
}

unsigned board_ioapic_pins(const struct board *b)
{
	return LAYOUT_GSI_VIRTIO + (b->virtio_mmio ? b->n_virtio : 0);
}

static int map_part(struct guest_mem *gm, uint64_t gpa, uint64_t len, int fd, uint64_t off,
		    struct err *e)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (own < 0)
		return err_host(e, -errno, "guest memory: %s", strerror(errno));
	return guest_mem_add(gm, gpa, len, own, off, e);
}

int board_map_saved_ram(const struct board *b, struct guest_mem *gm, int fd, struct err *e)
{
	int ret = map_part(gm, 0, b->ram_low, fd, 0, e);

	if (!ret && b->ram_high)
		ret = map_part(gm, LAYOUT_HOLE_END, b->ram_high, fd, b->ram_low, e);
	if (!ret && b->growth_len)
		ret = map_part(gm, b->growth, b->growth_len, fd, b->ram_low + b->ram_high, e);
	return ret;
}

int board_map_ram(const struct board *b, struct guest_mem *gm, struct err *e)
{
	int ret = guest_mem_add(gm, 0, b->ram_low, -1, 0, e);

	if (!ret && b->ram_high)
		ret = guest_mem_add(gm, LAYOUT_HOLE_END, b->ram_high, -1, 0, e);
	if (!ret && b->growth_len)
		ret = guest_mem_add(gm, b->growth, b->growth_len, -1, 0, e);
	return ret;
}
