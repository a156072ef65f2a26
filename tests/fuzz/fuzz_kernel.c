/* SPDX-License-Identifier: Apache-2.0 */
/* The file given with --kernel, of any contents: what kernel_open() lets pass must lie
 * within the file and fit together, and kernel_load() must put it there and nowhere else. */
#include "firmware/boot.h"
#include "firmware/kernel.h"
#include "tests/fuzz/lib/fuzz.h"
#include "tests/lib/kernel_image.h"
#include "vmm/base/bytes.h"

#include <errno.h>
#include <string.h>

static void check_segments(const struct kernel *k)
{
	unsigned entries = 0;

	fuzz_check(k->n_segments && k->n_segments <= KERNEL_SEGMENTS_MAX && k->start < k->end);
	for (unsigned i = 0; i < k->n_segments; i++) {
		const struct kernel_segment *s = &k->segments[i];

		fuzz_check(range_within(s->off, s->filesz, k->file_size));
		fuzz_check(s->filesz <= s->memsz && s->gpa >= k->start);
		fuzz_check(s->gpa <= k->end && s->memsz <= k->end - s->gpa);
	}
	for (unsigned i = 0; i < BOOT_PROTOCOLS; i++) {
		bool inside = false;

		for (unsigned j = 0; j < k->n_segments; j++)
			inside |= ranges_overlap(k->segments[j].gpa, k->segments[j].filesz,
						 k->entries[i].gpa, 1);
		fuzz_check(!k->entries[i].there || inside);
		entries += k->entries[i].there;
	}
	fuzz_check(entries && k->entries[k->protocol].there);
	fuzz_check(memchr(k->version, 0, sizeof(k->version)));
}

static void check_loaded(const struct kernel *k, struct guest_mem *gm, const uint8_t *file)
{
	for (unsigned i = 0; i < k->n_segments; i++) {
		const struct kernel_segment *s = &k->segments[i];
		const uint8_t *hva = guest_mem_hva(gm, s->gpa, s->memsz);
		bool overlapped = false;

		for (unsigned j = 0; j < k->n_segments; j++)
			overlapped |= i != j && ranges_overlap(s->gpa, s->memsz, k->segments[j].gpa,
							       k->segments[j].memsz);
		fuzz_check(!s->memsz || hva);
		if (!overlapped && s->filesz)
			fuzz_check(!memcmp(hva, file + s->off, s->filesz));
	}
}

/* Each entry that it has can be prepared, and begins where the kernel lies. */
static void check_entries(struct kernel *k, const struct board *b, struct guest_mem *gm)
{
	for (unsigned i = 0; i < BOOT_PROTOCOLS; i++) {
		const struct boot_config c = {.board = b, .kernel = k, .cmdline = "quiet"};
		struct boot_entry entry;
		struct err e = {0};
		int ret = kernel_choose_protocol(k, (enum boot_protocol)i, &e);

		fuzz_check(!ret == k->entries[i].there);
		if (ret)
			continue;
		fuzz_check(!boot_setup(&c, gm, &entry, &e));
		fuzz_check(entry.rip >= k->start && entry.rip < k->end);
		fuzz_check((entry.mode == ENTRY_LONG) == (i == BOOT_LINUX64));
		fuzz_check(!entry.rbx == (i != BOOT_PVH) && !entry.rsi == (i == BOOT_PVH));
	}
}

void fuzz_one(struct fuzz_in *in)
{
	const uint8_t *bytes = in->at;
	size_t len = in->left;
	struct image_file file;
	struct guest_mem gm;
	struct err e = {0};
	struct kernel k;
	struct board b;
	int ret;

	fuzz_check(!board_init(&b, 64 * MiB, 64 * MiB, 1, 1, 40, &e));
	guest_mem_init(&gm, GUEST_MEM_ANON);
	fuzz_check(!board_map_ram(&b, &gm, &e));
	image_file_init(&file, bytes, len);
	ret = kernel_open(&k, file.path, &e);
	fuzz_check(ret ? ret < 0 && !strncmp(e.text, "--kernel ", 9) : e.kind == ERR_NONE);
	if (!ret) {
		check_segments(&k);
		const char *version = kernel_version(&k);

		fuzz_check(!version || (*version && !strchr(version, '/')));
		ret = kernel_load(&k, &b, &gm, &e);
		fuzz_check(ret ? ret < 0 && *e.text : e.kind == ERR_NONE);
		if (!ret) {
			check_loaded(&k, &gm, bytes);
			check_entries(&k, &b, &gm);
		}
		/* Somebody cuts the file short meanwhile. */
		e = (struct err){0};
		image_file_cut(&file, len / 2);
		ret = kernel_load(&k, &b, &gm, &e);
		fuzz_check(ret ? ret < 0 && *e.text : e.kind == ERR_NONE);
	}
	kernel_close(&k);
	kernel_close(&k);
	image_file_fini(&file);
	guest_mem_fini(&gm);
}
