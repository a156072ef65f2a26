/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/err.h"

#include <stdarg.h>
#include <stdio.h>

__attribute__((format(printf, 4, 0))) static int fill(struct err *e, enum err_kind kind, int code,
						      const char *fmt, va_list ap)
{
	if (e && e->kind == ERR_NONE) {
		e->kind = kind;
		e->code = code;
		vsnprintf(e->text, sizeof(e->text), fmt, ap);
	}
	return code;
}

int err_usage(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fill(e, ERR_USAGE, code, fmt, ap);
	va_end(ap);
	return code;
}

int err_host(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fill(e, ERR_HOST, code, fmt, ap);
	va_end(ap);
	return code;
}
