# shellcheck shell=bash
# Memory that goes back to the host, measured where it counts: in what the host holds for minivmm; and memory that comes.

socket() { sock=$(there mktemp -u /run/minivmm-memory.XXXXXX); }
ctl() { there "$vm_binary" ctl "$sock" "$@" >"$vm_dir/answer" 2>"$vm_dir/why.ctl" || fail "ctl $*: $(cat "$vm_dir/why.ctl")"; }
# rss: MiB of it that are in the host's memory, into $rss.
rss() { rss=$(there awk '/^VmRSS:/ {print int($2 / 1024)}' "/proc/$(cat "$vm_dir/pid")/status"); }
# within SECONDS WHY COMMAND...: until it succeeds.
within() {
	local limit=$((SECONDS + $1)) why=$2; shift 2
	until "$@"; do
		[ "$SECONDS" -lt "$limit" ] || fail "$why; ${rss-unknown} MiB are resident; $(cat "$vm_dir/why.ctl" "$vm_dir/answer" 2>/dev/null | tr -d "\n")"
		sleep 0.3
	done
}
rss_above() { rss; [ "$rss" -ge "$1" ]; }
rss_below() { rss; [ "$rss" -le "$1" ]; }
# actual TEST: what jq says of the balloon's status.
actual() { ctl status --json; jq -e ".balloon | $1" "$vm_dir/answer" >/dev/null; }
ends() {
	vm_wait 60 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
	clean_dmesg
}

# A program that has so many MiB ends; some of them were there already, free. Linux reports what is free two seconds later at the earliest.
freed() { # freed MIB MEMORY
	local before peak from
	guest "sleep 5; echo ready; read x
		dd if=/dev/zero bs=$1M count=1 2>/dev/null | { echo held; read x </dev/console; }
		echo freed; read x; echo '@@ warnings'; warnings"
	vm_start -k "$kernel" -i "$initrd" -m "$2" --balloon --append quiet
	vm_expect '^ready' 100 || fail "$vm_why"
	rss; before=$rss
	vm_send $'\n'
	vm_expect '^held' 60 || fail "$vm_why"
	within 60 "$before MiB before, and the program does not get its own" rss_above $((before + $1 * 8 / 10))
	peak=$rss
	vm_send $'\n'
	vm_expect '^freed' 60 || fail "$vm_why"
	now_ms from
	within 10 "$before MiB before, $peak with the program" rss_below $((before + before / 10))
	since "$from"
	echo "$before MiB, $peak, and $rss again after $REPLY s" >"$vm_dir/note"
	vm_send $'\n'
	ends
}
test_freed_memory_goes_back() { freed 512 768M; }
test_a_freed_gib_goes_back_long() { freed 1024 1536M; }
# Less, as a memfd is taken from the host in small pages, each a fault of the guest's.
test_freed_shared_memory_goes_back_long() { freed 96 256M,shared=on; }

# The guest has cached a disk, which it has open, when it is asked to do with 96 MiB; when a program needs more,
# the balloon lets it have that, and nobody is killed.
test_balloon() {
	local full
	socket
	truncate -s 200M "$vm_dir/data"
	# shellcheck disable=SC2016
	guest 'exec 3</dev/vda; cat <&3 >/dev/null; echo full; read x
		dd if=/dev/zero of=/dev/null bs=128M count=1 2>/dev/null && echo "the program had its memory"
		echo after; read x; dmesg | grep -c "Out of memory" | sed "s/^/killed /"; echo "@@ warnings"; warnings'
	vm_start -k "$kernel" -i "$initrd" -m 384M --balloon --control "$sock" -d "$vm_dir/data,readonly=on" --append quiet
	vm_expect '^full' 100 || fail "$vm_why"
	rss; full=$rss
	[ "$full" -gt 200 ] || fail "$full MiB are resident after 200 MiB of a disk"
	ctl memory.balloon target=100663296
	within 40 "the guest does not give 288 MiB" actual '.target == 100663296 and .actual == 100663296'
	within 5 "$full MiB before" rss_below 115
	echo "$full MiB, $rss with a target of 96" >"$vm_dir/note"
	ctl stats --json
	sleep 1
	ctl stats --json
	jq -e '.balloon | .age_ms < 60000 and .total > 350000000 and .total < 402653184 and .free < 100663296 and
		.available > 0' "$vm_dir/answer" >/dev/null || fail "stats: $(cat "$vm_dir/answer")"
	vm_send $'\n'
	vm_expect '^the program had its memory' 100 || fail "$vm_why"
	vm_expect '^after' 10 || fail "$vm_why"
	actual '.target == 100663296 and .actual > 134217728' || fail "after need: $(cat "$vm_dir/answer")"
	ctl memory.balloon target=402653184
	within 40 "the balloon does not empty" actual '.actual == 402653184'
	vm_send $'\n'
	ends
	says '^killed 0$'
}

# Where the driver is a module, it is packed.
test_balloon_of_a_stock_kernel_long() {
	kernel cloud
	socket
	tiny_disk "$vm_dir/root.img"
	# shellcheck disable=SC2016
	encoded 'for d in /sys/bus/virtio/drivers/virtio_balloon/virtio*; do echo "balloon ${d##*/}"; done; read x'
	vm_start -k "$kernel" -m 256M -d "$vm_dir/root.img" --balloon --control "$sock" --append "quiet $run"
	vm_expect '^balloon virtio[0-9]' 200 || fail "$vm_why"
	ctl memory.balloon target=201326592
	within 20 "the guest does not give 64 MiB" actual '.actual == 201326592'
	vm_send $'\n'
	vm_wait 60 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
}

