/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/matrix/list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static char *trim(char *word)
{
	size_t len;

	word += strspn(word, " \t");
	len = strlen(word);
	while (len && strchr(" \t", word[len - 1]))
		word[--len] = '\0';
	return word;
}

static int add(struct list *l, char *word, const char *where, struct err *e)
{
	word = trim(word);
	if (!*word)
		return err_usage(e, -EINVAL, "%s: an item of the list is empty", where);
	for (unsigned i = 0; i < l->n; i++)
		if (!strcmp(l->items[i], word))
			return err_usage(e, -EEXIST, "%s: %.200s is there twice", where, word);
	if (l->n == LIST_MAX)
		return err_usage(e, -E2BIG, "%s: more than %d items", where, LIST_MAX);
	l->items[l->n] = strdup(word);
	if (!l->items[l->n])
		return err_host(e, -ENOMEM, "%s: out of memory", where);
	l->n++;
	return 0;
}

int list_split(struct list *l, const char *text, const char *where, struct err *e)
{
	char *word = malloc(strlen(text) + 1);
	size_t n = 0;
	int ret = 0;

	if (!word)
		return err_host(e, -ENOMEM, "%s: out of memory", where);
	for (const char *p = text; !ret; p++) {
		if (p[0] == ',' && p[1] == ',') {
			word[n++] = *p++;
		} else if (*p && *p != ',') {
			word[n++] = *p;
		} else {
			word[n] = '\0';
			n = 0;
			ret = add(l, word, where, e);
			if (!*p)
				break;
		}
	}
	free(word);
	return ret;
}

void list_fini(struct list *l)
{
	for (unsigned i = 0; i < l->n; i++)
		free(l->items[i]);
	l->n = 0;
}
