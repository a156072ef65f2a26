/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device: the life that every device has.
 *
 *	x_init -> [load] -> (reset | pause -> save -> resume)* -> fini
 *
 * `pause` stops the device's own activity (I/O in flight is drained, timers
 * stop) with every vCPU parked; after it, guest RAM and the device's state
 * stand still until `resume`. `save` writes the state field by field; `load`
 * takes it as untrusted input: it checks everything before it sets anything, and a
 * device whose load fails is unchanged or back at power-on, never in between.
 * All of these run on the main thread. A NULL entry means nothing to do.
 */
#ifndef VMM_CORE_DEVICE_H
#define VMM_CORE_DEVICE_H

#include "vmm/base/err.h"
#include "vmm/core/state.h"

struct device_ops {
	void (*reset)(void *dev);
	int (*pause)(void *dev);
	void (*resume)(void *dev);
	void (*save)(void *dev, struct state_writer *w);
	int (*load)(void *dev, struct state_reader *r, struct err *e);
	void (*fini)(void *dev);
};

struct device {
	const char *name; /* unique in the machine and stable: names its section of saved state */
	const struct device_ops *ops;
	void *dev;
};

/* The machine's devices in creation order. For the main thread. */
struct device_list {
	unsigned n;
	struct device items[128];
};

/* 0 or -ENOSPC. */
int device_list_add(struct device_list *l, const char *name, const struct device_ops *ops,
		    void *dev);
/* Take `dev` off; nothing of it is called. One that is not on the list is fine. */
void device_list_remove(struct device_list *l, const void *dev);
void device_list_reset(struct device_list *l);
/* Pause in creation order; a failure resumes those that were paused. */
int device_list_pause(struct device_list *l);
void device_list_resume(struct device_list *l);
void device_list_save(struct device_list *l, struct state_writer *w);
int device_list_load(struct device_list *l, struct state_reader *r, struct err *e);
/* fini in reverse order; the list is empty afterwards. */
void device_list_fini(struct device_list *l);

#endif