# mem TEST: what jq says of what has been plugged.
mem() { ctl status --json; jq -e ".mem | $1" "$vm_dir/answer" >/dev/null; }
# totals WHEN: MiB that the guest's kernel has, into $REPLY, once it has said so to the end of the line.
totals() { vm_expect "^total $1 [0-9]+ MiB" 100 || fail "$vm_why"; REPLY=$(console | sed -n "s/^total $1 \([0-9]*\) MiB.*/\1/p"); }
grows='total() { echo "total $1 $(awk "/^MemTotal/ {print int(\$2 / 1024)}" /proc/meminfo) MiB"; }
	piece() { printf %4d $1; cat /piece; }
	fill() { mkdir -p /mnt; mount -t tmpfs -o size=220M none /mnt; head -c 10485756 /dev/urandom >/piece; i=0
		while [ $i -lt 20 ]; do piece $i; i=$((i + 1)); done >/mnt/file; }
	whole() { [ "$(stat -c %s /mnt/file)" = 209715200 ] || return
		for i in 0 7 13 19; do
			[ "$(piece $i | head -c 1048576 | md5sum)" = "$(dd if=/mnt/file bs=1M skip=${i}0 count=1 2>/dev/null | md5sum)" ] || return
		done; echo "whole $1"; }
	total first; read x; '

# 256 MiB more are there for a program, and gone again when they are taken away: from the guest, and from what the host holds for it.
test_grow_and_shrink() {
	local first grown before full
	socket
	guest "$grows total grown; fill; whole file; read x; rm /mnt/file; echo removed; read x; total shrunk; echo '@@ warnings'; warnings"
	vm_start -k "$kernel" -i "$initrd" -m 256M,max=1G --control "$sock" --append quiet
	totals first; first=$REPLY
	mem '.size == 268435456 and .plugged == 0' || fail "at the start: $(cat "$vm_dir/answer")"
	ctl memory.set size=512M
	within 20 "the guest does not take 256 MiB" mem '.plugged == 268435456 and .size == 536870912'
	rss; before=$rss
	vm_send $'\n'
	totals grown; grown=$((REPLY - first))
	[ "$grown" -ge 250 ] && [ "$grown" -le 257 ] || fail "MemTotal has grown by $grown MiB"
	vm_expect '^whole file' 100 || fail "$vm_why"
	rss; full=$rss
	[ "$full" -ge $((before + 190)) ] || fail "$full MiB are resident with the file, and $before before"
	vm_send $'\n'
	vm_expect '^removed' 20 || fail "$vm_why"
	ctl memory.set size=256M
	within 20 "the guest does not give 256 MiB" mem '.plugged == 0 and .requested == 0'
	within 5 "$before MiB before, $full with the file" rss_below $((before + 25))
	echo "$before MiB, $full with a file, $rss when it had shrunk" >"$vm_dir/note"
	vm_send $'\n'
	totals shrunk
	[ $((REPLY - first)) -le 1 ] && [ $((first - REPLY)) -le 5 ] || fail "MemTotal is $REPLY MiB and was $first"
	ends
}

# What has been plugged is there in a restored machine, which can give it back.
grown_and_restored() { # KEYS OPTION...
	local first keys=$1; shift
	place
	guest "$grows fill; whole before; read x; whole after; rm /mnt/file; total restored; read x; total shrunk; echo '@@ warnings'; warnings"
	vm_start -k "$kernel" -i "$initrd" -m 256M,max=1G "$@" --control "$sock" --append quiet
	totals first; first=$REPLY
	ctl memory.set size=512M
	within 20 "the guest does not take 256 MiB" mem '.plugged == 268435456'
	vm_send $'\n'
	vm_expect '^whole before' 100 || fail "$vm_why"
	put_away
	taken_out "$keys"
	mem '.plugged == 268435456 and .requested == 268435456' || fail "restored: $(cat "$vm_dir/answer")"
	vm_send $'\n'
	vm_expect '^whole after' 100 || fail "$vm_why"
	totals restored
	[ $((REPLY - first)) -ge 250 ] || fail "MemTotal is $REPLY MiB and was $first at the start"
	ctl memory.set size=256M
	within 20 "the restored guest does not give 256 MiB" mem '.plugged == 0'
	vm_send $'\n'
	totals shrunk
	[ $((REPLY - first)) -le 1 ] && [ $((first - REPLY)) -le 5 ] || fail "MemTotal is $REPLY MiB and was $first"
	ends
}
# Without PCI.
test_grown_and_restored_long() { grown_and_restored '' --transport mmio; }
# It comes while the guest runs: the file that lies in what was plugged is whole, and what is unplugged meanwhile
# is the host's again.
test_grown_and_restored_lazily() {
	grown_and_restored ,memory=lazy
	there test -s "$dir/snap/working-set" || fail "no working set: its memory did not come while it ran"
}

# Where the driver is a module, it is packed.
test_grow_of_a_stock_kernel_long() {
	kernel cloud
	socket
	tiny_disk "$vm_dir/root.img"
	# shellcheck disable=SC2016
	encoded 'for d in /sys/bus/virtio/drivers/virtio_mem/virtio*; do echo "mem ${d##*/}"; done; read x
		awk "/^MemTotal/ {print \"total grown \" int(\$2 / 1024) \" MiB\"}" /proc/meminfo'
	vm_start -k "$kernel" -m 256M,max=1G -d "$vm_dir/root.img" --control "$sock" --append "quiet $run"
	vm_expect '^mem virtio[0-9]' 200 || fail "$vm_why"
	ctl memory.set size=640M
	within 20 "the guest does not take 384 MiB" mem '.plugged == 402653184'
	vm_send $'\n'
	vm_wait 60 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
	totals grown
	[ "$REPLY" -ge 560 ] || fail "MemTotal is $REPLY MiB"
}
