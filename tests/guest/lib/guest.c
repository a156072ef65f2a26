/* SPDX-License-Identifier: Apache-2.0 */
/* guest: printing, the memory map and the ACPI tables, and the ways to end. */
#include "guest.h"

enum { COM1 = 0x3f8, UART_FCR = 2, UART_LSR = 5, LSR_THRE = 0x20, FIFO_LEN = 16 };

void guest_start(const uint8_t *zero_page, const uint8_t *start_info);
void idt_init(void);

static const uint8_t *zero_page, *start_info;

/* --- what the compiler wants ------------------------------------------------------ */

void *memcpy(void *to, const void *from, size_t n)
{
	void *ret = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	return ret;
}

void *memset(void *to, int c, size_t n)
{
	void *ret = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(c) : "memory");
	return ret;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *p = a, *q = b;

	for (; n; n--, p++, q++)
		if (*p != *q)
			return *p - *q;
	return 0;
}

size_t strlen(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

int strncmp(const char *a, const char *b, size_t n)
{
	for (; n && *a && *a == *b; n--, a++, b++)
		;
	return n ? *a - *b : 0;
}

/* --- printing ----------------------------------------------------------------------- */

static void put_raw(char c)
{
	static unsigned room;

	/* When the holding register is empty the whole FIFO is. */
	while (!room)
		if (inb(COM1 + UART_LSR) & LSR_THRE)
			room = FIFO_LEN;
	outb(COM1, (uint8_t)c);
	room--;
}

void putc(char c)
{
	if (c == '\n')
		put_raw('\r');
	put_raw(c);
}

void puts(const char *s)
{
	while (*s)
		putc(*s++);
}

static void put_number(uint64_t v, unsigned base, bool negative, unsigned width, char pad)
{
	char digits[24];
	unsigned n = 0;

	do {
		digits[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	if (negative)
		digits[n++] = '-';
	for (; width > n; width--)
		putc(pad);
	while (n)
		putc(digits[--n]);
}

static void print_args(const char *fmt, __builtin_va_list args)
{
	for (; *fmt; fmt++) {
		unsigned width = 0, longs = 0;
		char pad = ' ';
		uint64_t v = 0;

		if (*fmt != '%') {
			putc(*fmt);
			continue;
		}
		fmt++;
		bool alternate = *fmt == '#';

		if (alternate)
			fmt++;
		if (*fmt == '0')
			pad = *fmt++;
		while (*fmt >= '0' && *fmt <= '9')
			width = width * 10 + (unsigned)(*fmt++ - '0');
		while (*fmt == 'l') {
			longs++;
			fmt++;
		}
		switch (*fmt) {
		case 'c':
			putc((char)__builtin_va_arg(args, int));
			break;
		case 's':
			puts(__builtin_va_arg(args, const char *));
			break;
		case 'd': {
			int64_t d =
				longs ? __builtin_va_arg(args, long) : __builtin_va_arg(args, int);

			put_number(d < 0 ? -(uint64_t)d : (uint64_t)d, 10, d < 0, width, pad);
			break;
		}
		case 'p':
			longs = 1;
			alternate = true;
			/* fall through */
		case 'u':
		case 'x':
			v = longs ? __builtin_va_arg(args, unsigned long)
				  : __builtin_va_arg(args, unsigned);
			if (alternate)
				puts("0x");
			put_number(v, *fmt == 'u' ? 10 : 16, false, width, pad);
			break;
		default:
			putc(*fmt);
			break;
		}
	}
}

void printf(const char *fmt, ...)
{
	__builtin_va_list args;

	__builtin_va_start(args, fmt);
	print_args(fmt, args);
	__builtin_va_end(args);
}

void fail(const char *fmt, ...)
{
	__builtin_va_list args;

	interrupts_off();
	puts("\nFAIL: ");
	__builtin_va_start(args, fmt);
	print_args(fmt, args);
	__builtin_va_end(args);
	putc('\n');
	triple_fault();
}

/* --- ends ----------------------------------------------------------------------------- */

void halt(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

void triple_fault(void)
{
	static const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) none;

	__asm__ volatile("lidt %0; ud2" : : "m"(none));
	halt();
}

/* [ACPI 6.5 4.8.3.7]: SLP_TYP 5 in bits 4:2, SLP_EN in bit 5. On a machine that
 * says in FADT where its own register is, there. */
void poweroff(void)
{
	enum {
		FADT_PM1A_CNT = 64,
		FADT_FLAGS = 112,
		FADT_SLEEP_CONTROL = 244,
		HW_REDUCED = 1 << 20
	};
	enum { SLEEP_S5 = 5 << 2 | 1 << 5, SYSTEM_MEMORY = 0 };
	const uint8_t *fadt = acpi_table("FACP");
	uint64_t control = 0x600;
	bool in_memory = false;
	uint16_t pm1a = 0;

	interrupts_off();
	if (fadt) {
		uint32_t flags = read32((uint64_t)fadt + FADT_FLAGS);

		if (flags & HW_REDUCED) {
			in_memory = fadt[FADT_SLEEP_CONTROL] == SYSTEM_MEMORY;
			control = read64((uint64_t)fadt + FADT_SLEEP_CONTROL + 4);
		} else {
			pm1a = read16((uint64_t)fadt + FADT_PM1A_CNT);
		}
	}
	if (pm1a)
		outw(pm1a, 1 << 13); /* QEMU's _S5 is type 0 */
	else if (in_memory)
		write8(control, SLEEP_S5);
	else
		outb((uint16_t)control, SLEEP_S5);
	delay_ms(2000); /* it need not happen at once */
	puts("\nFAIL: still here after power-off\n");
	halt();
}

/* --- the memory map --------------------------------------------------------------------- */

enum {
	ZERO_PAGE_RSDP = 0x70,
	ZERO_PAGE_E820_ENTRIES = 0x1e8,
	ZERO_PAGE_CMDLINE = 0x228,
	ZERO_PAGE_E820 = 0x2d0,
	E820_ENTRY = 20,
	/* struct hvm_start_info */
	PVH_CMDLINE = 24,
	PVH_RSDP = 32,
	PVH_MEMMAP = 40,
	PVH_MEMMAP_ENTRIES = 48,
	PVH_MEMMAP_ENTRY = 24,
};

bool booted_by_pvh(void)
{
	return start_info;
}

bool memory_map(unsigned i, struct ram_range *out)
{
	uint64_t entry;

	if (zero_page) {
		if (i >= zero_page[ZERO_PAGE_E820_ENTRIES])
			return false;
		entry = (uint64_t)zero_page + ZERO_PAGE_E820 + i * E820_ENTRY;
	} else {
		if (i >= read32((uint64_t)start_info + PVH_MEMMAP_ENTRIES))
			return false;
		entry = read64((uint64_t)start_info + PVH_MEMMAP) + i * PVH_MEMMAP_ENTRY;
	}
	*out = (struct ram_range){read64(entry), read64(entry + 8), read32(entry + 16)};
	return true;
}

const char *command_line(void)
{
	uint64_t at = zero_page ? read32((uint64_t)zero_page + ZERO_PAGE_CMDLINE)
				: read64((uint64_t)start_info + PVH_CMDLINE);

	return at ? (const char *)at : "";
}

uint64_t option(const char *name, uint64_t otherwise)
{
	const char *p = command_line();
	size_t n = strlen(name);

	for (; *p; p++) {
		uint64_t v = 0;

		if (strncmp(p, name, n) || p[n] != '=')
			continue;
		for (p += n + 1; *p >= '0' && *p <= '9'; p++)
			v = v * 10 + (uint64_t)(*p - '0');
		return v;
	}
	return otherwise;
}

/* One page directory for each GiB, in 2 MiB pages: KVM offers 1 GiB pages only
 * where the host has them. */
void map_high(uint64_t gpa, uint64_t len)
{
	extern uint64_t pdpt[512];
	static uint64_t pds[16][512] __attribute__((aligned(4096)));
	static unsigned used;

	for (uint64_t gib = gpa >> 30; gib <= (gpa + len - 1) >> 30; gib++) {
		expect(gib < 512);
		if (pdpt[gib] & 1)
			continue;
		expect(used < ARRAY_LEN(pds));
		for (unsigned i = 0; i < 512; i++)
			pds[used][i] = (gib << 30 | (uint64_t)i << 21) | 0x83;
		pdpt[gib] = (uint64_t)pds[used++] | 3;
	}
}

/* --- ACPI --------------------------------------------------------------------------------- */

static bool sums_to_zero(const uint8_t *p, uint32_t len)
{
	uint8_t sum = 0;

	while (len--)
		sum = (uint8_t)(sum + *p++);
	return !sum;
}

static const uint8_t *find_rsdp(void)
{
	uint64_t at = zero_page ? read64((uint64_t)zero_page + ZERO_PAGE_RSDP)
				: read64((uint64_t)start_info + PVH_RSDP);

	if (at)
		return (const uint8_t *)at;
	for (at = 0xe0000; at < 0x100000; at += 16)
		if (!memcmp((const void *)at, "RSD PTR ", 8))
			return (const uint8_t *)at;
	return NULL;
}

const uint8_t *acpi_table(const char *signature)
{
	enum { RSDP_REVISION = 15, RSDP_RSDT = 16, RSDP_XSDT = 24, LENGTH = 4, ENTRIES = 36 };
	const uint8_t *rsdp = find_rsdp();

	if (!rsdp)
		return NULL;
	bool wide = rsdp[RSDP_REVISION] >= 2;
	uint64_t root =
		wide ? read64((uint64_t)rsdp + RSDP_XSDT) : read32((uint64_t)rsdp + RSDP_RSDT);
	unsigned step = wide ? 8 : 4;

	for (uint64_t at = root + ENTRIES; at < root + read32(root + LENGTH); at += step) {
		const uint8_t *table = (const uint8_t *)(wide ? read64(at) : read32(at));

		if (memcmp(table, signature, 4))
			continue;
		if (!sums_to_zero(table, read32((uint64_t)table + LENGTH)))
			fail("ACPI table %c%c%c%c: wrong checksum", table[0], table[1], table[2],
			     table[3]);
		return table;
	}
	return NULL;
}

/* --- the beginning --------------------------------------------------------------------------- */

void guest_start(const uint8_t *zp, const uint8_t *info)
{
	zero_page = zp;
	start_info = info;
	outb(COM1 + UART_FCR, 0x07); /* FIFOs on and empty */
	/* Another firmware may have left its interrupt controllers on. */
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	idt_init();
	guest_main();
	puts("DONE\n");
	poweroff();
}
