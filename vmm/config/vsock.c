/* SPDX-License-Identifier: Apache-2.0 */
/* vsock: --vsock, one setting with the keys of spec.h: given again, it is another as a
 * whole. A word in place of the path, CONFIG_VSOCK_VHOST, says who else has the sockets; a file of
 * that name is "./vhost". */
#include "vmm/config/size.h"
#include "vmm/config/spec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int set_path(void *thing, const char *value, const struct origin *o, struct err *e)
{
	struct vsock_config *v = thing;

	v->vhost = strcmp(value, CONFIG_VSOCK_VHOST) == 0;
	return v->vhost ? 0 : option_path(&v->path, value, o, e);
}

static int set_cid(void *thing, const char *value, const struct origin *o, struct err *e)
{
	struct vsock_config *v = thing;
	uint64_t cid = 0;

	if (number_parse(value, CONFIG_CID_MAX, &cid) || cid < CONFIG_CID_MIN)
		return option_refuse(o, value, -EINVAL, e,
				     "not an address of a guest; give a number from %u to %u",
				     CONFIG_CID_MIN, CONFIG_CID_MAX);
	v->cid = (uint32_t)cid;
	return 0;
}

static const struct spec_key keys[] = {
	{.name = "path", .set = set_path}, {.name = "cid", .set = set_cid}, {.name = NULL}};
static const struct spec spec = {
	.keys = keys,
	.keys_text = "a vsock has cid",
	.bare_text = "write a comma within the path as \",,\"",
	.first_is_value = true,
};

int vsock_set_spec(struct vm_config *c, const char *word, const struct origin *o, struct err *e)
{
	struct vsock_config v = {.cid = CONFIG_CID_MIN};
	int err = spec_set_word(&spec, &v, word, o, e);

	if (err) {
		free(v.path);
		return err;
	}
	free(c->vsock.path);
	c->vsock = v;
	return 0;
}
