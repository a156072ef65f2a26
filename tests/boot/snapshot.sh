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
# taken_out [KEYS [OPTION...]]: and it goes on.
taken_out() {
	local limit=$((SECONDS + 60))
	vm_start --restore "$dir/snap${1-}" --control "$sock" "${@:2}"
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
		exec 3<&0; (read word <&3; : >/enough) &
		until [ -e /enough ]; do
			fio --rw=randwrite --bsrange=512-64k --blockalign=512 --randseed=7 --verify=crc32c --verify_fatal=1 \
				--verify_state_save=0 --minimal --direct=1 --ioengine=libaio --iodepth=16 --fsync=32 --numjobs=2 \
				--size=$(($2 / 2))M --offset_increment=$(($2 / 2))M --loops=1000 --time_based --runtime=10 \
				--name=a --filename=/dev/vda >/dev/null || exit
		done
		echo verified
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
	vm_send 'enough
'
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

# --- under a stream ------------------------------------------------------------------------------

# stream_host SETUP WORD...: what outlives the machines, that run near it from here on: a network
# namespace in which SETUP was run, and `stream_work echo WORD...`, whose words are in $vm_dir/host.
stream_host() {
	local setup=$1 limit=$((SECONDS + 60)); shift
	work=$(dirname "$vm_binary")/tests/boot/stream_work
	[ -x "$work" ] || fail "stream_work is not built; run scripts/build dev"
	cat >"$vm_dir/host.sh" <<-HOST
		#!/bin/sh
		[ "\$1" = inside ] || exec unshare -n "\$0" inside
		export PATH=\$PATH:/usr/sbin:/sbin
		ip link set lo up
		$setup
		echo \$\$ >$vm_dir/host.pid
		exec $work echo $*
	HOST
	cat >"$vm_dir/near" <<-NEAR
		#!/bin/sh
		exec nsenter --net=/proc/\$(cat $vm_dir/host.pid)/ns/net $vm_binary "\$@"
	NEAR
	chmod 755 "$vm_dir/host.sh" "$vm_dir/near"
	vm_binary=$vm_dir/near
	"${vm_on[@]}" "$vm_dir/host.sh" </dev/null >"$vm_dir/host" 2>&1 &
	on_exit vm_kill $!
	until grep -q '^echo: listens' "$vm_dir/host"; do
		[ "$SECONDS" -lt "$limit" ] || fail "the host: $(cat "$vm_dir/host")"
		sleep 0.1
	done
}

# stream_guest SETUP WORD...: one that sends until it hears a word, again and again where streams
# are cut, and says so.
stream_guest() {
	local setup=$1; shift
	guest "$setup
		exec 3<&0; (read word <&3; touch /stop) &
		until [ -e /stop ]; do /stream_work send $*; done
		wait; echo '@@ warnings'; warnings"
	(cd "$vm_dir" && cp "$work" . && echo stream_work | cpio -o -H newc --quiet -R 0:0) >>"$initrd"
}

# stream_told TIMES: so often the stream was cut, and once it was whole. What came back was given,
# what was given was had, and what was had was sent: of a whole one all of it.
stream_told() {
	local limit=$((SECONDS + 60)) n=$(($1 + 1))
	until [ "$(grep -c '^echo: end' "$vm_dir/host")" -ge "$n" ]; do
		[ "$SECONDS" -lt "$limit" ] || fail "the host's side has not ended: $(tail -n 3 "$vm_dir/host")"
		sleep 0.1
	done
	cat "$vm_dir/before" "$vm_dir/out" | tr -d '\r' >"$vm_dir/all"
	if grep -q '^failed' "$vm_dir/all" "$vm_dir/host"; then fail "$(grep -h -m1 '^failed' "$vm_dir/all" "$vm_dir/host")"; fi
	sed -n -e 's/^send: cut: sent \([0-9]*\), back \([0-9]*\): .*/cut \1 \2/p' \
		-e 's/^send: whole: \([0-9]*\)/whole \1 \1/p' "$vm_dir/all" >"$vm_dir/sent"
	sed -n 's/^echo: end: had \([0-9]*\), gave \([0-9]*\): .*/\1 \2/p' "$vm_dir/host" >"$vm_dir/had"
	paste -d ' ' "$vm_dir/sent" "$vm_dir/had" >"$vm_dir/both"
	awk -v n="$n" 'NF != 5 || ($1 == "whole") != (NR == n) || $3 > $5 || $5 > $4 || $4 > $2 { exit 1 }
		END { if (NR != n) exit 1 }' "$vm_dir/both" || fail "sent, back, had, given: $(tr '\n' ';' <"$vm_dir/both")"
}

# under_a_stream TIMES CUT OPTION...: put away and taken out while the stream moves, which it does again
# each time, CUT by each or not (1, 0). One that goes on after its snapshot has all that it had.
under_a_stream() {
	local times=$1 cuts=$2 n; shift 2 # $keys: of --restore
	: >"$vm_dir/before"
	vm_start -k "$kernel" -i "$initrd" -m 128M -c 2 --control "$sock" --append quiet "$@"
	vm_expect '^send: at' 200 || fail "$vm_why"
	ctl snapshot dir="$dir/snap"
	vm_expect '^send: at' 100 || fail "$vm_why"
	says_not '^send: cut'
	for n in $(seq "$times"); do
		put_away
		taken_out "${keys-}" -vv
		[ "$cuts" = 0 ] || vm_expect '^send: cut' 100 || fail "$vm_why, the ${n}th time"
		vm_expect '^send: at' 100 || fail "$vm_why, the ${n}th time"
	done
	vm_send 'stop
'
	vm_expect '^send: whole' 100 || fail "$vm_why"
	vm_wait 60 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
	clean_dmesg
	stream_told $((times * cuts))
	echo "$times times; MiB back: $(awk '{ n += $3 } END { print int(n / 1048576) }' "$vm_dir/both")" >"$vm_dir/note"
}

# Over a tap that stays: the stream does not notice.
under_tcp() { # TIMES on|off
	place
	kernel tuned
	[ "$2" = off ] || there test -c /dev/vhost-net || skip "no /dev/vhost-net"
	stream_host 'ip tuntap add t0 mode tap; ip link set t0 address 02:00:00:00:00:01
		ip addr add 10.8.0.1/24 dev t0; ip link set t0 up' tcp 5000
	stream_guest 'ip link set lo up; ip addr add 10.8.0.2/24 dev eth0; ip link set eth0 up' tcp 10.8.0.1 5000
	under_a_stream "$1" 0 -n "tap=t0,vhost=$2"
}
test_under_tcp() { under_tcp 2 off; }
test_under_tcp_by_vhost_long() { under_tcp 4 on; }
# The kernel's thread waits for its rings and frames to come, as the guest does.
test_under_tcp_by_vhost_lazily() {
	keys=,memory=lazy
	under_tcp 2 on
	told "frames take the kernel's way"
	there test -s "$dir/snap/working-set" || fail "no working set: its memory did not come while it ran"
}
test_under_tcp_100_times_long() { under_tcp 100 off; }

# Over vsock: both ends hear that it is cut, and the next one comes about.
under_vsock() { # TIMES
	place
	kernel tuned
	stream_host : unix "$dir/v_60"
	stream_guest : vsock 60
	under_a_stream "$1" 1 --vsock "$dir/v"
}
test_under_vsock() { under_vsock 2; }
test_under_vsock_100_times_long() { under_vsock 100; }

under_vhost_vsock() { # TIMES CID
	place
	kernel tuned
	there test -c /dev/vhost-vsock || skip "no /dev/vhost-vsock"
	stream_host : vsock "$2"
	stream_guest : vsock "$2"
	under_a_stream "$1" 1 --vsock "vhost,cid=$2"
}
test_under_vhost_vsock() { under_vhost_vsock 2 4211; }
test_under_vhost_vsock_100_times_long() { under_vhost_vsock 100 4212; }

# What vhost writes for a vsock is not noted, so nothing is left out for what was noted.
test_vhost_vsock_is_not_tracked() {
	local word
	place
	kernel tuned
	there test -c /dev/vhost-vsock || skip "no /dev/vhost-vsock"
	guest 'echo up; read word'
	vm_start -k "$kernel" -i "$initrd" --control "$sock" --vsock vhost,cid=4213 --append quiet
	vm_expect '^up' 100 || fail "$vm_why"
	ctl status --json
	jq -e '.vsock == {cid: 4213, vhost: true}' "$vm_dir/answer" >/dev/null || fail "status: $(cat "$vm_dir/answer")"
	for word in track=on base="$dir"; do
		if there "$vm_binary" ctl "$sock" snapshot dir="$dir/snap" "$word" >/dev/null 2>"$vm_dir/no"; then fail "it was taken with $word"; fi
		grep -q 'snapshot: --vsock vhost: what the host.s kernel writes for it is not noted' "$vm_dir/no" || fail "it says: $(cat "$vm_dir/no")"
	done
	if there test -e "$dir/snap"; then fail "something is left behind"; fi
	vm_send 'end
'
	vm_wait 60 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
}

# Linux that goes on from one snapshot twice. What its random numbers were is in uuids.1 and uuids.2. MARK:
# the kernel's line when it is told that it is another, or "-": this one does not learn of it. `settled`: for so
# many seconds before, after which the kernel seeds its pool by itself so seldom that it does not meanwhile.
settled=0
forked() { # MARK OPTION...
	local i mark=$1; shift
	place
	guest "uuids() { for n in 1 2 3 4 5 6 7 8; do cat /proc/sys/kernel/random/uuid; done | tr '\n' ' '; }
		sleep $settled; uuids >/dev/null; uuids >/dev/null; echo before \$(dmesg | grep -c 'virtual machine fork'); echo waiting; read -r _
		[ '$mark' = - ] || until dmesg | grep -q '$mark'; do sleep 0.1; done
		echo \"uuids \$(uuids)\"; echo \"after \$(dmesg | grep -c 'crng reseeded due to virtual machine fork')\"
		echo '@@ warnings'; warnings; [ '$mark' != - ] || reboot -f"
	vm_start -k "$kernel" -i "$initrd" --control "$sock" --append quiet "$@"
	vm_expect '^waiting' 200 || fail "$vm_why"
	says '^before 0$'
	put_away
	for i in 1 2; do
		taken_out
		vm_send $'\n'
		vm_wait 100 || fail "$vm_why"
		[ "$vm_status" = 0 ] || fail "status $vm_status"
		says "^after $([ "$mark" = - ] && echo 0 || echo 1)\$"
		console | sed -n 's/^uuids //p' >"$vm_dir/uuids.$i"
		[ "$(wc -w <"$vm_dir/uuids.$i")" = 8 ] || fail "its numbers: $(cat "$vm_dir/uuids.$i")"
		clean_dmesg
	done
	same=$(cat "$vm_dir"/uuids.? | tr ' ' '\n' | sed '/^$/d' | sort | uniq -d | wc -l)
	echo "$same of 8 numbers are the same" >"$vm_dir/note"
}
# They are others then.
told_apart() { # OPTION...
	kernel tuned
	forked 'crng reseeded due to virtual machine fork' "$@"
	[ "$same" = 0 ] || fail "two machines have the same random numbers: $(cat "$vm_dir"/uuids.?)"
}
test_random_numbers() { told_apart; }
test_random_numbers_mmio_long() { told_apart --transport mmio; }
# Both sides of the hole have RAM.
test_random_numbers_4_gib_long() { told_apart -m 4G -c 4; }
# Who does not look at ACPI hears nothing, and is none the worse but for that.
test_random_numbers_without_acpi() { kernel tuned; forked - --append acpi=off; }
# They would all be the same, which the note of the second one says.
test_random_numbers_of_a_settled_one_long() { settled=45; told_apart; }
test_random_numbers_of_a_settled_one_without_acpi_long() { settled=45; kernel tuned; forked - --append acpi=off; }

# A clone's MAC address is another one. Linux goes on with the one that it knows, and has the new one
# when it binds the driver anew; the network works with both.
mac_of_a_clone() { # OPTION...
	local minivmm=$vm_binary mac
	place
	kernel tuned
	cat >"$vm_dir/beside" <<-BESIDE
		#!/bin/bash
		[ "\$1" = inside ] || exec unshare -n "\$0" inside "\$@"
		shift
		export PATH=\$PATH:/usr/sbin:/sbin
		ip tuntap add t0 mode tap; ip addr add 10.8.0.1/24 dev t0; ip link set t0 up
		exec $minivmm "\$@"
	BESIDE
	chmod 755 "$vm_dir/beside"
	# shellcheck disable=SC2016
	guest 'up() { ip addr add 10.8.0.2/24 dev eth0; ip link set eth0 up; }
		tell() { n=0; until ping -c 1 -W 2 10.8.0.1 >/dev/null; do n=$((n + 1)); [ $n -lt 60 ] || break; done
			echo "$1 $(cat /sys/class/net/eth0/address) $([ $n -lt 60 ] && echo reached)"; }
		up; tell before; echo waiting; read -r _; tell kept
		device=$(basename "$(readlink /sys/class/net/eth0/device)")
		for way in unbind bind; do echo "$device" >/sys/bus/virtio/drivers/virtio_net/$way; done
		up; tell after; echo "@@ warnings"; warnings'
	vm_binary=$vm_dir/beside
	vm_start -k "$kernel" -i "$initrd" -m 128M --control "$sock" -n tap=t0,mac=02:00:00:00:00:02 --append quiet "$@"
	vm_expect '^waiting' 300 || fail "$vm_why"
	says '^before 02:00:00:00:00:02 reached$'
	vm_binary=$minivmm
	put_away
	vm_binary=$vm_dir/beside
	vm_start --restore "$dir/snap,clone=3" --control "$sock"
	until there test -S "$sock"; do sleep 0.1; done
	vm_binary=$minivmm
	ctl status --json
	mac=$(jq -r .nets.net0.mac "$vm_dir/answer")
	[[ $mac =~ ^[0-9a-f][26ae]: && $mac != 02:00:00:00:00:02 ]] || fail "its address: $mac"
	vm_send $'\n'
	vm_wait 100 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
	says '^kept 02:00:00:00:00:02 reached$'
	says "^after $mac reached\$"
	clean_dmesg
}
test_mac_of_a_clone() { mac_of_a_clone; }
test_mac_of_a_clone_mmio_long() { mac_of_a_clone --transport mmio; }
