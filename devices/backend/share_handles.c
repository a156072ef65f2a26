/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open files and directories, by the numbers that the guest has for them: a slot and its
 * generation, as with nodes. A number is good for the node that it was opened for, and for no
 * other.
 */
#include "devices/backend/share_priv.h"

#include "vmm/base/fd.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SLOTS_MIN = 16 };

static bool grow(struct share_handles *t)
{
	uint32_t n = t->n_slots ? t->n_slots * 2 : SLOTS_MIN;
	struct share_handle **slots = reallocarray(t->slots, n, sizeof(*slots));
	uint32_t *generations;

	if (!slots)
		return false;
	t->slots = slots;
	generations = reallocarray(t->generations, n, sizeof(*generations));
	if (!generations)
		return false;
	t->generations = generations;
	memset(slots + t->n_slots, 0, (n - t->n_slots) * sizeof(*slots));
	/* No handle is 0: some drivers take that for none. */
	for (uint32_t i = t->n_slots; i < n; i++)
		generations[i] = 1;
	t->n_slots = n;
	return true;
}

bool share_handles_room(const struct share_handles *t)
{
	return t->n < t->max;
}

struct share_handle *share_handle_add(struct share_handles *t, struct share_node *node, int fd,
				      bool dir)
{
	struct share_handle *h = NULL;
	uint32_t slot;

	if (share_handles_room(t) && (t->n < t->n_slots || grow(t)))
		h = calloc(1, sizeof(*h));
	if (!h) {
		fd_close(&fd);
		return NULL;
	}
	for (slot = t->free_hint; t->slots[slot];)
		slot++;
	t->free_hint = slot + 1;
	*h = (struct share_handle){
		.id = (uint64_t)t->generations[slot] << 32 | slot,
		.fd = fd,
		.dir = dir,
		.node = node,
	};
	t->slots[slot] = h;
	t->n++;
	share_node_hold(node);
	return h;
}

struct share_handle *share_handle_get(struct share_handles *t, uint64_t id, uint64_t node, bool dir)
{
	uint32_t slot = (uint32_t)id;
	struct share_handle *h = slot < t->n_slots ? t->slots[slot] : NULL;

	return h && h->id == id && h->node->id == node && h->dir == dir ? h : NULL;
}

/* --- reading ahead -------------------------------------------------------------------------- */

static uint8_t *take_room(struct share_handle *h)
{
	uint8_t *room = h->entries;

	h->entries = NULL;
	h->at = h->end = 0;
	return room;
}

bool share_handle_read_ahead(struct share_handles *t, struct share_handle *h)
{
	struct share_handle **place;

	if (h->entries)
		return true;
	/* The next that is free; if none is, that whose turn it is. */
	while (t->n_ahead < SHARE_AHEAD_MAX && t->ahead[t->next_ahead])
		t->next_ahead = (t->next_ahead + 1) % SHARE_AHEAD_MAX;
	place = &t->ahead[t->next_ahead];
	h->entries = *place ? take_room(*place) : malloc(SHARE_AHEAD);
	if (!h->entries)
		return false;
	t->n_ahead += !*place;
	*place = h;
	t->next_ahead = (t->next_ahead + 1) % SHARE_AHEAD_MAX;
	return true;
}

static void end_ahead(struct share_handles *t, struct share_handle *h)
{
	for (unsigned i = 0; h->entries && i < SHARE_AHEAD_MAX; i++)
		if (t->ahead[i] == h) {
			t->ahead[i] = NULL;
			t->n_ahead--;
			free(take_room(h));
		}
}

void share_handle_remove(struct share_handles *t, struct share_nodes *nodes, struct share_handle *h)
{
	uint32_t slot = (uint32_t)h->id;

	t->slots[slot] = NULL;
	t->generations[slot]++;
	if (slot < t->free_hint)
		t->free_hint = slot;
	t->n--;
	share_node_release(nodes, h->node);
	end_ahead(t, h);
	fd_close(&h->fd);
	free(h);
}

void share_handles_fini(struct share_handles *t, struct share_nodes *nodes)
{
	for (uint32_t i = 0; i < t->n_slots; i++)
		if (t->slots[i])
			share_handle_remove(t, nodes, t->slots[i]);
	free(t->slots);
	free(t->generations);
	*t = (struct share_handles){.max = t->max};
}
