/* SPDX-License-Identifier: Apache-2.0 */
/*
 * baseline: how fast a VM can start at all on this machine.
 *
 * Usage: bench-baseline [ROUNDS] [-- COMMAND ...]
 *
 * The bare sequence of KVM calls that no VMM can do without (open, VM, memory
 * slot, split irqchip, vCPU, CPUID, registers, run to the first OUT) in a process
 * of its own, timed from fork to the exit. With a COMMAND, that is run in turns
 * with it: minivmm's start is asked to stay within three times the bare
 * sequence. COMMAND says that its guest runs by the first byte on its stdout; it
 * is killed then:
 *
 *	bench-baseline 50 -- minivmm --kernel hello.elf
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MEMORY = 256 << 20, ROUNDS = 30, ROUNDS_MAX = 10000, CPUID_ENTRIES = 256 };

static double now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static int check(int ret, const char *what)
{
	if (ret < 0) {
		fprintf(stderr, "bench-baseline: %s: %s\n", what, strerror(errno));
		_exit(1);
	}
	return ret;
}

/* One byte to `out` when the guest's first instruction has made its exit. */
static void bare_sequence(int out)
{
	static const uint8_t code[] = {0xee, 0xf4}; /* out %al,%dx; hlt */
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
	check((int)write(out, "!", 1), "write");
}

/* Microseconds from fork to the child's first byte on `out`. */
static double time_child(char **command, const char *self)
{
	int ends[2];
	char byte;

	check(pipe(ends), "pipe");
	double start = now_us();
	pid_t child = check(fork(), "fork");

	if (!child) {
		char *bare[] = {(char *)self, "--bare", NULL};
		int null = open("/dev/null", O_RDWR);

		dup2(null, 0);
		dup2(ends[1], 1);
		close(ends[0]);
		close(ends[1]);
		execvp(command ? command[0] : self, command ? command : bare);
		_exit(127);
	}
	close(ends[1]);
	ssize_t got = read(ends[0], &byte, 1);
	double took = now_us() - start;

	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	close(ends[0]);
	if (got != 1) {
		fprintf(stderr, "bench-baseline: %s said nothing\n", command ? command[0] : "KVM");
		exit(1);
	}
	return took;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double print_row(const char *name, double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), by_value);
	printf("%-14s %8.0f %8.0f %8.0f\n", name, v[0], v[n / 2], v[n - 1]);
	return v[n / 2];
}

int main(int argc, char **argv)
{
	static double bare[ROUNDS_MAX], other[ROUNDS_MAX];
	unsigned rounds = ROUNDS;
	char **command = NULL;

	if (argc == 2 && !strcmp(argv[1], "--bare")) {
		bare_sequence(1);
		return 0;
	}
	if (access("/dev/kvm", R_OK | W_OK)) {
		printf("SKIP: /dev/kvm: %s\n", strerror(errno));
		return 77;
	}
	for (int i = 1; i < argc && !command; i++) {
		if (!strcmp(argv[i], "--") && i + 1 < argc)
			command = &argv[i + 1];
		else
			rounds = (unsigned)strtoul(argv[i], NULL, 10);
	}
	if (!rounds || rounds > ROUNDS_MAX) {
		fprintf(stderr, "Usage: bench-baseline [ROUNDS] [-- COMMAND ...]\n");
		return 2;
	}
	for (unsigned i = 0; i < rounds; i++) {
		bare[i] = time_child(NULL, "/proc/self/exe");
		if (command)
			other[i] = time_child(command, NULL);
	}
	printf("microseconds from fork to the guest's first sign of life, %u rounds\n\n", rounds);
	printf("%-14s %8s %8s %8s\n", "", "min", "median", "max");
	double base = print_row("bare KVM calls", bare, rounds);

	if (command)
		printf("ratio of the medians: %.2f\n", print_row("COMMAND", other, rounds) / base);
	return 0;
}
