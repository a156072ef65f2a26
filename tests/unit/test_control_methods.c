/* SPDX-License-Identifier: Apache-2.0 */
/* The methods of a machine: each does what it says and is in the document, word for word. The
 * machine is played here. */
#include "vmm/base/bytes.h"
#include "vmm/control/methods.h"
#include "vmm/machine/live.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- the machine ------------------------------------------------------------------------- */

static char did[64];
static unsigned patience;
static int fault;

int machine_pause(struct machine *m, struct err *e)
{
	strcpy(did, "pause");
	return fault ? err_host(e, fault, "it does not") : 0;
}
void machine_resume(struct machine *m)
{
	strcpy(did, "resume");
}
void machine_shut_down(struct machine *m, unsigned patience_s)
{
	strcpy(did, "shut down");
	patience = patience_s;
}
int machine_reset(struct machine *m, struct err *e)
{
	strcpy(did, "reset");
	return fault ? err_usage(e, fault, "it has no second life") : 0;
}
void machine_stop(struct machine *m)
{
	strcpy(did, "stop");
}
int machine_set_link(struct machine *m, const char *id, bool up, struct err *e)
{
	snprintf(did, sizeof(did), "%s %s", id, up ? "up" : "down");
	return fault ? err_usage(e, fault, "there is no such network") : 0;
}
int machine_set_balloon(struct machine *m, int64_t target, struct err *e)
{
	snprintf(did, sizeof(did), "balloon %lld", (long long)target);
	return fault ? err_usage(e, fault, "there is no balloon") : 0;
}
int machine_nmi(struct machine *m)
{
	strcpy(did, "nmi");
	return fault;
}
json_t *machine_status(const struct machine *m)
{
	return json_string("status");
}
json_t *machine_stats(struct machine *m)
{
	return json_string("stats");
}
json_t *machine_screenshot(struct machine *m)
{
	return json_string("screenshot");
}

/* --- asking it --------------------------------------------------------------------------- */

static struct control_call call;

/* The answer to `method`, an object, the caller's. */
static json_t *ask(const char *method, json_t *params)
{
	json_t *o = json_pack("{s:s, s:i, s:s, s:o}", "jsonrpc", "2.0", "id", 1, "method", method,
			      "params", params ? params : json_object());
	char *line = json_dumps(o, JSON_COMPACT), *answer;

	*did = '\0';
	assert_int_equal(rpc_answer(&control_methods, &call, line, strlen(line), &answer), 0);
	json_decref(o);
	o = json_loads(answer, 0, NULL);
	assert_non_null(o);
	free(line);
	free(answer);
	return o;
}

static void gives(const char *method, json_t *params, const char *doing)
{
	json_t *answer = ask(method, params), *result = json_object_get(answer, "result");

	assert_string_equal(did, doing);
	assert_true(json_is_object(result));
	assert_int_equal(json_object_size(result), 0);
	json_decref(answer);
}

static void fails(const char *method, json_t *params, int code)
{
	json_t *answer = ask(method, params), *error = json_object_get(answer, "error");

	assert_int_equal(json_integer_value(json_object_get(error, "code")), code);
	json_decref(answer);
}

static void buttons(void **state)
{
	fault = 0;
	gives("pause", NULL, "pause");
	gives("resume", NULL, "resume");
	gives("reset", NULL, "reset");
	gives("stop", NULL, "stop");
	gives("nmi", NULL, "nmi");
	gives("net.link", json_pack("{s:s, s:b}", "net", "lan", "up", 1), "lan up");
	gives("net.link", json_pack("{s:s, s:b}", "net", "net0", "up", 0), "net0 down");
	gives("memory.balloon", json_pack("{s:I}", "target", (json_int_t)1 << 40),
	      "balloon 1099511627776");
	gives("memory.balloon", json_pack("{s:i}", "target", -1), "balloon -1");
	fails("memory.balloon", NULL, RPC_INVALID_PARAMS);
	fails("memory.balloon", json_pack("{s:f}", "target", 1e9), RPC_INVALID_PARAMS);
	fails("memory.balloon", json_pack("{s:s}", "target", "1G"), RPC_INVALID_PARAMS);
	assert_string_equal(did, "");
	gives("shutdown", NULL, "shut down");
	assert_int_equal(patience, 10);
	gives("shutdown", json_pack("{s:i}", "timeout", 0), "shut down");
	assert_int_equal(patience, 0);
	gives("shutdown", json_pack("{s:i}", "timeout", 86400), "shut down");
	assert_int_equal(patience, 86400);
	fails("shutdown", json_pack("{s:i}", "timeout", 86401), RPC_INVALID_PARAMS);
	fails("shutdown", json_pack("{s:i}", "timeout", -1), RPC_INVALID_PARAMS);
	assert_string_equal(did, "");
	assert_false(call.listens);
	gives("events", NULL, "");
	assert_true(call.listens);
	fault = -EIO;
	fails("pause", NULL, RPC_FAILED);
	fails("nmi", NULL, RPC_FAILED);
	fails("net.link", json_pack("{s:s, s:b}", "net", "x", "up", 1), RPC_INVALID_PARAMS);
	fails("memory.balloon", json_pack("{s:i}", "target", 1), RPC_INVALID_PARAMS);
	fails("reset", NULL, RPC_INVALID_PARAMS);
	fault = 0;
}

static void questions(void **state)
{
	static const char *const all[] = {"status", "stats", "screenshot"};

	for (unsigned i = 0; i < ARRAY_LEN(all); i++) {
		json_t *answer = ask(all[i], NULL);

		assert_string_equal(json_string_value(json_object_get(answer, "result")), all[i]);
		json_decref(answer);
	}
}

static const char *type_of(enum rpc_kind kind)
{
	return kind == RPC_STRING ? "string" : kind == RPC_INTEGER ? "integer" : "boolean";
}

static void same_params(const struct rpc_method *m, const json_t *params)
{
	unsigned n = 0;

	while (n < RPC_PARAMS_MAX && m->params[n].name)
		n++;
	assert_int_equal(json_array_size(params), n);
	for (unsigned i = 0; i < n; i++) {
		const json_t *p = json_array_get(params, i);
		const json_t *schema = json_object_get(p, "schema");

		assert_string_equal(json_string_value(json_object_get(p, "name")),
				    m->params[i].name);
		assert_string_equal(json_string_value(json_object_get(schema, "type")),
				    type_of(m->params[i].kind));
		assert_int_equal(json_is_true(json_object_get(p, "required")),
				 m->params[i].required);
	}
}

static void the_document(void **state)
{
	json_t *answer = ask("rpc.discover", NULL), *document = json_object_get(answer, "result");
	const json_t *listed = json_object_get(document, "methods");

	assert_true(json_is_string(json_object_get(document, "openrpc")));
	assert_int_equal(json_array_size(listed), control_methods.n);
	for (unsigned i = 0; i < control_methods.n; i++) {
		const struct rpc_method *m = &control_methods.methods[i];
		const json_t *its = json_array_get(listed, i);

		assert_string_equal(json_string_value(json_object_get(its, "name")), m->name);
		assert_true(json_is_string(json_object_get(its, "summary")));
		assert_true(json_is_object(json_object_get(its, "result")));
		same_params(m, json_object_get(its, "params"));
	}
	json_decref(answer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buttons),
		cmocka_unit_test(questions),
		cmocka_unit_test(the_document),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
