/* SPDX-License-Identifier: Apache-2.0 */
/* The methods of a machine: each does what it says and is in the document, word for word. The
 * machine is played here. */
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/control/methods.h"
#include "vmm/machine/live.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
static int say_limit(const char *id, const struct limit_change *to, struct err *e)
{
	snprintf(did, sizeof(did), "%s %ld %ld %ld %ld", id, to->bps, to->burst, to->ops,
		 to->ops_burst);
	return fault ? err_usage(e, fault, "there is no such thing") : 0;
}
int machine_limit_disk(struct machine *m, const char *id, const struct limit_change *to,
		       struct err *e)
{
	return say_limit(id, to, e);
}
int machine_limit_net(struct machine *m, const char *id, const struct limit_change *to,
		      struct err *e)
{
	return say_limit(id, to, e);
}
static uint64_t wanted;

int machine_resize_disk(struct machine *m, const char *id, uint64_t *size, struct err *e)
{
	strcpy(did, id);
	wanted = *size;
	*size = 1ull << 40;
	return fault ? err_usage(e, fault, "there is no such disk") : 0;
}
/* What is taken over is closed, as the machine does in the end. */
const char *machine_add_disk(struct machine *m, int fd, const char *id, const char *serial,
			     bool readonly, struct err *e)
{
	snprintf(did, sizeof(did), "disk %s %s%s", id ? id : "-", serial ? serial : "-",
		 readonly ? " ro" : "");
	assert_int_equal(close(fd), 0);
	if (!fault)
		return "disk7";
	err_usage(e, fault, "no slot");
	return NULL;
}
const char *machine_add_net(struct machine *m, int fd, const char *id, struct err *e)
{
	snprintf(did, sizeof(did), "net %s", id ? id : "-");
	assert_int_equal(close(fd), 0);
	if (!fault)
		return "net7";
	err_usage(e, fault, "no slot");
	return NULL;
}
int machine_remove_disk(struct machine *m, const char *id, struct err *e)
{
	snprintf(did, sizeof(did), "no disk %s", id);
	return fault ? err_usage(e, fault, "there is no such disk") : 0;
}
int machine_remove_net(struct machine *m, const char *id, struct err *e)
{
	snprintf(did, sizeof(did), "no net %s", id);
	return fault ? err_usage(e, fault, "there is no such network") : 0;
}
int machine_set_balloon(struct machine *m, int64_t target, struct err *e)
{
	snprintf(did, sizeof(did), "balloon %lld", (long long)target);
	return fault ? err_usage(e, fault, "there is no balloon") : 0;
}
int machine_set_memory(struct machine *m, int64_t size, struct err *e)
{
	snprintf(did, sizeof(did), "memory %lld", (long long)size);
	return fault ? err_usage(e, fault, "there is no room") : 0;
}
int machine_set_cpus(struct machine *m, int64_t count, struct err *e)
{
	snprintf(did, sizeof(did), "cpus %lld", (long long)count);
	return fault ? err_usage(e, fault, "there is no room") : 0;
}
int machine_nmi(struct machine *m)
{
	strcpy(did, "nmi");
	return fault;
}
static int fault_of_snapshot;
static bool stands;

bool machine_paused(const struct machine *m)
{
	return stands;
}
int machine_snapshot(struct machine *m, const struct snapshot_wish *wish,
		     struct snapshot_told *told, struct err *e)
{
	struct stat st;

	snprintf(did + strlen(did), sizeof(did) - strlen(did), "snapshot %s%s", wish->path,
		 wish->at < 0 || fstat(wish->at, &st) ? "" : " at");
	if (wish->base)
		snprintf(did + strlen(did), sizeof(did) - strlen(did), " since %s%s", wish->base,
			 wish->base_at < 0 || fstat(wish->base_at, &st) ? "" : " at");
	if (wish->track)
		strcat(did, " track");
	*told = (struct snapshot_told){.paused_ns = 2500000, .bytes = 4096};
	if (fault_of_snapshot)
		return err_host(e, fault_of_snapshot, "no room");
	return fault ? err_host(e, fault, "no room") : 0;
}
static snapshot_done_fn *done;
static void *done_ctx;

