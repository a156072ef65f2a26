# shellcheck shell=bash
# virtio over MMIO, with stock kernels: found through ACPI, in order, without any PCI;
# with more devices than an I/O APIC of old has pins; reset under load; and the ends. Any
# other test here can run over MMIO, too: MINIVMM_TRANSPORT=mmio tests/boot/run.

# mmio ARGUMENT...: boots over MMIO to the end.
mmio() { boots 0 180 --transport mmio "$@"; }

what_is_there='echo "release $(uname -r)"
echo "pci $(ls /sys/bus/pci/devices 2>/dev/null | wc -l)"
echo "root $(grep " / " /proc/mounts | grep ext4 | cut -d" " -f1-3)"
for d in /sys/bus/virtio/devices/*; do
	echo "virtio ${d##*/} type $(cat $d/device) on $(basename $(readlink -f $d/..)) by $(basename $(readlink $d/driver))"
done
for d in /sys/block/vd*; do echo "disk ${d##*/} $(cat $d/size) $(cat $d/serial)"; done
grep virtio /proc/interrupts | sed "s/  */ /g;s/^/irq/"'

# Ten disks and the rng: pins 16 to 26, and the I/O APIC has 24 unless more are needed.
test_mmio_eleven_devices_in_order() {
	local n disks=()
	kernel tuned
	tiny_disk "$vm_dir/root.img"
	for n in 1 2 3 4 5 6 7 8 9; do
		truncate -s "${n}M" "$vm_dir/d$n"
		disks+=(-d "$vm_dir/d$n,serial=number-$n")
	done
	encoded "$what_is_there
for d in /dev/vd?; do dd if=\$d of=/dev/null bs=64k count=4 iflag=direct 2>/dev/null && echo \"read \$d\"; done
dd if=/dev/hwrng of=/dev/null bs=16 count=1 2>/dev/null && echo rng
echo '@@ warnings'; warnings"
	mmio -k "$kernel" -d "$vm_dir/root.img" "${disks[@]}" --append "quiet $run"
	says '^release .*-microvm$'
	says '^pci 0$'
	says '^root /dev/(vda|root) / ext4'
	says '^virtio virtio0 type 0x0002 on LNRO0005:00 by virtio_blk'
	says '^virtio virtio9 type 0x0002 on LNRO0005:09 by virtio_blk'
	says '^virtio virtio10 type 0x0004 on LNRO0005:0a by virtio_rng'
	for n in 1 2 3 4 5 6 7 8 9; do
		says "^disk vd$(printf 'abcdefghij' | cut -c $((n + 1))) $((n * 2048)) number-$n\$"
		says "^read /dev/vd$(printf 'abcdefghij' | cut -c $((n + 1)))\$"
	done
	says '^irq ?[0-9]+: .*IO-APIC 16-edge virtio0'
	says '^irq ?[0-9]+: .*IO-APIC 25-edge virtio9'
	says '^rng$'
	clean_dmesg
}

test_mmio_generic_root_long() {
	kernel generic
	tiny_disk "$vm_dir/root.img" --partition
	truncate -s 2M "$vm_dir/d1"
	encoded "$what_is_there"
	mmio -k "$kernel" -d "$vm_dir/root.img" -d "$vm_dir/d1" --append "quiet $run"
	says '^release .*[0-9]-amd64$'
	says '^pci 0$'
	says '^root /dev/vda1 / ext4'
	says '^disk vdb 4096 disk1$'
}

# A guest that does not even look for PCI.
test_mmio_cloud_pci_off() {
	kernel cloud
	tiny_disk "$vm_dir/root.img"
	encoded "$what_is_there"
	mmio -k "$kernel" -d "$vm_dir/root.img" --append "quiet pci=off $run"
	says '^root /dev/(vda|root) / ext4'
}

# A guest without ACPI: virtio_mmio.device= names the devices, the MP table the pins. It
# cannot power off, so it reboots.
test_mmio_tuned_acpi_off() {
	kernel tuned
	tiny_disk "$vm_dir/root.img"
	truncate -s 2M "$vm_dir/d1"
	encoded "$what_is_there
ls -d /sys/firmware/acpi 2>/dev/null; echo \"cpus \$(nproc)\"; echo '@@ warnings'; warnings; reboot -f"
	mmio -c 2 -k "$kernel" -d "$vm_dir/root.img" -d "$vm_dir/d1" --append "quiet acpi=off $run"
	says '^cpus 2$'
	says '^pci 0$'
	says_not '^/sys/firmware/acpi'
	says '^root /dev/(vda|root) / ext4'
	says '^virtio virtio0 type 0x0002 on virtio-mmio.0 by virtio_blk'
	says '^disk vdb 4096 disk1$'
	says '^irq ?16: .*IO-APIC 16-edge virtio0'
}

