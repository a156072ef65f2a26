/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/pci/conf1.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>

enum {
	CONFIG_ADDRESS = 0,
	RESET_CONTROL = 1,
	CONFIG_DATA = 4,

	STATE_VERSION = 1,
};

/* CONFIG_ADDRESS: enable, bus, device, function, register. */
#define ADDRESS_ENABLE   (1u << 31)
#define ADDRESS_BUS      0x00ff0000u
#define ADDRESS_FUNCTION 0x0000ff00u
#define ADDRESS_REGISTER 0x000000fcu
#define ADDRESS_DEFINED  (ADDRESS_ENABLE | ADDRESS_BUS | ADDRESS_FUNCTION | ADDRESS_REGISTER)

void pci_conf1_init(struct pci_conf1 *c, struct pci_host *host, const struct io_ops *reset_ops,
		    void *reset_dev)
{
	*c = (struct pci_conf1){.host = host, .reset_ops = reset_ops, .reset_dev = reset_dev};
}

/* Where in ECAM the data window looks now; false: nowhere on bus 0. */
static bool window(struct pci_conf1 *c, uint64_t port, unsigned size, uint64_t *ecam)
{
	uint32_t address = atomic_load(&c->address);
	uint64_t lane = port - CONFIG_DATA;

	if (port < CONFIG_DATA || lane + size > 4 || !(address & ADDRESS_ENABLE) ||
	    (address & ADDRESS_BUS))
		return false;
	/* Device and function select 4 KiB of ECAM [PCIe 5.0 7.2.2]. */
	*ecam = (uint64_t)(address & ADDRESS_FUNCTION) << 4 | (address & ADDRESS_REGISTER) | lane;
	return true;
}

static uint64_t conf1_read(void *dev, uint64_t port, unsigned size)
{
	struct pci_conf1 *c = dev;
	uint64_t ecam;

	if (port == CONFIG_ADDRESS && size == 4)
		return atomic_load(&c->address);
	if (port == RESET_CONTROL && size == 1)
		return c->reset_ops->read(c->reset_dev, 0, size);
	if (window(c, port, size, &ecam))
		return pci_host_ecam_ops.read(c->host, ecam, size);
	return UINT64_MAX;
}

static void conf1_write(void *dev, uint64_t port, unsigned size, uint64_t val)
{
	struct pci_conf1 *c = dev;
	uint64_t ecam;

	if (port == CONFIG_ADDRESS && size == 4)
		atomic_store(&c->address, (uint32_t)val & ADDRESS_DEFINED);
	else if (port == RESET_CONTROL && size == 1)
		c->reset_ops->write(c->reset_dev, 0, size, val);
	else if (window(c, port, size, &ecam))
		pci_host_ecam_ops.write(c->host, ecam, size, val);
}

const struct io_ops pci_conf1_io_ops = {.read = conf1_read, .write = conf1_write};

static void conf1_reset(void *dev)
{
	struct pci_conf1 *c = dev;

	atomic_store(&c->address, 0);
}

static void conf1_save(void *dev, struct state_writer *w)
{
	struct pci_conf1 *c = dev;

	state_section_begin(w, "pci-conf1", STATE_VERSION);
	state_put_u32(w, atomic_load(&c->address));
	state_section_end(w);
}

static int conf1_load(void *dev, struct state_reader *r, struct err *e)
{
	struct pci_conf1 *c = dev;
	int ret = state_section_expect(r, "pci-conf1", STATE_VERSION, e);

	if (ret)
		return ret;
	uint32_t address = state_get_u32(r);

	ret = state_section_close(r, e);
	if (ret)
		return ret;
	if (address & ~ADDRESS_DEFINED)
		return err_host(e, -EBADMSG, "saved state: 'pci-conf1' has reserved bits set");
	atomic_store(&c->address, address);
	return 0;
}

const struct device_ops pci_conf1_device_ops = {
	.reset = conf1_reset,
	.save = conf1_save,
	.load = conf1_load,
};