int machine_snapshot_begin(struct machine *m, const struct snapshot_wish *wish,
			   snapshot_done_fn *fn, void *ctx, struct err *e)
{
	snprintf(did, sizeof(did), "begin %s", wish->path);
	done = fn;
	done_ctx = ctx;
	return fault ? err_host(e, fault, "busy") : 0;
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
	assert_int_equal(
		rpc_answer(&control_methods, &call, line, strlen(line), call.fds.n, &answer), 0);
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

/* The answer is what was asked for: the guest has it later. */
static void asks_for_cpus(long long n)
{
	json_t *answer = ask("cpus.set", json_pack("{s:I}", "count", (json_int_t)n));
	const json_t *result = json_object_get(answer, "result");
	char want[40];

	snprintf(want, sizeof(want), "cpus %lld", n);
	assert_string_equal(did, want);
	assert_int_equal(json_object_size(result), 1);
	assert_int_equal(json_integer_value(json_object_get(result, "target")), n);
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
	gives("memory.set", json_pack("{s:I}", "size", (json_int_t)1 << 40),
	      "memory 1099511627776");
	gives("memory.set", json_pack("{s:i}", "size", -1), "memory -1");
	asks_for_cpus(3);
	asks_for_cpus(-(1ll << 40));
	fails("cpus.set", NULL, RPC_INVALID_PARAMS);
	fails("cpus.set", json_pack("{s:s}", "count", "2"), RPC_INVALID_PARAMS);
	fails("memory.set", NULL, RPC_INVALID_PARAMS);
	fails("memory.set", json_pack("{s:s}", "size", "2G"), RPC_INVALID_PARAMS);
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
	fails("memory.set", json_pack("{s:i}", "size", 1), RPC_INVALID_PARAMS);
	fails("cpus.set", json_pack("{s:i}", "count", 1), RPC_INVALID_PARAMS);
	fails("reset", NULL, RPC_INVALID_PARAMS);
	fault = 0;
}

/* By descriptors, which are closed afterwards. */
static void handed_over(void)
{
	int above = open("/", O_RDONLY | O_DIRECTORY), base = dup(above);
	json_t *params = json_pack("{s:{s:i, s:s}, s:{s:i, s:s}}", "dir", "at", 1, "name", "s",
				   "base", "at", 0, "name", "b");

	call.fds = (struct rpc_fds){2, {base, above}};
	json_decref(ask("snapshot", json_incref(params)));
	assert_string_equal(did, "snapshot s at since b at");
	assert_true(call.fds.fd[0] == -1 && call.fds.fd[1] == -1);
	assert_true(close(above) && close(base));
	/* One descriptor for both is none for one of them. */
	call.fds = (struct rpc_fds){1, {dup(2)}};
	json_object_set_new(params, "dir", json_pack("{s:i, s:s}", "at", 0, "name", "s"));
	fails("snapshot", params, RPC_INVALID_PARAMS);
	assert_true(call.fds.fd[0] >= 0);
	rpc_close_fds(&call.fds);
}

static void snapshots(void **state)
{
	json_t *answer = ask("snapshot", json_pack("{s:s}", "dir", "/s"));

	assert_string_equal(did, "snapshot /s");
	assert_true(json_real_value(json_object_get(json_object_get(answer, "result"),
						    "paused_ms")) == 2.5);
	json_decref(answer);
	/* Nothing of what it does after the snapshot is lost, as it does nothing. */
	answer = ask("snapshot", json_pack("{s:s, s:b}", "dir", "/s", "stop", 1));
	assert_string_equal(did, "stop");
	json_decref(answer);
	answer = ask("snapshot",
		     json_pack("{s:s, s:s, s:b}", "dir", "/s", "base", "/b", "track", 1));
	assert_string_equal(did, "snapshot /s since /b track");
	json_decref(answer);
	handed_over();
	fails("snapshot", json_pack("{s:s}", "dir", "s"), RPC_INVALID_PARAMS);
	fails("snapshot", json_pack("{s:i}", "dir", 0), RPC_INVALID_PARAMS);
	fails("snapshot", json_pack("{s:{s:s}}", "dir", "name", "s"), RPC_INVALID_PARAMS);
	fails("snapshot", json_pack("{s:{s:i, s:s}}", "dir", "at", 0, "name", "s"),
	      RPC_INVALID_PARAMS);
	fails("snapshot", NULL, RPC_INVALID_PARAMS);
	assert_string_equal(did, "");
	fault = -ENOSPC;
	fails("snapshot", json_pack("{s:s}", "dir", "/s"), RPC_FAILED);
	fault = 0;
	/* The last one was none: it goes on as it was. */
	fault_of_snapshot = -ENOSPC;
	fails("snapshot", json_pack("{s:s, s:b}", "dir", "/s", "stop", 1), RPC_FAILED);
	assert_string_equal(did, "resume");
	stands = true;
	fails("snapshot", json_pack("{s:s, s:b}", "dir", "/s", "stop", 1), RPC_FAILED);
	assert_string_equal(did, "pausesnapshot /s");
	stands = false;
	fault_of_snapshot = 0;
}

static json_t *late_result;
static struct err late_error;

static void hear(void *ctx, json_t *result, const struct err *e)
{
	late_result = result;
	late_error = *e;
}

/* Where somebody waits: the answer comes when it is written, but of the last one, at once. */
static void a_snapshot_that_is_told_later(void **state)
{
	const struct control_late late = {hear, NULL};
	const struct snapshot_told told = {.paused_ns = 2500000, .bytes = 4096};
	json_t *request = json_pack("{s:s, s:i, s:s, s:{s:s}}", "jsonrpc", "2.0", "id", 9, "method",
				    "snapshot", "params", "dir", "/s");
	char *line = json_dumps(request, JSON_COMPACT), *answer;
	struct err e = {0};
	json_t *id;

	fault = 0;
	call.late = &late;
	assert_int_equal(rpc_request(&control_methods, &call, line, strlen(line), 0, &answer, &id),
			 0);
	assert_null(answer);
	assert_int_equal(json_integer_value(id), 9);
	assert_string_equal(did, "begin /s");
	assert_null(late_result);
	done(done_ctx, &told, &e);
	assert_true(json_real_value(json_object_get(late_result, "paused_ms")) == 2.5);
	assert_int_equal(json_integer_value(json_object_get(late_result, "bytes")), 4096);
	json_decref(late_result);
	err_host(&e, -ENOSPC, "no room");
	done(done_ctx, &told, &e);
	assert_null(late_result);
	assert_string_equal(late_error.text, "no room");
	json_decref(ask("snapshot", json_pack("{s:s, s:b}", "dir", "/s", "stop", 1)));
	assert_string_equal(did, "stop");
	fault = -EBUSY;
	fails("snapshot", json_pack("{s:s}", "dir", "/s"), RPC_FAILED);
	fault = 0;
	call.late = NULL;
	json_decref(request);
	json_decref(id);
	free(line);
}

static void limits(void **state)
{
	fault = 0;
	gives("disk.limit",
	      json_pack("{s:s, s:I, s:i}", "disk", "root", "bps", 1ll << 40, "iops", 5),
	      "root 1099511627776 -1 5 -1");
	gives("disk.limit", json_pack("{s:s, s:i, s:i}", "disk", "d", "burst", 0, "iops_burst", 7),
	      "d -1 0 -1 7");
	gives("net.limit",
	      json_pack("{s:s, s:i, s:i, s:i, s:i}", "net", "lan", "bps", 0, "burst", 1, "pps", 2,
			"pps_burst", 3),
	      "lan 0 1 2 3");
	fails("disk.limit", json_pack("{s:s}", "disk", "root"), RPC_INVALID_PARAMS);
	fails("disk.limit", json_pack("{s:i}", "bps", 1), RPC_INVALID_PARAMS);
	fails("disk.limit", json_pack("{s:s, s:i}", "disk", "d", "bps", -1), RPC_INVALID_PARAMS);
	fails("disk.limit", json_pack("{s:s, s:s}", "disk", "d", "bps", "10M"), RPC_INVALID_PARAMS);
	fails("disk.limit", json_pack("{s:s, s:i}", "disk", "d", "pps", 1), RPC_INVALID_PARAMS);
	fails("net.limit", json_pack("{s:s, s:i}", "net", "n", "pps_burst", -5),
	      RPC_INVALID_PARAMS);
	fails("net.limit", json_pack("{s:s, s:i}", "net", "n", "iops", 1), RPC_INVALID_PARAMS);
	assert_string_equal(did, "");
	fault = -ENOENT;
	fails("net.limit", json_pack("{s:s, s:i}", "net", "n", "pps", 1), RPC_INVALID_PARAMS);
	fault = 0;
}

static void a_disk(void **state)
{
	static const json_int_t wrong[] = {0, -1, INT64_MIN};
	json_t *answer = ask("disk.resize", json_pack("{s:s}", "disk", "root"));

	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(answer, "result"), "size")),
		1ll << 40);
	assert_string_equal(did, "root");
	assert_int_equal(wanted, 0);
	json_decref(answer);
	answer = ask("disk.resize",
		     json_pack("{s:s, s:I}", "disk", "a", "size", (json_int_t)INT64_MAX));
	assert_non_null(json_object_get(answer, "result"));
	assert_true(wanted == INT64_MAX);
	json_decref(answer);
	for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
		fails("disk.resize", json_pack("{s:s, s:I}", "disk", "a", "size", wrong[i]),
		      RPC_INVALID_PARAMS);
		assert_string_equal(did, "");
	}
	fault = -ENOENT;
	fails("disk.resize", json_pack("{s:s}", "disk", "a"), RPC_INVALID_PARAMS);
	fault = 0;
}

