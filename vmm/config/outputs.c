/* SPDX-License-Identifier: Apache-2.0 */
/* outputs: where what is told to other programs goes. */
#include "vmm/config/options.h"
#include "vmm/config/size.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

int events_set(struct vm_config *c, const char *value, const struct origin *o, struct err *e)
{
	uint64_t fd = 0;
	int err;

	if (strncmp(value, "fd=", 3)) {
		c->events.fd = 0;
		return option_path(&c->events.path, value, o, e);
	}
	err = number_parse(value + 3, INT_MAX, &fd);
	if (!err && fd < 3)
		err = -ERANGE;
	if (err)
		return option_refuse(o, value, err, e,
				     "not an open descriptor; give a path, or fd=N with 3 or more");
	free(c->events.path);
	c->events.path = NULL;
	c->events.fd = (int)fd;
	return 0;
}
