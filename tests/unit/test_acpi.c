/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ACPI tables, followed from the RSDP as a guest follows them, and judged by
 * ACPICA: each is disassembled by iasl and compiled again, and any error, warning
 * or remark fails. Without iasl on PATH the test is skipped (77) after the rest
 * has passed.
 */
#include "firmware/acpi.h"
#include "firmware/aml.h"
#include "vmm/base/bytes.h"
#include "vmm/base/le.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define AT 0xe0000ull

struct tables {
	size_t len;
	uint8_t buf[0x20000];
};

static struct board board_of(unsigned cpus, unsigned cpus_max)
{
	return (struct board){
		.ram_low = 256 * MiB,
		.cpus = cpus,
		.cpus_max = cpus_max,
		.mmio64 = 4 * GiB,
		.mmio64_len = 64 * GiB,
		.serial = true,
	};
}

/* The same with `n` virtio devices on MMIO instead of PCI. */
static struct board mmio_board_of(unsigned n)
{
	struct board b = board_of(1, 1);

	b.virtio_mmio = true;
	while (n--)
		assert_int_equal(board_add_virtio(&b, "x", NULL), 0);
	return b;
}

static void build(struct tables *t, const struct board *b)
{
	int len = acpi_build(b, AT, t->buf, sizeof(t->buf));

	assert_true(len > 0);
	t->len = (size_t)len;
}

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len--)
		s += *p++;
	return s;
}

/* The table at `gpa`, which has this signature, lies in the blob and adds up. */
static const uint8_t *table_at(const struct tables *t, uint64_t gpa, const char *signature)
{
	const uint8_t *p;
	uint32_t len;

	assert_true(gpa >= AT && range_within(gpa - AT, 36, t->len));
	p = t->buf + (gpa - AT);
	len = le32_get(p + 4);
	assert_true(range_within(gpa - AT, len, t->len));
	assert_memory_equal(p, signature, 4);
	assert_int_equal(sum(p, len), 0);
	return p;
}

/* NULL if there is no such table. */
static const uint8_t *look(const struct tables *t, const char *signature)
{
	const uint8_t *xsdt = table_at(t, le64_get(t->buf + 24), "XSDT");
	uint32_t n = (le32_get(xsdt + 4) - 36) / 8;

	if (!strcmp(signature, "DSDT"))
		return table_at(t, le64_get(look(t, "FACP") + 140), "DSDT");
	for (uint32_t i = 0; i < n; i++) {
		uint64_t gpa = le64_get(xsdt + 36 + i * 8);

		if (!memcmp(t->buf + (gpa - AT), signature, 4))
			return table_at(t, gpa, signature);
	}
	return NULL;
}

static const uint8_t *find(const struct tables *t, const char *signature)
{
	const uint8_t *p = look(t, signature);

	if (!p)
		fail_msg("no %s", signature);
	return p;
}

static void test_rsdp(void **state)
{
	static struct tables t;
	const struct board b = board_of(1, 1);

	build(&t, &b);
	assert_memory_equal(t.buf, "RSD PTR ", 8);
	assert_int_equal(sum(t.buf, 20), 0);
	assert_int_equal(sum(t.buf, 36), 0);
	assert_int_equal(t.buf[15], 2);
	assert_int_equal(le32_get(t.buf + 20), 36);
}