static void bring(void)
{
	call.fds = (struct rpc_fds){1, {open("/dev/null", O_RDWR | O_CLOEXEC)}};
	assert_true(call.fds.fd[0] >= 0);
}

/* The descriptor is the machine's in every case but one: the call is no good as it stands. */
static void added(void **state)
{
	json_t *answer;
	int fd;

	fault = 0;
	bring();
	answer = ask("disk.add", json_pack("{s:i, s:s, s:s, s:b}", "file", 0, "id", "data",
					   "serial", "X1", "readonly", 1));
	assert_string_equal(did, "disk data X1 ro");
	assert_int_equal(call.fds.fd[0], -1);
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(answer, "result"), "disk")),
		"disk7");
	json_decref(answer);
	bring();
	answer = ask("net.add", json_pack("{s:i}", "tap", 0));
	assert_string_equal(did, "net -");
	assert_int_equal(call.fds.fd[0], -1);
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(answer, "result"), "net")),
		"net7");
	json_decref(answer);
	fault = -ENOSPC;
	bring();
	fails("disk.add", json_pack("{s:i}", "file", 0), RPC_INVALID_PARAMS);
	assert_string_equal(did, "disk - -");
	assert_int_equal(call.fds.fd[0], -1);
	bring();
	fails("net.add", json_pack("{s:i, s:s}", "tap", 0, "id", "lan"), RPC_INVALID_PARAMS);
	assert_int_equal(call.fds.fd[0], -1);
	bring();
	fd = call.fds.fd[0];
	fails("disk.add", json_pack("{s:i}", "file", 1), RPC_INVALID_PARAMS);
	fails("disk.add", NULL, RPC_INVALID_PARAMS);
	fails("disk.add", json_pack("{s:i, s:i}", "file", 0, "id", 1), RPC_INVALID_PARAMS);
	fails("net.add", json_pack("{s:i}", "file", 0), RPC_INVALID_PARAMS);
	assert_string_equal(did, "");
	assert_int_equal(call.fds.fd[0], fd);
	rpc_close_fds(&call.fds);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	fails("disk.remove", json_pack("{s:s}", "disk", "x"), RPC_INVALID_PARAMS);
	fault = 0;
	gives("disk.remove", json_pack("{s:s}", "disk", "x"), "no disk x");
	gives("net.remove", json_pack("{s:s}", "net", "y"), "no net y");
	fails("disk.remove", json_pack("{s:s}", "net", "y"), RPC_INVALID_PARAMS);
	fails("net.remove", NULL, RPC_INVALID_PARAMS);
	assert_string_equal(did, "");
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

