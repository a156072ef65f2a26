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
	boots 0 180 -v -k "$kernel" --boot pvh -i "$initrd" -c 2 -m 512M --append quiet
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
	boots 0 180 -v -k "$kernel" -i "$initrd" -c 2 -m 512M --append quiet
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
	boots 0 180 -v -k "$kernel" --boot pvh -d "$vm_dir/root.img" -m 4G --append "quiet $run"
	entered pvh
	says '^blocks .*vda'
	[ "$(console | sed -n 's/^memory //p')" -gt $((3800 * 1024)) ] || fail "RAM above 4 GiB is missing"
	clean_dmesg
}

# The first byte instead of the one at 0x200: the decompressor goes to long mode itself.
test_bzimage_linux32() {
	kernel cloud
	guest "$machine_is"
	boots 0 180 -v -k "$kernel" --boot linux32 -i "$initrd" -c 2 --append quiet
	entered linux32
	says '^release .*cloud-amd64$'
	says '^cpus 2$'
	clean_dmesg
}

# ---- 32-bit kernels: their own busybox, and their own modules

# guest32 FLAVOUR SCRIPT [MODULE...]: initrd32=FILE runs SCRIPT; the modules with all they need
# are in another one, modules32=FILE, and `load` in SCRIPT inserts them.
guest32() {
	local tree=$vm_dir/tree32 dir release name
	dir=$("$here/fetch-kernel" --dir "$1")
	release=$("$here/fetch-kernel" --release "$1")
	shift
	rm -rf "$tree"
	tiny_tree "$tree"
	cp "$dir/bin/busybox" "$tree/bin/busybox"
	printf '%s\n' 'load() { while read -r m; do insmod "/modules/$m" || echo "no $m"; done </modules/list; }' \
		"$1" >"$tree/test.sh"
	initrd32=$vm_dir/initrd32 modules32=$vm_dir/modules32
	(cd "$tree" && find . | cpio -o -H newc --quiet -R 0:0) >"$initrd32"
	shift
	mkdir -p "$vm_dir/m/modules"
	for name; do
		PATH=$PATH:/sbin:/usr/sbin modprobe -d "$dir" -S "$release" --show-depends "$name" ||
			fail "no module $name"
	done | while read -r how name _; do
		if [ "$how" != insmod ] || [ -e "$vm_dir/m/modules/${name##*/}" ]; then continue; fi
		cp "$name" "$vm_dir/m/modules/"
		echo "${name##*/}" >>"$vm_dir/m/modules/list"
	done
	(cd "$vm_dir/m" && find . | cpio -o -H newc --quiet -R 0:0) >"$modules32"
}

test_i686_disk() {
	kernel i686
	guest32 i686 'load; mkdir /mnt; mount -t ext4 /dev/vda /mnt
echo "on the disk: $(cat /mnt/word)"; echo written >/mnt/answer; umount /mnt
'"$machine_is" virtio_pci virtio_blk ext4
	mkdir "$vm_dir/root"; echo lettuce >"$vm_dir/root/word"
	"$here/mkimage" --size 32M --output "$vm_dir/disk.img" "$vm_dir/root" >/dev/null 2>"$vm_dir/mkimage.log" ||
		fail "mkimage: $(cat "$vm_dir/mkimage.log")"
	boots 0 180 -v -k "$kernel" -i "$initrd32" -i "$modules32" -d "$vm_dir/disk.img" -c 2 \
		--append quiet
	entered linux32
	says '^release .*-686$'
	says '^cpus 2$'
	says '^on the disk: lettuce$'
	says '^acpi .*APIC .*FACP .*MCFG'
	PATH=$PATH:/sbin:/usr/sbin debugfs -R 'cat answer' "$vm_dir/disk.img" 2>/dev/null | grep -qx written ||
		fail "what the guest wrote is not on the disk"
	clean_dmesg
}

# The ELF32 in the kernel with PAE has a PVH note.
test_i686_vmlinux_pvh() {
	[ ${#vm_on[@]} = 0 ] || skip "the test host cannot run 32-bit guests with PAE (scripts/README.md)"
	kernel=$("$here/fetch-kernel" --vmlinux i686-pae)
	guest32 i686-pae "$machine_is"
	boots 0 180 -v -k "$kernel" -i "$initrd32" -c 2 -m 512M --append quiet
	entered pvh
	says '^release .*-686-pae$'
	says '^cpus 2$'
	says '^acpi .*APIC .*FACP .*MCFG'
	clean_dmesg
}

# minivmm's own init is a 64-bit program.
test_i686_wants_an_initrd() {
	kernel i686
	truncate -s 1M "$vm_dir/disk.img"
	boots 2 120 -k "$kernel" -d "$vm_dir/disk.img"
	told "^minivmm: --kernel $kernel: a 32-bit kernel: minivmm cannot make an initramfs for it; give an --initrd"
}

# ---- several initrds

# The last byte of each is not at a multiple of four, and the second is compressed.
test_several_initrds() {
	local i
	kernel tuned
	guest 'cat /from/*'
	for i in 1 2 3; do
		mkdir -p "$vm_dir/$i/from"
		echo "initrd $i" >"$vm_dir/$i/from/$i"
		(cd "$vm_dir/$i" && find from | cpio -o -H newc --quiet -R 0:0) >"$vm_dir/i$i"
	done
	gzip -n "$vm_dir/i2"
	[ $(($(stat -c %s "$vm_dir/i2.gz") % 4)) != 0 ] || printf '\0' >>"$vm_dir/i2.gz"
	boots 0 180 -k "$kernel" -i "$vm_dir/i1,$vm_dir/i2.gz" -i "$initrd" -i "$vm_dir/i3" --append quiet
	for i in 1 2 3; do says "^initrd $i\$"; done
	says '^@@ end$'
}

# ---- without ACPI

# The generic kernel reads MP tables. Nobody can power off without ACPI.
test_mp_table() {
	kernel generic
	guest 'echo "cpus $(nproc)"; echo "acpi $(ls /sys/firmware)"; echo "irq $(grep -c . /proc/interrupts)"
grep ttyS0 /proc/interrupts; echo "@@ warnings"; warnings; sync; reboot -f'
	boots 0 180 -k "$kernel" -i "$initrd" -c 3 --append 'acpi=off quiet'
	says '^cpus 3$'
	says_not '^acpi .*acpi'
	says '^ *4: .*IO-APIC +4-edge +ttyS0'
	clean_dmesg
}

# Where there is ACPI too, Linux finds the table, takes nothing from it and says nothing else.
test_mp_table_beside_acpi() {
	kernel tuned
	guest 'echo "cpus $(nproc)"; dmesg | grep -E "MP-table|MPTABLE|MultiProcessor"; echo "@@ warnings"; warnings'
	boots 0 180 -k "$kernel" -i "$initrd" -c 2 --append quiet
	says '^cpus 2$'
	says 'found SMP MP-table at \[mem 0x0009fc00'
	says_not 'MPTABLE|MultiProcessor'
	clean_dmesg
}

# Our own kernel by its other entry, with its root on a disk and nothing packed.
test_tuned_pvh() {
	kernel=$("$here/build-kernel") || fail "build-kernel"
	tiny_disk "$vm_dir/root.img"
	encoded "$machine_is"
	boots 0 180 -v -k "$kernel" --boot pvh -d "$vm_dir/root.img" -c 2 --append "quiet $run"
	entered pvh
	says '^cpus 2$'
	says '^blocks .*vda'
	says '^acpi .*APIC .*FACP .*MCFG'
	clean_dmesg
}
