/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cut_work NAME DIR SEED: in a guest, on a file system that has been through cuts of the power:
 * says what it finds there, and then writes until the next cut, and says of each write that
 * the disk has it for good once the kernel has said so.
 *
 *	found NAME KEY N     N is there, and whole
 *	ack NAME KEY N       N was written and synced: no cut can take it any more
 *	failed: ...          something is there that was never written
 *
 * The keys, each with a number that only grows:
 *	log      a file that records are appended to: the last of those that are there without a gap
 *	slot0... files that are replaced by a rename
 *	page0... places in a file that are overwritten, a sector at a time as a disk may tear them:
 *the lowest number among its sectors
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	SECTOR = 512,
	SLOTS = 6,
	PAGES = 12,
	PAGE = 4096,
	RECORD_MAX = 8 * SECTOR,
	PATIENCE = 3000,
	LOOSE = 32,
	LOOSE_EACH = 5
};

static const char *disk;
static uint64_t seed;

static _Noreturn void failed(const char *fmt, ...)
{
	va_list ap;

	printf("failed: %s: ", disk);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	exit(1);
}

/* An error of the disk's: the power is gone. Nothing more is promised. */
static void want(bool ok)
{
	if (ok)
		return;
	printf("dark %s %s\n", disk, strerror(errno));
	exit(0);
}

static uint64_t mixed(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccd;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53;
	return x ^ x >> 33;
}

static unsigned chance(unsigned below)
{
	seed = mixed(seed + 0x9e3779b97f4a7c15);
	return (unsigned)(seed % below);
}

/* A sector knows whose it is and when it was written, and the rest of it follows from that. */
static void fill(uint64_t *sector, uint64_t key, uint64_t at, uint64_t n)
{
	sector[0] = key;
	sector[1] = at;
	sector[2] = n;
	for (unsigned i = 3; i < SECTOR / 8; i++)
		sector[i] = mixed(key << 48 ^ at << 32 ^ n << 8 ^ i);
}

/* Gives its number, or 0 if it is not such a sector. */
static uint64_t holds(const uint64_t *sector, uint64_t key, uint64_t at)
{
	uint64_t good[SECTOR / 8];

	fill(good, key, at, sector[2]);
	return memcmp(good, sector, SECTOR) ? 0 : sector[2];
}

static void ack(const char *key, unsigned index, uint64_t n)
{
	if (index == (unsigned)-1)
		printf("ack %s %s %llu\n", disk, key, (unsigned long long)n);
	else
		printf("ack %s %s%u %llu\n", disk, key, index, (unsigned long long)n);
}

/* --- the log -------------------------------------------------------------------------------- */

static uint64_t log_n;
static int log_fd;

static unsigned sectors_of(uint64_t n)
{
	return 1 + (unsigned)(mixed(n) % (RECORD_MAX / SECTOR));
}

static void log_check(void)
{
	uint64_t sector[SECTOR / 8];
	off_t end = 0;

	log_fd = open("log", O_RDWR | O_CREAT, 0600);
	want(log_fd >= 0);
	for (;; log_n++) {
		unsigned i;

		for (i = 0; i < sectors_of(log_n + 1); i++)
			if (read(log_fd, sector, SECTOR) != SECTOR ||
			    holds(sector, 'l', i) != log_n + 1)
				break;
		if (i < sectors_of(log_n + 1))
			break;
		end += (off_t)i * SECTOR;
	}
	want(!ftruncate(log_fd, end) && lseek(log_fd, end, SEEK_SET) == end);
	printf("found %s log %llu\n", disk, (unsigned long long)log_n);
}

static void log_append(void)
{
	uint64_t record[RECORD_MAX / 8];
	unsigned n = sectors_of(log_n + 1);

	for (unsigned i = 0; i < n; i++)
		fill(record + i * (SECTOR / 8), 'l', i, log_n + 1);
	want(write(log_fd, record, n * SECTOR) == (ssize_t)(n * SECTOR) && !fdatasync(log_fd));
	ack("log", -1u, ++log_n);
}

/* --- the slots ------------------------------------------------------------------------------ */

static uint64_t slots[SLOTS];

static void slots_check(void)
{
	uint64_t sector[SECTOR / 8];
	char name[16];

	for (unsigned i = 0; i < SLOTS; i++) {
		int fd;
		off_t size;

		snprintf(name, sizeof(name), "slot%u", i);
		fd = open(name, O_RDONLY);
		if (fd < 0 && errno == ENOENT)
			continue;
		want(fd >= 0);
		size = lseek(fd, 0, SEEK_END);
		for (off_t at = 0; at < size; at += SECTOR) {
			uint64_t n;

			want(pread(fd, sector, SECTOR, at) == SECTOR);
			n = holds(sector, 's' + i, (uint64_t)at);
			if (!n || (at && n != slots[i]))
				failed("%s is neither what it was nor what it was to be", name);
			slots[i] = n;
		}
		if (size != (off_t)sectors_of(slots[i]) * SECTOR)
			failed("%s has %lld bytes", name, (long long)size);
		printf("found %s %s %llu\n", disk, name, (unsigned long long)slots[i]);
		close(fd);
	}
}

