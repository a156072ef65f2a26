/* SPDX-License-Identifier: Apache-2.0 */
/* Which files may still be opened: Landlock, whose rules are a thread's own and of those that it
 * begins. There is no library for it, nor need for one: three calls. Debian's header is older than
 * the kernels that this may run on, so newer rights are given by their numbers
 * [Linux Documentation/userspace-api/landlock.rst]. */
#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/sandbox/priv.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel's struct as it is with ABI 6. */
struct ruleset {
	uint64_t fs, net, scoped;
};

enum {
	REFER = 1 << 13,    /* ABI 2: rename and link from one directory into another */
	TRUNCATE = 1 << 14, /* ABI 3 */
	NET_TCP = 3,        /* ABI 4: bind and connect */
	SCOPE_ABSTRACT = 1, /* ABI 6: unix sockets without a path */

	READ = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
	WRITE = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
		LANDLOCK_ACCESS_FS_MAKE_DIR | REFER | TRUNCATE,
	REMOVE = LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR,
	NODES = LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
		LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SOCK |
		LANDLOCK_ACCESS_FS_MAKE_SYM,
	ALL_ACCESS = LANDLOCK_ACCESS_FS_EXECUTE | READ | WRITE | REMOVE | NODES,
};

int sandbox_landlock_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return abi > 0 ? (int)abi : 0;
}

static uint64_t known(int abi)
{
	return abi >= 3 ? ALL_ACCESS : ALL_ACCESS & ~TRUNCATE;
}

static uint64_t rights_of(unsigned access)
{
	return (access & SANDBOX_READ ? READ : 0) | (access & SANDBOX_WRITE ? WRITE : 0) |
	       (access & SANDBOX_REMOVE ? REMOVE : 0) | (access & SANDBOX_NODES ? NODES : 0);
}

static int add(int rules, const struct sandbox_place *p, uint64_t known_rights)
{
	char copy[PATH_MAX];
	const char *path = p->path;

	if (p->above) {
		if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
			return -ENAMETOOLONG;
		path = dirname(copy);
	}
	_cleanup_fd_ int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct landlock_path_beneath_attr below = {rights_of(p->access) & known_rights, dir};

	if (dir < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	return syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &below, 0) ? -errno
											    : 0;
}

int files_rules(const struct sandbox_place *places, unsigned n)
{
	int abi = sandbox_landlock_abi();

	/* It was asked before and had it: rules without what it knows now would be a gap. */
	if (abi < SANDBOX_LANDLOCK_ABI)
		return -ENOSYS;

	const struct ruleset handled = {known(abi), abi >= 4 ? NET_TCP : 0,
					abi >= 6 ? SCOPE_ABSTRACT : 0};
	const size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
	int rules = (int)syscall(SYS_landlock_create_ruleset, &handled, size, 0);
	int ret = rules < 0 ? -errno : 0;

	for (unsigned i = 0; i < n && !ret; i++)
		ret = add(rules, &places[i], handled.fs);
	if (ret && rules >= 0)
		close(rules);
	return ret ? ret : rules;
}

int files_confine(int rules)
{
	return syscall(SYS_landlock_restrict_self, rules, 0) ? -errno : 0;
}
