/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A shared directory: opening it, and the way of a request.
 *
 *	share_serve:  copy -> check -> libfuse -> operation ... reply -> on_reply -> guest
 *
 * libfuse parses what was checked and calls an operation of share_ops, which is done when it
 * returns and has answered; libfuse lays the answer out, and on_reply() puts it into the
 * guest's buffers. File data is not part of that: share_read() and share_write() have the
 * kernel move it between the file and the guest's buffers, and libfuse sees its length only.
 *
 * libfuse wants a descriptor to call its own; nobody reads or writes it.
 *
 * A session begins with FUSE_INIT, and a second one begins anew: the guest's driver has
 * forgotten all that it knew. It ends with FUSE_DESTROY or a reset of the device.
 */
#include "devices/backend/share_priv.h"

#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/base/le.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

/* --- the request's memory ------------------------------------------------------------------ */

int share_iov_cut(const struct iovec *iov, int n, uint64_t off, uint64_t len, struct iovec *out,
		  int max)
{
	int used = 0;

	for (; n && len && used < max; iov++, n--) {
		size_t piece;

		if (off >= iov->iov_len) {
			off -= iov->iov_len;
			continue;
		}
		piece = iov->iov_len - off < len ? iov->iov_len - off : len;
		out[used++] = (struct iovec){(char *)iov->iov_base + off, piece};
		len -= piece;
		off = 0;
	}
	return used;
}

static void gather(const struct share_request *r, uint8_t *to, size_t len)
{
	struct iovec iov[SHARE_IOV_MAX];
	int n = share_iov_cut(r->in, r->n_in, 0, len, iov, SHARE_IOV_MAX);

	for (int i = 0; i < n; i++) {
		memcpy(to, iov[i].iov_base, iov[i].iov_len);
		to += iov[i].iov_len;
	}
}

static void scatter(const struct share_request *r, uint64_t off, const void *from, size_t len)
{
	struct iovec iov[SHARE_IOV_MAX];
	int n = share_iov_cut(r->out, r->n_out, off, len, iov, SHARE_IOV_MAX);

	for (int i = 0; i < n; i++) {
		memcpy(iov[i].iov_base, from, iov[i].iov_len);
		from = (const char *)from + iov[i].iov_len;
	}
}

/* --- answers ---------------------------------------------------------------------------------- */

/* Without libfuse: success, or a positive errno. */
static void answer(struct share *s, int error)
{
	struct fuse_out_header h = {
		.len = sizeof(h),
		.error = -error,
		.unique = le64_get(s->copy + offsetof(struct fuse_in_header, unique)),
	};

	scatter(s->request, 0, &h, sizeof(h));
	s->answered = sizeof(h);
	s->has_answer = true;
}

/* What libfuse 3.14 does not know to offer: that we take care of set-user-ID bits, so that
 * the guest need not ask for security.capability before each write. */
static void complete_init(const struct share *s, struct iovec *iov, struct fuse_init_out *out)
{
	const struct fuse_init_in *in = (const void *)(s->copy + SHARE_HEADER_LEN);

	if (iov->iov_len < offsetof(struct fuse_init_out, max_background))
		return;
	memcpy(out, iov->iov_base, iov->iov_len < sizeof(*out) ? iov->iov_len : sizeof(*out));
	out->flags |= in->flags & FUSE_HANDLE_KILLPRIV_V2;
	iov->iov_base = out;
}