/* Descriptors are taken, or left to the server to close. */
static void the_log(void **state)
{
	char name[] = "/tmp/minivmm-log-XXXXXX", text[100] = {0};
	int fd = mkstemp(name), pipe_ends[2];

	assert_true(fd >= 0);
	assert_int_equal(pipe2(pipe_ends, O_CLOEXEC), 0);
	log_set_level(LOG_WARN);
	call.fds = (struct rpc_fds){1, {pipe_ends[1]}};
	fails("log.file", json_pack("{s:i}", "file", 0), RPC_INVALID_PARAMS);
	call.fds = (struct rpc_fds){1, {open(name, O_RDONLY | O_CLOEXEC)}};
	fails("log.file", json_pack("{s:i}", "file", 0), RPC_INVALID_PARAMS);
	call.fds = (struct rpc_fds){0};
	fails("log.file", NULL, RPC_INVALID_PARAMS);
	fails("log.file", json_pack("{s:i}", "file", 0), RPC_INVALID_PARAMS);
	/* From stderr, and from one file to another. */
	for (unsigned i = 0; i < 2; i++) {
		call.fds = (struct rpc_fds){1, {open(name, O_RDWR | O_CLOEXEC)}};
		gives("log.file", json_pack("{s:i}", "file", 0), "");
		assert_int_equal(call.fds.fd[0], -1);
		log_warn("line %u", i);
	}
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	assert_string_equal(text, "minivmm: line 0\nminivmm: line 1\n");
	log_set_fd(STDERR_FILENO);
	call.fds = (struct rpc_fds){0};
	unlink(name);
	close(fd);
	close(pipe_ends[0]);
}

