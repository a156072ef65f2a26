# shellcheck shell=bash
# Memory that goes back to the host, measured where it counts: in what the host holds for minivmm.

socket() { sock=$(there mktemp -u /run/minivmm-memory.XXXXXX); }
ctl() { there "$vm_binary" ctl "$sock" "$@" >"$vm_dir/answer" 2>"$vm_dir/why.ctl" || fail "ctl $*: $(cat "$vm_dir/why.ctl")"; }
# rss: MiB of it that are in the host's memory, into $rss.
rss() { rss=$(there awk '/^VmRSS:/ {print int($2 / 1024)}' "/proc/$(cat "$vm_dir/pid")/status"); }
# within SECONDS WHY COMMAND...: until it succeeds.
within() {
	local limit=$((SECONDS + $1)) why=$2; shift 2
	until "$@"; do
		[ "$SECONDS" -lt "$limit" ] || fail "$why; $rss MiB are resident; $(cat "$vm_dir/why.ctl" "$vm_dir/answer" 2>/dev/null | tr -d "\n")"
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
# Less, as a memfd is taken from the host in small pages, each a fault of the guest's.
test_freed_shared_memory_goes_back() { freed 96 256M,shared=on; }

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
test_balloon_of_a_stock_kernel() {
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