static void slot_replace(unsigned i)
{
	uint64_t sector[SECTOR / 8], n = slots[i] + 1;
	int fd = open("new", O_WRONLY | O_CREAT | O_TRUNC, 0600), dir = open(".", O_RDONLY);
	char name[16];

	want(fd >= 0 && dir >= 0);
	snprintf(name, sizeof(name), "slot%u", i);
	for (unsigned at = 0; at < sectors_of(n); at++) {
		fill(sector, 's' + i, at * SECTOR, n);
		want(write(fd, sector, SECTOR) == SECTOR);
	}
	want(!fsync(fd) && !rename("new", name) && !fsync(dir));
	close(fd);
	close(dir);
	slots[i] = n;
	ack("slot", i, n);
}

/* --- the pages ------------------------------------------------------------------------------ */

static uint64_t pages[PAGES];
static int pages_fd;

static void page_write(unsigned i)
{
	uint64_t page[PAGE / 8], n = pages[i] + 1;

	for (unsigned s = 0; s < PAGE / SECTOR; s++)
		fill(page + s * (SECTOR / 8), 'p' + i, s, n);
	want(pwrite(pages_fd, page, PAGE, (off_t)i * PAGE) == PAGE && !fdatasync(pages_fd));
	pages[i] = n;
}

static void pages_check(void)
{
	uint64_t sector[SECTOR / 8];
	struct stat st;

	/* Made under another name, so that it is there with all of its pages. */
	if (stat("pages", &st)) {
		want(errno == ENOENT);
		pages_fd = open("pages.new", O_RDWR | O_CREAT | O_TRUNC, 0600);
		want(pages_fd >= 0);
		for (unsigned i = 0; i < PAGES; i++)
			page_write(i);
		want(!rename("pages.new", "pages"));
		sync();
	}
	pages_fd = open("pages", O_RDWR);
	want(pages_fd >= 0);
	for (unsigned i = 0; i < PAGES; i++) {
		uint64_t low = UINT64_MAX, high = 0;

		for (unsigned s = 0; s < PAGE / SECTOR; s++) {
			uint64_t n;

			want(pread(pages_fd, sector, SECTOR, (off_t)i * PAGE + s * SECTOR) ==
			     SECTOR);
			n = holds(sector, 'p' + i, s);
			if (!n)
				failed("page%u has a sector that was never written", i);
			low = n < low ? n : low;
			high = n > high ? n : high;
		}
		printf("found %s page%u %llu\n", disk, i, (unsigned long long)low);
		pages[i] = high;
		/* What was torn is made whole before it is written to again. */
		if (low != high)
			page_write(i);
	}
}

/* --- what is not flushed -------------------------------------------------------------------- */

static int loose_fd;
static uint64_t loose_n;
static _Alignas(PAGE) uint64_t loose[PAGE / 8];

static void loose_write(unsigned at)
{
	loose_n++;
	for (unsigned s = 0; s < PAGE / SECTOR; s++)
		fill(loose + s * (SECTOR / 8), 'n', at * (PAGE / SECTOR) + s, loose_n);
	want(pwrite(loose_fd, loose, PAGE, (off_t)at * PAGE) == PAGE);
}

static void loose_check(void)
{
	struct stat st;
	const char *name = stat("loose", &st) ? "loose.new" : "loose";

	loose_fd = open(name, O_RDWR | O_CREAT | O_DIRECT, 0600);
	want(loose_fd >= 0);
	if (strcmp(name, "loose") != 0) {
		for (unsigned at = 0; at < LOOSE; at++)
			loose_write(at);
		want(!fsync(loose_fd) && !rename(name, "loose"));
		sync();
	}
	for (unsigned at = 0; at < LOOSE; at++) {
		want(pread(loose_fd, loose, PAGE, (off_t)at * PAGE) == PAGE);
		for (unsigned s = 0; s < PAGE / SECTOR; s++) {
			uint64_t n = holds(loose + s * (SECTOR / 8), 'n', at * (PAGE / SECTOR) + s);

			if (!n)
				failed("a sector of what was not flushed was never written");
			loose_n = n > loose_n ? n : loose_n;
		}
	}
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	disk = argv[1];
	seed = strtoull(argv[3], NULL, 0);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (chdir(argv[2]))
		failed("%s: %s", argv[2], strerror(errno));
	log_check();
	slots_check();
	pages_check();
	loose_check();
	printf("checked %s\n", disk);
	for (unsigned i = 0; i < PATIENCE; i++) {
		unsigned what = chance(8), which;

		for (unsigned j = 0; j < LOOSE_EACH; j++)
			loose_write(chance(LOOSE));
		if (what < 4) {
			log_append();
		} else if (what < 5) {
			slot_replace(chance(SLOTS));
		} else {
			which = chance(PAGES);
			page_write(which);
			ack("page", which, pages[which]);
		}
	}
	printf("through %s\n", disk);
	return 0;
}