static const char *type_of(enum rpc_kind kind)
{
	static const char *const types[] = {
		[RPC_STRING] = "string", [RPC_INTEGER] = "integer", [RPC_BOOLEAN] = "boolean",
		[RPC_PLACE] = "object",  [RPC_SIZE] = "integer",    [RPC_FD] = "integer",
		[RPC_LIST] = "array",
	};

	return types[kind];
}

/* A place is a path as well; gives what it is with a descriptor. */
static const json_t *either_way(const json_t *schema)
{
	const json_t *ways = json_object_get(schema, "oneOf"), *object = json_array_get(ways, 1);
	const json_t *at = json_object_get(json_object_get(object, "properties"), "at");

	assert_int_equal(json_array_size(ways), 2);
	assert_string_equal(json_string_value(json_object_get(json_array_get(ways, 0), "pattern")),
			    "^/");
	assert_true(json_is_true(json_object_get(at, "x-descriptor")));
	return object;
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
		if (m->params[i].kind == RPC_PLACE)
			schema = either_way(schema);
		assert_string_equal(json_string_value(json_object_get(schema, "type")),
				    type_of(m->params[i].kind));
		assert_int_equal(json_is_true(json_object_get(p, "x-descriptor")),
				 m->params[i].kind == RPC_FD);
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
		cmocka_unit_test(snapshots),
		cmocka_unit_test(a_snapshot_that_is_told_later),
		cmocka_unit_test(limits),
		cmocka_unit_test(questions),
		cmocka_unit_test(a_disk),
		cmocka_unit_test(the_log),
		cmocka_unit_test(the_document),
		cmocka_unit_test(added),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
