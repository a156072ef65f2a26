/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/control/methods.h"

#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/base/log.h"
#include "vmm/machine/live.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum { PATIENCE_S = 10, PATIENCE_MAX_S = 24 * 3600 };

/* The whole file, as it is in the tree. */
extern const char openrpc_begin[], openrpc_end[];
__asm__(".pushsection .rodata\n"
	".global openrpc_begin, openrpc_end\n"
	"openrpc_begin: .incbin \"" CONTROL_OPENRPC "\"\n"
	"openrpc_end:\n"
	".popsection\n");

static json_t *nothing(void)
{
	return json_object();
}

static struct machine *of(void *ctx)
{
	return ((struct control_call *)ctx)->machine;
}

static json_t *on_status(void *ctx, const json_t *params, struct err *e)
{
	return machine_status(of(ctx));
}

static json_t *on_stats(void *ctx, const json_t *params, struct err *e)
{
	return machine_stats(of(ctx));
}

static json_t *on_screenshot(void *ctx, const json_t *params, struct err *e)
{
	return machine_screenshot(of(ctx));
}

static json_t *on_pause(void *ctx, const json_t *params, struct err *e)
{
	return machine_pause(of(ctx), e) ? NULL : nothing();
}

static json_t *on_resume(void *ctx, const json_t *params, struct err *e)
{
	machine_resume(of(ctx));
	return nothing();
}

static json_t *on_shutdown(void *ctx, const json_t *params, struct err *e)
{
	const json_t *given = json_object_get(params, "timeout");
	json_int_t s = given ? json_integer_value(given) : PATIENCE_S;

	if (s < 0 || s > PATIENCE_MAX_S) {
		err_usage(e, -ERANGE, "timeout has to be 0 to %d seconds", PATIENCE_MAX_S);
		return NULL;
	}
	machine_shut_down(of(ctx), (unsigned)s);
	return nothing();
}

static json_t *on_reset(void *ctx, const json_t *params, struct err *e)
{
	return machine_reset(of(ctx), e) ? NULL : nothing();
}

static json_t *on_stop(void *ctx, const json_t *params, struct err *e)
{
	machine_stop(of(ctx));
	return nothing();
}

static json_t *on_nmi(void *ctx, const json_t *params, struct err *e)
{
	int ret = machine_nmi(of(ctx));

	if (ret) {
		err_host(e, ret, "the NMI does not get through: %s", strerror(-ret));
		return NULL;
	}
	return nothing();
}

static json_t *took(const struct snapshot_told *told)
{
	return json_pack("{s:f, s:I}", "paused_ms", (double)told->paused_ns / 1e6, "bytes",
			 (json_int_t)told->bytes);
}

static void on_written(void *ctx, const struct snapshot_told *told, const struct err *e)
{
	const struct control_late *late = ctx;

	late->tell(late->ctx, e->kind ? NULL : took(told), e);
}

/* What comes after the snapshot would be lost, and what is on the disks by then would not fit it:
 * so the machine stands until it ends. */
static json_t *last_snapshot(struct machine *m, const struct snapshot_wish *wish, struct err *e)
{
	bool stood = machine_paused(m);
	struct snapshot_told told;

	if (machine_pause(m, e))
		return NULL;
	if (!machine_snapshot(m, wish, &told, e)) {
		machine_stop(m);
		return took(&told);
	}
	if (!stood)
		machine_resume(m);
	return NULL;
}

static json_t *on_snapshot(void *ctx, const json_t *params, struct err *e)
{
	struct control_call *call = ctx;
	struct rpc_fds *fds = &call->fds;
	_cleanup_fd_ int at = -1, base_at = -1;
	const char *path = rpc_take_place(fds, params, "dir", &at);
	const char *base = rpc_take_place(fds, params, "base", &base_at);
	const struct snapshot_wish wish = {
		.path = path,
		.at = at,
		.base = base,
		.base_at = base_at,
		.track = json_is_true(json_object_get(params, "track")),
		.pack = json_object_get(params, "compress"),
	};
	const char *how = json_string_value(json_object_get(params, "compress"));
	struct snapshot_told told;

	if (how && strcmp(how, "zstd")) {
		err_usage(e, -EINVAL, "compress: is zstd, or left away");
		return NULL;
	}

	if (json_is_true(json_object_get(params, "stop")))
		return last_snapshot(call->machine, &wish, e);
	if (!call->late)
		return machine_snapshot(call->machine, &wish, &told, e) ? NULL : took(&told);
	if (!machine_snapshot_begin(call->machine, &wish, on_written, (void *)call->late, e))
		e->code = RPC_LATER;
	return NULL;
}

