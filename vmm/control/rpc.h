/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc: JSON-RPC 2.0, a line in and a line out [jsonrpc.org/specification]. It knows neither
 * sockets nor machines: what can be called is a table.
 *
 * A line is one object: batches are refused. Parameters go by name; one that the method does
 * not have, or of another type, is refused, so a method sees only what its table says.
 */
#ifndef VMM_CONTROL_RPC_H
#define VMM_CONTROL_RPC_H

#include "vmm/base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* A size is an integer, which people may write as 10M. An RPC_FD is a descriptor that came beside
 * the line: which of them, from 0. An RPC_PLACE is a directory: an absolute path, or
 * {"at": which descriptor, "name": a name in it}. An RPC_LIST is of strings. */
enum rpc_kind { RPC_STRING, RPC_INTEGER, RPC_SIZE, RPC_BOOLEAN, RPC_PLACE, RPC_FD, RPC_LIST };

struct rpc_param {
	const char *name;
	enum rpc_kind kind;
	bool required;
};

enum { RPC_PARAMS_MAX = 6 };

struct rpc_method {
	const char *name;
	struct rpc_param params[RPC_PARAMS_MAX]; /* the first without a name ends them */
	/* `params` is an object, perhaps empty. Gives the result, a new value; or NULL with *e
	 * filled: ERR_USAGE if the caller can mend it; or NULL with e->code RPC_LATER: there is no
	 * result yet, and whoever called rpc_request() will be told it. */
	json_t *(*call)(void *ctx, const json_t *params, struct err *e);
};

struct rpc_table {
	unsigned n;
	const struct rpc_method *methods;
};

const struct rpc_method *rpc_method(const struct rpc_table *t, const char *name);
const struct rpc_param *rpc_param(const struct rpc_method *m, const char *name);

/* The specification's codes [5.1], and ours. */
enum { RPC_LATER = 1 };
enum {
	RPC_PARSE_ERROR = -32700,
	RPC_INVALID_REQUEST = -32600,
	RPC_METHOD_NOT_FOUND = -32601,
	RPC_INVALID_PARAMS = -32602,
	RPC_FAILED = -32000, /* the method, for a reason that the message tells */
};

/* What came beside a line; -1: taken. */
enum { RPC_FDS_MAX = 4 };
struct rpc_fds {
	unsigned n;
	int fd[RPC_FDS_MAX];
};

/* Carry out `line`, of any `len` bytes, without its newline. `n_fds` descriptors came with it, up
 * to RPC_FDS_MAX: the method is called only if its parameters name each of them, and each once.
 * *answer is a new string that ends in a newline, or NULL: a notification has none. 0 or -ENOMEM.
 */
int rpc_answer(const struct rpc_table *t, void *ctx, const char *line, size_t len, unsigned n_fds,
	       char **answer);
/* The same where a method may say RPC_LATER: *answer is NULL then, and *later is the request's id,
 * the caller's; else it is NULL. So is that of a notification, which nobody answers. */
int rpc_request(const struct rpc_table *t, void *ctx, const char *line, size_t len, unsigned n_fds,
		char **answer, json_t **later);
/* Such an answer, a new string that ends in a newline, or NULL for want of memory: `result`, which
 * is taken over, or if *e is filled that. */
char *rpc_late_answer(const json_t *id, json_t *result, const struct err *e);
/* What is said without being asked. Takes `params` over. */
char *rpc_notification(const char *method, json_t *params);

/* For a method: the descriptor that the parameter `name` says, the caller's from here; -1 if it is
 * not among `params`. */
int rpc_take_fd(struct rpc_fds *fds, const json_t *params, const char *name);
/* Likewise a place: its path and -1 in *at, or the name and the descriptor, which is the caller's
 * from here. NULL and -1 if it is not among `params`. */
const char *rpc_take_place(struct rpc_fds *fds, const json_t *params, const char *name, int *at);
/* Close what nobody took. */
void rpc_close_fds(struct rpc_fds *fds);

/* An answer to nobody in particular, as above; NULL for want of memory. */
char *rpc_complaint(int code, const char *message);

#endif
