/* SPDX-License-Identifier: Apache-2.0 */
/* What the guest of the benchmarks, its peers and the stopwatch agree on. */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H

/* Of the time stamp counter, 1 to 2 ms: so long what is paced waits after each byte. */
#define BENCH_TICKS 0x400000

/* The bytes by which it tells of its end; the last one is that long before it. */
#define BENCH_DOTS 5

#endif
