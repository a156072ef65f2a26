/* SPDX-License-Identifier: Apache-2.0 */
/* outputs: where other programs meet us. */
#include "vmm/config/options.h"
#include "vmm/config/size.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static int set_meeting(struct meeting_config *m, const char *value, const struct origin *o,
		       struct err *e)
{
	uint64_t fd = 0;
	int err;

	if (strncmp(value, "fd=", 3)) {
		m->fd = 0;
		return option_path(&m->path, value, o, e);
	}
	err = number_parse(value + 3, INT_MAX, &fd);
	if (!err && fd < 3)
		err = -ERANGE;
	if (err)
		return option_refuse(o, value, err, e,
				     "not an open descriptor; give a path, or fd=N with 3 or more");
	free(m->path);
	m->path = NULL;
	m->fd = (int)fd;
	return 0;
}

int events_set(struct vm_config *c, const char *value, const struct origin *o, struct err *e)
{
	return set_meeting(&c->events, value, o, e);
}

int control_set(struct vm_config *c, const char *value, const struct origin *o, struct err *e)
{
	if (!strcmp(value, "fd=systemd")) {
		free(c->control.path);
		c->control = (struct meeting_config){.fd = MEETING_FD_SYSTEMD};
		return 0;
	}
	return set_meeting(&c->control, value, o, e);
}