static void test_fadt(void **state)
{
	static struct tables t;
	static const uint8_t reset[] = {1, 8, 0, 1, 0xf9, 0x0c, 0, 0, 0, 0, 0, 0};
	static const uint8_t control[] = {1, 8, 0, 1, 0x00, 0x06, 0, 0, 0, 0, 0, 0};
	static const uint8_t status[] = {1, 8, 0, 1, 0x01, 0x06, 0, 0, 0, 0, 0, 0};
	struct board b = board_of(1, 1);
	const uint8_t *p;
	uint32_t flags;

	build(&t, &b);
	p = find(&t, "FACP");
	assert_int_equal(le32_get(p + 4), 276);
	assert_int_equal(p[8], 6);
	assert_int_equal(le32_get(p + 40), le64_get(p + 140)); /* DSDT, X_DSDT */
	flags = le32_get(p + 112);
	assert_true(flags & 1u << 20); /* HW_REDUCED_ACPI */
	assert_true(flags & 1u << 10); /* RESET_REG_SUP */
	assert_true(flags & 1u << 4);  /* PWR_BUTTON: not a fixed one */
	assert_memory_equal(p + 116, reset, 12);
	assert_int_equal(p[128], 6);
	assert_memory_equal(p + 244, control, 12);
	assert_memory_equal(p + 256, status, 12);
	/* Legacy devices and no VGA; no 8042; the CMOS RTC is there. */
	assert_int_equal(le16_get(p + 109), 0x05);
	/* No SCI, SMI command, PM1 blocks or PM timer. */
	for (unsigned i = 46; i < 92; i++)
		assert_int_equal(p[i], 0);
	for (unsigned i = 148; i < 244; i++)
		assert_int_equal(p[i], 0);
	b.serial = false;
	build(&t, &b);
	assert_int_equal(le16_get(find(&t, "FACP") + 109), 0x04);
}

static void check_madt(unsigned cpus, unsigned cpus_max)
{
	static struct tables t;
	const struct board b = board_of(cpus, cpus_max);
	unsigned enabled = 0, capable = 0, ioapics = 0, next = 0;
	const uint8_t *p;
	uint32_t len;

	build(&t, &b);
	p = find(&t, "APIC");
	len = le32_get(p + 4);
	assert_int_equal(le32_get(p + 36), 0xfee00000);
	assert_int_equal(le32_get(p + 40), 0); /* no 8259 */
	for (uint32_t i = 44; i < len; i += p[i + 1]) {
		uint32_t id, uid, flags;

		assert_true(p[i + 1] >= 8 && i + p[i + 1] <= len);
		if (p[i] == 1) {
			ioapics++;
			assert_int_equal(le32_get(p + i + 4), 0xfec00000);
			assert_int_equal(le32_get(p + i + 8), 0);
			continue;
		}
		assert_true(p[i] == 0 || p[i] == 9); /* no overrides, no NMIs */
		id = p[i] ? le32_get(p + i + 4) : p[i + 3];
		uid = p[i] ? le32_get(p + i + 12) : p[i + 2];
		flags = p[i] ? le32_get(p + i + 8) : le32_get(p + i + 4);
		assert_int_equal(p[i] == 9, next >= 255);
		assert_int_equal(id, next);
		assert_int_equal(uid, next);
		assert_true(flags == 1 || flags == 2);
		enabled += flags == 1;
		capable += flags == 2;
		next++;
	}
	assert_int_equal(ioapics, 1);
	assert_int_equal(enabled, cpus);
	assert_int_equal(capable, cpus_max - cpus);
}

static void test_madt(void **state)
{
	check_madt(1, 1);
	check_madt(2, 8);
	check_madt(64, 64);
	check_madt(255, 255);
	check_madt(200, 300);
}

static void test_mcfg(void **state)
{
	static struct tables t;
	const struct board b = board_of(1, 1);
	const uint8_t *p;

	build(&t, &b);
	p = find(&t, "MCFG");
	assert_int_equal(le32_get(p + 4), 60);
	assert_int_equal(le64_get(p + 44), 0xe8000000);
	assert_int_equal(le16_get(p + 52), 0);
	assert_int_equal(p[54], 0);
	assert_int_equal(p[55], 0);
}

/* Every size of buffer that is too small is refused, and not a byte is written
 * beyond it. */
