/* SPDX-License-Identifier: Apache-2.0 */
/* What the guest of the benchmarks, its peers and the stopwatch agree on. */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H

/* Of the time stamp counter, 1 to 2 ms: for so long what is paced is quiet before its
 * last byte, and waits between that and its end. */
#define BENCH_TICKS 0x400000

#endif
