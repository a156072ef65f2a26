# shellcheck shell=bash
# A machine to a directory and back, with Linux as the guest: it finds its clocks right, its disks as it
# left them, and has nothing to complain of.

# Where minivmm runs: a place for the socket, the disk and the snapshot.
place() {
	dir=$(there mktemp -d /var/tmp/minivmm-snap.XXXXXX)
	on_exit there rm -rf "$dir"
	sock=$dir/ctl
}
ctl() { there "$vm_binary" ctl "$sock" "$@" >"$vm_dir/answer" 2>"$vm_dir/why.ctl" || fail "ctl $*: $(cat "$vm_dir/why.ctl")"; }
# put_away: a snapshot, and the machine has ended.
put_away() {
	ctl snapshot dir="$dir/snap" stop=on
	vm_wait 60 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
	cat "$vm_dir/out" >>"$vm_dir/before"
	cat "$vm_dir/answer" >>"$vm_dir/took"
}
# taken_out [KEYS]: and it goes on.
taken_out() {
	local limit=$((SECONDS + 60))
	vm_start --restore "$dir/snap${1-}" --control "$sock"
	until there test -S "$sock"; do
		[ "$SECONDS" -lt "$limit" ] || fail "it has no socket: $(cat "$vm_dir/err")"
		sleep 0.1
	done
}

# The guest's time is its host's; the kernel's watchdogs are quiet; what
# it says is in one piece.
ticking() { # OPTION...
	local host guest
	place
	guest 'exec 3<&0; (read word <&3; echo "time $(date +%s)"; touch /stop) &
		i=0; until [ -e /stop ] || [ $i = 900 ]; do i=$((i + 1)); echo "tick $i"; sleep 0.1; done
		cat /sys/devices/system/clocksource/clocksource0/current_clocksource; echo "@@ warnings"; warnings'
	vm_start -k "$kernel" -i "$initrd" --control "$sock" --append 'quiet watchdog_thresh=5' "$@"
	vm_expect '^tick 5.$' 200 || fail "$vm_why"
	put_away
	sleep 12
	taken_out
	vm_expect '^tick [0-9]+.$' 100 || fail "$vm_why"
	vm_expect '^tick [0-9]+.$' 100 || fail "$vm_why"
	host=$(there date +%s)
	vm_send 'time
'
	vm_expect '^time [0-9]+' 100 || fail "$vm_why"
	vm_wait 100 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
	guest=$(console | sed -n 's/^time //p')
	# Late by what it took to say so.
	[ $((guest - host)) -ge -1 ] && [ $((guest - host)) -le 10 ] || fail "the guest's time is $guest, the host's was $host"
	clean_dmesg
	cat "$vm_dir/before" "$vm_dir/out" | tr -d '\r' | sed -n 's/^tick //p' | awk '$1 != NR { exit 1 }' ||
		fail "ticks are missing or come twice"
}
test_ticking() { kernel tuned; ticking -c 2; }
test_ticking_mmio_long() { kernel tuned; ticking -c 2 --transport mmio; }
test_ticking_cloud_long() { kernel cloud; ticking -c 2; }
test_ticking_8_cpus_long() { kernel tuned; ticking -c 8; }

# A compressed one, and its memory while it runs, twice: of the second time the first has left what it
# touched. Then from the file that is gone, with a balloon that gives pages back meanwhile.
test_compressed() {
	kernel tuned
	place
	guest 'stty -echo; i=0; until [ $i = 900 ]; do i=$((i + 1)); echo "tick $i"; read -t 0.1 word && break; done; echo "@@ warnings"; warnings'
	vm_start -k "$kernel" -i "$initrd" --control "$sock" --append quiet -c 2
	vm_expect '^tick 5.$' 200 || fail "$vm_why"
	ctl snapshot dir="$dir/snap" stop=on compress=zstd
	vm_wait 60 || fail "$vm_why"
	there test ! -e "$dir/snap/memory" || fail "it is not compressed"
	cat "$vm_dir/out" >>"$vm_dir/before"
	taken_out
	goes_on_ticking
}
# From the next line on; then it ends.
goes_on_ticking() {
	vm_expect '^tick [0-9]+.$' 100 || fail "$vm_why"
	vm_expect '^tick [0-9]+.$' 100 || fail "$vm_why"
	vm_send 'go
'
	vm_wait 100 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
	clean_dmesg
	cat "$vm_dir/before" "$vm_dir/out" | tr -d '\r' | sed -n 's/^tick //p' | awk '$1 != NR { exit 1 }' ||
		fail "ticks are missing or come twice"
}
test_lazy() {
	kernel tuned
	place
	guest 'stty -echo; mount -t tmpfs none /tmp; dd if=/dev/urandom of=/tmp/data bs=64k count=32 2>/dev/null; sum=$(md5sum /tmp/data)
		i=0; until [ $i = 900 ]; do i=$((i + 1)); echo "tick $i"; read -t 0.1 word && break; done
		[ "$(md5sum /tmp/data)" = "$sum" ] && echo "data is there"; rm /tmp/data; echo "@@ warnings"; warnings'
	vm_start -k "$kernel" -i "$initrd" -m 256M --control "$sock" --append quiet -c 2 --balloon
	vm_expect '^tick 5.$' 300 || fail "$vm_why"
	put_away
	there "$vm_binary" --restore "$dir/snap,memory=lazy" --timeout 3 </dev/null >"$vm_dir/one" 2>&1 || true
	there test -s "$dir/snap/working-set" || fail "no working set: $(tail -3 "$vm_dir/one")"
	taken_out ,memory=lazy
	ctl memory.balloon target=128M
	ctl status
	goes_on_ticking
	says '^data is there'
}

