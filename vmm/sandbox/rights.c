/* SPDX-License-Identifier: Apache-2.0 */
/* Capabilities and limits. Capabilities are each thread's own, and there is a call for each of
 * their sets: a library would be larger than its use. */
#include "vmm/base/bytes.h"
#include "vmm/sandbox/priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int rights_bound(void)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	/* EINVAL: behind the last. EPERM: they are not ours to drop, and without new privileges no
	 * program gets any of them. */
	for (unsigned long cap = 0; !prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); cap++)
		;
	if (errno != EINVAL && errno != EPERM)
		return -errno;
	return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) ? -errno : 0;
}

/* The guest's users own files of theirs there, and its kernel has judged what they may. */
static const unsigned file_caps[] = {CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER,
				     CAP_FSETID, CAP_MKNOD,        CAP_SETUID,          CAP_SETGID};

int rights_drop(bool serves_files)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	uint32_t keep = 0;

	if (syscall(SYS_capget, &header, data))
		return -errno;
	for (unsigned i = 0; serves_files && i < ARRAY_LEN(file_caps); i++)
		keep |= 1u << file_caps[i];
	data[0].permitted &= keep;
	data[0].effective = data[0].permitted;
	data[1].permitted = data[1].effective = 0;
	data[0].inheritable = data[1].inheritable = 0;
	return syscall(SYS_capset, &header, data) ? -errno : 0;
}

int rights_limit(unsigned more_fds)
{
	const struct rlimit none = {0, 0};
	struct rlimit fds;

	if (setrlimit(RLIMIT_CORE, &none) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		return -errno;
	if (!more_fds)
		return 0;
	/* A new one gets the lowest number that is free: so many are in use, at the least. */
	int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (lowest < 0 || getrlimit(RLIMIT_NOFILE, &fds))
		return -errno;
	close(lowest);
	rlim_t most = (rlim_t)lowest + more_fds;

	if (most > fds.rlim_cur)
		most = fds.rlim_cur;
	return setrlimit(RLIMIT_NOFILE, &(struct rlimit){most, most}) ? -errno : 0;
}