static ssize_t on_reply(int fd, struct iovec *iov, int n, void *arg)
{
	struct share *s = arg;
	const struct share_request *r = s->request;
	struct fuse_init_out init = {0};
	uint64_t total = 0, at = 0;

	for (int i = 0; i < n; i++)
		total += iov[i].iov_len;
	if (total > r->out_len) {
		log_guest(&s->complaints, "%s: an answer of %lu bytes for a buffer of %lu", s->name,
			  total, r->out_len);
		answer(s, EIO);
		return (ssize_t)total;
	}
	if (n == 2 && iov[1].iov_len <= sizeof(init) &&
	    le32_get(s->copy + offsetof(struct fuse_in_header, opcode)) == FUSE_INIT)
		complete_init(s, &iov[1], &init);
	/* Data that was read into the guest's buffers follows the header there already. */
	for (int i = 0; i < (s->in_place ? 1 : n); i++) {
		scatter(r, at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	s->answered = total;
	s->has_answer = true;
	return (ssize_t)total;
}

/* libfuse has nothing to read: requests are handed to it. */
static ssize_t on_read(int fd, void *buf, size_t len, void *arg)
{
	errno = ENODEV;
	return -1;
}

__attribute__((format(printf, 2, 0))) static void on_log(enum fuse_log_level level, const char *fmt,
							 va_list args)
{
	char line[200];

	vsnprintf(line, sizeof(line), fmt, args);
	line[strcspn(line, "\n")] = '\0';
	log_debug("libfuse: %s", line);
}

/* --- the session ------------------------------------------------------------------------ */

static int begin_session(struct share *s)
{
	static const struct fuse_custom_io io = {.writev = on_reply, .read = on_read};
	char *argv[] = {"minivmm", NULL};
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	int fd = fcntl(s->dir, F_DUPFD_CLOEXEC, 0), ret = -errno;

	if (fd < 0)
		return ret;
	ret = share_nodes_init(&s->nodes, fd, &s->root, s->fds_max / 2, s->nodes_max);
	if (ret)
		return ret;
	s->handles.max = s->fds_max / 4; /* and the rest is for a request's own needs */
	s->session = fuse_session_new(&args, &share_ops, sizeof(share_ops), s);
	fuse_opt_free_args(&args);
	fd = s->session ? fcntl(s->dir, F_DUPFD_CLOEXEC, 0) : -1;
	if (fd >= 0 && !fuse_session_custom_io(s->session, &io, fd))
		return 0;
	fd_close(&fd);
	share_reset(s);
	return -ENOMEM;
}

void share_reset(struct share *s)
{
	if (s->session)
		fuse_session_destroy(s->session);
	s->session = NULL;
	share_handles_fini(&s->handles, &s->nodes);
	share_nodes_fini(&s->nodes);
	memset(s->interrupts, 0, sizeof(s->interrupts));
	memset(s->retries, 0, sizeof(s->retries));
}

bool share_mounted(const struct share *s)
{
	return s->session;
}

bool share_writable(const struct share *s)
{
	return s->writable;
}

struct share_counts share_count(const struct share *s)
{
	return (struct share_counts){s->nodes.n, s->nodes.n_fds, s->handles.n, s->handles.n_ahead};
}

void share_interrupt(struct share *s, uint64_t unique)
{
	s->interrupts[s->next_interrupt] = unique;
	s->next_interrupt = (s->next_interrupt + 1) % SHARE_INTERRUPTS;
}

static bool take_interrupt(struct share *s, uint64_t unique)
{
	for (unsigned i = 0; unique && i < SHARE_INTERRUPTS; i++)
		if (s->interrupts[i] == unique) {
			s->interrupts[i] = 0;
			return true;
		}
	return false;
}

/* --- a request -------------------------------------------------------------------------- */

/* What libfuse 3.14 does not know. */
static int sync_all(struct share *s)
{
	_cleanup_fd_ int fd = openat(s->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (!s->writable)
		return 0;
	return fd < 0 || syncfs(fd) ? errno : 0;
}

static void carry_out(struct share *s, uint32_t op, size_t len)
{
	struct fuse_buf buf = {.mem = s->copy, .size = len};
	int error;

	switch (op) {
	case FUSE_INTERRUPT:
		share_interrupt(s, le64_get(s->copy + SHARE_HEADER_LEN));
		return;
	case FUSE_SYNCFS:
		answer(s, sync_all(s));
		return;
	case FUSE_INIT:
		share_reset(s);
		error = -begin_session(s);
		if (error) {
			answer(s, error);
			return;
		}
	}
	fuse_session_process_buf(s->session, &buf);
	if (op == FUSE_DESTROY)
		share_reset(s);
}

int64_t share_serve(struct share *s, const struct share_request *r)
{
	size_t head = SHARE_HEADER_LEN;
	uint64_t data = 0;
	unsigned kind;
	uint32_t op;
	int error;

	if (r->in_len < SHARE_HEADER_LEN)
		return -EPROTO;
	gather(r, s->copy, SHARE_HEADER_LEN);
	op = le32_get(s->copy + offsetof(struct fuse_in_header, opcode));
	kind = share_opcode(op);
	if (!(kind & SHARE_NO_ANSWER) && r->out_len < SHARE_ANSWER_LEN)
		return -EPROTO;
	s->request = r;
	s->answered = s->in_place = 0;
	s->has_answer = false;

	if (kind & SHARE_DATA)
		head += SHARE_WRITE_LEN;
	if (!(kind & SHARE_DATA) || head > r->in_len)
		head = r->in_len < SHARE_REQUEST_MAX ? r->in_len : SHARE_REQUEST_MAX;
	data = r->in_len - head;
	/* Once more with the header, which may be another now: from here on there is only
	 * the copy. Zeroes behind it are what short FUSE_INITs of old drivers mean. */
	gather(r, s->copy, head);
	memset(s->copy + head, 0, sizeof(s->copy) - head < 64 ? sizeof(s->copy) - head : 64);
	if (le32_get(s->copy + offsetof(struct fuse_in_header, opcode)) != op)
		error = EINVAL;
	else
		error = share_check(s->copy, head, data);
	if (!error && kind & SHARE_CHANGES && !s->writable)
		error = EROFS;
	if (!error && op != FUSE_INIT && !s->session)
		error = ENOTCONN;
	if (!error &&
	    take_interrupt(s, le64_get(s->copy + offsetof(struct fuse_in_header, unique))))
		error = EINTR;
	if (!error) {
		share_nodes_trim(&s->nodes);
		carry_out(s, op, head);
	}
	if (kind & SHARE_NO_ANSWER)
		return 0;
	if (!s->has_answer)
		answer(s, error ? error : EIO);
	return (int64_t)s->answered;
}

/* --- opening ---------------------------------------------------------------------------- */

unsigned share_raise_limit(unsigned n)
{
	enum { FDS_MOST = 64 << 10 };

	return fd_part_of_limit(n, SHARE_FDS_MIN, FDS_MOST);
}

/* `code` is what looking at it came to. */
static int explain_open(const char *option, const char *path, int code, struct err *e)
{
	if (code == -ENOENT)
		return err_usage(e, code, "%s %s: does not exist; correct the path", option, path);
	if (code == -ENOTDIR)
		return err_usage(e, code,
				 "%s %s: is not a directory; give one, or give a file "
				 "as --disk",
				 option, path);
	return err_usage(e, code, "%s %s: cannot be opened: %s", option, path, strerror(-code));
}

static int check_dir(const struct share *s, const char *option, const char *path, struct err *e)
{
	struct statfs fs;

	if (!fstatfs(s->dir, &fs) && fs.f_type == PROC_SUPER_MAGIC)
		return err_usage(e, -EINVAL,
				 "%s %s: the kernel's own files are not for sharing; give a "
				 "directory of yours",
				 option, path);
	if (faccessat(s->dir, ".", R_OK | X_OK, AT_EACCESS))
		return err_usage(e, -errno, "%s %s: no permission to read it; see 'ls -ld'", option,
				 path);
	if (s->writable && faccessat(s->dir, ".", W_OK, AT_EACCESS))
		return err_usage(e, -errno,
				 "%s %s: cannot be written (%s); leave rw away, or make it "
				 "writable",
				 option, path, strerror(errno));
	return 0;
}

int share_open(struct share **out, const char *path, const struct share_options *options,
	       struct err *e)
{
	const char *option = options->option ? options->option : "--share";
	struct share *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return err_host(e, -ENOMEM, "%s %s: out of memory", option, path);
	*s = (struct share){
		.name = options->name,
		.writable = options->writable,
		.cache = options->cache,
		.fds_max = options->fds_max,
		.nodes_max = options->nodes_max ? options->nodes_max : SHARE_NODES_MAX,
		.proc = -1,
		.uid = geteuid(),
		.gid = getegid(),
	};
	s->owners_real = !s->uid;
	s->shown_as_root = s->uid && !options->owners_shown;
	assert(s->fds_max >= SHARE_FDS_MIN);
	fuse_set_log_func(on_log);
	s->dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	ret = s->dir < 0 ? -errno : share_stat(s->dir, "", &s->root);
	if (ret) {
		explain_open(option, path, ret, e);
		goto fail;
	}
	ret = check_dir(s, option, path, e);
	if (ret)
		goto fail;
	s->proc = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->proc < 0) {
		ret = err_host(e, -errno, "%s %s: wants /proc on this host: %s", option, path,
			       strerror(errno));
		goto fail;
	}
	*out = s;
	return 0;
fail:
	share_destroy(s);
	return ret;
}

void share_attach(struct share *s)
{
	/* The guest's umask is in each mode that it asks for; ours is not for its files. */
	if (unshare(CLONE_FS))
		log_warn("%s: cannot have a umask of its own (%s): files that the guest makes "
			 "have fewer permissions",
			 s->name, strerror(errno));
	else
		umask(0);
}

void share_destroy(struct share *s)
{
	if (!s)
		return;
	share_reset(s);
	fd_close(&s->dir);
	fd_close(&s->proc);
	free(s);
}