# While fio writes and reads again what it wrote, the machine is put away and taken out TIMES times,
# now and then by the kill of one that went on after its snapshot, whose disk is put back with it.
under_fio() { # TIMES MIB
	local n
	place
	there truncate -s "$2M" "$dir/disk"
	kernel tuned
	fio_initrd
	initrd=$vm_dir/initrd
	cat >"$vm_dir/test.sh" <<-TEST
		echo begun
		fio --rw=randwrite --bsrange=512-64k --blockalign=512 --randseed=7 --verify=crc32c --verify_fatal=1 \
			--verify_state_save=0 --minimal --direct=1 --ioengine=libaio --iodepth=16 --fsync=32 --numjobs=2 \
			--size=$(($2 / 2))M --offset_increment=$(($2 / 2))M --loops=1000 --time_based --runtime=$((2 * $1)) \
			--name=a --filename=/dev/vda >/dev/null && echo verified
		echo "@@ warnings"; warnings
	TEST
	{ cat "$REPLY"; (cd "$vm_dir" && echo test.sh | cpio -o -H newc --quiet -R 0:0); } >"$initrd"
	vm_start -k "$kernel" -i "$initrd" -m 256M -c 2 --control "$sock" --disk "$dir/disk,queues=2,threads=2" --append quiet
	vm_expect '^begun' 200 || fail "$vm_why"
	for n in $(seq "$1"); do
		sleep 0.5
		put_away
		if [ $((n % 4)) = 0 ]; then
			there cp -p --sparse=always "$dir/disk" "$dir/kept"
			taken_out
			sleep 0.5
			vm_signal KILL
			vm_wait 20 || fail "$vm_why"
			there mv "$dir/kept" "$dir/disk"
		fi
		taken_out
	done
	vm_expect '^verified' 400 || fail "$vm_why"
	vm_wait 60 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
	clean_dmesg
	echo "$1 times; paused, ms: $(sed -n 's/^paused_ms *//p' "$vm_dir/took" | sort -n | awk '{ v[NR] = $1 } END { printf "%d %d %d", v[1], v[int((NR + 1) / 2)], v[NR] }')" >"$vm_dir/note"
}
test_under_fio() { under_fio 4 4; }
test_under_fio_100_times_long() { under_fio 100 32; }

# The network and the sockets of one that was put away: as before, in another process, with another tap
# of that name and another socket's file. A balloon keeps what it had.
test_networks_and_sockets() {
	local work minivmm=$vm_binary
	place
	kernel tuned
	work=$(dirname "$vm_binary")/tests/boot/vsock_work
	[ -x "$work" ] || fail "vsock_work is not built; run scripts/build dev"
	cat >"$vm_dir/beside" <<-BESIDE
		#!/bin/bash
		[ "\$1" = inside ] || exec unshare -n "\$0" inside "\$@"
		shift
		export PATH=\$PATH:/usr/sbin:/sbin
		ip link set lo up
		ip tuntap add t0 mode tap; ip link set t0 address 02:00:00:00:00:01
		ip addr add 10.8.0.1/24 dev t0; ip link set t0 up
		setpriv --pdeathsig KILL $work host $dir/v </dev/null >>$vm_dir/host 2>&1 &
		exec $minivmm "\$@"
	BESIDE
	chmod 755 "$vm_dir/beside"
	guest 'ip link set lo up; ip addr add 10.8.0.2/24 dev eth0; ip link set eth0 up
		again() { n=0; until "$@"; do [ $n -lt 100 ] || return 1; sleep 0.5; n=$((n + 1)); done; }
		work() { again ping -c 1 -W 2 10.8.0.1 >/dev/null && echo "$1 ping"; /vsock_work guest | sed "s/^/$1 /"; }
		work before; echo waiting; read word; work after; echo "@@ warnings"; warnings'
	(cd "$vm_dir" && cp "$work" . && echo vsock_work | cpio -o -H newc --quiet -R 0:0) >>"$initrd"
	vm_binary=$vm_dir/beside
	vm_start -k "$kernel" -i "$initrd" -m 128M --control "$sock" --vsock "$dir/v" --balloon \
		-n tap=t0,mac=02:00:00:00:00:02 --append quiet
	vm_expect '^waiting' 300 || fail "$vm_why"
	vm_binary=$minivmm
	ctl memory.balloon target=96M
	sleep 2
	put_away
	vm_binary=$vm_dir/beside
	vm_start --restore "$dir/snap" --control "$sock"
	until there test -S "$sock"; do sleep 0.1; done
	vm_binary=$minivmm
	ctl status --json
	jq -e '.balloon.target == 100663296 and .nets.net0.link == "up"' "$vm_dir/answer" >/dev/null || fail "status: $(cat "$vm_dir/answer")"
	vm_send 'go
'
	vm_expect '^after guest: works: served the host' 300 || fail "$vm_why"
	vm_wait 100 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
	says '^after ping'
	for word in 'there and back' 'several at once' 'nobody there' half-close 'served the host'; do
		says "^after guest: works: $word\$"
	done
	clean_dmesg
}
