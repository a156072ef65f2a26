/* SPDX-License-Identifier: Apache-2.0 */
/* guest_mem_map: one region of guest RAM as a mapping of the host's. Internal to
 * guest_mem. */
#ifndef VMM_CORE_GUEST_MEM_MAP_H
#define VMM_CORE_GUEST_MEM_MAP_H

#include "vmm/core/guest_mem.h"

/* Fill r->hva (and r->fd, for GUEST_MEM_SHARED) for r->len bytes of the kind and pages
 * of `gm`. 0, or a negative errno with *e filled; r->fd is the caller's either way. */
int guest_mem_map(const struct guest_mem *gm, struct guest_mem_region *r, struct err *e);

#endif
