/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/control/rpc.h"

#include "vmm/base/fd.h"
#include "vmm/base/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fault {
	int code; /* 0: none */
	char message[600];
};

__attribute__((format(printf, 3, 4))) static bool fail(struct fault *f, int code, const char *fmt,
						       ...)
{
	va_list args;

	f->code = code;
	va_start(args, fmt);
	vsnprintf(f->message, sizeof(f->message), fmt, args);
	va_end(args);
	return false;
}

const struct rpc_method *rpc_method(const struct rpc_table *t, const char *name)
{
	for (unsigned i = 0; i < t->n; i++)
		if (!strcmp(t->methods[i].name, name))
			return &t->methods[i];
	return NULL;
}

const struct rpc_param *rpc_param(const struct rpc_method *m, const char *name)
{
	for (unsigned i = 0; i < RPC_PARAMS_MAX && m->params[i].name; i++)
		if (!strcmp(m->params[i].name, name))
			return &m->params[i];
	return NULL;
}

/* --- judging a request -------------------------------------------------------------- */

static bool is_strings(const json_t *list)
{
	const json_t *each;
	size_t i;

	json_array_foreach(list, i, each)
	{
		if (!json_is_string(each))
			return false;
	}
	return json_is_array(list);
}

static bool is_place(const json_t *value)
{
	if (json_is_string(value))
		return *json_string_value(value) == '/';
	return json_object_size(value) == 2 && json_is_integer(json_object_get(value, "at")) &&
	       json_is_string(json_object_get(value, "name"));
}

static bool is_of(const json_t *value, enum rpc_kind kind)
{
	switch (kind) {
	case RPC_STRING:
		return json_is_string(value);
	case RPC_PLACE:
		return is_place(value);
	case RPC_INTEGER:
	case RPC_SIZE:
	case RPC_FD:
		return json_is_integer(value);
	case RPC_BOOLEAN:
		return json_is_boolean(value);
	case RPC_LIST:
		return is_strings(value);
	}
	return false;
}

static bool check_params(const struct rpc_method *m, json_t *params, struct fault *f)
{
	static const char *const kinds[] = {
		[RPC_STRING] = "a string",
		[RPC_INTEGER] = "an integer",
		[RPC_SIZE] = "an integer",
		[RPC_BOOLEAN] = "true or false",
		[RPC_PLACE] = "an absolute path, or a descriptor's number as at and a name",
		[RPC_FD] = "the number of a descriptor",
		[RPC_LIST] = "an array of strings",
	};
	const char *name;
	json_t *value;

	json_object_foreach(params, name, value)
	{
		const struct rpc_param *p = rpc_param(m, name);

		if (!p)
			return fail(f, RPC_INVALID_PARAMS, "%s has no parameter %.80s", m->name,
				    name);
		if (!is_of(value, p->kind))
			return fail(f, RPC_INVALID_PARAMS, "%s: %s has to be %s", m->name, name,
				    kinds[p->kind]);
	}
	for (unsigned i = 0; i < RPC_PARAMS_MAX && m->params[i].name; i++)
		if (m->params[i].required && !json_object_get(params, m->params[i].name))
			return fail(f, RPC_INVALID_PARAMS, "%s needs %s", m->name,
				    m->params[i].name);
	return true;
}

/* The number of a descriptor within a value of any kind; NULL: there is none. */
static const json_t *fd_in(const json_t *value, enum rpc_kind kind)
{
	return kind == RPC_FD ? value : kind == RPC_PLACE ? json_object_get(value, "at") : NULL;
}

/* Is each descriptor that came named, and once? What is not was meant for something else. */
static bool check_fds(const struct rpc_method *m, const json_t *params, unsigned n_fds,
		      struct fault *f)
{
	unsigned named = 0, n = 0;

	for (unsigned i = 0; i < RPC_PARAMS_MAX && m->params[i].name; i++) {
		const json_t *value =
			fd_in(json_object_get(params, m->params[i].name), m->params[i].kind);
		json_int_t which = json_integer_value(value);

		if (!value)
			continue;
		if (which < 0 || which >= n_fds)
			return fail(f, RPC_INVALID_PARAMS,
				    "%s: descriptor %lld of %u that came with the line",
				    m->params[i].name, (long long)which, n_fds);
		named |= 1u << which;
		n++;
	}
	if (n == n_fds && named == (1u << n_fds) - 1)
		return true;
	return fail(f, RPC_INVALID_PARAMS, "%s: %u descriptors came with the line, it names %u",
		    m->name, n_fds, (unsigned)__builtin_popcount(named));
}

/* May it be one [4]? `id` is borrowed then, NULL if it is a notification. */
static bool check_request(const json_t *request, const json_t **id, struct fault *f)
{
	const char *version = json_string_value(json_object_get(request, "jsonrpc"));
	const json_t *its = json_object_get(request, "id");

	if (!json_is_object(request))
		return fail(f, RPC_INVALID_REQUEST, "not an object; one request a line");
	if (its && !json_is_string(its) && !json_is_number(its) && !json_is_null(its))
		return fail(f, RPC_INVALID_REQUEST, "id is neither a string nor a number");
	*id = its;
	if (!version || strcmp(version, "2.0") != 0)
		return fail(f, RPC_INVALID_REQUEST, "no \"jsonrpc\": \"2.0\"");
	if (!json_is_string(json_object_get(request, "method")))
		return fail(f, RPC_INVALID_REQUEST, "no method");
	return true;
}

