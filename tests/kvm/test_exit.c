/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exit: what becomes of everything that KVM_RUN can come back with. The struct
 * kvm_run is ours, filled as the KVM api document says KVM fills it, so this
 * needs no /dev/kvm and reaches what a well-behaved one never says.
 */
#include "vmm/kvm/exit.h"

#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/kvm/vcpu.h"

#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RUN_BYTES = 3 * 4096, DATA_AT = 4096, ACCESSES_MAX = 64 };

struct access {
	bool write;
	uint64_t off, val;
	unsigned size;
};

/* A device that keeps a list of what was asked and answers from another. */
struct fixture {
	struct bus pio, mmio;
	struct exit_env env;
	struct vcpu v;
	struct vcpu_group group;
	struct kvm_run *run;
	unsigned n;
	struct access log[ACCESSES_MAX];
	uint64_t answer, answer_step;
	enum stop_reason reason;
	char detail[512];
	unsigned stops;
	unsigned eois;
	uint8_t eoi_vector;
	unsigned hooked;
	uint32_t hook_reason;
	struct exit_access hook_access; /* zeroes: it was none */
	unsigned hook_cpu;
};

static uint64_t dev_read(void *dev, uint64_t off, unsigned size)
{
	struct fixture *f = dev;
	uint64_t val = f->answer;

	f->log[f->n++] = (struct access){false, off, val, size};
	f->answer += f->answer_step;
	return val;
}

static void dev_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct fixture *f = dev;

	f->log[f->n++] = (struct access){true, off, val, size};
}

static const struct io_ops dev_ops = {dev_read, dev_write};

static void on_stop(void *ctx, enum stop_reason reason, const char *detail)
{
	struct fixture *f = ctx;

	f->stops++;
	f->reason = reason;
	strncpy(f->detail, detail ? detail : "", sizeof(f->detail) - 1);
}

static void on_eoi(void *ctx, uint8_t vector)
{
	struct fixture *f = ctx;

	f->eois++;
	f->eoi_vector = vector;
}

static void on_exit_seen(void *ctx, unsigned cpu, uint32_t reason, const struct exit_access *access)
{
	struct fixture *f = ctx;

	f->hooked++;
	f->hook_cpu = cpu;
	f->hook_reason = reason;
	f->hook_access = access ? *access : (struct exit_access){0};
}

#define PORT  0x510
#define GPA   0xd0000000ull
#define SPACE 0x100

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->run = calloc(1, RUN_BYTES);
	bus_init(&f->pio, "pio");
	bus_init(&f->mmio, "mmio");
	bus_add(&f->pio, PORT, 8, &dev_ops, f, "dev");
	bus_add(&f->mmio, GPA, SPACE, &dev_ops, f, "dev");
	f->env = (struct exit_env){
		.pio = &f->pio,
		.mmio = &f->mmio,
		.stop = {on_stop, f},
		.ioapic_eoi = on_eoi,
		.ioapic = f,
		.hook = on_exit_seen,
		.hook_ctx = f,
	};
	f->v = (struct vcpu){
		.index = 5, .fd = -1, .run = f->run, .env = &f->env, .group = &f->group};
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	bus_fini(&f->pio);
	bus_fini(&f->mmio);
	free(f->run);
	free(f);
	return 0;
}

static uint8_t *set_io(struct fixture *f, uint8_t direction, uint16_t port, uint8_t size,
		       uint32_t count)
{
	f->run->exit_reason = KVM_EXIT_IO;
	f->run->io.direction = direction;
	f->run->io.port = port;
	f->run->io.size = size;
	f->run->io.count = count;
	f->run->io.data_offset = DATA_AT;
	return (uint8_t *)f->run + DATA_AT;
}

static void expect_stop(struct fixture *f, enum stop_reason reason, const char *text)
{
	f->stops = 0;
	f->reason = STOP_NONE;
	assert_int_equal(exit_dispatch(&f->v), EXIT_LEAVE);
	assert_int_equal(f->stops, 1);
	assert_int_equal(f->reason, reason);
	if (text && !strstr(f->detail, text))
		fail_msg("'%s' does not say '%s'", f->detail, text);
	if (strchr(f->detail, '\n'))
		fail_msg("'%s' is more than a line", f->detail);
}

/* --- port I/O ------------------------------------------------------------------- */