# The same kernel with ACPI: nothing of it on the command line, and no device twice.
test_mmio_tuned_root() {
	kernel tuned
	tiny_disk "$vm_dir/root.img"
	encoded "$what_is_there; cat /proc/cmdline; echo '@@ warnings'; warnings"
	mmio -k "$kernel" -d "$vm_dir/root.img" --append "quiet $run"
	says '^root /dev/(vda|root) / ext4'
	says '^virtio virtio0 type 0x0002 on LNRO0005:00 by virtio_blk'
	says_not 'virtio_mmio.device='
	clean_dmesg
}

test_mmio_smp_writes_stay() {
	tiny_disk "$vm_dir/root.img"
	truncate -s 64M "$vm_dir/data"
	encoded 'n=0; while [ $n -lt 4 ]; do
	dd if=/dev/urandom of=/tmp/$n bs=1M count=2 2>/dev/null
	dd if=/tmp/$n of=/dev/vdb bs=64k seek=$((n * 64)) oflag=direct conv=notrunc 2>/dev/null &
	n=$((n + 1)); done; wait; sync
cat /tmp/0 /tmp/1 /tmp/2 /tmp/3 | md5sum | sed "s/^/sum /"'
	mmio -c 4 -k "$kernel" -d "$vm_dir/root.img" -d "$vm_dir/data" --append "quiet $run"
	says '^sum '
	local wrote
	wrote=$(for n in 0 1 2 3; do dd if="$vm_dir/data" bs=1M skip=$((n * 4)) count=2 status=none; done | md5sum | cut -c1-32)
	says "^sum $wrote"
}

# Linux resets a device that it lets go, with I/O under way, and does not poll: the reset
# is complete when its store is, or the next driver would find an old queue.
test_mmio_driver_let_go_under_load() {
	tiny_disk "$vm_dir/root.img"
	truncate -s 64M "$vm_dir/data"
	encoded 'cd /sys/bus/virtio/drivers/virtio_blk; n=0
while [ $n -lt 15 ]; do
	(while :; do dd if=/dev/vdb of=/dev/null bs=1M count=16 iflag=direct 2>/dev/null || break; done) &
	usleep 50000
	echo virtio1 >unbind; wait; echo virtio1 >bind
	n=$((n + 1))
done
dd if=/dev/vdb bs=1M count=4 iflag=direct 2>/dev/null | wc -c | sed "s/^/rounds $n, then /"
echo "@@ warnings"; warnings'
	mmio -c 2 -k "$kernel" -d "$vm_dir/root.img" -d "$vm_dir/data" --append "quiet $run"
	says '^rounds 15, then 4194304'
	clean_dmesg
}

# Without PCI, port 0xcf9 still resets.
mmio_ends() {
	local script=$1; shift
	guest "$script"
	mmio -k "$kernel" -i "$initrd" "$@"
}
test_mmio_poweroff() { mmio_ends 'poweroff -f' --append quiet; told 'powered off'; }
test_mmio_reboot_default() { mmio_ends 'reboot -f' --append quiet; }
test_mmio_reboot_pci() { mmio_ends 'reboot -f' --append 'quiet reboot=p'; }
test_mmio_reboot_keyboard() { mmio_ends 'reboot -f' --append 'quiet reboot=k'; }

test_mmio_power_button() {
	guest 'echo up; i=0; while [ $i -lt 100 ]; do sleep 1; i=$((i + 1)); done'
	vm_start --transport mmio -k "$kernel" -i "$initrd" --append quiet --stop-timeout 1
	vm_expect '^up' 120 || fail "$vm_why"
	vm_signal TERM
	vm_wait 30 || fail "$vm_why"
	[ "$vm_status" = 143 ] || fail "status $vm_status, not 143"
}

# The second boot finds the same devices, and what the first has written.
test_mmio_on_reboot_restart() {
	truncate -s 1M "$vm_dir/data"
	tiny_disk "$vm_dir/root.img"
	encoded 'n=$(dd if=/dev/vdb bs=1 count=1 2>/dev/null | tr -d "\0"); echo "boot number ${n:-0}"
[ "${n:-0}" = 1 ] && poweroff -f
printf 1 | dd of=/dev/vdb conv=fsync 2>/dev/null; reboot -f'
	mmio -k "$kernel" -d "$vm_dir/root.img" -d "$vm_dir/data" --on-reboot restart --append "quiet $run"
	says '^boot number 0$'
	says '^boot number 1$'
}
