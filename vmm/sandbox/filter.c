/* SPDX-License-Identifier: Apache-2.0 */
/* The filters that were made when minivmm was built, from the lists beside the code. */
#include "vmm/base/bytes.h"
#include "vmm/sandbox/call.h"
#include "vmm/sandbox/priv.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

const struct sandbox_filter *sandbox_filter(enum thread_kind kind)
{
	return &filters_made[kind];
}

const char *sandbox_call_name(unsigned nr)
{
	return nr < FILTERS_CALLS ? filters_names[nr] : NULL;
}

bool filter_known(void)
{
	static const uint32_t actions[] = {SECCOMP_RET_TRAP, SECCOMP_RET_KILL_PROCESS,
					   SECCOMP_RET_LOG};

	for (unsigned i = 0; i < ARRAY_LEN(actions); i++)
		if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &actions[i]))
			return false;
	return true;
}

int filter_load(enum thread_kind kind, bool log)
{
	const struct sandbox_filter *f = &filters_made[kind];
	struct sock_filter insns[SANDBOX_INSNS_MAX];
	struct sock_fprog program = {(unsigned short)f->n_insns, insns};

	if (f->n_insns > SANDBOX_INSNS_MAX)
		return -E2BIG;
	memcpy(insns, f->insns, f->n_insns * sizeof(*insns));
	for (unsigned i = 0; i < f->n_insns; i++) {
		struct sock_filter *insn = &insns[i];

		if (log && insn->code == (BPF_RET | BPF_K) && insn->k == SECCOMP_RET_TRAP)
			insn->k = SECCOMP_RET_LOG;
		if (insn->code == (BPF_JMP | BPF_JEQ | BPF_K) && insn->k == OWN_PID_MARK)
			insn->k = (uint32_t)getpid();
	}
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) ? -errno : 0;
}
