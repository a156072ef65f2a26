/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-no-ring COMMAND...: runs it where io_uring is forbidden, as containers forbid it:
 * what a disk does by plain calls is measured beside what it does by a ring.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof(code) / sizeof(code[0]), code};

	if (argc < 2) {
		fprintf(stderr, "Usage: bench-no-ring COMMAND...\n");
		return 2;
	}
	if (!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	    !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))
		execvp(argv[1], argv + 1);
	fprintf(stderr, "bench-no-ring: %s: %s\n", argv[1], strerror(errno));
	return 1;
}
