# shellcheck shell=bash
# The power fails: what a guest was told is on its disks is there afterwards, and nothing is there
# that it did not write. The disks are those of volatile_disk.c, which keep what was not flushed in
# memory and lose some of it; the guest is cut_work.c, on ext4.

# cut_guest: what mounts each disk and works on it until the power fails.
cut_guest() {
	local work
	work=$(dirname "$vm_binary")/tests/boot/cut_work
	store=$(dirname "$vm_binary")/tests/boot/volatile_disk
	[ -x "$work" ] && [ -x "$store" ] || fail "cut_work is not built; run scripts/build dev"
	guest 'for d in /dev/vd*; do
			d=${d##*/}; mkdir /$d
			mount -t ext4 /dev/$d /$d || { echo "failed: $d cannot be mounted"; dmesg | grep -E "EXT4|JBD2|$d" | sed "s/^/why: /"; continue; }
			/cut_work $d /$d $(($(od -An -N2 -tu2 /dev/urandom) + 1)) &
		done
		wait
		echo "@@ through"; sleep 60'
	(cd "$vm_dir" && cp "$work" . && echo cut_work | cpio -o -H newc --quiet -R 0:0) >>"$initrd"
}

# four_disks: $dir, with disks/a to d, and a place to mount at.
four_disks() {
	dir=$(there mktemp -d /var/tmp/minivmm-cut.XXXXXX)
	on_exit there rm -rf "$dir"
	there sh -ec 'cd "$0"; mkdir disks place
		for d in a b c d; do truncate -s 24M disks/$d; mke2fs -q -t ext4 -F -E lazy_itable_init=0,lazy_journal_init=0 disks/$d; done' "$dir"
	: >"$vm_dir/all"
}

# collect: what a guest has said into $vm_dir/all. Lines that the end has cut, or its kernel has spoken into,
# are no word of the guest's.
collect() {
	says_not '^failed'
	console | sed '$d' | grep -aE '^(found|ack) vd[a-d] [a-z]+[0-9]* [0-9]+$' >>"$vm_dir/all" || true
}

# judge: what was acknowledged and not found again, into $lost; how much was acknowledged, into $acks.
judge() {
	lost=$(awk '$1 == "found" && $4 < acked[$2 " " $3] { print "cut by cut, " $2 " " $3 " had " acked[$2 " " $3] " and has " $4 }
		$1 == "ack" && $4 > acked[$2 " " $3] { acked[$2 " " $3] = $4; n++ }
		END { print n + 0 >"'"$vm_dir/acks"'" }' "$vm_dir/all")
	acks=$(cat "$vm_dir/acks")
}

# cuts TIMES [--lie]: as often, on four disks at once, each served in another way. With --lie the
# disks do not flush.
cuts() {
	local n seed minivmm=$vm_binary
	kernel tuned
	cut_guest
	four_disks
	# The store is the VM's child, so that it knows whom to kill.
	cat >"$vm_dir/beside" <<-BESIDE
		#!/bin/bash
		dir=$dir; writes=\$1 seed=\$2; shift 2
		$store ${2:-} \$dir/disks \$dir/place \$writes \$seed </dev/null >>$vm_dir/store 2>&1 &
		for ((i = 0; i < 100; i++)); do [ -e \$dir/place/a ] && break; sleep 0.05; done
		exec $minivmm "\$@"
	BESIDE
	chmod 755 "$vm_dir/beside"
	for ((n = 1; n <= $1; n++)); do
		seed=$RANDOM
		vm_binary=$vm_dir/beside
		vm_start $((100 + RANDOM % 500)) "$seed" -q -k "$kernel" -i "$initrd" -m 128M -c 2 --append quiet \
			--disk "$dir/place/a" --disk "$dir/place/b,cache=none" --disk "$dir/place/c,queues=2,threads=2" \
			--disk "$dir/place/d,queues=2,cache=none"
		vm_binary=$minivmm
		vm_wait 120 || fail "cut $n: $vm_why"
		there sh -c 'umount "$0" 2>/dev/null; ! mountpoint -q "$0"' "$dir/place" || fail "cut $n: the store is still there"
		[ "$vm_status" = 137 ] || fail "cut $n: status $vm_status: $(tail -n 2 "$vm_dir/store")"
		collect
	done
	judge
}

# What was never found again: a guest that finds nothing would pass.
told_all() { # CUTS
	local disk
	for disk in vda vdb vdc vdd; do
		[ "$(grep -c "^found $disk log " "$vm_dir/all")" -ge $(($1 * 3 / 4)) ] || fail "$disk was looked at too seldom"
	done
	[ "$acks" -ge $(($1 * 20)) ] || fail "only $acks writes were acknowledged"
}

survives() {
	cuts "$1"
	[ -z "$lost" ] || fail "$lost"
	told_all "$1"
	echo "$1 cuts of four disks, $acks writes acknowledged; $(awk '{ k += $12; t += $14; l += $16 } END { print "not flushed: " k " kept, " t " torn, " l " lost" }' "$vm_dir/store")" >"$vm_dir/note"
}
test_cuts_long() { survives 12; }
test_200_cuts_long() { survives 200; }

# The test of the test: without its flushes a disk loses what was acknowledged, or the file system is
# damaged, and that is seen.
test_disks_that_lie_are_found_long() {
	if (cuts 4 --lie; [ -z "$lost" ]) 2>/dev/null; then fail "nothing was lost by disks that do not flush"; fi
	rm -f "$vm_dir/why"
}

# minivmm is killed instead, on plain files: what the guest was told is there, and the file systems are
# whole.
test_killed_under_load_long() {
	local n
	kernel tuned
	cut_guest
	four_disks
	for n in 1 2 3 4 5 6; do
		vm_start -q -k "$kernel" -i "$initrd" -m 128M -c 2 --append quiet --disk "$dir/disks/a" --disk "$dir/disks/b,cache=none" \
			--disk "$dir/disks/c,queues=2,threads=2" --disk "$dir/disks/d,queues=2,cache=none"
		vm_expect '^ack vd' 120 || fail "$vm_why"
		sleep "$((RANDOM % 3)).$((RANDOM % 10))"
		vm_signal KILL
		vm_wait 20 || fail "kill $n: $vm_why"
		[ "$vm_status" = 137 ] || fail "kill $n: status $vm_status"
		collect
		# shellcheck disable=SC2016
		there sh -c 'cd "$0/disks" && for d in a b c d; do e2fsck -p $d; [ $? -le 1 ] && e2fsck -fn $d || exit; done' "$dir" >"$vm_dir/fsck" 2>&1 ||
			fail "kill $n: $(tail -n 3 "$vm_dir/fsck")"
	done
	judge
	[ -z "$lost" ] || fail "$lost"
	told_all 6
	echo "killed 6 times, $acks writes acknowledged" >"$vm_dir/note"
}
