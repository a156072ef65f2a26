/* SPDX-License-Identifier: Apache-2.0 */
/* The sandbox's parts. For vmm/sandbox only. */
#ifndef VMM_SANDBOX_PRIV_H
#define VMM_SANDBOX_PRIV_H

#include "vmm/sandbox/sandbox.h"

/* filters.c, which generate.c writes: the filters, and calls' names by their numbers. */
enum { FILTERS_CALLS = 512 };
extern const struct sandbox_filter filters_made[THREAD_KINDS];
extern const char *const filters_names[FILTERS_CALLS];

/* filter.c: put the kind's filter on the calling thread; with `log` it forbids nothing. 0 or a
 * negative errno. */
int filter_load(enum thread_kind kind, bool log);
/* Does the kernel do all that filter_load() asks for? */
bool filter_known(void);

/* files.c: rules of Landlock's for these places; what is not named is shut. A descriptor, the
 * caller's, or a negative errno. */
int files_rules(const struct sandbox_place *places, unsigned n);
/* Put the calling thread under them. 0 or a negative errno. */
int files_confine(int rules);

/* rights.c, for the calling thread: what no program that is executed can have again; and give up
 * all capabilities, or all but those that serving files as root takes. 0 or a negative errno. */
int rights_bound(void);
int rights_drop(bool serves_files);
/* For the process: no core dump, nobody traces it, no more descriptors than are open now and
 * `more_fds` (0: the limit stays). 0 or a negative errno. */
int rights_limit(unsigned more_fds);

#ifdef MINIVMM_PLANTED
/* tests/cli/planted.c: do what the environment says such a thread should not do. */
void planted_misbehave(enum thread_kind kind);
#else
static inline void planted_misbehave(enum thread_kind kind)
{
}
#endif

#endif
