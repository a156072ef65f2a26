/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose a file is.
 *
 * Run by root: each file belongs in the guest to whom it belongs here. What the guest
 * makes is made with the caller's user and group as the thread's own for that moment
 * (setfsuid), so that the host's kernel does what it always does: the group of a set-group-ID
 * directory, quotas. The rights of root stay: whether the caller may was the guest's
 * kernel to judge.
 *
 * Run by anybody else: see share_show(). Owners cannot be given away, so what the
 * guest makes is ours, and shown as its root's; or as ours, if it is to be (owners_shown).
 */
#include "devices/backend/share_priv.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

void share_show(const struct share *s, struct stat *st)
{
	if (s->shown_as_root && st->st_uid == s->uid)
		st->st_uid = 0;
	if (s->shown_as_root && st->st_gid == s->gid)
		st->st_gid = 0;
	/* The guest sees one file system, with a number once. What is mounted below the
	 * directory has numbers of its own. */
	if (st->st_dev != s->root.st.st_dev)
		st->st_ino ^= (st->st_dev * 0x9e3779b97f4a7c15) >> 48 << 48;
}

/* What root may do to files though they are another's, which setfsuid takes away. */
static int keep_rights(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data))
		return -EPERM;
	data[0].effective |= data[0].permitted & (1u << CAP_DAC_OVERRIDE |
						  1u << CAP_DAC_READ_SEARCH | 1u << CAP_FOWNER);
	return syscall(SYS_capset, &header, data) ? -EPERM : 0;
}

void share_act_end(const struct share *s)
{
	if (!s->owners_real)
		return;
	/* Its rights come back with root's number. */
	syscall(SYS_setfsuid, s->uid);
	syscall(SYS_setfsgid, s->gid);
}

int share_act_as(fuse_req_t req)
{
	const struct share *s = share_of(req);
	const struct fuse_ctx *who = fuse_req_ctx(req);

	if (!s->owners_real || (who->uid == s->uid && who->gid == s->gid))
		return 0;
	syscall(SYS_setfsgid, who->gid);
	syscall(SYS_setfsuid, who->uid);
	/* They tell what was before, and so whether it has worked. */
	if (syscall(SYS_setfsuid, -1) == (long)who->uid &&
	    syscall(SYS_setfsgid, -1) == (long)who->gid && (!who->uid || !keep_rights()))
		return 0;
	share_act_end(s);
	return -EPERM;
}
