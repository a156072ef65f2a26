/* SPDX-License-Identifier: Apache-2.0 */
/* ctl: `minivmm ctl`, the other end of --control for people and scripts. */
#ifndef VMM_CONTROL_CTL_H
#define VMM_CONTROL_CTL_H

/* argv[0] is "ctl". Asks, tells what was answered, and gives the exit status: 0, 1 the machine or
 * the host refused, 2 usage. */
int ctl_main(int argc, char **argv);

#endif
