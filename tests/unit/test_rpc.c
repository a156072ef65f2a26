/* SPDX-License-Identifier: Apache-2.0 */
/* JSON-RPC: a line in, a line out, whatever the line is. */
#include "vmm/control/rpc.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int calls;

static json_t *echo(void *ctx, const json_t *params, struct err *e)
{
	calls++;
	*(int *)ctx += 1;
	return json_deep_copy(params);
}

static json_t *refuse(void *ctx, const json_t *params, struct err *e)
{
	calls++;
	err_usage(e, -EINVAL, "not today");
	return NULL;
}

static json_t *fail_at(void *ctx, const json_t *params, struct err *e)
{
	calls++;
	err_host(e, -EIO, "the disk \xff is gone");
	return NULL;
}

static json_t *wait_for_it(void *ctx, const json_t *params, struct err *e)
{
	calls++;
	e->code = RPC_LATER;
	return NULL;
}

static const struct rpc_method methods[] = {
	{"echo",
	 {{"s", RPC_STRING, false}, {"n", RPC_INTEGER, false}, {"b", RPC_BOOLEAN, false}},
	 echo},
	{"named", {{"name", RPC_STRING, true}}, echo},
	{"files", {{"a", RPC_FD, true}, {"b", RPC_FD, false}}, echo},
	{"place", {{"d", RPC_PLACE, true}}, echo},
	{"refuse", {{0}}, refuse},
	{"fail", {{0}}, fail_at},
	{"wait", {{0}}, wait_for_it},
	{"list", {{"l", RPC_LIST, true}}, echo},
};
static const struct rpc_table table = {sizeof(methods) / sizeof(*methods), methods};

static int seen;
static unsigned n_fds; /* that come with each line */

static char *ask_bytes(const char *line, size_t len)
{
	char *answer;

	calls = 0;
	assert_int_equal(rpc_answer(&table, &seen, line, len, n_fds, &answer), 0);
	return answer;
}

/* `line`, with ' for ", is answered with `want`, likewise and without the newline; NULL: with
 * nothing. */
