/* SPDX-License-Identifier: Apache-2.0 */
/* list: `minivmm list`, the machines that run. */
#ifndef VMM_CONTROL_LIST_H
#define VMM_CONTROL_LIST_H

/* argv[0] is "list". Tells of those that mark_find() finds, and of each what it answers within a
 * second, all of them at once; gives the exit status: 0, 1 the host failed, 2 usage. */
int list_main(int argc, char **argv);

#endif
