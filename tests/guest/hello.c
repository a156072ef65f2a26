/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hello: the smallest guest there is.
 *
 * QEMU:
 * RUN:
 * EXPECT: hello from ring 0
 */
#include "guest.h"

void guest_main(void)
{
	printf("hello from ring %d\n", 0);
}