static void test_no_room(void **state)
{
	static struct tables t;
	const struct board b = board_of(2, 4);
	size_t need;

	build(&t, &b);
	need = t.len;
	for (size_t cap = 0; cap < need; cap++) {
		t.buf[cap] = 0xa5;
		assert_int_equal(acpi_build(&b, AT, t.buf, cap), -ENOSPC);
		assert_int_equal(t.buf[cap], 0xa5);
	}
	assert_int_equal(acpi_build(&b, AT, t.buf, need), need);
}

static const uint8_t *text_in(const uint8_t *table, const char *text)
{
	return memmem(table, le32_get(table + 4), text, strlen(text));
}

/* Each device with its page and its pin, and nothing of PCI. */
static void test_virtio_mmio(void **state)
{
	static struct tables t;
	static const unsigned counts[] = {0, 1, 3, BOARD_VIRTIO_MAX};

	for (unsigned i = 0; i < ARRAY_LEN(counts); i++) {
		const struct board b = mmio_board_of(counts[i]);
		const uint8_t *dsdt, *at;
		unsigned seen = 0;

		build(&t, &b);
		assert_null(look(&t, "MCFG"));
		dsdt = find(&t, "DSDT");
		assert_null(text_in(dsdt, "PCI0"));
		for (at = dsdt;
		     (at = memmem(at, (size_t)(dsdt + le32_get(dsdt + 4) - at), "LNRO0005", 9));
		     at += 9) {
			/* Memory32Fixed and an extended interrupt follow [ACPI 6.5 6.4.3]. */
			static const uint8_t memory[] = {0x86, 9, 0, 1}, irq[] = {0x89, 6, 0, 3, 1};
			const uint8_t *crs = memmem(at, 64, memory, 4);

			assert_non_null(crs);
			assert_int_equal(le32_get(crs + 4), b.virtio[seen].base);
			assert_int_equal(le32_get(crs + 8), 0x1000);
			assert_memory_equal(crs + 12, irq, 5);
			assert_int_equal(le32_get(crs + 17), b.virtio[seen].gsi);
			seen++;
		}
		assert_int_equal(seen, counts[i]);
	}
	/* On PCI they are found by looking. */
	struct board b = board_of(1, 1);

	board_add_virtio(&b, "x", NULL);
	build(&t, &b);
	assert_null(text_in(find(&t, "DSDT"), "LNRO0005"));
	assert_non_null(text_in(find(&t, "DSDT"), "PCI0"));
}

/* A device for each slot behind the virtio devices, and who tells of it; none where none is wanted.
 */
static void test_hotplug(void **state)
{
	static struct tables t;
	struct board b = board_of(1, 1);
	struct err e = {0};
	uint32_t without;

	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(board_add_virtio(&b, "x", NULL), 0);
	assert_int_equal(board_set_hotplug(&b, 0, &e), 0);
	build(&t, &b);
	without = le32_get(find(&t, "DSDT") + 4);
	assert_null(text_in(find(&t, "DSDT"), "_EJ0"));
	assert_null(text_in(find(&t, "DSDT"), "HPEV"));
	assert_int_equal(board_set_hotplug(&b, 27, &e), -ENOSPC);
	assert_int_equal(board_set_hotplug(&b, 26, &e), 0);
	build(&t, &b);
	const uint8_t *dsdt = find(&t, "DSDT"), *at;

	assert_true(le32_get(dsdt + 4) > without);
	assert_null(text_in(dsdt, "S05_"));
	for (unsigned slot = 6; slot < 32; slot++) {
		char name[5];

		snprintf(name, sizeof(name), "S%02u_", slot);
		at = text_in(dsdt, name);
		assert_non_null(at);
		/* Name (_ADR, slot << 16), Name (_SUN, slot) */
		assert_memory_equal(at + 4, "\x08_ADR\x0c\0\0", 8);
		assert_int_equal(le16_get(at + 12), slot);
		assert_memory_equal(at + 14, "\x08_SUN\x0a", 6);
		assert_int_equal(at[20], slot);
		/* Method (_EJ0, 1) { Store (1 << slot, HPEJ) } */
		at = memmem(at, 64, "_EJ0", 4);
		assert_non_null(at);
		assert_int_equal(at[5], 0x70);
		assert_true(slot < 8    ? at[7] == 1u << slot
			    : slot < 16 ? le16_get(at + 7) == 1u << slot
					: le32_get(at + 7) == 1u << slot);
	}
	/* On MMIO there are no slots. */
	b = mmio_board_of(1);
	assert_int_equal(board_set_hotplug(&b, 1, &e), -ENOTSUP);
	assert_int_equal(board_set_hotplug(&b, 0, &e), 0);
}