static json_t *on_net_link(void *ctx, const json_t *params, struct err *e)
{
	const char *id = json_string_value(json_object_get(params, "net"));
	bool up = json_is_true(json_object_get(params, "up"));

	return machine_set_link(of(ctx), id, up, e) ? NULL : nothing();
}

/* What is given under one of the names; negative: nothing is. False with *e filled. */
static bool take_number(const json_t *params, const char *name, int64_t *out, bool *any,
			struct err *e)
{
	const json_t *given = json_object_get(params, name);

	*out = given ? json_integer_value(given) : -1;
	*any |= given != NULL;
	if (!given || *out >= 0)
		return true;
	err_usage(e, -ERANGE, "%s has to be 0 or more", name);
	return false;
}

/* The names of the operations and of their burst differ. */
static bool take_limit(const json_t *params, const char *ops, const char *ops_burst,
		       struct limit_change *to, struct err *e)
{
	bool any = false;

	if (!take_number(params, "bps", &to->bps, &any, e) ||
	    !take_number(params, "burst", &to->burst, &any, e) ||
	    !take_number(params, ops, &to->ops, &any, e) ||
	    !take_number(params, ops_burst, &to->ops_burst, &any, e))
		return false;
	if (!any)
		err_usage(e, -EINVAL, "nothing is to change; give bps, burst, %s or %s", ops,
			  ops_burst);
	return any;
}

static json_t *on_disk_limit(void *ctx, const json_t *params, struct err *e)
{
	const char *id = json_string_value(json_object_get(params, "disk"));
	struct limit_change to;

	return take_limit(params, "iops", "iops_burst", &to, e) &&
			       !machine_limit_disk(of(ctx), id, &to, e)
		       ? nothing()
		       : NULL;
}

static json_t *on_net_limit(void *ctx, const json_t *params, struct err *e)
{
	const char *id = json_string_value(json_object_get(params, "net"));
	struct limit_change to;

	return take_limit(params, "pps", "pps_burst", &to, e) &&
			       !machine_limit_net(of(ctx), id, &to, e)
		       ? nothing()
		       : NULL;
}

static const char *text_of(const json_t *params, const char *name)
{
	return json_string_value(json_object_get(params, name));
}

static json_t *on_disk_add(void *ctx, const json_t *params, struct err *e)
{
	int fd = rpc_take_fd(&((struct control_call *)ctx)->fds, params, "file");
	bool readonly = json_is_true(json_object_get(params, "readonly"));
	const char *name = machine_add_disk(of(ctx), fd, text_of(params, "id"),
					    text_of(params, "serial"), readonly, e);

	return name ? json_pack("{s:s}", "disk", name) : NULL;
}

static json_t *on_disk_remove(void *ctx, const json_t *params, struct err *e)
{
	return machine_remove_disk(of(ctx), text_of(params, "disk"), e) ? NULL : nothing();
}

static json_t *on_net_add(void *ctx, const json_t *params, struct err *e)
{
	int fd = rpc_take_fd(&((struct control_call *)ctx)->fds, params, "tap");
	const char *name = machine_add_net(of(ctx), fd, text_of(params, "id"), e);

	return name ? json_pack("{s:s}", "net", name) : NULL;
}

static json_t *on_net_remove(void *ctx, const json_t *params, struct err *e)
{
	return machine_remove_net(of(ctx), text_of(params, "net"), e) ? NULL : nothing();
}

static json_t *on_disk_resize(void *ctx, const json_t *params, struct err *e)
{
	const char *id = json_string_value(json_object_get(params, "disk"));
	const json_t *given = json_object_get(params, "size");
	json_int_t want = json_integer_value(given);
	uint64_t size = (uint64_t)want;

	if (given && want <= 0) {
		err_usage(e, -ERANGE, "size has to be a number of bytes");
		return NULL;
	}
	return machine_resize_disk(of(ctx), id, &size, e)
		       ? NULL
		       : json_pack("{s:I}", "size", (json_int_t)size);
}

static json_t *on_memory_balloon(void *ctx, const json_t *params, struct err *e)
{
	json_int_t target = json_integer_value(json_object_get(params, "target"));

	return machine_set_balloon(of(ctx), target, e) ? NULL : nothing();
}

static json_t *on_memory_set(void *ctx, const json_t *params, struct err *e)
{
	json_int_t size = json_integer_value(json_object_get(params, "size"));

	return machine_set_memory(of(ctx), size, e) ? NULL : nothing();
}

