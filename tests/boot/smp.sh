# shellcheck shell=bash
# Processors and memory, and that the kernel has nothing to say against them.

look='echo "cpus $(nproc)"; echo "online $(cat /sys/devices/system/cpu/online)"
echo "memory $(sed -n "s/^MemTotal: *\([0-9]*\) kB/\1/p" /proc/meminfo)"
echo "@@ warnings"; warnings'

cpus() { # cpus KERNEL N SECONDS
	kernel "$1"; shift
	guest "$look"
	boots 0 "$2" -k "$kernel" -i "$initrd" -c "$1" --append quiet
	says "^cpus $1\$"
	clean_dmesg
}
test_1_cpu() { cpus tuned 1 120; }
test_2_cpus() { cpus cloud 2 120; }
test_8_cpus() { cpus tuned 8 180; }
test_64_cpus() { cpus tuned 64 600; }

test_5_gib() {
	local kib
	kernel tuned
	# A page at the very top and one in the middle: beyond the 4 GiB line too.
	guest "$look"'; mount -t tmpfs -o size=90% t /tmp; dd if=/dev/zero of=/tmp/x bs=1M count=64 && echo filled'
	boots 0 120 -k "$kernel" -i "$initrd" -m 5G --append quiet
	says '^filled$'
	kib=$(console | sed -n 's/^memory //p')
	[ "$kib" -gt $((4800 * 1024)) ] || fail "MemTotal is $kib KiB of 5 GiB"
	clean_dmesg
}

test_small_memory() {
	kernel cloud
	guest "$look"
	boots 0 120 -k "$kernel" -i "$initrd" -m 128 --append quiet
	says '^@@ end$'
}

test_generic_2_cpus() {
	kernel generic
	guest "$look"
	boots 0 120 -k "$kernel" -i "$initrd" -c 2 --append quiet
	says '^cpus 2$'
	clean_dmesg
}