/* It says where, below what e820 reserves and beside the tables; and the event notifies it. */
static void test_vmgenid(void **state)
{
	static struct tables t;
	const struct board b = board_of(1, 1);
	/* Package (2) {0xef000, 0} */
	static const uint8_t addr[] = "ADDR\x12\x08\x02\x0c\x00\xf0\x0e\x00\x00";
	/* If (Local0 & 4) { Notify (VGEN, 0x80) } */
	static const uint8_t notify[] = "\x60\x0a\x04\x00\x86VGEN\x0a\x80";
	const uint8_t *dsdt;

	build(&t, &b);
	assert_true(AT + t.len <= LAYOUT_VMGENID);
	dsdt = find(&t, "DSDT");
	assert_non_null(text_in(dsdt, "VM_Gen_Counter"));
	assert_non_null(text_in(dsdt, "VMGENCTR"));
	assert_non_null(memmem(dsdt, le32_get(dsdt + 4), addr, sizeof(addr) - 1));
	assert_non_null(memmem(dsdt, le32_get(dsdt + 4), notify, sizeof(notify) - 1));
}

/* A device for each processor where one can come, and who tells of it; none where none can. */
static void test_cpus(void **state)
{
	static struct tables t;
	struct board b = board_of(4, 4);
	const uint8_t *dsdt, *at;

	build(&t, &b);
	assert_null(text_in(find(&t, "DSDT"), "ACPI0007"));
	assert_null(text_in(find(&t, "DSDT"), "CPEV"));
	b = board_of(2, 64);
	build(&t, &b);
	assert_true(t.len < LAYOUT_ACPI_LEN);
	dsdt = find(&t, "DSDT");
	for (unsigned cpu = 0; cpu < 64; cpu++) {
		char name[5];

		snprintf(name, sizeof(name), "C%03u", cpu);
		at = text_in(dsdt, name);
		assert_non_null(at);
		assert_memory_equal(at + 4,
				    "\x08_HID\x0d"
				    "ACPI0007",
				    15);
		at = memmem(at, 64, "_MAT\x11", 5);
		assert_non_null(at);
		/* Buffer (8) { Local APIC, 8 bytes, UID, id, enabled } */
		assert_int_equal(at[8], 0);
		assert_int_equal(at[9], 8);
		assert_int_equal(at[10], cpu);
		assert_int_equal(at[11], cpu);
		assert_int_equal(le32_get(at + 12), 1);
		/* Method (_STA, 0): by its bit of its byte */
		at = memmem(at, 64, "_STA", 4);
		assert_non_null(at);
		snprintf(name, sizeof(name), "CPH%u", cpu / 8);
		assert_non_null(memmem(at, 16, name, 4));
		/* The first stays. */
		assert_int_equal(!memmem(at, 64, "_EJ0", 4), !cpu);
		assert_non_null(memmem(at, 64, "_OST", 4));
	}
	assert_null(text_in(dsdt, "C064"));
	/* More than there are bits for, which no --cpus asks for. */
	b = board_of(1, 65);
	build(&t, &b);
	assert_null(text_in(find(&t, "DSDT"), "ACPI0007"));
	b = mmio_board_of(2);
	b.cpus_max = 3;
	build(&t, &b);
	assert_non_null(text_in(find(&t, "DSDT"), "C002"));
}