static void out_of_each_size(void **state)
{
	struct fixture *f = *state;
	const uint64_t want[] = {[1] = 0x11, [2] = 0x2211, [4] = 0x44332211};

	for (uint8_t size = 1; size <= 4; size = (uint8_t)(size * 2)) {
		uint8_t *data = set_io(f, KVM_EXIT_IO_OUT, PORT + 4, size, 1);

		memcpy(data, "\x11\x22\x33\x44\x55", 5);
		f->n = 0;
		assert_int_equal(exit_dispatch(&f->v), EXIT_RESUME);
		assert_int_equal(f->n, 1);
		assert_true(f->log[0].write);
		assert_int_equal(f->log[0].off, 4);
		assert_int_equal(f->log[0].size, size);
		assert_true(f->log[0].val == want[size]);
	}
	assert_int_equal(f->hooked, 3);
	assert_int_equal(f->hook_cpu, 5);
	assert_int_equal(f->hook_reason, KVM_EXIT_IO);
	assert_ptr_equal(f->hook_access.bus, &f->pio);
	assert_int_equal(f->hook_access.addr, PORT + 4);
	assert_int_equal(f->hook_access.size, 4);
	assert_true(f->hook_access.write);
	assert_int_equal(f->stops, 0);
}

static void in_of_each_size_leaves_the_bytes_behind_it(void **state)
{
	struct fixture *f = *state;

	f->answer = 0x8877665544332211;
	for (uint8_t size = 1; size <= 4; size = (uint8_t)(size * 2)) {
		uint8_t *data = set_io(f, KVM_EXIT_IO_IN, PORT, size, 1);

		memset(data, 0xcc, 16);
		assert_int_equal(exit_dispatch(&f->v), EXIT_RESUME);
		assert_memory_equal(data, "\x11\x22\x33\x44", size);
		assert_int_equal(data[size], 0xcc);
	}
}

static void a_port_of_nobody_reads_all_ones(void **state)
{
	struct fixture *f = *state;
	/* Nobody's, one below, one above, and over the end of the device. */
	const struct {
		uint16_t port;
		uint8_t size;
	} cases[] = {{0x80, 1},     {PORT - 1, 1}, {PORT - 1, 2}, {PORT + 8, 1}, {PORT + 7, 2},
		     {PORT + 6, 4}, {0xffff, 1},   {0xffff, 4},   {0, 4}};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint8_t *data = set_io(f, KVM_EXIT_IO_IN, cases[i].port, cases[i].size, 1);

		memset(data, 0, 16);
		assert_int_equal(exit_dispatch(&f->v), EXIT_RESUME);
		assert_memory_equal(data, "\xff\xff\xff\xff", cases[i].size);
		assert_int_equal(data[cases[i].size], 0);
		set_io(f, KVM_EXIT_IO_OUT, cases[i].port, cases[i].size, 1);
		assert_int_equal(exit_dispatch(&f->v), EXIT_RESUME);
	}
	assert_int_equal(f->n, 0);
}

/* `rep outsb` brings several items for one port; the port does not advance. */
static void string_output_comes_in_order(void **state)
{
	struct fixture *f = *state;

	for (uint8_t size = 1; size <= 4; size = (uint8_t)(size * 2)) {
		uint8_t *data = set_io(f, KVM_EXIT_IO_OUT, PORT, size, 10);

		for (int i = 0; i < 10 * size; i++)
			data[i] = (uint8_t)(i / size + 1);
		f->n = 0;
		assert_int_equal(exit_dispatch(&f->v), EXIT_RESUME);
		assert_int_equal(f->n, 10);
		for (uint64_t i = 0; i < 10; i++) {
			uint64_t byte = i + 1;

			assert_int_equal(f->log[i].off, 0);
			assert_true(f->log[i].val == (byte * 0x01010101ull & size_mask(size)));
		}
	}
}

static void string_input_fills_in_order(void **state)
{
	struct fixture *f = *state;
	uint8_t *data = set_io(f, KVM_EXIT_IO_IN, PORT, 2, 5);

	f->answer = 0x0100;
	f->answer_step = 0x0101;
	memset(data, 0xcc, 16);
	assert_int_equal(exit_dispatch(&f->v), EXIT_RESUME);
	assert_memory_equal(data, "\x00\x01\x01\x02\x02\x03\x03\x04\x04\x05\xcc", 11);
}

static void a_string_of_nothing_asks_nobody(void **state)
{
	struct fixture *f = *state;

	set_io(f, KVM_EXIT_IO_OUT, PORT, 4, 0);
	assert_int_equal(exit_dispatch(&f->v), EXIT_RESUME);
	assert_int_equal(f->n, 0);
}

