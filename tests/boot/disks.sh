# shellcheck shell=bash
# Disks: where root is, in which order they come, and that what is written stays.

where='echo "root $(grep " / " /proc/mounts | grep ext4)"; ls -1 /dev/vd*'

# on_root ROOT: boots with root=ROOT.
on_root() {
	encoded "$where"
	boots 0 120 -k "$kernel" -d "$vm_dir/root.img" --append "quiet root=$1 $run"
	says "^root .* / ext4"
}

test_root_partition() {
	tiny_disk "$vm_dir/root.img" --partition
	on_root /dev/vda1
	says '^/dev/vda1'
}

# Where the init that minivmm packs looks for it, with the disk's driver a module.
test_root_uuid() {
	kernel cloud
	tiny_disk "$vm_dir/root.img"
	on_root "UUID=$(PATH=$PATH:/sbin:/usr/sbin blkid -p -s UUID -o value "$vm_dir/root.img")"
}

# On the second disk, behind one that has another label.
test_root_label_second_disk() {
	kernel cloud
	tiny_disk "$vm_dir/other.img" --label other
	tiny_disk "$vm_dir/root.img" --label system --partition
	encoded "$where"
	boots 0 120 -k "$kernel" -d "$vm_dir/other.img" -d "$vm_dir/root.img" \
		--append "quiet root=LABEL=system $run"
	says '^root .* / ext4'
	says '^/dev/vdb1'
}

test_written_and_synced() {
	local script
	tiny_disk "$vm_dir/root.img"
	script='mount -o remount,rw /; if [ -e /kept ]; then echo "found $(cat /kept)"; else echo from-the-first >/kept; sync; reboot -f; fi'
	encoded "$script"
	boots 0 120 -k "$kernel" -d "$vm_dir/root.img" --append "quiet $run"
	encoded "$script"
	boots 0 120 -k "$kernel" -d "$vm_dir/root.img" --append "quiet $run"
	says '^found from-the-first$'
	PATH=$PATH:/sbin:/usr/sbin e2fsck -fn "$vm_dir/root.img" >"$vm_dir/fsck" 2>&1 ||
		PATH=$PATH:/sbin:/usr/sbin e2fsck -fy "$vm_dir/root.img" >"$vm_dir/fsck" 2>&1 ||
		[ $? -le 1 ] || fail "e2fsck: $(tail -n 3 "$vm_dir/fsck")"
}

# --timeout kills the VM with no goodbye: what was synced before is on the disk.
test_synced_before_the_end() {
	tiny_disk "$vm_dir/root.img"
	encoded 'mount -o remount,rw /; echo safe >/kept; sync; echo synced; while :; do sleep 1; done'
	vm_start -k "$kernel" -d "$vm_dir/root.img" --append "quiet $run"
	vm_expect '^synced' 120 || fail "$vm_why"
	vm_signal KILL
	vm_wait 20 || fail "$vm_why"
	encoded 'echo "found $(cat /kept)"'
	boots 0 120 -k "$kernel" -d "$vm_dir/root.img" --append "quiet $run"
	says '^found safe$'
}

test_several_in_order() {
	local n
	tiny_disk "$vm_dir/root.img"
	for n in 1 2 3 4; do truncate -s "${n}M" "$vm_dir/d$n"; done
	encoded 'for d in /sys/block/vd*; do echo "disk ${d##*/} $(cat $d/size) $(cat $d/serial) $(cat $d/ro)"; done'
	boots 0 120 -k "$kernel" -d "$vm_dir/root.img" -d "$vm_dir/d1,serial=one" \
		-d "$vm_dir/d2,serial=two" -d "$vm_dir/d3,serial=a-serial-of-20-char,readonly=on" -d "$vm_dir/d4,id=four" \
		--append "quiet $run"
	says '^disk vdb 2048 one 0$'
	says '^disk vdc 4096 two 0$'
	says '^disk vdd 6144 a-serial-of-20-char 1$'
	says '^disk vde 8192 '
}

test_readonly() {
	tiny_disk "$vm_dir/root.img"
	truncate -s 1M "$vm_dir/data"
	printf 'as it was' | dd of="$vm_dir/data" conv=notrunc status=none
	cp "$vm_dir/data" "$vm_dir/before"
	encoded 'echo "ro $(cat /sys/block/vdb/ro)"; dd if=/dev/zero of=/dev/vdb bs=512 count=1 conv=fsync || echo refused; dd if=/dev/vdb bs=9 count=1 2>/dev/null; echo'
	boots 0 120 -k "$kernel" -d "$vm_dir/root.img" -d "$vm_dir/data,readonly=on" --append "quiet $run"
	says '^ro 1$'
	says '^refused$'
	says '^as it was$'
	cmp -s "$vm_dir/data" "$vm_dir/before" || fail "the read-only disk was changed"
}

# A disk whose file nobody may write is a read-only root all the same.
test_readonly_root() {
	tiny_disk "$vm_dir/root.img"
	encoded 'echo "mounted $(grep " / ext4" /proc/mounts | cut -d" " -f4 | cut -d, -f1)"'
	boots 0 120 -k "$kernel" -d "$vm_dir/root.img,readonly=on" --append "quiet $run"
	says '^mounted ro$'
}

test_discard() {
	local before after
	tiny_disk "$vm_dir/root.img"
	dd if=/dev/urandom of="$vm_dir/data" bs=1M count=8 status=none
	before=$(stat -c %b "$vm_dir/data")
	encoded 'blkdiscard /dev/vdb && echo discarded; sync'
	boots 0 120 -k "$kernel" -d "$vm_dir/root.img" -d "$vm_dir/data" --append "quiet $run"
	says '^discarded$'
	after=$(stat -c %b "$vm_dir/data")
	[ "$after" -lt $((before / 4)) ] || fail "$before blocks before, $after after"
	[ "$(stat -c %s "$vm_dir/data")" = $((8 << 20)) ] || fail "its size has changed"
}