static void test_load(void **state)
{
	const struct board b = board_of(1, 1);
	static struct tables t;
	struct guest_mem gm;
	struct err e = {0};
	uint64_t rsdp = 0;

	guest_mem_init(&gm, GUEST_MEM_ANON);
	assert_int_equal(acpi_load(&b, &gm, &rsdp, &e), -EFAULT);
	assert_int_equal(e.kind, ERR_HOST);
	assert_int_equal(board_map_ram(&b, &gm, &e), 0);
	assert_int_equal(acpi_load(&b, &gm, &rsdp, &e), 0);
	assert_int_equal(rsdp, AT);
	build(&t, &b);
	assert_memory_equal(guest_mem_hva(&gm, AT, t.len), t.buf, t.len);
	guest_mem_fini(&gm);
}

/* --- the AML writer ------------------------------------------------------------- */

static void test_aml_encodings(void **state)
{
	static const uint8_t want[] = {
		0x00, 0x01, 0x0a, 0x02, 0x0a, 0xff, 0x0b, 0x00, 0x01, 0x0c,
		0x00, 0x00, 0x01, 0x00, 0x0e, 0x00, 0x00, 0x00, 0x00, 0x01,
		0x00, 0x00, 0x00, 0x0c, 0x41, 0xd0, 0x0a, 0x08, /* EisaId ("PNP0A08") */
		0x11, 0x13, 0x0a, 0x10, 0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f,
		0x1c, 0x40, 0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66,
	};
	uint8_t buf[256];
	struct aml a;

	aml_init(&a, buf, sizeof(buf));
	aml_integer(&a, 0);
	aml_integer(&a, 1);
	aml_integer(&a, 2);
	aml_integer(&a, 0xff);
	aml_integer(&a, 0x100);
	aml_integer(&a, 0x10000);
	aml_integer(&a, 0x100000000);
	aml_eisaid(&a, "PNP0A08");
	aml_uuid(&a, "33db4d5b-1ff7-401c-9657-7441c03dd766");
	assert_int_equal(aml_finish(&a), sizeof(want));
	assert_memory_equal(buf, want, sizeof(want));
}

/* PkgLength as a reader decodes it, around the sizes where it grows. */
static void test_aml_pkg_length(void **state)
{
	static uint8_t buf[1 << 21];
	static char text[1 << 20];
	static const size_t lengths[] = {0,    1,    55,   56,   57,      58,
					 4080, 4090, 4091, 4092, 0xffff0, 0xffff8};

	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		size_t len, n, body = lengths[i];
		struct aml a;
		int total;

		memset(text, 'x', sizeof(text));
		text[body] = '\0';
		aml_init(&a, buf, sizeof(buf));
		aml_scope(&a, "\\_SB_");
		aml_string(&a, text);
		aml_end(&a);
		total = aml_finish(&a);
		assert_true(total > 0);
		assert_int_equal(buf[0], 0x10);
		n = buf[1] >> 6;
		len = n ? buf[1] & 0xf : buf[1] & 0x3f;
		for (size_t j = 0; j < n; j++)
			len |= (size_t)buf[2 + j] << (4 + 8 * j);
		assert_int_equal(len, (size_t)total - 1);
		assert_memory_equal(buf + 2 + n, "\\_SB_\rx", body ? 7 : 6);
		assert_int_equal(len, 1 + n + 5 + 1 + body + 1);
	}
}

static void test_aml_overflow_sticks(void **state)
{
	uint8_t buf[16];
	struct aml a;

	aml_init(&a, buf, sizeof(buf));
	aml_device(&a, "TEST");
	aml_string(&a, "much too long for it");
	aml_integer(&a, 1);
	aml_end(&a);
	assert_int_equal(aml_finish(&a), -ENOSPC);
	assert_true(a.len <= sizeof(buf));
}

/* --- ACPICA's opinion -------------------------------------------------------------- */

static bool have_iasl(void)
{
	return system("iasl -v >/dev/null 2>&1") == 0;
}

