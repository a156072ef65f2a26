# shellcheck shell=bash
# Our own kernel (scripts/build-kernel): that it is what its config promises, small
# guests, and that boot after boot ends well. And the matrix: each kernel that we
# care for over each transport.

survey='echo "release $(uname -r)"; echo "cpus $(nproc)"; echo "clock $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
for d in /sys/bus/virtio/devices/*; do echo "virtio $(cat $d/device) $(basename $(readlink $d/driver))"; done
dd if=/dev/vda bs=512 count=1 2>/dev/null | head -c 9; echo; echo over | dd of=/dev/vda bs=512 seek=1 conv=sync,fsync 2>/dev/null && echo written
dd if=/dev/hwrng bs=16 count=1 2>/dev/null | wc -c | sed "s/^/random /"
echo "@@ warnings"; warnings'

# matrix KERNEL TRANSPORT: a disk that is read and written, entropy, two processors,
# and nothing that the kernel complains of.
matrix() {
	local how=()
	[ "$2" = pci ] || how=(--transport "$2")
	kernel "$1"
	tiny_disk "$vm_dir/root.img"
	truncate -s 1M "$vm_dir/data"
	printf 'it is me\n' | dd of="$vm_dir/data" conv=notrunc status=none
	encoded "${survey//vda/vdb}"
	boots 0 180 -k "$kernel" "${how[@]}" -c 2 -d "$vm_dir/root.img" -d "$vm_dir/data" --append "quiet $run"
	says '^cpus 2$'
	says '^it is me$'
	says '^written$'
	says '^random 16$'
	says '^virtio 0x0002 virtio_blk$'
	[ "$(dd if="$vm_dir/data" bs=512 skip=1 count=1 status=none | head -c 4)" = over ] || fail "what was written is not on the disk"
	if [ "$2" = mmio ]; then says_not 'virtio-pci'; fi
	clean_dmesg
}
test_cloud_pci() { matrix cloud pci; }
test_generic_pci() { matrix generic pci; }
test_tuned_pci() { matrix tuned pci; says '^clock kvm-clock$|^clock tsc$'; }
test_cloud_mmio() { matrix cloud mmio; }
test_generic_mmio() { matrix generic mmio; }
test_tuned_mmio() { matrix tuned mmio; }

# The config's promises, as programs see them.
test_promises() {
	kernel tuned
	guest 'for fs in ext4 overlay virtiofs erofs tmpfs cgroup2 devtmpfs bpf hugetlbfs; do grep -qw $fs /proc/filesystems && echo "fs $fs"; done
mkdir -p /c /a /b /w /o; mount -t cgroup2 c /c && echo "controllers $(cat /c/cgroup.controllers)"
mount -t tmpfs t /w && mkdir /w/up /w/work && mount -t overlay -o lowerdir=/bin,upperdir=/w/up,workdir=/w/work o /o && [ -e /o/busybox ] && echo overlaid
unshare -r -m -u -i -n -p -f -U sh -c "hostname inside; hostname" && echo "outside $(hostname)"
ip link add v0 type veth peer name v1 && ip link set v0 up && ip addr add 10.9.9.1/24 dev v0 && echo veth
ip link set lo up; ping -c 1 127.0.0.1 >/dev/null && echo ping4; ping -6 -c 1 ::1 >/dev/null && echo ping6
[ -c /dev/net/tun ] && [ -c /dev/vsock ] && [ -c /dev/fuse ] && echo nodes
echo "jit $(cat /proc/sys/net/core/bpf_jit_enable)"; grep -c "^Seccomp_filters" /proc/self/status | sed "s/^/seccomp /"
zcat /proc/config.gz | grep -c "^CONFIG_IO_URING=y" | sed "s/^/uring /"; echo "modules $(cat /proc/modules | wc -l)"
echo 4194304 >/proc/sys/kernel/pid_max && echo "pids $(cat /proc/sys/kernel/pid_max)"
echo "@@ warnings"; warnings'
	boots 0 180 -k "$kernel" -i "$initrd" --append quiet
	local word
	for word in ext4 overlay virtiofs erofs tmpfs cgroup2 devtmpfs bpf hugetlbfs; do says "^fs $word\$"; done
	for word in cpuset cpu io memory hugetlb pids; do says "^controllers .*\\b$word\\b"; done
	for word in overlaid inside 'outside guest' veth ping4 ping6 nodes 'jit 1' 'seccomp 1' 'uring 1' 'modules 0' 'pids 4194304'; do says "^$word\$"; done
	clean_dmesg
}

# The bzImage of the same build.
test_bzimage() {
	tiny_disk "$vm_dir/root.img"
	kernel=$("$here/build-kernel" --bzimage)
	encoded 'echo "release $(uname -r)"; grep " / " /proc/mounts'
	boots 0 120 -k "$kernel" -d "$vm_dir/root.img" --append "quiet $run"
	says '^release .*-microvm$'
	says '^/dev/root / ext4'
}

# The smallest guest: a root on a disk, files are read and written, nobody is killed.
test_32_mib() {
	local memory
	tiny_disk "$vm_dir/root.img"
	kernel tuned
	encoded 'echo "memory $(sed -n "s/^MemTotal: *\([0-9]*\) kB/\1/p" /proc/meminfo)"; mount -o remount,rw /
dd if=/dev/zero of=/x bs=64k count=200 2>/dev/null && sync && wc -c </x; rm /x; echo "killed $(dmesg | grep -c "Out of memory")"; echo "@@ warnings"; warnings'
	boots 0 120 -k "$kernel" -m 32 -d "$vm_dir/root.img" --append "quiet $run"
	says '^13107200$'
	says '^killed 0$'
	# Half of it is the guest's: the kernel's image ends below 16 MiB (firmware/linux/microvm.config).
	memory=$(console | sed -n 's/^memory //p')
	[ "${memory:-0}" -gt 15500 ] || fail "the kernel leaves ${memory:-0} KiB of 32 MiB"
	clean_dmesg
}

# Boot after boot, one at a time, without a test's own costs between them: each has
# to end with status 0 and to have said that its init ran.
row() { # row COUNT
	kernel tuned
	mkdir -p "$vm_dir/tree"
	cp "$root/build/dev/tests/bench/mark_init" "$vm_dir/tree/init" || fail "mark_init is not built; run scripts/build dev"
	(cd "$vm_dir/tree" && echo init | cpio -o -H newc --quiet -R 0:0) >"$vm_dir/initrd"
	truncate -s 16M "$vm_dir/disk"
	# shellcheck disable=SC2016 # expanded there
	"${vm_on[@]}" bash -c 'n=$1 out=$2; shift 2
for ((i = 1; i <= n; i++)); do
	from=${EPOCHREALTIME/[.,]/} rc=0
	"$@" >"$out.guest" 2>"$out.err" || rc=$?
	grep -q "bench: init runs" "$out.guest" || rc="$rc, without a word of init"
	echo "boot $i: status $rc, $(((${EPOCHREALTIME/[.,]/} - from) / 1000)) ms"
	[ "$rc" = 0 ] || { tail -n 20 "$out.guest" "$out.err"; break; }
done' row "$1" "$vm_dir/row" "$vm_binary" -k "$kernel" -i "$vm_dir/initrd" -d "$vm_dir/disk" -m 64 \
		--timeout 120 --append quiet </dev/null >"$vm_dir/out" 2>"$vm_dir/err" || fail "the loop ended early"
	[ "$(grep -c ': status 0,' "$vm_dir/out")" = "$1" ] ||
		fail "$(grep -c ': status 0,' "$vm_dir/out") of $1 boots ended with status 0"
	sed -n 's/.* \([0-9]*\) ms$/\1/p' "$vm_dir/out" | sort -n | awk -v what="boots, ms: minimum, median, maximum" \
		'{ t[NR] = $1 } END { print NR, what, t[1], t[int((NR + 1) / 2)], t[NR] }' >"$vm_dir/note"
}
test_8_boots_in_a_row() { row 8; }
test_1000_boots_in_a_row_long() { row 1000; }
