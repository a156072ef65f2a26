/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits of disks and networks: from the config to the devices, and changed while they run. What is
 * changed is changed in the config as well, which outlives this machine: a guest that reboots
 * does not shake it off.
 */
#include "vmm/machine/live.h"
#include "vmm/machine/parts.h"

#include <errno.h>
#include <string.h>

struct rates machine_rates(const struct rate_config *r)
{
	return (struct rates){{r->bps, r->burst}, {r->ops, r->ops_burst}};
}

static json_int_t burst_of(const struct rate *r)
{
	return r->per_second ? (json_int_t)rate_burst(r) : 0;
}

json_t *machine_limit_json(const struct rates *r, bool net)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "bps", (json_int_t)r->bytes.per_second, "burst",
			 burst_of(&r->bytes), net ? "pps" : "iops", (json_int_t)r->ops.per_second,
			 net ? "pps_burst" : "iops_burst", burst_of(&r->ops));
}

/* One of the two rates and its burst: `what` are their names. */
static int change(uint64_t *rate, uint64_t *burst, int64_t to_rate, int64_t to_burst,
		  const char *what[2], struct err *e)
{
	if (to_rate >= 0)
		*rate = (uint64_t)to_rate;
	if (!*rate)
		*burst = 0;
	if (to_burst >= 0)
		*burst = (uint64_t)to_burst;
	if (*rate > CONFIG_RATE_MAX || *burst > CONFIG_RATE_MAX)
		return err_usage(e, -ERANGE, "%s has to be 0 to %llu",
				 *rate > CONFIG_RATE_MAX ? what[0] : what[1], CONFIG_RATE_MAX);
	if (*burst && !*rate)
		return err_usage(e, -EINVAL, "%s goes with %s; give both", what[1], what[0]);
	return 0;
}

static int change_both(struct rate_config *r, const struct limit_change *to, bool net,
		       struct err *e)
{
	const char *bytes[] = {"bps", "burst"};
	const char *iops[] = {"iops", "iops_burst"}, *pps[] = {"pps", "pps_burst"};
	int ret = change(&r->bps, &r->burst, to->bps, to->burst, bytes, e);

	return ret ? ret
		   : change(&r->ops, &r->ops_burst, to->ops, to->ops_burst, net ? pps : iops, e);
}

static void tell(const char *id, const struct rate_config *r, const char *ops)
{
	if (!r->bps && !r->ops)
		log_info("%s: no limit", id);
	if (r->bps)
		log_info("%s: no more than %lu bytes a second", id, r->bps);
	if (r->ops)
		log_info("%s: no more than %lu %s a second", id, r->ops, ops);
}

int machine_limit_disk(struct machine *m, const char *id, const struct limit_change *to,
		       struct err *e)
{
	struct disk_config *c;
	struct disk *d = machine_find_disk(m, id, &c, e);

	if (!d)
		return e->code;
	struct rate_config limit = c->limit;
	int ret = change_both(&limit, to, false, e);

	if (ret)
		return ret;
	const struct rates rates = machine_rates(&limit);

	c->limit = limit;
	virtio_blk_set_limit(&d->blk, &rates);
	tell(id, &limit, "operations");
	return 0;
}

int machine_limit_net(struct machine *m, const char *id, const struct limit_change *to,
		      struct err *e)
{
	struct net_config *c;
	struct nic *nic = machine_find_net(m, id, &c, e);

	if (!nic)
		return e->code;
	struct rate_config limit = c->limit;
	int ret = change_both(&limit, to, true, e);

	if (ret)
		return ret;
	if (c->vhost == CONFIG_VHOST_ON && (limit.bps || limit.ops))
		return err_usage(e, -EINVAL,
				 "%s: it was given vhost=on, and the kernel's driver knows "
				 "no limits",
				 id);
	const struct rates rates = machine_rates(&limit);

	c->limit = limit;
	virtio_net_set_limit(&nic->net, &rates);
	tell(id, &limit, "packets");
	return 0;
}
