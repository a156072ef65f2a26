# shellcheck shell=bash
# The contenders of rows/tuned and rows/exits: the same vmlinux, the same init, the same disk
# for all; each VMM's own way of telling where the devices are, and minivmm's own default
# command line. Firecracker's guest reboots to end. QEMU microvm: with a disk on virtio-mmio, and on PCIe, by an iothread. Its
# auto-kernel-cmdline would describe the mmio devices a second time; ACPI does.
# shellcheck disable=SC1091,SC2034,SC2154 # lib.sh sets and reads variables
. "$(dirname "$(readlink -f "$0")")/lib.sh"
mem=128
ours=("$MINIVMM" -q -k "$KERNEL" -i "$WORK/initrd" -d "$WORK/disk.img" -m "$mem" --append quiet)
theirs=("${qemu[@]}" -m "$mem" -kernel "$KERNEL" -initrd "$WORK/initrd" -append "$line"
	-object iothread,id=io -drive "id=d,file=$WORK/disk.img,format=raw,if=none,aio=io_uring")
field=(minivmm "${ours[@]}"
	::: "minivmm mmio" "${ours[@]}" --transport mmio
	::: "qemu microvm mmio" "${theirs[@]}" -M microvm,rtc=on,auto-kernel-cmdline=off
	-device virtio-blk-device,drive=d,iothread=io
	::: "qemu microvm pcie" "${theirs[@]}" -M microvm,rtc=on,pcie=on,auto-kernel-cmdline=off
	-device virtio-blk-pci,drive=d,iothread=io)
others "$KERNEL"
if command -v firecracker >/dev/null; then
	cat >"$WORK/firecracker.json" <<-END
		{"boot-source": {"kernel_image_path": "$KERNEL", "initrd_path": "$WORK/initrd",
		                 "boot_args": "$line reboot=k reset"},
		 "drives": [{"drive_id": "d", "path_on_host": "$WORK/disk.img", "is_root_device": false, "is_read_only": false}],
		 "machine-config": {"vcpu_count": 1, "mem_size_mib": $mem}}
	END
	field+=(::: firecracker firecracker --no-api --config-file "$WORK/firecracker.json")
fi
absent firecracker
