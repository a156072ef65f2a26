# shellcheck shell=bash
# The ways into a kernel. What a guest says of its machine has to be the same by each.

machine_is='echo "release $(uname -r)"; echo "cpus $(nproc)"; echo "line $(cat /proc/cmdline)"
echo "acpi $(ls /sys/firmware/acpi/tables | tr "\n" " ")"
echo "memory $(sed -n "s/^MemTotal: *\([0-9]*\) kB/\1/p" /proc/meminfo)"
echo "blocks $(ls /sys/block | tr "\n" " ")"
echo "@@ warnings"; warnings'

# entered NAME: minivmm says that it took this entry (with -v).
entered() { told "^minivmm: entry: $1\$"; }

# A distribution's vmlinux has both entries. Linux's own is the better one for it; PVH
# must give the same machine.
test_vmlinux_pvh() {
	kernel vmlinux
	guest "$machine_is"
	boots 0 200 -v -k "$kernel" --boot pvh -i "$initrd" -c 2 -m 512M --append quiet
	entered pvh
	says '^release .*cloud-amd64$'
	says '^cpus 2$'
	says '^line .*console=ttyS0.* quiet$'
	says '^acpi .*APIC .*FACP .*MCFG'
	clean_dmesg
}

test_vmlinux_linux64() {
	kernel vmlinux
	guest "$machine_is"
	boots 0 200 -v -k "$kernel" -i "$initrd" -c 2 -m 512M --append quiet
	entered linux64
	says '^release .*cloud-amd64$'
	says '^cpus 2$'
	says '^acpi .*APIC .*FACP .*MCFG'
	clean_dmesg
}

# With a disk and the packed initramfs, and RAM on both sides of the hole.
test_vmlinux_pvh_disk() {
	tiny_disk "$vm_dir/root.img"
	kernel vmlinux
	encoded "$machine_is"
	boots 0 200 -v -k "$kernel" --boot pvh -d "$vm_dir/root.img" -m 4G --append "quiet $run"
	entered pvh
	says '^blocks .*vda'
	[ "$(console | sed -n 's/^memory //p')" -gt $((3800 * 1024)) ] || fail "RAM above 4 GiB is missing"
	clean_dmesg
}
