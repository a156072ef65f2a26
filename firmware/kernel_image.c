/* SPDX-License-Identifier: Apache-2.0 */
#include "firmware/kernel_image.h"

#include <string.h>

bool kernel_take_version(struct kernel *k, const char *text, size_t len)
{
	size_t n = 0;

	while (n < len && text[n] > ' ' && text[n] < 0x7f && text[n] != '/')
		n++;
	if (!n || n == len || n >= sizeof(k->version) || text[n] == '/' || text[0] < '0' ||
	    text[0] > '9')
		return false;
	memcpy(k->version, text, n);
	k->version[n] = '\0';
	return true;
}
