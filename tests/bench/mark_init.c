/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's init for scripts/bench: says that it is there, then powers off; or,
 * with "stay" as its argument, waits to be looked at; or, with "reset", reboots, for VMMs
 * that know no power-off. Built with musl, static. */
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static const char mark[] = "bench: init runs\n";

	if (write(STDOUT_FILENO, mark, sizeof(mark) - 1) < 0)
		return 1;
	if (argc > 1 && !strcmp(argv[1], "stay"))
		for (;;)
			pause();
	return reboot(argc > 1 && !strcmp(argv[1], "reset") ? RB_AUTOBOOT : RB_POWER_OFF);
}
