/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/control/methods.h"

#include "vmm/base/bytes.h"
#include "vmm/machine/live.h"

#include <errno.h>
#include <string.h>

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

static json_t *on_net_link(void *ctx, const json_t *params, struct err *e)
{
	const char *id = json_string_value(json_object_get(params, "net"));
	bool up = json_is_true(json_object_get(params, "up"));

	return machine_set_link(of(ctx), id, up, e) ? NULL : nothing();
}

static json_t *on_memory_balloon(void *ctx, const json_t *params, struct err *e)
{
	json_int_t target = json_integer_value(json_object_get(params, "target"));

	return machine_set_balloon(of(ctx), target, e) ? NULL : nothing();
}

static json_t *on_events(void *ctx, const json_t *params, struct err *e)
{
	((struct control_call *)ctx)->listens = true;
	return nothing();
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
	{"net.link", {{"net", RPC_STRING, true}, {"up", RPC_BOOLEAN, true}}, on_net_link},
	{"memory.balloon", {{"target", RPC_INTEGER, true}}, on_memory_balloon},
	{"events", {{0}}, on_events},
	{"rpc.discover", {{0}}, on_discover},
};

const struct rpc_table control_methods = {ARRAY_LEN(methods), methods};