static void answers(const char *line, const char *want)
{
	char *asked = strdup(line), *wanted = want ? strdup(want) : NULL, *got;

	for (char *c = asked; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	for (char *c = wanted; c && *c; c++)
		*c = *c == '\'' ? '"' : *c;
	got = ask_bytes(asked, strlen(asked));
	if (!want) {
		assert_null(got);
	} else {
		assert_non_null(got);
		assert_int_equal(got[strlen(got) - 1], '\n');
		got[strlen(got) - 1] = '\0';
		assert_string_equal(got, wanted);
	}
	free(got);
	free(asked);
	free(wanted);
}

/* ... with an error of that code, whose message begins so. */
static void refused(const char *line, int code, const char *id, const char *begins)
{
	char want[700], *asked = strdup(line), *got;

	for (char *c = asked; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	got = ask_bytes(asked, strlen(asked));
	assert_non_null(got);
	snprintf(want, sizeof(want),
		 "{\"jsonrpc\":\"2.0\",\"id\":%s,\"error\":{\"code\":%d,\"message\":\"%s", id, code,
		 begins);
	if (strncmp(got, want, strlen(want)) != 0)
		fail_msg("%s\nis answered with\n%snot\n%s...", asked, got, want);
	free(got);
	free(asked);
}

static void a_result_and_its_id(void **state)
{
	seen = 0;
	answers("{'jsonrpc':'2.0','id':7,'method':'echo'}", "{'jsonrpc':'2.0','id':7,'result':{}}");
	answers("{'jsonrpc':'2.0','id':'x','method':'echo','params':{'s':'a','n':-3,'b':true}}",
		"{'jsonrpc':'2.0','id':'x','result':{'s':'a','n':-3,'b':true}}");
	answers("{'jsonrpc':'2.0','id':null,'method':'echo','params':{}}",
		"{'jsonrpc':'2.0','id':null,'result':{}}");
	answers(" {\t'id' : 1.5, 'method':'echo', 'jsonrpc':'2.0'}\r ",
		"{'jsonrpc':'2.0','id':1.5,'result':{}}");
	assert_int_equal(seen, 4);
}

static void a_notification_is_done_in_silence(void **state)
{
	answers("{'jsonrpc':'2.0','method':'echo'}", NULL);
	assert_int_equal(calls, 1);
	answers("{'jsonrpc':'2.0','method':'refuse'}", NULL);
	assert_int_equal(calls, 1);
	answers("{'jsonrpc':'2.0','method':'nothing'}", NULL);
	answers("{'jsonrpc':'2.0','method':'echo','params':{'n':'x'}}", NULL);
	assert_int_equal(calls, 0);
}

static void what_is_no_json(void **state)
{
	refused("", RPC_PARSE_ERROR, "null", "not JSON");
	refused("{", RPC_PARSE_ERROR, "null", "not JSON");
	refused("status", RPC_PARSE_ERROR, "null", "not JSON");
	refused("{'jsonrpc':'2.0','id':1,'method':'echo'} more", RPC_PARSE_ERROR, "null", "");
	refused("{'jsonrpc':'2.0','id':1,'id':2,'method':'echo'}", RPC_PARSE_ERROR, "null", "");
	refused("{'jsonrpc':'2.0','id':1,'method':'\xff'}", RPC_PARSE_ERROR, "null", "");
	refused("{'jsonrpc':'2.0','id':1,'method':'echo\\u0000'}", RPC_PARSE_ERROR, "null", "");
	assert_int_equal(calls, 0);
}

static void bytes_and_depth(void **state)
{
	enum { DEPTH = 60000 };
	static const char nul[] = "{\"jsonrpc\":\"2.0\",\0\"id\":1,\"method\":\"echo\"}";
	char *deep = malloc(DEPTH);

	free(ask_bytes(nul, sizeof(nul) - 1));
	assert_int_equal(calls, 0);
	assert_non_null(deep);
	memset(deep, '[', DEPTH);
	free(ask_bytes(deep, DEPTH));
	free(deep);
}

static void what_is_no_request(void **state)
{
	refused("[]", RPC_INVALID_REQUEST, "null", "not an object");
	refused("[{'jsonrpc':'2.0','id':1,'method':'echo'}]", RPC_INVALID_REQUEST, "null",
		"not an");
	refused("{}", RPC_INVALID_REQUEST, "null", "no \\\"jsonrpc\\\"");
	refused("{'jsonrpc':'1.0','id':1,'method':'echo'}", RPC_INVALID_REQUEST, "1", "no ");
	refused("{'jsonrpc':2,'id':1,'method':'echo'}", RPC_INVALID_REQUEST, "1", "no ");
	refused("{'jsonrpc':'2.0','id':'i'}", RPC_INVALID_REQUEST, "\"i\"", "no method");
	refused("{'jsonrpc':'2.0','id':1,'method':7}", RPC_INVALID_REQUEST, "1", "no method");
	refused("{'jsonrpc':'2.0','id':[],'method':'echo'}", RPC_INVALID_REQUEST, "null", "id is");
	refused("{'jsonrpc':'2.0','id':true,'method':'echo'}", RPC_INVALID_REQUEST, "null",
		"id is");
	assert_int_equal(calls, 0);
}

static void methods_and_params(void **state)
{
	refused("{'jsonrpc':'2.0','id':1,'method':''}", RPC_METHOD_NOT_FOUND, "1", "there is no");
	refused("{'jsonrpc':'2.0','id':1,'method':'Echo'}", RPC_METHOD_NOT_FOUND, "1",
		"there is no");
	refused("{'jsonrpc':'2.0','id':1,'method':'echo','params':[]}", RPC_INVALID_PARAMS, "1",
		"echo: params are an object");
	refused("{'jsonrpc':'2.0','id':1,'method':'echo','params':null}", RPC_INVALID_PARAMS, "1",
		"echo: params");
	refused("{'jsonrpc':'2.0','id':1,'method':'echo','params':{'x':1}}", RPC_INVALID_PARAMS,
		"1", "echo has no parameter x");
	refused("{'jsonrpc':'2.0','id':1,'method':'echo','params':{'n':1.0}}", RPC_INVALID_PARAMS,
		"1", "echo: n has to be an integer");
	refused("{'jsonrpc':'2.0','id':1,'method':'echo','params':{'n':99999999999999999999}}",
		RPC_PARSE_ERROR, "null", "");
	refused("{'jsonrpc':'2.0','id':1,'method':'echo','params':{'s':1}}", RPC_INVALID_PARAMS,
		"1", "echo: s has to be a string");
	refused("{'jsonrpc':'2.0','id':1,'method':'echo','params':{'b':0}}", RPC_INVALID_PARAMS,
		"1", "echo: b has to be true or false");
	refused("{'jsonrpc':'2.0','id':1,'method':'echo','params':{'b':null}}", RPC_INVALID_PARAMS,
		"1", "echo: b");
	refused("{'jsonrpc':'2.0','id':1,'method':'named'}", RPC_INVALID_PARAMS, "1",
		"named needs name");
	refused("{'jsonrpc':'2.0','id':1,'method':'named','params':{}}", RPC_INVALID_PARAMS, "1",
		"named needs name");
	assert_int_equal(calls, 0);
}

/* As a parameter: a path, or a name in what a descriptor is of. */
static void places(void **state)
{
	static const char *const wrong[] = {
		"''",
		"'d'",
		"0",
		"{}",
		"['/d']",
		"{'at':0}",
		"{'name':'d'}",
		"{'at':'0','name':'d'}",
		"{'at':0,'name':1}",
		"{'at':0,'name':'d','more':1}",
	};
	char line[200];

	n_fds = 0;
	answers("{'jsonrpc':'2.0','id':1,'method':'place','params':{'d':'/d'}}",
		"{'jsonrpc':'2.0','id':1,'result':{'d':'/d'}}");
	refused("{'jsonrpc':'2.0','id':1,'method':'place','params':{'d':{'at':0,'name':'d'}}}",
		RPC_INVALID_PARAMS, "1", "d: descriptor 0 of 0");
	n_fds = 1;
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		snprintf(line, sizeof(line),
			 "{'jsonrpc':'2.0','id':1,'method':'place','params':{'d':%s}}", wrong[i]);
		refused(line, RPC_INVALID_PARAMS, "1", "place: d has to be an absolute path, or");
	}
	refused("{'jsonrpc':'2.0','id':1,'method':'place','params':{'d':'/d'}}", RPC_INVALID_PARAMS,
		"1", "place: 1 descriptors came with the line, it names 0");
	answers("{'jsonrpc':'2.0','id':1,'method':'place','params':{'d':{'at':0,'name':'d'}}}",
		"{'jsonrpc':'2.0','id':1,'result':{'d':{'at':0,'name':'d'}}}");
	n_fds = 0;

	struct rpc_fds fds = {1, {dup(2)}};
	json_t *params = json_pack("{s:{s:i, s:s}, s:s}", "d", "at", 0, "name", "x", "p", "/p");
	int sent = fds.fd[0], at;

	assert_string_equal(rpc_take_place(&fds, params, "p", &at), "/p");
	assert_int_equal(at, -1);
	assert_null(rpc_take_place(&fds, params, "q", &at));
	assert_int_equal(at, -1);
	assert_string_equal(rpc_take_place(&fds, params, "d", &at), "x");
	assert_int_equal(at, sent);
	assert_int_equal(fds.fd[0], -1);
	close(at);
	json_decref(params);
}

static void descriptors(void **state)
{
	static const char *const wrong[] = {"-1", "1", "4", "4294967296", "-9223372036854775808"};
	char line[200];

	refused("{'jsonrpc':'2.0','id':1,'method':'files','params':{'a':0}}", RPC_INVALID_PARAMS,
		"1", "a: descriptor 0 of 0");
	n_fds = 1;
	refused("{'jsonrpc':'2.0','id':1,'method':'echo'}", RPC_INVALID_PARAMS, "1",
		"echo: 1 descriptors came with the line, it names 0");
	refused("{'jsonrpc':'2.0','id':1,'method':'files','params':{'a':true}}", RPC_INVALID_PARAMS,
		"1", "files: a has to be the number of a descriptor");
	refused("{'jsonrpc':'2.0','id':1,'method':'files','params':{'a':0,'b':0}}",
		RPC_INVALID_PARAMS, "1", "files: 1 descriptors came");
	for (unsigned i = 0; i < 5; i++) {
		snprintf(line, sizeof(line),
			 "{'jsonrpc':'2.0','id':1,'method':'files','params':{'a':%s}}", wrong[i]);
		refused(line, RPC_INVALID_PARAMS, "1", "a: descriptor ");
	}
	assert_int_equal(calls, 0);
	answers("{'jsonrpc':'2.0','id':1,'method':'files','params':{'a':0}}",
		"{'jsonrpc':'2.0','id':1,'result':{'a':0}}");
	n_fds = 2;
	refused("{'jsonrpc':'2.0','id':1,'method':'files','params':{'a':0}}", RPC_INVALID_PARAMS,
		"1", "files: 2 descriptors came with the line, it names 1");
	answers("{'jsonrpc':'2.0','id':1,'method':'files','params':{'a':1,'b':0}}",
		"{'jsonrpc':'2.0','id':1,'result':{'a':1,'b':0}}");
	n_fds = 0;

	struct rpc_fds fds = {2, {dup(2), dup(2)}};
	json_t *params = json_pack("{s:i}", "a", 1);
	int second = fds.fd[1];

	assert_int_equal(rpc_take_fd(&fds, params, "b"), -1);
	assert_int_equal(rpc_take_fd(&fds, params, "a"), second);
	assert_int_equal(rpc_take_fd(&fds, params, "a"), -1);
	rpc_close_fds(&fds);
	assert_int_equal(fds.n, 0);
	assert_int_equal(close(second), 0);
	json_decref(params);
}

static void a_methods_own_refusal(void **state)
{
	refused("{'jsonrpc':'2.0','id':1,'method':'refuse'}", RPC_INVALID_PARAMS, "1", "not today");
	refused("{'jsonrpc':'2.0','id':1,'method':'fail'}", RPC_FAILED, "1",
		"the disk \xef\xbf\xbd is gone");
}

/* The id of a request whose method says that its answer comes later; NULL: there is none. */
static json_t *put_off(const char *line)
{
	json_t *later;
	char *answer;

	assert_int_equal(rpc_request(&table, &seen, line, strlen(line), 0, &answer, &later), 0);
	assert_null(answer);
	return later;
}

static void an_answer_that_comes_later(void **state)
{
	json_t *id = put_off("{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"wait\"}");
	struct err none = {0}, e = {0};
	char *line = rpc_late_answer(id, json_pack("{s:i}", "n", 7), &none);

	assert_string_equal(line, "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"result\":{\"n\":7}}\n");
	free(line);
	err_usage(&e, -EINVAL, "in use");
	line = rpc_late_answer(id, NULL, &e);
	assert_string_equal(line, "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"error\":{\"code\":-32602,"
				  "\"message\":\"in use\"}}\n");
	free(line);
	json_decref(id);
	/* Nobody answers a notification, now or later. */
	assert_null(put_off("{\"jsonrpc\":\"2.0\",\"method\":\"wait\"}"));
	line = rpc_notification("ended", json_pack("{s:i}", "pid", 9));
	assert_string_equal(line,
			    "{\"jsonrpc\":\"2.0\",\"method\":\"ended\",\"params\":{\"pid\":9}}\n");
	free(line);
}

static void a_list(void **state)
{
	answers("{'jsonrpc':'2.0','id':1,'method':'list','params':{'l':['a','']}}",
		"{'jsonrpc':'2.0','id':1,'result':{'l':['a','']}}");
	answers("{'jsonrpc':'2.0','id':1,'method':'list','params':{'l':[]}}",
		"{'jsonrpc':'2.0','id':1,'result':{'l':[]}}");
	refused("{'jsonrpc':'2.0','id':1,'method':'list','params':{'l':['a',1]}}",
		RPC_INVALID_PARAMS, "1", "list: l has to be an array of strings");
	refused("{'jsonrpc':'2.0','id':1,'method':'list','params':{'l':'a'}}", RPC_INVALID_PARAMS,
		"1", "list: l has to be an array of strings");
}

static void a_complaint(void **state)
{
	char *line = rpc_complaint(RPC_FAILED, "go away");

	assert_string_equal(line, "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32000,"
				  "\"message\":\"go away\"}}\n");
	free(line);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_result_and_its_id),
		cmocka_unit_test(a_notification_is_done_in_silence),
		cmocka_unit_test(what_is_no_json),
		cmocka_unit_test(bytes_and_depth),
		cmocka_unit_test(what_is_no_request),
		cmocka_unit_test(methods_and_params),
		cmocka_unit_test(places),
		cmocka_unit_test(descriptors),
		cmocka_unit_test(a_methods_own_refusal),
		cmocka_unit_test(an_answer_that_comes_later),
		cmocka_unit_test(a_list),
		cmocka_unit_test(a_complaint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
