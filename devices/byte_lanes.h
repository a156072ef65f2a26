/* SPDX-License-Identifier: Apache-2.0 */
/*
 * byte_lanes: the ISA bus in front of a chip that is eight bits wide.
 *
 * Such a chip never sees a wider access: the bus controller breaks it up into
 * byte cycles at ascending ports, lowest byte first. `outw(0x70, index | data
 * << 8)` is therefore a legal way to write a CMOS register.
 */
#ifndef DEVICES_BYTE_LANES_H
#define DEVICES_BYTE_LANES_H

#include <stdint.h>

static inline uint64_t byte_lanes_read(void *dev, uint64_t off, unsigned size,
				       uint8_t (*read8)(void *dev, uint64_t off))
{
	uint64_t val = 0;

	for (unsigned i = 0; i < size; i++)
		val |= (uint64_t)read8(dev, off + i) << (8 * i);
	return val;
}

static inline void byte_lanes_write(void *dev, uint64_t off, unsigned size, uint64_t val,
				    void (*write8)(void *dev, uint64_t off, uint8_t val))
{
	for (unsigned i = 0; i < size; i++)
		write8(dev, off + i, (uint8_t)(val >> (8 * i)));
}

#endif
