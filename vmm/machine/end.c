/* SPDX-License-Identifier: Apache-2.0 */
/* How a run's end is told: to scripts as a status, to people as a line. */
#include "vmm/base/log.h"
#include "vmm/machine/machine.h"

#include <stdio.h>
#include <string.h>

enum {
	STATUS_OK = 0,
	STATUS_HOST = 1,
	STATUS_CRASH = 3,
	STATUS_TIMEOUT = MACHINE_STATUS_TIMEOUT,
	STATUS_NO_COMMAND = 125,
	STATUS_SIGNAL = 128,
};

/* What is nobody's but the command's own is told apart from it. */
static int command_status(const struct machine_end *end)
{
	if (end->status >= 0)
		return end->status;
	if (end->reason == STOP_TIMEOUT)
		return STATUS_TIMEOUT;
	return end->reason == STOP_SIGNAL ? STATUS_SIGNAL + end->signum : STATUS_NO_COMMAND;
}

int machine_end_status(const struct machine_end *end)
{
	if (end->command)
		return command_status(end);
	switch (end->reason) {
	case STOP_NONE:
	case STOP_POWEROFF:
	case STOP_RESET:
	case STOP_USER:
		return STATUS_OK;
	case STOP_PANIC:
	case STOP_TRIPLE_FAULT:
	case STOP_KVM_ERROR:
		return STATUS_CRASH;
	case STOP_TIMEOUT:
		return STATUS_TIMEOUT;
	case STOP_SIGNAL:
		return STATUS_SIGNAL + end->signum;
	case STOP_HOST_ERROR:
	case STOP_BOOT_TIMEOUT:
		break;
	}
	return STATUS_HOST;
}

bool machine_end_restarts(const struct machine_end *end, const struct vm_config *config)
{
	return end->reason == STOP_RESET && !end->signum && !end->command &&
	       (end->reset_asked || config->on_reboot == ON_REBOOT_RESTART);
}

static const char *reason_text(enum stop_reason reason)
{
	switch (reason) {
	case STOP_POWEROFF:
		return "the guest powered off";
	case STOP_RESET:
		return "the guest rebooted";
	case STOP_USER:
		return "left from the console; the guest was stopped";
	case STOP_PANIC:
		return "the guest panicked";
	case STOP_TRIPLE_FAULT:
		return "the guest crashed";
	case STOP_KVM_ERROR:
		return "KVM could not run the guest any further";
	case STOP_TIMEOUT:
		return "--timeout ran out; the guest was stopped";
	case STOP_BOOT_TIMEOUT:
		return "--boot-timeout ran out before the command began";
	case STOP_SIGNAL:
		return "the guest was stopped by a signal";
	case STOP_HOST_ERROR:
		return "the host failed";
	case STOP_NONE:
		break;
	}
	return "the machine ended";
}

void machine_end_text(const struct machine_end *end, char text[MACHINE_END_TEXT])
{
	snprintf(text, MACHINE_END_TEXT, "%s%s%s%s", reason_text(end->reason),
		 end->detail[0] ? ": " : "", end->detail,
		 end->command ? "; the command has no status" : "");
}

void machine_end_log(const struct machine_end *end)
{
	char text[MACHINE_END_TEXT];
	bool bad = machine_end_status(end) != STATUS_OK;

	/* Its own words are enough. */
	if (end->command && end->status >= 0)
		return;
	machine_end_text(end, text);
	log_line(bad ? LOG_ERROR : LOG_WARN, "%s", text);
}
