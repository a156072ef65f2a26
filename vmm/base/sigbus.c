/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/sigbus.h"

#include "vmm/base/log.h"

#include <stddef.h>
#include <unistd.h>

enum { STATUS_HOST = 1 };

/* Whatever thread faulted, in whatever it did: only what signal-safety(7) allows. */
static void on_sigbus(int signum, siginfo_t *info, void *context)
{
	switch (info->si_code) {
	case BUS_ADRERR:
		log_last_words("the host has no memory behind an address of the guest's RAM or of "
			       "a file: huge pages ran out, or the file was cut short");
		break;
	case BUS_MCEERR_AR:
	case BUS_MCEERR_AO:
		log_last_words("the host's memory is broken behind an address of this machine's");
		break;
	default:
		/* Sent by somebody, or a fault of our own: its usual end. */
		signal(signum, SIG_DFL);
		raise(signum);
		return;
	}
	_exit(STATUS_HOST);
}

void sigbus_catch(void)
{
	struct sigaction sa = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER};

	sigaction(SIGBUS, &sa, NULL);
}

void sigbus_fill_mask(sigset_t *set)
{
	sigfillset(set);
	sigdelset(set, SIGBUS);
	sigdelset(set, SIGSYS);
}
