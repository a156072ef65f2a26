/* SPDX-License-Identifier: Apache-2.0 */
/* The VM generation ID: where it is, when it is another, and who is told. */
#include "devices/power/vmgenid.h"

#include "vmm/base/bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define AT  0x3000ull
#define RAM 0x10000ull

struct rig {
	struct guest_mem gm;
	struct vmgenid v;
	unsigned told;
	uint8_t when_told[VMGENID_LEN]; /* what RAM had then */
	struct err e;
};

static void on_changed(void *ctx)
{
	struct rig *r = ctx;

	r->told++;
	guest_mem_read(&r->gm, AT, r->when_told, VMGENID_LEN);
}

static int set_up(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	guest_mem_init(&r->gm, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_add(&r->gm, 0, RAM, -1, 0, NULL), 0);
	vmgenid_init(&r->v, &r->gm, AT, &(struct vmgenid_wires){on_changed, r});
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	guest_mem_fini(&r->gm);
	free(r);
	return 0;
}

static void read_id(const struct rig *r, uint8_t id[VMGENID_LEN])
{
	assert_int_equal(guest_mem_read(&r->gm, AT, id, VMGENID_LEN), 0);
}

/* Only its 16 bytes are written, and no two are the same. */
static void test_another_each_time(void **state)
{
	struct rig *r = *state;
	static const uint8_t zeroes[VMGENID_LEN];
	uint8_t ids[8][VMGENID_LEN], around[2];

	assert_int_equal(vmgenid_create(&r->v, &r->e), 0);
	assert_int_equal(r->told, 0);
	read_id(r, ids[0]);
	assert_memory_not_equal(ids[0], zeroes, VMGENID_LEN);
	for (unsigned i = 1; i < ARRAY_LEN(ids); i++) {
		assert_int_equal(vmgenid_renew(&r->v, &r->e), 0);
		assert_int_equal(r->told, i);
		read_id(r, ids[i]);
		assert_memory_equal(r->when_told, ids[i], VMGENID_LEN);
		for (unsigned k = 0; k < i; k++)
			assert_memory_not_equal(ids[i], ids[k], VMGENID_LEN);
	}
	assert_int_equal(guest_mem_read(&r->gm, AT - 1, &around[0], 1), 0);
	assert_int_equal(guest_mem_read(&r->gm, AT + VMGENID_LEN, &around[1], 1), 0);
	assert_int_equal(around[0] | around[1], 0);
}

static void save(struct rig *r, struct state_writer *w)
{
	state_writer_init(w);
	vmgenid_device_ops.save(&r->v, w);
	assert_int_equal(w->error, 0);
}

static int load(struct rig *r, const struct state_writer *w)
{
	struct state_reader reader;

	state_reader_init(&reader, w->data, w->len);
	return vmgenid_device_ops.load(&r->v, &reader, &r->e);
}

/* The place is the saved machine's, and neither saving nor loading writes an id. */
static void test_save_load_save(void **state)
{
	struct rig *r = *state;
	uint8_t before[VMGENID_LEN], after[VMGENID_LEN];
	struct state_writer first, second;

	assert_int_equal(vmgenid_create(&r->v, &r->e), 0);
	read_id(r, before);
	save(r, &first);
	vmgenid_init(&r->v, &r->gm, AT + 0x1000, &(struct vmgenid_wires){on_changed, r});
	assert_int_equal(load(r, &first), 0);
	read_id(r, after);
	assert_memory_equal(before, after, VMGENID_LEN);
	assert_int_equal(r->told, 0);
	save(r, &second);
	assert_int_equal(first.len, second.len);
	assert_memory_equal(first.data, second.data, first.len);
	assert_int_equal(vmgenid_renew(&r->v, &r->e), 0);
	read_id(r, after);
	assert_memory_not_equal(before, after, VMGENID_LEN);
	state_writer_fini(&first);
	state_writer_fini(&second);
}

/* A machine that was saved without one: what follows is another device's, and its guest is neither
 * written to nor told. So it is of one that came from such a machine. */
static void test_saved_without(void **state)
{
	struct rig *r = *state;
	static const uint8_t zeroes[VMGENID_LEN];
	struct state_writer w, again;
	struct state_reader reader;
	uint8_t id[VMGENID_LEN];

	state_writer_init(&w);
	state_section_begin(&w, "com1", 1);
	state_put_u8(&w, 7);
	state_section_end(&w);
	state_reader_init(&reader, w.data, w.len);
	assert_int_equal(vmgenid_device_ops.load(&r->v, &reader, &r->e), 0);
	assert_int_equal(state_section_expect(&reader, "com1", 1, &r->e), 0);
	assert_int_equal(vmgenid_renew(&r->v, &r->e), 0);
	save(r, &again);
	assert_int_equal(load(r, &again), 0);
	assert_int_equal(vmgenid_renew(&r->v, &r->e), 0);
	read_id(r, id);
	assert_memory_equal(id, zeroes, VMGENID_LEN);
	assert_int_equal(r->told, 0);
	state_writer_fini(&w);
	state_writer_fini(&again);
}

static int load_bytes(struct rig *r, uint32_t version, uint64_t gpa, unsigned len)
{
	struct state_writer w;

	state_writer_init(&w);
	state_section_begin(&w, "vmgenid", version);
	state_put_bytes(&w, &gpa, len);
	state_section_end(&w);
	int ret = load(r, &w);

	state_writer_fini(&w);
	return ret;
}

/* Each is refused, and the device as it was. */
static void test_hostile_state(void **state)
{
	struct rig *r = *state;
	static const struct {
		uint32_t version;
		uint64_t gpa;
		unsigned len;
	} bad[] = {
		{2, AT, 8},         {1, AT, 7},         {1, AT, 0},         {1, AT + 1, 8},
		{1, RAM, 8},        {1, RAM - 8, 8},    {1, UINT64_MAX, 8}, {1, UINT64_MAX - 7, 8},
		{1, 1ull << 63, 8}, {1, 0xfec00000, 8},
	};

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(load_bytes(r, bad[i].version, bad[i].gpa, bad[i].len), -EBADMSG);
		assert_int_equal(r->v.gpa, AT);
	}
	assert_int_equal(load_bytes(r, 1, RAM - 16, 8), 0);
	assert_int_equal(vmgenid_renew(&r->v, &r->e), 0);
}

static void test_no_ram(void **state)
{
	struct rig *r = *state;

	vmgenid_init(&r->v, &r->gm, RAM, &(struct vmgenid_wires){on_changed, r});
	assert_int_equal(vmgenid_renew(&r->v, &r->e), -EFAULT);
	assert_int_equal(r->e.kind, ERR_HOST);
	assert_int_equal(r->told, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_another_each_time, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_save_load_save, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_saved_without, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_hostile_state, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_ram, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
