/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor: `minivmm doctor`: what this host can run, in plain words, and what to do
 * about what is missing. Makes a VM for a moment; leaves nothing behind.
 */
#ifndef VMM_DOCTOR_DOCTOR_H
#define VMM_DOCTOR_DOCTOR_H

#include "vmm/base/err.h"

#include <stdbool.h>

/* The report on stdout, for people or as JSON. *linux_runs says whether Linux guests
 * do. 0, or a negative errno with *e filled. Main thread, and no other. */
int doctor(bool json, bool *linux_runs, struct err *e);

#endif
