/* SPDX-License-Identifier: Apache-2.0 */
/* A line to the control socket, of any bytes: what comes back is one line of JSON-RPC, or nothing,
 * and no method sees what its table does not have. */
#include "tests/fuzz/lib/fuzz.h"
#include "vmm/control/rpc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { N_FDS = 1 };

static const struct rpc_param *known(const struct rpc_method *m, const char *name,
				     const json_t *value)
{
	const struct rpc_param *p = rpc_param(m, name);

	fuzz_check(p);
	fuzz_check(p->kind != RPC_STRING || json_is_string(value));
	fuzz_check(p->kind != RPC_INTEGER || json_is_integer(value));
	fuzz_check(p->kind != RPC_BOOLEAN || json_is_boolean(value));
	fuzz_check(p->kind != RPC_FD || json_integer_value(value) < N_FDS);
	fuzz_check(p->kind != RPC_FD || json_integer_value(value) >= 0);
	return p;
}

static const struct rpc_table table;

static json_t *on_call(void *ctx, const json_t *params, struct err *e)
{
	const struct rpc_method *m = rpc_method(&table, "call");
	const char *name;
	json_t *value;
	int *calls = ctx;

	++*calls;
	fuzz_check(json_is_object(params) && json_object_get(params, "name"));
	json_object_foreach((json_t *)params, name, value) known(m, name, value);
	if (json_is_true(json_object_get(params, "fail"))) {
		err_usage(e, -EINVAL, "%s", json_string_value(json_object_get(params, "name")));
		return NULL;
	}
	return json_deep_copy(params);
}

static const struct rpc_method methods[] = {
	{"call",
	 {{"name", RPC_STRING, true},
	  {"n", RPC_INTEGER, false},
	  {"fail", RPC_BOOLEAN, false},
	  {"file", RPC_FD, false}},
	 on_call},
};
static const struct rpc_table table = {1, methods};

static void try(const char *line, size_t len, unsigned n_fds)
{
	char *answer;
	int calls = 0;

	fuzz_check(!rpc_answer(&table, &calls, line, len, n_fds, &answer));
	fuzz_check(calls <= 1);
	if (!answer)
		return;
	json_t *o = json_loads(answer, 0, NULL);

	fuzz_check(strchr(answer, '\n') == answer + strlen(answer) - 1);
	fuzz_check(json_object_size(o) == 3 && json_object_get(o, "id"));
	fuzz_check(!json_object_get(o, "result") != !json_object_get(o, "error"));
	fuzz_check(calls || json_object_get(o, "error"));
	json_decref(o);
	free(answer);
}

void fuzz_one(struct fuzz_in *in)
{
	char line[4096];
	size_t len = 0;

	while (fuzz_more(in) && len < sizeof(line))
		line[len++] = (char)fuzz_u8(in);
	for (unsigned n = 0; n <= N_FDS; n++)
		try(line, len, n);
}