/* Run a command; gives its output (static) and fails unless it exits with 0. */
static const char *run(const char *command)
{
	static char out[1 << 16];
	FILE *p = popen(command, "r");
	size_t n;

	assert_non_null(p);
	n = fread(out, 1, sizeof(out) - 1, p);
	out[n] = '\0';
	if (pclose(p))
		fail_msg("%s:\n%s", command, out);
	return out;
}

static void judge(const char *dir, const uint8_t *table)
{
	char path[64], command[256];
	const char *out;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%.4s", dir, (const char *)table);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(table, 1, le32_get(table + 4), f), le32_get(table + 4));
	fclose(f);

	snprintf(command, sizeof(command), "iasl -d %s 2>&1", path);
	out = run(command);
	if (strcasestr(out, "warning") || strcasestr(out, "error") || strcasestr(out, "invalid"))
		fail_msg("%s:\n%s", command, out);
	snprintf(command, sizeof(command), "iasl -we -tc %s.dsl 2>&1", path);
	out = run(command);
	if (!strstr(out, " 0 Errors, 0 Warnings, 0 Remarks"))
		fail_msg("%s:\n%s", command, out);
}

static void judge_all(const struct board *b)
{
	static const char *const signatures[] = {"FACP", "APIC", "MCFG", "DSDT"};
	static struct tables t;
	char dir[] = "acpi-test-XXXXXX", command[64];

	build(&t, b);
	assert_non_null(mkdtemp(dir));
	judge(dir, table_at(&t, le64_get(t.buf + 24), "XSDT"));
	for (size_t i = 0; i < ARRAY_LEN(signatures); i++)
		if (strcmp(signatures[i], "MCFG") != 0 || !b->virtio_mmio)
			judge(dir, find(&t, signatures[i]));
	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
}

static void test_iasl(void **state)
{
	struct board b = board_of(2, 4);

	if (!have_iasl()) {
		print_message("iasl is not on PATH: install acpica-tools\n");
		skip();
	}
	judge_all(&b);
	b.serial2 = true;
	judge_all(&b);
	b = board_of(1, 64);
	judge_all(&b);
	b = board_of(200, 300);
	b.serial = false;
	b.mmio64_len = 0;
	judge_all(&b);
	b = mmio_board_of(BOARD_VIRTIO_MAX);
	judge_all(&b);
	b = board_of(1, 1);
	b.n_hotplug = 1;
	judge_all(&b);
	b.n_hotplug = 31;
	judge_all(&b);
}

/* A DSDT with the mistake that the test is for: it must be able to fail. */
static void test_iasl_sees_mistakes(void **state)
{
	char dir[] = "acpi-test-XXXXXX", path[64], command[256];
	FILE *f;

	if (!have_iasl())
		skip();
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/bad.dsl", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs("DefinitionBlock (\"\", \"DSDT\", 2, \"MINIVM\", \"MINIVMM \", 1)\n"
	      "{ Method (\\_SB.X, 0) { Name (Y, 1) } }\n",
	      f);
	fclose(f);
	snprintf(command, sizeof(command), "iasl -we %s 2>&1", path);
	assert_null(strstr(run(command), " 0 Errors, 0 Warnings, 0 Remarks"));
	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rsdp),
		cmocka_unit_test(test_fadt),
		cmocka_unit_test(test_madt),
		cmocka_unit_test(test_mcfg),
		cmocka_unit_test(test_virtio_mmio),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_load),
		cmocka_unit_test(test_aml_encodings),
		cmocka_unit_test(test_aml_pkg_length),
		cmocka_unit_test(test_aml_overflow_sticks),
		cmocka_unit_test(test_hotplug),
		cmocka_unit_test(test_vmgenid),
		cmocka_unit_test(test_cpus),
		cmocka_unit_test(test_iasl),
		cmocka_unit_test(test_iasl_sees_mistakes),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	return failed ? failed : have_iasl() ? 0 : 77;
}
