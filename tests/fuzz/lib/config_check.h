/* SPDX-License-Identifier: Apache-2.0 */
/* config_check: what config.h promises of a configuration, from whatever source. */
#ifndef TESTS_FUZZ_LIB_CONFIG_CHECK_H
#define TESTS_FUZZ_LIB_CONFIG_CHECK_H

/* Run config_parse() with these arguments (argv[argc] is NULL) and judge what it gives. */
void config_check(int argc, char **argv);

#endif
