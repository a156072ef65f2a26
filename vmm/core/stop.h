/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stop: why the machine ends, said once by whoever finds out first.
 *
 * Devices and vCPU threads report; the machine's main loop hears of it, asks
 * every vCPU to leave its trap loop, and main turns the reason into the exit
 * status.
 */
#ifndef VMM_CORE_STOP_H
#define VMM_CORE_STOP_H

enum stop_reason {
	STOP_NONE = 0,
	STOP_POWEROFF,     /* the guest powered itself off */
	STOP_RESET,        /* the guest asked for a reset (8042, 0xcf9, ACPI) */
	STOP_TRIPLE_FAULT, /* a vCPU shut down: triple fault */
	STOP_PANIC,        /* the guest said that it panicked */
	STOP_KVM_ERROR,    /* KVM could not go on: internal error, failed entry, unknown exit */
	STOP_HOST_ERROR,   /* the host failed us at run time */
	STOP_USER,         /* Ctrl-a x, or a second signal */
	STOP_SIGNAL,       /* SIGTERM/SIGINT/SIGHUP and the guest did not power off in time */
	STOP_TIMEOUT,      /* --timeout ran out */
	STOP_BOOT_TIMEOUT, /* --boot-timeout did, and the command had not begun */
};

/* `detail`: one line for a person, may be NULL. Any thread; the first wins. */
struct stop_sink {
	void (*stop)(void *ctx, enum stop_reason reason, const char *detail);
	void *ctx;
};

static inline void stop_request(const struct stop_sink *s, enum stop_reason reason,
				const char *detail)
{
	if (s->stop)
		s->stop(s->ctx, reason, detail);
}

#endif
