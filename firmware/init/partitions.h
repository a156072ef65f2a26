/* SPDX-License-Identifier: Apache-2.0 */
/*
 * partitions: where the partitions of a disk are, and what they are called.
 *
 * The host needs their places to look for file systems. The guest's kernel
 * finds the places itself, but tells PARTUUIDs to no one before 6.13, so init
 * reads the table for the names. Numbers are those that Linux gives.
 */
#ifndef FIRMWARE_INIT_PARTITIONS_H
#define FIRMWARE_INIT_PARTITIONS_H

#include <stddef.h>
#include <stdint.h>

enum { PARTITIONS_MAX = 128 };

struct partition {
	unsigned number;     /* 1 for vda1 */
	uint64_t start, len; /* bytes */
	char uuid[37];       /* PARTUUID: a GUID, or "1234abcd-01" of an MBR */
	char name[109];      /* PARTLABEL, UTF-8; "" in an MBR */
};

/* Fill `out` with up to `max` partitions of the disk open at `fd`, in the order
 * of their numbers. Gives how many; 0 when there is no partition table. */
unsigned partitions_read(struct partition *out, unsigned max, int fd);

/* Linux's name for partition `number` of `disk`: vda1, but nvme0n1p1. Gives 0, or
 * -ENAMETOOLONG. */
int partition_name(char *out, size_t size, const char *disk, unsigned number);

#endif
