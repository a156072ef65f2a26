/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clone: several machines that go on from one snapshot.
 *
 * Each is a `minivmm --restore` of its own, a child of this one: they share the snapshot's pages,
 * as all map one file, and nothing else.
 */
#ifndef VMM_CLONE_CLONE_H
#define VMM_CLONE_CLONE_H

/* `minivmm clone ...`; argv[0] is "clone". Starts them, waits for all, and gives the exit status:
 * 0, that of the first of them to fail, 1 or 2 (usage), or 128+N after signal N. Main thread,
 * before there are others. */
int clone_main(int argc, char **argv);

#endif
