/* SPDX-License-Identifier: Apache-2.0 */
/* device_list: everybody's turn comes, in the right order, and a pause that
 * fails leaves nobody paused. */
#include "vmm/core/device.h"

#include "vmm/base/bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A device writes its name and what happened into its diary. */
struct diary {
	char text[256];
};

struct fake {
	struct diary *diary;
	char name;
	int pause_result, load_result;
	uint32_t value;
};

static void note(struct fake *f, char what)
{
	size_t n = strlen(f->diary->text);

	assert_true(n + 3 < sizeof(f->diary->text));
	f->diary->text[n] = what;
	f->diary->text[n + 1] = f->name;
	f->diary->text[n + 2] = 0;
}

static void fake_reset(void *dev)
{
	note(dev, 'r');
}

static int fake_pause(void *dev)
{
	struct fake *f = dev;

	note(f, 'p');
	return f->pause_result;
}

static void fake_resume(void *dev)
{
	note(dev, 'g');
}

static void fake_save(void *dev, struct state_writer *w)
{
	struct fake *f = dev;
	char name[2] = {f->name, 0};

	state_section_begin(w, name, 1);
	state_put_u32(w, f->value);
	state_section_end(w);
}

static int fake_load(void *dev, struct state_reader *r, struct err *e)
{
	struct fake *f = dev;
	char name[2] = {f->name, 0};
	int ret = state_section_open(r, name, e);
	uint32_t value;

	note(f, 'l');
	if (ret < 0)
		return ret;
	value = state_get_u32(r);
	ret = state_section_close(r, e);
	if (ret)
		return ret;
	if (f->load_result)
		return err_host(e, f->load_result, "device %c does not like it", f->name);
	f->value = value;
	return 0;
}

static void fake_fini(void *dev)
{
	note(dev, 'f');
}

static const struct device_ops fake_ops = {
	.reset = fake_reset,
	.pause = fake_pause,
	.resume = fake_resume,
	.save = fake_save,
	.load = fake_load,
	.fini = fake_fini,
};

static const struct device_ops no_ops = {0};

static void make(struct device_list *l, struct fake *f, struct diary *d)
{
	static const char *const names[] = {"a", "b", "c"};

	*l = (struct device_list){0};
	*d = (struct diary){0};
	for (int i = 0; i < 3; i++) {
		f[i] = (struct fake){.diary = d, .name = names[i][0], .value = 100 + (uint32_t)i};
		assert_int_equal(device_list_add(l, names[i], &fake_ops, &f[i]), 0);
		/* Between any two, one that has nothing to do. */
		assert_int_equal(device_list_add(l, "idle", &no_ops, NULL), 0);
	}
}

static void creation_order_and_reverse(void **state)
{
	struct device_list l;
	struct fake f[3];
	struct diary d;

	make(&l, f, &d);
	device_list_reset(&l);
	assert_string_equal(d.text, "rarbrc");
	d.text[0] = 0;
	assert_int_equal(device_list_pause(&l), 0);
	assert_string_equal(d.text, "papbpc");
	d.text[0] = 0;
	device_list_resume(&l);
	/* The last paused goes first: nobody runs into one that still stands. */
	assert_string_equal(d.text, "gcgbga");
	d.text[0] = 0;
	device_list_fini(&l);
	assert_string_equal(d.text, "fcfbfa");
	assert_int_equal(l.n, 0);
	device_list_fini(&l);
	assert_string_equal(d.text, "fcfbfa");
}

/* From each end and from the middle; the others keep their order, and it is called no more. */
static void one_is_taken_off(void **state)
{
	const char *const left[] = {"rbrc", "rarc", "rarb"};

	for (unsigned gone = 0; gone < 3; gone++) {
		struct device_list l;
		struct fake f[3];
		struct diary d;

		make(&l, f, &d);
		device_list_remove(&l, &f[gone]);
		device_list_remove(&l, &f[gone]);
		device_list_remove(&l, &d);
		assert_int_equal(l.n, 5);
		device_list_reset(&l);
		assert_string_equal(d.text, left[gone]);
	}
}

static void a_failed_pause_resumes_the_former_only(void **state)
{
	const char *const want[] = {"pa", "papbga", "papbpcgbga"};

	for (int failing = 0; failing < 3; failing++) {
		struct device_list l;
		struct fake f[3];
		struct diary d;

		make(&l, f, &d);
		f[failing].pause_result = -EBUSY;
		assert_int_equal(device_list_pause(&l), -EBUSY);
		assert_string_equal(d.text, want[failing]);
		device_list_fini(&l);
	}
}

static void save_load_save_gives_the_same_bytes(void **state)
{
	struct state_writer one, two;
	struct state_reader r;
	struct device_list l;
	struct fake f[3];
	struct diary d;

	make(&l, f, &d);
	state_writer_init(&one);
	state_writer_init(&two);
	device_list_save(&l, &one);
	for (int i = 0; i < 3; i++)
		f[i].value = 0;
	state_reader_init(&r, one.data, one.len);
	assert_int_equal(device_list_load(&l, &r, NULL), 0);
	assert_int_equal(r.pos, r.len);
	assert_string_equal(d.text, "lalblc");
	assert_int_equal(f[2].value, 102);
	device_list_save(&l, &two);
	assert_int_equal(one.len, two.len);
	assert_memory_equal(one.data, two.data, one.len);
	state_writer_fini(&one);
	state_writer_fini(&two);
	device_list_fini(&l);
}

static void load_stops_at_the_first_that_refuses(void **state)
{
	struct state_writer w;
	struct state_reader r;
	struct device_list l;
	struct err e = {0};
	struct fake f[3];
	struct diary d;

	make(&l, f, &d);
	state_writer_init(&w);
	device_list_save(&l, &w);
	f[1].load_result = -EBADMSG;
	state_reader_init(&r, w.data, w.len);
	assert_int_equal(device_list_load(&l, &r, &e), -EBADMSG);
	assert_string_equal(d.text, "lalb");
	assert_string_equal(e.text, "device b does not like it");
	state_writer_fini(&w);
	device_list_fini(&l);
}

static void a_full_list_says_so(void **state)
{
	struct device_list l = {0};

	for (size_t i = 0; i < ARRAY_LEN(l.items); i++)
		assert_int_equal(device_list_add(&l, "idle", &no_ops, NULL), 0);
	assert_int_equal(device_list_add(&l, "idle", &no_ops, NULL), -ENOSPC);
	device_list_fini(&l);
	assert_int_equal(device_list_add(&l, "idle", &no_ops, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(creation_order_and_reverse),
		cmocka_unit_test(one_is_taken_off),
		cmocka_unit_test(a_failed_pause_resumes_the_former_only),
		cmocka_unit_test(save_load_save_gives_the_same_bytes),
		cmocka_unit_test(load_stops_at_the_first_that_refuses),
		cmocka_unit_test(a_full_list_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