test_no_such_root() {
	tiny_disk "$vm_dir/root.img"
	boots 3 120 -k "$kernel" -d "$vm_dir/root.img" --append "quiet root=LABEL=nowhere rootwait=3 run=x"
	says 'LABEL=nowhere'
}

# verified CPUS MIB OPTION...: fio fills two disks of a command's, each of MIB, one through the page cache and one past
# it by a queue and a thread for each processor, and reads them again; then its own program of
# this side finds the same in the files.
verified() {
	local dir cpus=$1 mib=$2 i at mine=() beside=() job=(--rw=randwrite --bsrange=512-64k --blockalign=512
		--randseed=7 --verify=crc32c --verify_fatal=1 --verify_state_save=0 --minimal)
	shift 2
	command -v fio >/dev/null || fail "fio is missing; run scripts/setup"
	dir=$(there mktemp -d /var/tmp/minivmm-fio.XXXXXX)
	on_exit there rm -rf "$dir"
	there truncate -s "${mib}M" "$dir/a" "$dir/b"
	for ((i = 0; i < cpus; i++)); do
		at=(--size=$((mib * 1024 / cpus))K --offset=$((i * mib * 1024 / cpus))K)
		mine+=(--name="b$i" --filename=/dev/vdb "${at[@]}" --cpus_allowed="$i")
		beside+=(--name="b$i" --filename="$dir/b" "${at[@]}")
	done
	there timeout 300 "$vm_binary" run -v --kernel "$kernel" -c "$cpus" -m 256M --root / "$@" \
		--disk "$dir/a,queues=1" --disk "$dir/b,cache=none,queues=$cpus,threads=$cpus" -- \
		fio "${job[@]}" --direct=1 --ioengine=libaio --iodepth=32 --fsync=32 \
		--name=a --filename=/dev/vda --size="${mib}M" "${mine[@]}" \
		</dev/null >"$vm_dir/out" 2>"$vm_dir/err" || fail "fio in the guest: status $?: $(tail -n 3 "$vm_dir/err")"
	there fio "${job[@]}" --ioengine=psync --verify_only --name=a --filename="$dir/a" --size="${mib}M" "${beside[@]}" \
		</dev/null >"$vm_dir/host" 2>&1 || fail "fio beside the guest: status $?: $(tail -n 3 "$vm_dir/host")"
	! grep io_uring "$vm_dir/err" >"$vm_dir/why" || fail "it was not by io_uring: $(cat "$vm_dir/why")"
}

test_fio() { verified 8 4; }
test_fio_on_2_cpus_long() { verified 2 16; }
test_fio_mmio_long() { verified 2 8 --transport mmio; }

# The host holds one disk up, by a file system that does not answer for a while: the console, the other
# disk, what gives entropy and the control socket do not wait for it; and it goes on when it can.
test_one_stalls_and_the_others_go_on() {
	local dir sock store minivmm=$vm_binary
	store=$(dirname "$vm_binary")/tests/boot/volatile_disk
	[ -x "$store" ] || fail "volatile_disk is not built; run scripts/build dev"
	dir=$(there mktemp -d /var/tmp/minivmm-stall.XXXXXX)
	on_exit there rm -rf "$dir"
	sock=$dir/ctl
	there sh -ec 'cd "$0"; mkdir disks place; truncate -s 1M disks/a; truncate -s 4M b' "$dir"
	cat >"$vm_dir/beside" <<-BESIDE
		#!/bin/bash
		$store $dir/disks $dir/place 1000000000 1 </dev/null >$vm_dir/store 2>&1 &
		echo \$! >$vm_dir/store.pid
		for ((i = 0; i < 100; i++)); do [ -e $dir/place/a ] && break; sleep 0.05; done
		exec $minivmm "\$@"
	BESIDE
	chmod 755 "$vm_dir/beside"
	guest 'dd if=/dev/zero of=/dev/vda bs=4k count=4 conv=fsync 2>/dev/null; echo "vda works"
		read -r word
		(dd if=/dev/urandom of=/dev/vda bs=4k count=4 conv=fsync 2>/dev/null; echo "vda goes on") &
		sleep 1
		dd if=/dev/urandom of=/dev/vdb bs=64k count=32 conv=fsync 2>/dev/null && echo "vdb lives"
		[ "$(head -c 64 /dev/hwrng | wc -c)" = 64 ] && echo "entropy lives"
		echo "held up: $(cat /sys/block/vda/inflight)."
		read -r word; echo "said: $word"
		wait'
	vm_binary=$vm_dir/beside
	vm_start -k "$kernel" -i "$initrd" --append quiet --control "$sock" -d "$dir/place/a" -d "$dir/b"
	vm_binary=$minivmm
	vm_expect '^vda works' 120 || fail "$vm_why"
	there kill -STOP "$(cat "$vm_dir/store.pid")"
	vm_send $'go\n'
	vm_expect '^vdb lives' 60 || fail "$vm_why"
	vm_expect '^entropy lives' 60 || fail "$vm_why"
	vm_expect '^held up: .*[1-9].*\.' 60 || fail "$vm_why"
	there timeout 20 "$minivmm" ctl "$sock" status >"$vm_dir/answer" 2>&1 || fail "status: $(cat "$vm_dir/answer")"
	says_not '^vda goes on'
	there kill -CONT "$(cat "$vm_dir/store.pid")"
	vm_expect '^vda goes on' 60 || fail "$vm_why"
	vm_send $'on\n'
	vm_wait 60 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
	says '^said: on'
}
