# shellcheck shell=bash
# Disks and networks that come and go while Linux runs, a stock one and our own.

socket() { sock=$(there mktemp -u /run/minivmm-hotplug.XXXXXX); }
ctl() { there "$vm_binary" ctl "$sock" "$@" >"$vm_dir/answer" 2>"$vm_dir/why.ctl" || fail "ctl $*: $(cat "$vm_dir/why.ctl")"; }
# until_status FILTER: jq says so of the machine.
until_status() {
	local limit=$((SECONDS + 60))
	while ctl status --json; ! jq -e "$1" "$vm_dir/answer" >/dev/null; do
		[ "$SECONDS" -lt "$limit" ] || fail "status never is $1: $(cat "$vm_dir/answer")"
		sleep 0.1
	done
}
# hotplug_root KIND SCRIPT: a kernel, a disk whose root is the busybox guest, and what it runs in $run.
hotplug_root() {
	kernel "$1"; shift
	socket
	tiny_disk "$vm_dir/root.img"
	encoded "mount -t tmpfs tmpfs /tmp; gone() { while [ -e \"\$1\" ]; do sleep 0.1; done; }
		there() { until [ -e \"\$1\" ]; do sleep 0.1; done; }
		$1
		warnings; echo '@@ warnings'"
}

# Ten times in the same slot: it appears, has what it should, keeps what is written, and is gone from
# the guest; on the host its file is free again. What minivmm has open is the same as before.
disk() { # KIND
	local sum
	# shellcheck disable=SC2016
	hotplug_root "$1" 'dd if=/dev/urandom of=/tmp/data bs=64k count=16 2>/dev/null
		echo "ready $(md5sum </tmp/data)"
		for n in 1 2 3 4 5 6 7 8 9 10; do
			there /sys/block/vdb/size; there /dev/vdb
			echo "disk $n $(cat /sys/block/vdb/size) $(cat /sys/block/vdb/serial) $(cat /sys/block/vdb/ro)"
			if [ $n = 1 ]; then dd if=/tmp/data of=/dev/vdb bs=64k oflag=direct 2>/dev/null; fi
			echo "read $n $(dd if=/dev/vdb bs=64k count=16 iflag=direct 2>/dev/null | md5sum)"
			gone /sys/block/vdb
			echo "gone $n"
		done
		read -r _'
	truncate -s 4M "$vm_dir/d"
	vm_start -k "$kernel" -d "$vm_dir/root.img" --hotplug 2 --control "$sock" --events "$vm_dir/events" --append "quiet $run"
	vm_expect '^ready [0-9a-f]{32} ' 200 || fail "$vm_why"
	sum=$(console | sed -n 's/^ready \([0-9a-f]*\).*/\1/p')
	# All in one go, as each way there and back takes long.
	cat >"$vm_dir/rounds" <<-'ROUNDS'
		ctl() { "$minivmm" ctl "$sock" "$@" >answer || { echo "ctl $*"; exit 1; }; }
		until_says() { until grep -q "^$1" out; do sleep 0.1; done; }
		# Any file will do as an initrd, and saves packing one.
		locked() { ! "$minivmm" --dry-run -k "$kernel" -i rounds -d d >/dev/null 2>&1; }
		held() { ls "/proc/$pid/fd" | wc -l; ls "/proc/$pid/task" | wc -l; }
		before=$(held)
		for n in 1 2 3 4 5 6 7 8 9 10; do
			ctl disk.add file=d serial=S$n --json
			grep -q '"disk1"' answer || { cat answer; exit 1; }
			until_says "disk $n 8192 S$n 0"
			until_says "read $n $sum "
			locked || { echo "its file is not locked in round $n"; exit 1; }
			ctl disk.remove disk=disk1
			until_says "gone $n"
			while ctl status --json; grep -q '"disk1"' answer; do sleep 0.1; done
			! locked || { echo "its file is locked still, after round $n"; exit 1; }
		done
		[ "$(held)" = "$before" ] || echo "descriptors and threads:" $before "before," $(held) now
		told() { grep "\"event\":\"device-$1\"" events | grep -c '"device":"disk1","kind":"disk"'; }
		[ "$(told added) $(told removed)" = "10 10" ] || echo "the events: $(told added) added, $(told removed) removed"
	ROUNDS
	# shellcheck disable=SC2016
	there timeout 300 sh -c 'cd "$1" && minivmm=$2 sock=$3 kernel=$4 sum=$5 pid=$(cat pid) && . ./rounds' sh \
		"$vm_dir" "$vm_binary" "$sock" "$kernel" "$sum" >"$vm_dir/rounds.log" 2>&1 || fail "status $?: $(cat "$vm_dir/rounds.log")"
	[ ! -s "$vm_dir/rounds.log" ] || fail "$(cat "$vm_dir/rounds.log")"
	vm_send $'\n'
	vm_wait 60 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
	[ "$(head -c 1M "$vm_dir/d" | md5sum)" = "$sum  -" ] || fail "what was written is not in the file"
	clean_dmesg
}

test_disk() { disk tuned; }
test_disk_cloud_long() { disk cloud; }

# The guest does it by itself, while it reads; the slot is free for another.
test_disk_ejected_by_the_guest_long() {
	# shellcheck disable=SC2016
	hotplug_root cloud 'echo ready
		there /dev/vdb
		(while dd if=/dev/vdb of=/dev/null bs=64k iflag=direct; do :; done) >/dev/null 2>&1 &
		sleep 0.5
		for slot in /sys/bus/pci/slots/*; do echo "slot ${slot##*/} $(cat $slot/power)"; done
		for slot in /sys/bus/pci/slots/*; do [ "$(cat $slot/power)" = 0 ] || echo 0 >$slot/power; done
		gone /sys/block/vdb
		echo 1 >/sys/bus/pci/rescan
		echo "after $(ls /sys/block | tr "\n" " ")"
		there /dev/vdb
		echo "second $(cat /sys/block/vdb/serial) $(cat /sys/block/vdb/ro)"'
	truncate -s 4M "$vm_dir/d"
	vm_start -k "$kernel" -c 2 -d "$vm_dir/root.img" --hotplug 1 --control "$sock" --append "quiet $run"
	vm_expect '^ready' 200 || fail "$vm_why"
	ctl disk.add "file=$vm_dir/d" id=first
	vm_expect '^after ' 60 || fail "$vm_why"
	says '^slot 3 1$'
	says '^after .*vda'
	says_not '^after .*vdb'
	until_status '.disks | has("first") | not'
	ctl disk.add "file=$vm_dir/d" id=second readonly=on
	vm_expect '^second second 1$' 60 || fail "$vm_why"
	vm_wait 60 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
}

# A tap, five times: the guest reaches who is behind it. What minivmm has open is the same as before.
net() { # KIND
	# shellcheck disable=SC2016
	hotplug_root "$1" 'echo ready
		for n in 1 2 3 4 5; do
			there /sys/class/net/eth0
			ip addr add 10.8.0.2/24 dev eth0; ip link set eth0 up
			until ping -c 1 -W 2 10.8.0.1 >/dev/null; do :; done
			echo "reached $n"
			gone /sys/class/net/eth0
			echo "gone $n"
		done
		read -r _'
	cat >"$vm_dir/rounds" <<-ROUNDS
		cd $vm_dir; pid=\$1
		ctl() { $vm_binary ctl $sock "\$@" >answer || { echo "ctl \$*"; exit 1; }; }
		until_says() { until grep -qa "^\$1" out; do sleep 0.1; done; }
		held() { ls "/proc/\$pid/fd" | wc -l; ls "/proc/\$pid/task" | wc -l; }
		until_says ready
		before=\$(held)
		for n in 1 2 3 4 5; do
			ctl net.add tap=t0
			until_says "reached \$n"
			ctl net.remove net=net0
			until_says "gone \$n"
			while ctl status --json; grep -q '"net0"' answer; do sleep 0.1; done
		done
		[ "\$(held)" = "\$before" ] && echo all is well || echo descriptors and threads: \$before before, \$(held) now
	ROUNDS
	# shellcheck disable=SC2016
	in_namespace 'ip tuntap add t0 mode tap; ip addr add 10.8.0.1/24 dev t0; ip link set t0 up
		with sh $vm_dir/rounds $$'
	vm_start -k "$kernel" -d "$vm_dir/root.img" --hotplug 1 --control "$sock" --append "quiet $run"
	vm_expect '^gone 5' 300 || fail "$vm_why; $(cat "$vm_dir/with.log")"
	local limit=$((SECONDS + 30))
	until [ -s "$vm_dir/with.log" ] || [ "$SECONDS" -ge "$limit" ]; do sleep 0.2; done
	[ "$(cat "$vm_dir/with.log")" = 'all is well' ] || fail "$(cat "$vm_dir/with.log")"
	vm_send $'\n'
	vm_wait 60 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
	clean_dmesg
}
test_net() { net tuned; }
test_net_cloud_long() { net cloud; }

# A snapshot of a machine to which a disk and a tap were added: the restored one has both, and its guest
# goes on with them, gives them up and gets others.
test_saved() {
	local dir minivmm=$vm_binary
	kernel tuned
	socket
	# shellcheck disable=SC2016
	guest 'gone() { while [ -e "$1" ]; do sleep 0.1; done; }
		there() { until [ -e "$1" ]; do sleep 0.1; done; }
		reach() { until ping -c 1 -W 2 10.8.0.1 >/dev/null; do :; done; echo "reached $1"; }
		dd if=/dev/urandom of=/data bs=64k count=16 2>/dev/null
		echo ready
		there /dev/vda; there /sys/class/net/eth0
		dd if=/data of=/dev/vda bs=64k oflag=direct 2>/dev/null
		ip addr add 10.8.0.2/24 dev eth0; ip link set eth0 up; reach before
		echo "wrote $(md5sum </data)"
		read -r _
		echo "read $(dd if=/dev/vda bs=64k count=16 iflag=direct 2>/dev/null | md5sum)"
		reach after
		gone /sys/block/vda; gone /sys/class/net/eth0
		echo gone
		there /sys/block/vda/serial
		echo "another $(cat /sys/block/vda/serial)"
		echo "@@ warnings"; warnings'
	dir=$(there mktemp -d /var/tmp/minivmm-hotplug.XXXXXX)
	on_exit there rm -rf "$dir"
	truncate -s 4M "$vm_dir/d"
	cat >"$vm_dir/rounds" <<-ROUNDS
		cd $vm_dir
		until grep -qa "^ready" out; do sleep 0.1; done
		for words in "disk.add file=d serial=S1" "net.add tap=t0"; do $minivmm ctl $sock \$words || exit 1; done
	ROUNDS
	# shellcheck disable=SC2016
	in_namespace 'ip tuntap add t0 mode tap; ip link set t0 address 02:00:00:00:00:01
		ip addr add 10.8.0.1/24 dev t0; ip link set t0 up
		[ "$1" = --restore ] || with sh $vm_dir/rounds'
	vm_start -k "$kernel" -i "$initrd" --hotplug 2 --control "$sock" --append quiet
	vm_expect '^wrote ' 300 || fail "$vm_why; $(cat "$vm_dir/with.log")"
	says '^reached before'
	vm_binary=$minivmm
	ctl snapshot dir="$dir/snap" stop=on
	vm_wait 60 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
	cp "$vm_dir/out" "$vm_dir/before"
	vm_binary=$vm_dir/inside
	vm_start --restore "$dir/snap" --control "$sock"
	until there test -S "$sock"; do sleep 0.1; done
	vm_binary=$minivmm
	vm_send $'\n'
	vm_expect '^reached after' 100 || fail "$vm_why"
	[ "$(console | sed -n 's/^read //p')" = "$(tr -d '\r' <"$vm_dir/before" | sed -n 's/^wrote //p')" ] || fail "the disk has something else"
	ctl disk.remove disk=disk0
	ctl net.remove net=net0
	vm_expect '^gone' 60 || fail "$vm_why"
	until_status '(.disks | has("disk0") | not) and .nets == {}'
	ctl disk.add "file=$vm_dir/d" serial=S2
	vm_expect '^another S2$' 60 || fail "$vm_why"
	vm_wait 60 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
	clean_dmesg
}