/* --- MMIO ----------------------------------------------------------------------- */

static void set_mmio(struct fixture *f, bool write, uint64_t gpa, uint32_t len)
{
	f->run->exit_reason = KVM_EXIT_MMIO;
	f->run->mmio.phys_addr = gpa;
	f->run->mmio.len = len;
	f->run->mmio.is_write = write;
	memcpy(f->run->mmio.data, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
}

static void mmio_writes_of_each_length(void **state)
{
	struct fixture *f = *state;

	for (uint32_t len = 0; len <= 16; len++) {
		bool whole = len == 1 || len == 2 || len == 4 || len == 8;

		set_mmio(f, true, GPA + 0x20, len);
		f->n = 0;
		assert_int_equal(exit_dispatch(&f->v), EXIT_RESUME);
		assert_int_equal(f->n, whole);
		if (whole) {
			assert_int_equal(f->log[0].off, 0x20);
			assert_int_equal(f->log[0].size, len);
			assert_true(f->log[0].val == (0x0807060504030201 & size_mask(len)));
		}
	}
	assert_int_equal(f->stops, 0);
}

static void mmio_reads_of_each_length(void **state)
{
	struct fixture *f = *state;

	f->answer = 0x1817161514131211;
	for (uint32_t len = 0; len <= 16; len++) {
		bool whole = len == 1 || len == 2 || len == 4 || len == 8;

		set_mmio(f, false, GPA + SPACE - 8, len);
		f->n = 0;
		assert_int_equal(exit_dispatch(&f->v), EXIT_RESUME);
		assert_int_equal(f->n, whole);
		/* A part of 3, 5, 6 or 7 bytes is no register of anybody: all ones. */
		assert_memory_equal(f->run->mmio.data,
				    whole ? "\x11\x12\x13\x14\x15\x16\x17\x18"
					  : "\xff\xff\xff\xff\xff\xff\xff\xff",
				    len < 8 ? len : 8);
	}
}

static void mmio_of_nobody_reads_all_ones(void **state)
{
	struct fixture *f = *state;
	const uint64_t gpas[] = {GPA - 1, GPA + SPACE, GPA + SPACE - 1, UINT64_MAX, UINT64_MAX - 6};

	for (size_t i = 0; i < ARRAY_LEN(gpas); i++) {
		set_mmio(f, false, gpas[i], 8);
		assert_int_equal(exit_dispatch(&f->v), EXIT_RESUME);
		assert_memory_equal(f->run->mmio.data, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
		assert_false(f->hook_access.write);
		set_mmio(f, true, gpas[i], 8);
		assert_int_equal(exit_dispatch(&f->v), EXIT_RESUME);
		assert_ptr_equal(f->hook_access.bus, &f->mmio);
		assert_true(f->hook_access.addr == gpas[i]);
		assert_true(f->hook_access.write);
	}
	assert_int_equal(f->n, 0);
}

/* hostile-cases: "guest RAM backed by a file that is cut short", where KVM carries the
 * instruction out itself. RAM's neighbours stay nobody's. */
static void an_access_to_ram_is_the_hosts_fault(void **state)
{
	struct fixture *f = *state;
	struct guest_mem ram;
	struct err e = {0};

	guest_mem_init(&ram, GUEST_MEM_ANON);
	assert_int_equal(guest_mem_add(&ram, 0x10000, 0x2000, -1, 0, &e), 0);
	f->env.ram = &ram;
	set_mmio(f, false, 0xffff, 1);
	assert_int_equal(exit_dispatch(&f->v), EXIT_RESUME);
	set_mmio(f, true, 0x12000, 8);
	assert_int_equal(exit_dispatch(&f->v), EXIT_RESUME);
	assert_int_equal(f->stops, 0);
	for (uint32_t len = 1; len <= 8; len++) {
		f->stops = 0;
		set_mmio(f, len & 1, 0x11fff, len);
		expect_stop(f, STOP_HOST_ERROR, "CPU 5");
	}
	guest_mem_fini(&ram);
}

static void ports_and_memory_are_different_spaces(void **state)
{
	struct fixture *f = *state;

	set_mmio(f, true, PORT, 1);
	assert_int_equal(exit_dispatch(&f->v), EXIT_RESUME);
	assert_int_equal(f->n, 0);
}

/* --- the other everyday ones ------------------------------------------------------ */

static void end_of_interrupt_reaches_the_ioapic(void **state)
{
	struct fixture *f = *state;

	for (unsigned vector = 0; vector < 256; vector++) {
		f->run->exit_reason = KVM_EXIT_IOAPIC_EOI;
		f->run->eoi.vector = (uint8_t)vector;
		assert_int_equal(exit_dispatch(&f->v), EXIT_RESUME);
		assert_int_equal(f->eois, vector + 1);
		assert_int_equal(f->eoi_vector, vector);
	}
	f->env.ioapic_eoi = NULL;
	assert_int_equal(exit_dispatch(&f->v), EXIT_RESUME);
}

static void an_interrupted_entry_is_nothing(void **state)
{
	struct fixture *f = *state;

	f->run->exit_reason = KVM_EXIT_INTR;
	assert_int_equal(exit_dispatch(&f->v), EXIT_RESUME);
	assert_int_equal(f->stops, 0);
	f->env.hook = NULL; /* without anybody who looks on, too */
	assert_int_equal(exit_dispatch(&f->v), EXIT_RESUME);
}

/* --- the ends ---------------------------------------------------------------------- */

static void a_triple_fault_names_the_cpu(void **state)
{
	struct fixture *f = *state;

	f->run->exit_reason = KVM_EXIT_SHUTDOWN;
	expect_stop(f, STOP_TRIPLE_FAULT, "CPU 5");
	assert_false(f->v.crashed); /* many a guest reboots that way */
	log_set_level(LOG_INFO);
	expect_stop(f, STOP_TRIPLE_FAULT, "CPU 5");
	log_set_level(LOG_WARN);
	assert_true(f->v.crashed);
}

static void system_events(void **state)
{
	struct fixture *f = *state;

	f->run->exit_reason = KVM_EXIT_SYSTEM_EVENT;
	f->run->system_event.type = KVM_SYSTEM_EVENT_SHUTDOWN;
	expect_stop(f, STOP_POWEROFF, NULL);
	f->run->system_event.type = KVM_SYSTEM_EVENT_RESET;
	expect_stop(f, STOP_RESET, NULL);
	f->run->system_event.type = KVM_SYSTEM_EVENT_CRASH;
	expect_stop(f, STOP_PANIC, NULL);
	f->run->system_event.type = 0xdeadbeef;
	expect_stop(f, STOP_KVM_ERROR, "unknown type");
}

static void a_failed_entry_gives_the_hardware_reason(void **state)
{
	struct fixture *f = *state;

	f->run->exit_reason = KVM_EXIT_FAIL_ENTRY;
	f->run->fail_entry.hardware_entry_failure_reason = 0x80000021;
	expect_stop(f, STOP_KVM_ERROR, "0x80000021");
	assert_true(f->v.crashed);
}

static void an_internal_error_shows_the_instruction(void **state)
{
	struct fixture *f = *state;

	f->run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	f->run->internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
	f->run->emulation_failure.ndata = 4;
	f->run->emulation_failure.flags = KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
	f->run->emulation_failure.insn_size = 3;
	memcpy(f->run->emulation_failure.insn_bytes, "\x0f\xae\x2f\x90", 4);
	expect_stop(f, STOP_KVM_ERROR, "bytes 0f ae 2f");
	assert_null(strstr(f->detail, "90"));
}

static void an_internal_error_without_bytes_shows_none(void **state)
{
	struct fixture *f = *state;

	f->run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	f->run->internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
	memset(f->run->emulation_failure.insn_bytes, 0xf4, 15);
	f->run->emulation_failure.insn_size = 15;
	/* Too little data to hold them, whatever the flag says. */
	f->run->emulation_failure.flags = KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
	for (uint32_t ndata = 0; ndata < 3; ndata++) {
		f->run->emulation_failure.ndata = ndata;
		expect_stop(f, STOP_KVM_ERROR, "suberror 1");
		assert_null(strstr(f->detail, "bytes"));
	}
	f->run->emulation_failure.ndata = 4;
	f->run->emulation_failure.flags = 0;
	expect_stop(f, STOP_KVM_ERROR, NULL);
	assert_null(strstr(f->detail, "bytes"));
	/* Other suberrors have other data there. */
	f->run->emulation_failure.flags = KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
	f->run->internal.suberror = KVM_INTERNAL_ERROR_DELIVERY_EV;
	expect_stop(f, STOP_KVM_ERROR, "suberror 3");
	assert_null(strstr(f->detail, "bytes"));
}

/* Sizes that no KVM should say: never beyond the field, never beyond the line. */
static void hostile_sizes_in_an_internal_error(void **state)
{
	struct fixture *f = *state;

	f->run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	f->run->internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
	f->run->emulation_failure.flags = UINT64_MAX;
	memset(f->run->emulation_failure.insn_bytes, 0xab, 15);
	for (unsigned size = 0; size < 256; size++) {
		f->run->emulation_failure.ndata = UINT32_MAX;
		f->run->emulation_failure.insn_size = (uint8_t)size;
		expect_stop(f, STOP_KVM_ERROR, "suberror 1");
		unsigned shown = 0;

		for (const char *p = strstr(f->detail, "bytes"); p && (p = strstr(p, " ab")); p++)
			shown++;
		assert_int_equal(shown, size < 15 ? size : 15);
	}
	for (unsigned i = 0; i < 64; i++) {
		f->run->internal.suberror = i < 32 ? i : UINT32_MAX >> (i - 32);
		expect_stop(f, STOP_KVM_ERROR, "KVM_EXIT_INTERNAL_ERROR");
	}
}

/* Every reason that exists, and those that will: a row that handles it, or a
 * stop that names it. Nothing falls through and nothing spins. */
static void every_reason_has_a_name_and_an_end(void **state)
{
	struct fixture *f = *state;

	for (uint32_t reason = 0; reason < 256; reason++) {
		const char *name = exit_name(reason);

		assert_non_null(name);
		assert_true(name[0]);
		memset(f->run, 0, RUN_BYTES);
		f->run->exit_reason = reason;
		switch (reason) {
		case KVM_EXIT_IO:
		case KVM_EXIT_MMIO:
		case KVM_EXIT_IOAPIC_EOI:
		case KVM_EXIT_INTR:
			assert_int_equal(exit_dispatch(&f->v), EXIT_RESUME);
			break;
		case KVM_EXIT_SHUTDOWN:
			expect_stop(f, STOP_TRIPLE_FAULT, NULL);
			break;
		case KVM_EXIT_SYSTEM_EVENT:
			expect_stop(f, STOP_KVM_ERROR, NULL);
			break;
		case KVM_EXIT_FAIL_ENTRY:
		case KVM_EXIT_INTERNAL_ERROR:
		default:
			expect_stop(f, STOP_KVM_ERROR, name);
			break;
		}
	}
	f->run->exit_reason = UINT32_MAX;
	expect_stop(f, STOP_KVM_ERROR, "4294967295");
}

static void names_are_the_headers(void **state)
{
	assert_string_equal(exit_name(KVM_EXIT_MMIO), "KVM_EXIT_MMIO");
	assert_string_equal(exit_name(KVM_EXIT_HLT), "KVM_EXIT_HLT");
	assert_string_equal(exit_name(KVM_EXIT_X86_RDMSR), "KVM_EXIT_X86_RDMSR");
	assert_string_equal(exit_name(KVM_EXIT_UNKNOWN), "KVM_EXIT_UNKNOWN");
}

int main(void)
{
#define EXIT_TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		EXIT_TEST(out_of_each_size),
		EXIT_TEST(in_of_each_size_leaves_the_bytes_behind_it),
		EXIT_TEST(a_port_of_nobody_reads_all_ones),
		EXIT_TEST(string_output_comes_in_order),
		EXIT_TEST(string_input_fills_in_order),
		EXIT_TEST(a_string_of_nothing_asks_nobody),
		EXIT_TEST(mmio_writes_of_each_length),
		EXIT_TEST(mmio_reads_of_each_length),
		EXIT_TEST(mmio_of_nobody_reads_all_ones),
		EXIT_TEST(an_access_to_ram_is_the_hosts_fault),
		EXIT_TEST(ports_and_memory_are_different_spaces),
		EXIT_TEST(end_of_interrupt_reaches_the_ioapic),
		EXIT_TEST(an_interrupted_entry_is_nothing),
		EXIT_TEST(a_triple_fault_names_the_cpu),
		EXIT_TEST(system_events),
		EXIT_TEST(a_failed_entry_gives_the_hardware_reason),
		EXIT_TEST(an_internal_error_shows_the_instruction),
		EXIT_TEST(an_internal_error_without_bytes_shows_none),
		EXIT_TEST(hostile_sizes_in_an_internal_error),
		EXIT_TEST(every_reason_has_a_name_and_an_end),
		EXIT_TEST(names_are_the_headers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
