/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is saved is the place alone: whoever loads it gives it another value, before the guest's
 * next instruction. The place comes with the state since the tables in the guest's RAM name it, and
 * not those that this minivmm would write.
 */
#include "devices/power/vmgenid.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

enum { STATE_VERSION = 1 };

static const char section[] = "vmgenid";

void vmgenid_init(struct vmgenid *v, struct guest_mem *gm, uint64_t gpa,
		  const struct vmgenid_wires *wires)
{
	*v = (struct vmgenid){.gm = gm, .gpa = gpa, .wires = *wires};
}

int vmgenid_create(struct vmgenid *v, struct err *e)
{
	uint8_t id[VMGENID_LEN];

	if (!v->gpa)
		return 0;
	/* So few come whole, and no signal interrupts them [getrandom(2)]. */
	if (getrandom(id, sizeof(id), 0) != (ssize_t)sizeof(id))
		return err_host(e, -EIO, "vmgenid: the host gives no random bytes");
	int ret = guest_mem_write(v->gm, v->gpa, id, sizeof(id));

	return ret ? err_host(e, ret, "vmgenid: %s", strerror(-ret)) : 0;
}

int vmgenid_renew(struct vmgenid *v, struct err *e)
{
	int ret = vmgenid_create(v, e);

	if (!ret && v->gpa)
		v->wires.changed(v->wires.ctx);
	return ret;
}

static void vmgenid_save(void *dev, struct state_writer *w)
{
	struct vmgenid *v = dev;

	state_section_begin(w, section, STATE_VERSION);
	state_put_u64(w, v->gpa);
	state_section_end(w);
}

static int vmgenid_load(void *dev, struct state_reader *r, struct err *e)
{
	struct vmgenid *v = dev;
	char name[STATE_NAME_BYTES];

	state_section_name(r, name);
	if (strcmp(name, section) != 0) {
		v->gpa = 0;
		return 0;
	}
	int ret = state_section_expect(r, section, STATE_VERSION, e);

	if (ret)
		return ret;
	uint64_t gpa = state_get_u64(r);

	ret = state_section_close(r, e);
	if (ret)
		return ret;
	if (gpa % VMGENID_ALIGN || (gpa && !guest_mem_hva(v->gm, gpa, VMGENID_LEN)))
		return err_host(e, -EBADMSG, "saved state: a vmgenid where no RAM is");
	v->gpa = gpa;
	return 0;
}

const struct device_ops vmgenid_device_ops = {
	.save = vmgenid_save,
	.load = vmgenid_load,
};
