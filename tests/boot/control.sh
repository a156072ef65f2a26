# shellcheck shell=bash
# The control socket, with Linux as the guest: it stands, goes on, ends and begins again as it
# is told.

# Where minivmm runs; a socket there is of no use elsewhere.
socket() { sock=$(there mktemp -u /run/minivmm-ctl.XXXXXX); }
ctl() { there "$vm_binary" ctl "$sock" "$@" >"$vm_dir/answer" 2>"$vm_dir/why.ctl" || fail "ctl $*: $(cat "$vm_dir/why.ctl")"; }

# While fio writes on several queues by several threads, and reads again what it wrote, the machine
# stands and goes on, again and again; its kernel has nothing to complain of.
test_pauses_under_load() {
	local dir n
	command -v fio >/dev/null || fail "fio is missing; run scripts/setup"
	socket
	dir=$(there mktemp -d /var/tmp/minivmm-fio.XXXXXX)
	on_exit there rm -rf "$dir"
	there truncate -s 4M "$dir/a"
	vm_start run -v --kernel "$kernel" -c 2 -m 256M --root / --control "$sock" \
		--disk "$dir/a,cache=none,queues=2,threads=2" -- sh -c 'echo begun
		fio --rw=randwrite --bsrange=512-64k --blockalign=512 --randseed=7 --verify=crc32c --verify_fatal=1 \
			--verify_state_save=0 --minimal --direct=1 --ioengine=libaio --iodepth=16 --numjobs=2 --size=2M \
			--offset_increment=2M --name=a --filename=/dev/vda && echo verified
		dmesg --level emerg,alert,crit,err,warn | grep -iE "stall|lockup|blocked|unstable|clocksource" || echo quiet'
	vm_expect '^begun' 300 || fail "$vm_why"
	# shellcheck disable=SC2016
	n=$(there sh -c 'n=0; while [ $n -lt 100 ] && "$1" ctl "$2" pause && "$1" ctl "$2" status | grep -q "state *paused" && "$1" ctl "$2" resume
		do n=$((n + 1)); sleep 1; done 2>/dev/null; echo $n' sh "$vm_binary" "$sock")
	vm_wait 200 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
	[ "$n" -ge 3 ] || fail "it stood only $n times"
	says '^verified'
	says '^quiet'
	echo "paused $n times" >"$vm_dir/note"
}

# In the sandbox, with writes under way: each time it finds what it found at first, and the disk
# that was added.
test_reset_again_and_again() {
	local disks=1 dir
	socket
	dir=$(there mktemp -d /var/tmp/minivmm-reset.XXXXXX)
	on_exit there rm -rf "$dir"
	there truncate -s 8M "$dir/disk" "$dir/more"
	guest 'echo "ready $(nproc) $(ls -d /sys/block/vd? | wc -l)"
		for disk in /sys/block/vd?; do
			while dd if=/dev/zero of=/dev/${disk##*/} bs=64k count=64 oflag=direct 2>/dev/null; do :; done &
		done
		wait'
	vm_start -k "$kernel" -i "$initrd" -c 2,max=3 --sandbox=on --control "$sock" --disk "$dir/disk" --hotplug 1 \
		--vsock "$dir/vsock" --balloon --append quiet
	for _ in 1 2 3; do
		vm_expect "^ready 2 $disks" 200 || fail "$vm_why"
		ctl memory.balloon target=200M
		[ "$disks" = 2 ] || ctl disk.add file="$dir/more"
		disks=2
		sleep 1
		ctl reset
	done
	vm_expect '^ready 2 2' 200 || fail "$vm_why"
	ctl stop
	vm_wait 60 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
}
test_reset() {
	socket
	guest 'echo "ready $(cat /proc/uptime)"; sleep 1000'
	vm_start -k "$kernel" -i "$initrd" --control "$sock" --append quiet
	vm_expect '^ready' 200 || fail "$vm_why"
	ctl reset
	vm_expect '^ready' 200 || fail "$vm_why"
	ctl stats --json
	jq -e '.kvm.exits > 0' "$vm_dir/answer" >/dev/null || fail "stats: $(cat "$vm_dir/answer")"
	ctl stop
	vm_wait 60 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
}

# What is written takes the time that the limit implies, and is there; what would take a quarter of an
# hour goes on as soon as the limit is lifted.
test_limits() {
	local begun ended sum
	socket
	truncate -s 4M "$vm_dir/a"
	head -c 4M /dev/urandom >"$vm_dir/b"
	guest 'uptime() { read -r now _ </proc/uptime; }
		dd if=/dev/urandom of=/data bs=1M count=4 2>/dev/null; sum=$(md5sum </data); uptime; begun=$now
		dd if=/data of=/dev/vda bs=64k conv=fsync 2>/dev/null; uptime; echo "written $begun $now $sum"
		echo reading; echo "read $(dd if=/dev/vdb bs=64k 2>/dev/null | md5sum)"'
	vm_start -k "$kernel" -i "$initrd" --control "$sock" --append quiet -d "$vm_dir/a,bps=1M,burst=256K" \
		-d "$vm_dir/b,id=slow,bps=4K,burst=4K"
	vm_expect '^reading' 200 || fail "$vm_why"
	ctl status --json
	jq -e '.disks.disk0.limit.bps == 1048576 and .disks.slow.limit.bps == 4096' "$vm_dir/answer" >/dev/null ||
		fail "status: $(cat "$vm_dir/answer")"
	ctl disk.limit disk=slow bps=0
	vm_wait 200 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
	read -r _ begun ended sum _ < <(console | grep -a '^written ')
	[ "$(md5sum <"$vm_dir/a")" = "$sum  -" ] || fail "what was written is not what is there"
	says "^read $(md5sum <"$vm_dir/b")"
	# All but the burst, and a request of Linux, which may have 1.25 MiB.
	awk -v took="$begun $ended" 'BEGIN { split(took, t, " "); exit !(t[2] - t[1] >= 2.4) }' ||
		fail "4 MiB at 1 MiB/s from $begun to $ended"
	echo "4 MiB at 1 MiB/s from $begun to $ended" >"$vm_dir/note"
}

# A disk grows under a guest that writes to it, by several threads: Linux learns of it, and what is
# new can be used. On PCI and MMIO.
disk_grows() { # OPTION...
	local dir new
	socket
	dir=$(there mktemp -d /var/tmp/minivmm-grow.XXXXXX)
	on_exit there rm -rf "$dir"
	there truncate -s 4M "$dir/a"
	guest 'mdev -s 2>/dev/null; [ -b /dev/vda ] || mknod /dev/vda b $(tr : " " </sys/block/vda/dev)
		echo "sectors $(cat /sys/block/vda/size)"
		(while [ ! -e /tmp/stop ]; do dd if=/dev/zero of=/dev/vda bs=64k count=16 oflag=direct || echo FAILED; done 2>/dev/null) &
		old=8192
		for want in 16384 32768; do
			until now=$(cat /sys/block/vda/size); [ "$now" != "$old" ]; do sleep 0.1; done
			old=$now
			echo "sectors $now"
			echo "the end $want" | dd of=/dev/vda bs=512 seek=$((want - 1)) conv=notrunc,sync oflag=direct 2>/dev/null || echo FAILED
			echo "wrote $want: $(dd if=/dev/vda bs=512 skip=$((want - 1)) iflag=direct 2>/dev/null | head -n 1)"
		done
		touch /tmp/stop
		wait'
	vm_start -k "$kernel" -i "$initrd" -c 2 -d "$dir/a,queues=2,threads=2" --control "$sock" --append quiet "$@"
	vm_expect '^sectors 8192' 200 || fail "$vm_why"
	ctl disk.resize disk=disk0 size=8388608 --json
	[ "$(jq .size "$vm_dir/answer")" = 8388608 ] || fail "the answer: $(cat "$vm_dir/answer")"
	vm_expect '^wrote 16384: the end 16384' 200 || fail "$vm_why"
	there truncate -s 16M "$dir/a"
	ctl disk.resize disk=disk0
	vm_expect '^wrote 32768: the end 32768' 200 || fail "$vm_why"
	vm_wait 100 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
	says '^sectors 16384$'
	says '^sectors 32768$'
	says_not FAILED
	new=$(there sh -c 'tail -c 512 "$1" | head -n 1' sh "$dir/a")
	[ "$new" = 'the end 32768' ] || fail "the file's last sector says: $new"
}
test_disk_grows() { disk_grows; }
test_disk_grows_on_mmio_long() { disk_grows --transport mmio; }

# Linux hears the power button, and systemd what it means.
test_shutdown_of_debian_long() {
	local image
	image=$("$here/mkimage") || fail "mkimage"
	cp --reflink=auto --sparse=always "$image" "$vm_dir/debian.img"
	kernel cloud
	socket
	vm_start -k "$kernel" -m 512 -d "$vm_dir/debian.img" --control "$sock" --append quiet
	vm_expect 'login: ' 600 || fail "$vm_why"
	ctl screenshot
	grep -q 'login: ' "$vm_dir/answer" || fail "the screenshot: $(cat "$vm_dir/answer")"
	ctl pause
	ctl shutdown timeout=300
	vm_wait 400 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
	says 'reboot: Power down'
}