static json_t *on_cpus_set(void *ctx, const json_t *params, struct err *e)
{
	json_int_t count = json_integer_value(json_object_get(params, "count"));

	return machine_set_cpus(of(ctx), count, e) ? NULL : json_pack("{s:I}", "target", count);
}

static json_t *on_events(void *ctx, const json_t *params, struct err *e)
{
	((struct control_call *)ctx)->listens = true;
	return nothing();
}

static json_t *on_log_file(void *ctx, const json_t *params, struct err *e)
{
	_cleanup_fd_ int fd = rpc_take_fd(&((struct control_call *)ctx)->fds, params, "file");
	int flags = fcntl(fd, F_GETFL), ret;
	struct stat st;

	if (flags < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) ||
	    (flags & O_ACCMODE) == O_RDONLY) {
		err_usage(e, -EINVAL, "file has to be a file, open for writing");
		return NULL;
	}
	fcntl(fd, F_SETFL, O_APPEND);
	ret = log_move(fd);
	if (ret) {
		err_host(e, ret, "the messages cannot go there: %s", strerror(-ret));
		return NULL;
	}
	fd_take(&fd);
	return nothing();
}

static json_t *on_clone(void *ctx, const json_t *params, struct err *e)
{
	err_host(e, -ENOTSUP,
		 "this is a machine; clones are to be had of a template (minivmm clone --help)");
	return NULL;
}

static json_t *on_discover(void *ctx, const json_t *params, struct err *e)
{
	return json_loadb(openrpc_begin, (size_t)(openrpc_end - openrpc_begin), 0, NULL);
}

static const struct rpc_method methods[] = {
	{"status", {{0}}, on_status},
	{"stats", {{0}}, on_stats},
	{"screenshot", {{0}}, on_screenshot},
	{"pause", {{0}}, on_pause},
	{"resume", {{0}}, on_resume},
	{"shutdown", {{"timeout", RPC_INTEGER, false}}, on_shutdown},
	{"reset", {{0}}, on_reset},
	{"stop", {{0}}, on_stop},
	{"nmi", {{0}}, on_nmi},
	{"snapshot",
	 {{"dir", RPC_PLACE, true},
	  {"base", RPC_PLACE, false},
	  {"track", RPC_BOOLEAN, false},
	  {"compress", RPC_STRING, false},
	  {"stop", RPC_BOOLEAN, false}},
	 on_snapshot},
	{"net.link", {{"net", RPC_STRING, true}, {"up", RPC_BOOLEAN, true}}, on_net_link},
	{"net.limit",
	 {{"net", RPC_STRING, true},
	  {"bps", RPC_SIZE, false},
	  {"burst", RPC_SIZE, false},
	  {"pps", RPC_INTEGER, false},
	  {"pps_burst", RPC_INTEGER, false}},
	 on_net_limit},
	{"disk.limit",
	 {{"disk", RPC_STRING, true},
	  {"bps", RPC_SIZE, false},
	  {"burst", RPC_SIZE, false},
	  {"iops", RPC_INTEGER, false},
	  {"iops_burst", RPC_INTEGER, false}},
	 on_disk_limit},
	{"disk.resize", {{"disk", RPC_STRING, true}, {"size", RPC_SIZE, false}}, on_disk_resize},
	{"disk.add",
	 {{"file", RPC_FD, true},
	  {"id", RPC_STRING, false},
	  {"serial", RPC_STRING, false},
	  {"readonly", RPC_BOOLEAN, false}},
	 on_disk_add},
	{"disk.remove", {{"disk", RPC_STRING, true}}, on_disk_remove},
	{"net.add", {{"tap", RPC_FD, true}, {"id", RPC_STRING, false}}, on_net_add},
	{"net.remove", {{"net", RPC_STRING, true}}, on_net_remove},
	{"memory.balloon", {{"target", RPC_SIZE, true}}, on_memory_balloon},
	{"memory.set", {{"size", RPC_SIZE, true}}, on_memory_set},
	{"cpus.set", {{"count", RPC_INTEGER, true}}, on_cpus_set},
	{"events", {{0}}, on_events},
	{"log.file", {{"file", RPC_FD, true}}, on_log_file},
	/* Of vmm/clone/template.c: here only for ctl, and to be told apart from a typing error. */
	{"clone",
	 {{"number", RPC_INTEGER, false}, {"options", RPC_LIST, false}, {"stdout", RPC_FD, false}},
	 on_clone},
	{"rpc.discover", {{0}}, on_discover},
};

const struct rpc_table control_methods = {ARRAY_LEN(methods), methods};
