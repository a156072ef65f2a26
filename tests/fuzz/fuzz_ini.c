/* SPDX-License-Identifier: Apache-2.0 */
/* The file given with --config, of any contents. */
#include "tests/fuzz/lib/config_check.h"
#include "tests/fuzz/lib/fuzz.h"
#include "tests/lib/kernel_image.h"

#include <stddef.h>

void fuzz_one(struct fuzz_in *in)
{
	struct image_file file;
	char *argv[] = {"minivmm", "--config", file.path, NULL};

	image_file_init(&file, in->at, in->left);
	config_check(3, argv);
	image_file_fini(&file);
}
