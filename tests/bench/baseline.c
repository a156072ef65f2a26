/* SPDX-License-Identifier: Apache-2.0 */
/*
 * baseline: what a VM costs at all on this machine.
 *
 *	bench-baseline instant|paced|idle
 *	bench-baseline restored FILE
 *
 * The bare sequence of KVM calls that no VMM can do without: open, VM, memory slot, split
 * irqchip, vCPU, CPUID, registers, run to the first OUT. Then it says on stdout what the
 * guest of the other VMMs would say (guest.S), and ends as quickly as one can. An idle
 * one goes on to a guest that halts for ever. A restored one maps FILE as its RAM, which has
 * the guest's code at 4 KiB, and sets all that a saved processor has.
 */
#include "tests/bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <x86intrin.h>

enum { CPUID_ENTRIES = 256 };
#define MEMORY (64ul << 20)

static int check(int ret, const char *what)
{
	if (ret < 0) {
		fprintf(stderr, "bench-baseline: %s: %s\n", what, strerror(errno));
		_exit(1);
	}
	return ret;
}

static void say(char byte)
{
	check((int)write(STDOUT_FILENO, &byte, 1), "stdout");
}

static void pause_a_while(void)
{
	uint64_t from = __rdtsc();

	while (__rdtsc() - from < BENCH_TICKS)
		;
}

static uint64_t size_of(int file)
{
	struct stat st;

	check(fstat(file, &st), "the file");
	return (uint64_t)st.st_size;
}

/* What a saved processor has beside its registers: some MSRs for all that there are. */
static void set_the_rest(int vm, int cpu)
{
	enum { TSC = 0x10, STAR = 0xc0000081, MSRS = 8 };
	static struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[MSRS];
	} msrs = {
		.head.nmsrs = MSRS,
		.entries = {{.index = 0x174},
			    {.index = 0x175},
			    {.index = 0x176},
			    {.index = TSC},
			    {.index = STAR},
			    {.index = STAR + 1},
			    {.index = STAR + 3},
			    {.index = 0xc0000102}},
	};
	static struct kvm_xsave xsave;
	static struct kvm_debugregs debug;
	struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = 1}}};
	struct kvm_lapic_state apic;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp = {.mp_state = KVM_MP_STATE_RUNNABLE};
	struct kvm_clock_data clock = {.clock = 1000000000};

	check(ioctl(cpu, KVM_SET_XCRS, &xcrs), "KVM_SET_XCRS");
	check(ioctl(cpu, KVM_GET_XSAVE, &xsave), "KVM_GET_XSAVE");
	check(ioctl(cpu, KVM_SET_XSAVE, &xsave), "KVM_SET_XSAVE");
	check(ioctl(cpu, KVM_SET_DEBUGREGS, &debug), "KVM_SET_DEBUGREGS");
	check(ioctl(cpu, KVM_GET_LAPIC, &apic), "KVM_GET_LAPIC");
	check(ioctl(cpu, KVM_SET_LAPIC, &apic), "KVM_SET_LAPIC");
	check(ioctl(cpu, KVM_SET_MSRS, &msrs), "KVM_SET_MSRS");
	check(ioctl(cpu, KVM_GET_VCPU_EVENTS, &events), "KVM_GET_VCPU_EVENTS");
	check(ioctl(cpu, KVM_SET_VCPU_EVENTS, &events), "KVM_SET_VCPU_EVENTS");
	check(ioctl(cpu, KVM_SET_MP_STATE, &mp), "KVM_SET_MP_STATE");
	check(ioctl(vm, KVM_SET_CLOCK, &clock), "KVM_SET_CLOCK");
}

/* To the exit that the guest's first instruction makes: its vCPU. */
static int first_instruction(int file)
{
	static const uint8_t code[] = {0xee, 0xfa, 0xf4}; /* out %al,%dx; cli; hlt */
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[CPUID_ENTRIES];
	} cpuid = {.head.nent = CPUID_ENTRIES};
	struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {24}};
	uint64_t memory = file < 0 ? MEMORY : size_of(file);
	struct kvm_userspace_memory_region slot = {.memory_size = memory};
	struct kvm_regs regs = {.rip = 0x1000, .rdx = 0x510, .rflags = 2};
	struct kvm_sregs sregs;

	int kvm = check(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
	int vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	int size = check(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
	uint8_t *ram = mmap(NULL, memory, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_NORESERVE | (file < 0 ? MAP_ANONYMOUS : 0), file, 0);

	check(ram == MAP_FAILED ? -1 : 0, "mmap");
	if (file < 0)
		memcpy(ram + 0x1000, code, sizeof(code));
	slot.userspace_addr = (uintptr_t)ram;
	check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot), "memory slot");
	check(ioctl(vm, KVM_ENABLE_CAP, &split), "KVM_CAP_SPLIT_IRQCHIP");
	int cpu = check(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	struct kvm_run *run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);

	check(run == MAP_FAILED ? -1 : 0, "mmap of the vCPU");
	check(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid), "KVM_GET_SUPPORTED_CPUID");
	check(ioctl(cpu, KVM_SET_CPUID2, &cpuid), "KVM_SET_CPUID2");
	check(ioctl(cpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	check(ioctl(cpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	if (file >= 0)
		set_the_rest(vm, cpu);
	check(ioctl(cpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
	check(ioctl(cpu, KVM_RUN, 0), "KVM_RUN");
	if (run->exit_reason != KVM_EXIT_IO)
		_exit(1);
	return cpu;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	bool paced = !strcmp(what, "paced"), idle = !strcmp(what, "idle");
	bool restored = !strcmp(what, "restored");

	if (argc != (restored ? 3 : 2) ||
	    (!paced && !idle && !restored && strcmp(what, "instant") != 0)) {
		fprintf(stderr, "Usage: bench-baseline instant|paced|idle\n"
				"       bench-baseline restored FILE\n");
		return 2;
	}
	int cpu = first_instruction(restored ? check(open(argv[2], O_RDONLY | O_CLOEXEC), argv[2])
					     : -1);

	say('!');
	if (paced) {
		pause_a_while();
		for (int i = 0; i < BENCH_DOTS; i++) {
			say('.');
			pause_a_while();
		}
	} else if (idle) {
		check(ioctl(cpu, KVM_RUN, 0), "KVM_RUN");
	}
	_exit(0);
}
