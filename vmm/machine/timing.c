/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/machine/timing.h"

#include "vmm/base/bytes.h"
#include "vmm/base/log.h"

/* A phase ends with its event, and begins where the one before ended. */
static const struct {
	enum event end;
	const char *name;
} phases[] = {
	{EVENT_STARTED, "configured"},
	{EVENT_FILES_OPENED, "files opened"},
	{EVENT_RAM_MAPPED, "RAM mapped"},
	{EVENT_VM_MADE, "VM made"},
	{EVENT_KERNEL_LOADED, "kernel loaded"},
	{EVENT_DEVICES_MADE, "devices made"},
	{EVENT_FIRST_INSTRUCTION, "first instruction"},
	{EVENT_KERNEL_START, "kernel's first line"},
	{EVENT_INIT, "init"},
	{EVENT_COMMAND_STARTED, "command begins"},
	{EVENT_COMMAND_ENDED, "command has ended"},
	{EVENT_ENDED, "guest's end"},
	{EVENT_TORN_DOWN, "torn down"},
};

static void print_row(const char *name, uint64_t at_ns, uint64_t took_ns, uint64_t all_ns)
{
	log_line(LOG_QUIET, "timing   %-20s %10.3f ms %10.3f ms %5.1f %%", name,
		 (double)at_ns / 1e6, (double)took_ns / 1e6,
		 all_ns ? 100.0 * (double)took_ns / (double)all_ns : 0.0);
}

void timing_print(const uint64_t times[N_EVENTS], uint64_t from_ns, uint64_t exec_ns)
{
	uint64_t last = from_ns;

	for (unsigned i = 0; i < ARRAY_LEN(phases); i++)
		if (times[phases[i].end] > last)
			last = times[phases[i].end];
	uint64_t all = exec_ns + last - from_ns;

	log_line(LOG_QUIET, "timing   %-20s %13s %13s %7s", "until", "at", "took", "share");
	if (exec_ns)
		print_row("exec, libraries", exec_ns, exec_ns, all);
	last = from_ns;
	for (unsigned i = 0; i < ARRAY_LEN(phases); i++) {
		uint64_t at = times[phases[i].end];

		if (at < last || !at)
			continue;
		print_row(phases[i].name, exec_ns + at - from_ns, at - last, all);
		last = at;
	}
}
