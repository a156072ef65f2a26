/* SPDX-License-Identifier: Apache-2.0 */
/*
 * irqchip: what the choice of interrupt controllers costs over a VM's life.
 *
 * Usage: bench-irqchip [ROUNDS [KIND]]       KIND: only full, full+pit or split
 *
 * Each round makes one VM of each kind and takes it down again: descriptors,
 * memory slot, irqchip, vCPUs, CPUID, one run to the first OUT, close. The kinds
 * take turns, so that what else the machine does hits all of them alike. Bare
 * KVM calls only: nothing of minivmm's own is in the figures.
 *
 *	full   KVM_CREATE_IRQCHIP: local APICs, I/O APIC and PIC in KVM
 *	+pit   and KVM_CREATE_PIT2
 *	split  KVM_CAP_SPLIT_IRQCHIP: local APICs only
 *
 * with the memory slot before or after the irqchip. Teardown is munmap and close
 * of everything, KVM's own destruction included (it happens in the last close).
 */
#include "vmm/base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { MEMORY = 64 << 20, CPUS_MAX = 8, ROUNDS = 30, ROUNDS_MAX = 10000 };

enum chip { FULL, FULL_PIT, SPLIT };

struct kind {
	const char *name;
	enum chip chip;
	bool memory_first;
	unsigned cpus;
};

static const struct kind kinds[] = {
	{"full", FULL, true, 1},         {"full", FULL, false, 1},
	{"full+pit", FULL_PIT, true, 1}, {"full+pit", FULL_PIT, false, 1},
	{"split", SPLIT, true, 1},       {"split", SPLIT, false, 1},
	{"full", FULL, true, 8},         {"full", FULL, false, 8},
	{"full+pit", FULL_PIT, true, 8}, {"full+pit", FULL_PIT, false, 8},
	{"split", SPLIT, true, 8},       {"split", SPLIT, false, 8},
};

static double now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static int check(int ret, const char *what)
{
	if (ret < 0) {
		fprintf(stderr, "bench-irqchip: %s: %s\n", what, strerror(errno));
		exit(1);
	}
	return ret;
}

static void make_chip(int vm, enum chip chip)
{
	struct kvm_pit_config pit = {0};
	struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {24}};

	if (chip == SPLIT) {
		check(ioctl(vm, KVM_ENABLE_CAP, &split), "KVM_CAP_SPLIT_IRQCHIP");
		return;
	}
	check(ioctl(vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
	if (chip == FULL_PIT)
		check(ioctl(vm, KVM_CREATE_PIT2, &pit), "KVM_CREATE_PIT2");
}

/* Real mode at 0x1000: OUT DX, AL; then the loop again. */
static void run_once(int cpu, struct kvm_run *run)
{
	struct kvm_regs regs = {.rip = 0x1000, .rdx = 0x510, .rflags = 2};
	struct kvm_sregs sregs;

	check(ioctl(cpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	check(ioctl(cpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	check(ioctl(cpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
	check(ioctl(cpu, KVM_RUN, 0), "KVM_RUN");
	if (run->exit_reason != KVM_EXIT_IO) {
		fprintf(stderr, "bench-irqchip: the guest ended with exit reason %u\n",
			run->exit_reason);
		exit(1);
	}
}

struct times {
	double create, run, destroy;
};

static struct times live(int kvm, const struct kind *k, struct kvm_cpuid2 *cpuid, int run_size)
{
	static const uint8_t code[] = {0xee, 0xeb, 0xfd}; /* 1: out %al,%dx; jmp 1b */
	struct kvm_userspace_memory_region slot = {.memory_size = MEMORY};
	struct kvm_run *runs[CPUS_MAX];
	int cpus[CPUS_MAX];
	double start = now_us();
	int vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	uint8_t *ram = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	check(ram == MAP_FAILED ? -1 : 0, "mmap");
	memcpy(ram + 0x1000, code, sizeof(code));
	slot.userspace_addr = (uintptr_t)ram;
	if (k->memory_first)
		check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot), "memory slot");
	make_chip(vm, k->chip);
	if (!k->memory_first)
		check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot), "memory slot");
	for (unsigned i = 0; i < k->cpus; i++) {
		cpus[i] = check(ioctl(vm, KVM_CREATE_VCPU, i), "KVM_CREATE_VCPU");
		runs[i] = mmap(NULL, (size_t)run_size, PROT_READ | PROT_WRITE, MAP_SHARED, cpus[i],
			       0);
		check(runs[i] == MAP_FAILED ? -1 : 0, "mmap of a vCPU");
		check(ioctl(cpus[i], KVM_SET_CPUID2, cpuid), "KVM_SET_CPUID2");
	}
	double created = now_us();

	run_once(cpus[0], runs[0]);
	double ran = now_us();

	for (unsigned i = 0; i < k->cpus; i++) {
		munmap(runs[i], (size_t)run_size);
		close(cpus[i]);
	}
	close(vm);
	munmap(ram, MEMORY);
	return (struct times){created - start, ran - created, now_us() - ran};
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void print_column(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), by_value);
	printf("  %7.0f %7.0f %7.0f", v[0], v[n / 2], v[n - 1]);
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : ROUNDS;
	const char *only = argc > 2 ? argv[2] : NULL;
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + 256 * sizeof(cpuid->entries[0]));
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm < 0) {
		printf("SKIP: /dev/kvm: %s\n", strerror(errno));
		return 77;
	}
	if (!rounds || rounds > ROUNDS_MAX || !cpuid) {
		fprintf(stderr, "Usage: bench-irqchip [ROUNDS [KIND]], 1 to %d\n", ROUNDS_MAX);
		return 2;
	}
	cpuid->nent = 256;
	check(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid), "KVM_GET_SUPPORTED_CPUID");
	int run_size = check(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
	double *all = calloc(ARRAY_LEN(kinds) * 4 * rounds, sizeof(*all));

	if (!all)
		return 1;
	/* One round more, whose figures are thrown away: caches and slabs. */
	for (unsigned round = 0; round <= rounds; round++)
		for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
			if (only && strcmp(only, kinds[i].name) != 0)
				continue;
			struct times t = live(kvm, &kinds[i], cpuid, run_size);
			double *row = &all[i * 4 * rounds];

			if (!round)
				continue;
			row[round - 1] = t.create;
			row[rounds + round - 1] = t.run;
			row[2 * rounds + round - 1] = t.destroy;
			row[3 * rounds + round - 1] = t.create + t.run + t.destroy;
		}
	printf("microseconds, min median max of %u rounds\n\n", rounds);
	printf("%-9s %-6s %4s  %23s  %23s  %23s  %23s\n", "irqchip", "first", "CPUs", "create",
	       "first exit", "destroy", "all");
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (only && strcmp(only, kinds[i].name) != 0)
			continue;
		printf("%-9s %-6s %4u", kinds[i].name, kinds[i].memory_first ? "memory" : "chip",
		       kinds[i].cpus);
		for (unsigned column = 0; column < 4; column++)
			print_column(&all[(i * 4 + column) * rounds], rounds);
		putchar('\n');
	}
	free(all);
	free(cpuid);
	close(kvm);
	return 0;
}
