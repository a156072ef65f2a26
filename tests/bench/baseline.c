/* SPDX-License-Identifier: Apache-2.0 */
/*
 * baseline: what a VM costs at all on this machine.
 *
 *	bench-baseline instant|paced|idle
 *
 * The bare sequence of KVM calls that no VMM can do without: open, VM, memory slot, split
 * irqchip, vCPU, CPUID, registers, run to the first OUT. Then it says on stdout what the
 * guest of the other VMMs would say (guest.S), and ends as quickly as one can. An idle
 * one goes on to a guest that halts for ever.
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
#include <unistd.h>
#include <x86intrin.h>

enum { MEMORY = 64 << 20, CPUID_ENTRIES = 256 };

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

/* To the exit that the guest's first instruction makes: its vCPU. */
static int first_instruction(void)
{
	static const uint8_t code[] = {0xee, 0xfa, 0xf4}; /* out %al,%dx; cli; hlt */
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[CPUID_ENTRIES];
	} cpuid = {.head.nent = CPUID_ENTRIES};
	struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {24}};
	struct kvm_userspace_memory_region slot = {.memory_size = MEMORY};
	struct kvm_regs regs = {.rip = 0x1000, .rdx = 0x510, .rflags = 2};
	struct kvm_sregs sregs;

	int kvm = check(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
	int vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	int size = check(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
	uint8_t *ram = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	check(ram == MAP_FAILED ? -1 : 0, "mmap");
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
	check(ioctl(cpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
	check(ioctl(cpu, KVM_RUN, 0), "KVM_RUN");
	if (run->exit_reason != KVM_EXIT_IO)
		_exit(1);
	return cpu;
}

int main(int argc, char **argv)
{
	const char *what = argc == 2 ? argv[1] : "";
	bool paced = !strcmp(what, "paced"), idle = !strcmp(what, "idle");

	if (!paced && !idle && strcmp(what, "instant") != 0) {
		fprintf(stderr, "Usage: bench-baseline instant|paced|idle\n");
		return 2;
	}
	int cpu = first_instruction();

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
