/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_words: command lines for config_parse(), and what becomes of them. For the tests of
 * vmm/config; each is a program of its own, with one configuration at a time. Every parse is
 * followed by a fini, so that a sanitizer sees what an error left behind.
 */
#ifndef TESTS_UNIT_CONFIG_WORDS_H
#define TESTS_UNIT_CONFIG_WORDS_H

#include "vmm/config/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WORDS_MAX = 64 };

static struct vm_config c;
static struct err e;

/* Parses heap copies of the words, which are gone when this returns: what the
 * config keeps must be its own. */
static int parse_words(int n, const char *const *words)
{
	char *argv[WORDS_MAX + 2];
	int action;

	assert_true(n <= WORDS_MAX);
	argv[0] = strdup("minivmm");
	for (int i = 0; i < n; i++)
		argv[i + 1] = strdup(words[i]);
	argv[n + 1] = NULL;
	e = (struct err){0};
	action = config_parse(&c, n + 1, argv, &e);
	for (int i = 0; i <= n; i++)
		free(argv[i]);
	if (action < 0) {
		assert_int_equal(action, e.code);
		assert_int_not_equal(e.kind, ERR_NONE);
		assert_true(strlen(e.text) > 0);
		assert_null(strpbrk(e.text, "\n\r\x1b"));
	} else {
		assert_int_equal(e.kind, ERR_NONE);
	}
	return action;
}

#define WORDS(...)   ((const char *const[]){__VA_ARGS__})
#define N_WORDS(...) ((int)(sizeof(WORDS(__VA_ARGS__)) / sizeof(char *)))
#define parse(...)   parse_words(N_WORDS(__VA_ARGS__), WORDS(__VA_ARGS__))

/* Refused as a usage error whose line begins with `start`. */
static void refused_words(const char *start, int n, const char *const *words)
{
	if (parse_words(n, words) >= 0)
		fail_msg("accepted; expected: %s", start);
	if (strncmp(e.text, start, strlen(start)) != 0)
		fail_msg("said: %s; expected: %s", e.text, start);
	assert_int_equal(e.kind, ERR_USAGE);
	vm_config_fini(&c);
}

#define refused(start, ...) refused_words(start, N_WORDS(__VA_ARGS__), WORDS(__VA_ARGS__))

static int fini(void **state)
{
	vm_config_fini(&c);
	return 0;
}

#endif