static void fail_with(struct fault *f, const struct err *e)
{
	fail(f, e->kind == ERR_USAGE ? RPC_INVALID_PARAMS : RPC_FAILED, "%s",
	     *e->text ? e->text : "out of memory");
}

static json_t *carry_out(const struct rpc_table *t, void *ctx, const json_t *request,
			 unsigned n_fds, struct fault *f, bool *later)
{
	const char *name = json_string_value(json_object_get(request, "method"));
	const struct rpc_method *m = rpc_method(t, name);
	json_t *given = json_object_get(request, "params"), *params, *result = NULL;
	struct err e = {0};

	if (!m) {
		fail(f, RPC_METHOD_NOT_FOUND, "there is no method %.80s", name);
		return NULL;
	}
	if (given && !json_is_object(given)) {
		fail(f, RPC_INVALID_PARAMS, "%s: params are an object, by name", name);
		return NULL;
	}
	params = given ? json_incref(given) : json_object();
	if (check_params(m, params, f) && check_fds(m, params, n_fds, f)) {
		result = m->call(ctx, params, &e);
		*later = !result && e.code == RPC_LATER;
		if (!result && !*later)
			fail_with(f, &e);
	}
	json_decref(params);
	return result;
}

/* --- answers -------------------------------------------------------------------------- */

/* Takes `o` over. */
static char *as_line(json_t *o)
{
	char *flat = o ? json_dumps(o, JSON_COMPACT) : NULL, *line = NULL;

	json_decref(o);
	if (flat && asprintf(&line, "%s\n", flat) < 0)
		line = NULL;
	free(flat);
	return line;
}

/* A message may quote a path, which has any bytes. */
static char *error_line(const json_t *id, const struct fault *f)
{
	char *clean = utf8_clean(f->message, strlen(f->message));
	json_t *o = clean ? json_pack("{s:s, s:O?, s:{s:i, s:s}}", "jsonrpc", "2.0", "id", id,
				      "error", "code", f->code, "message", clean)
			  : NULL;

	free(clean);
	return as_line(o);
}

char *rpc_complaint(int code, const char *message)
{
	struct fault f;

	fail(&f, code, "%s", message);
	return error_line(NULL, &f);
}

/* Takes `result` over. */
static char *result_line(const json_t *id, json_t *result)
{
	return as_line(json_pack("{s:s, s:O, s:o}", "jsonrpc", "2.0", "id", id, "result", result));
}

int rpc_request(const struct rpc_table *t, void *ctx, const char *line, size_t len, unsigned n_fds,
		char **answer, json_t **later)
{
	json_error_t where;
	struct fault f = {0};
	const json_t *id = NULL;
	json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &where);
	json_t *result = NULL;
	bool silent = false, waits = false;

	*answer = NULL;
	*later = NULL;
	if (!request)
		fail(&f, RPC_PARSE_ERROR, "not JSON: %s", where.text);
	else if (check_request(request, &id, &f)) {
		silent = !id;
		result = carry_out(t, ctx, request, n_fds, &f, &waits);
	}
	if (waits)
		*later = json_incref((json_t *)id);
	else if (!silent)
		*answer = f.code ? error_line(id, &f) : result_line(id, json_incref(result));
	json_decref(result);
	json_decref(request);
	return silent || waits || *answer ? 0 : -ENOMEM;
}

int rpc_answer(const struct rpc_table *t, void *ctx, const char *line, size_t len, unsigned n_fds,
	       char **answer)
{
	json_t *later;
	int ret = rpc_request(t, ctx, line, len, n_fds, answer, &later);

	json_decref(later);
	return ret;
}

char *rpc_late_answer(const json_t *id, json_t *result, const struct err *e)
{
	struct fault f = {0};

	if (!e->kind)
		return result_line(id, result);
	json_decref(result);
	fail_with(&f, e);
	return error_line(id, &f);
}

char *rpc_notification(const char *method, json_t *params)
{
	return as_line(
		json_pack("{s:s, s:s, s:o}", "jsonrpc", "2.0", "method", method, "params", params));
}

/* --- descriptors ------------------------------------------------------------------------ */

int rpc_take_fd(struct rpc_fds *fds, const json_t *params, const char *name)
{
	const json_t *value = json_object_get(params, name);

	return value ? fd_take(&fds->fd[json_integer_value(value)]) : -1;
}

const char *rpc_take_place(struct rpc_fds *fds, const json_t *params, const char *name, int *at)
{
	const json_t *value = json_object_get(params, name);

	*at = rpc_take_fd(fds, value, "at");
	return json_string_value(*at < 0 ? value : json_object_get(value, "name"));
}

void rpc_close_fds(struct rpc_fds *fds)
{
	for (unsigned i = 0; i < fds->n; i++)
		fd_close(&fds->fd[i]);
	fds->n = 0;
}
