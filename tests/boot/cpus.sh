# shellcheck shell=bash
# Processors that come and go while Linux runs: to it one that came is off line until somebody asks for
# it, which is this guest's script, or minivmm's init with a command.

socket() { sock=$(there mktemp -u /run/minivmm-cpus.XXXXXX); }
ctl() { there "$vm_binary" ctl "$sock" "$@" >"$vm_dir/answer" 2>"$vm_dir/why.ctl" || fail "ctl $*: $(cat "$vm_dir/why.ctl")"; }
# settles N: the machine says that the guest has, and is to have, that many.
settles() {
	local limit=$((SECONDS + 60))
	while ctl status --json; ! jq -e --argjson n "$1" '.cpus == $n and .cpu.count == $n and .cpu.target == $n' "$vm_dir/answer" >/dev/null; do
		[ "$SECONDS" -lt "$limit" ] || fail "status never is $1: $(cat "$vm_dir/answer")"
		sleep 0.2
	done
}
# So many there are, all on line: each runs what is meant for it, which says on which one it was; one
# process for each runs on all the while.
# shellcheck disable=SC2016
follows='d=/sys/devices/system/cpu; n() { ls -d $d/cpu[0-9]* | wc -l; }
	all() { until [ "$(n)" = $1 ]; do sleep 0.1; done
		for c in $d/cpu[0-9]*/online; do [ ! -e $c ] || [ "$(cat $c)" = 1 ] || echo 1 >$c; done
		i=0; on=
		while [ $i -lt $1 ]; do
			on="$on $(taskset $(printf %x $((1 << i))) cut -d" " -f39 /proc/self/stat)"; i=$((i + 1))
		done
		echo "$2 $(nproc):$on"; }
	work() { i=0; while [ $i -lt $1 ]; do (while :; do sleep 0.01; : $((i * i)); done) & i=$((i + 1)); done; }'
# runs_on WORD N: the guest says so, of the first N.
runs_on() { vm_expect "^$1 $2:$(seq -f ' %g' -s '' 0 $(($2 - 1)))" 200 || fail "$vm_why"; }
# becomes WORD N: the same, as it is asked to.
becomes() {
	ctl cpus.set count="$2"
	runs_on "$1" "$2"
	settles "$2"
}
ends() {
	vm_wait 100 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
	clean_dmesg
}
rounds='all 1 first; work 4; all 4 second; all 2 third; all 4 fourth; read -r _; echo "@@ warnings"; warnings'

come_and_go() { # KERNEL OPTION...
	kernel "$1"
	shift
	socket
	tiny_disk "$vm_dir/root.img"
	encoded "$follows
		$rounds"
	vm_start -k "$kernel" -d "$vm_dir/root.img" -c 1,max=4 --control "$sock" --append "quiet $run" "$@"
	runs_on first 1
	becomes second 4
	becomes third 2
	becomes fourth 4
	vm_send $'\n'
	ends
}
test_come_and_go() { come_and_go tuned; }
test_come_and_go_mmio() { come_and_go tuned --transport mmio; }
test_a_stock_kernel_long() { come_and_go cloud; }
# Without ACPI nobody tells the guest: it is asked, as `status` says for as long as it likes, and goes on with
# what it has, also when it is asked for less again.
without_acpi() { # OPTION...
	kernel tuned
	socket
	tiny_disk "$vm_dir/root.img"
	encoded "$follows
		all 1 first; read -r _; sleep 1; all 1 second; read -r _; all 1 third; echo '@@ warnings'; warnings"
	vm_start -k "$kernel" -d "$vm_dir/root.img" -c 1,max=4 --control "$sock" --append "quiet acpi=off $run" "$@"
	runs_on first 1
	ctl cpus.set count=4 --json
	jq -e '.target == 4' "$vm_dir/answer" >/dev/null || fail "cpus.set: $(cat "$vm_dir/answer")"
	vm_send $'\n'
	runs_on second 1
	ctl status --json
	jq -e '.cpus == 1 and .cpu == {count: 1, target: 4, max: 4}' "$vm_dir/answer" >/dev/null || fail "status: $(cat "$vm_dir/answer")"
	ctl cpus.set count=1
	settles 1
	vm_send $'\n'
	runs_on third 1
	# Nor can it turn itself off.
	vm_expect '^@@ end' 60 || fail "$vm_why"
	ctl stop
	ends
}
test_without_acpi() { without_acpi; }
test_without_acpi_mmio() { without_acpi --transport mmio; }
# With a command they come on line by themselves.
# shellcheck disable=SC2016
test_a_command() {
	kernel cloud
	socket
	there sh -c 'until [ -S "$1" ]; do sleep 0.1; done; until "$0" ctl "$1" cpus.set count=3; do sleep 0.2; done' \
		"$vm_binary" "$sock" >/dev/null 2>&1 &
	timeout 200 "${vm_on[@]}" "$vm_binary" run -k "$kernel" -c 1,max=3 --control "$sock" -- sh -c \
		'until [ "$(nproc)" = 3 ]; do sleep 0.1; done; taskset -c 2 cut -d" " -f39 /proc/self/stat' \
		</dev/null >"$vm_dir/out" 2>"$vm_dir/err" || fail "status $?: $(cat "$vm_dir/err")"
	wait
	[ "$(cat "$vm_dir/out")" = 2 ] || fail "stdout is: $(cat "$vm_dir/out")"
}

# Some on, some off, one that never was: as they were, and they come and go again.
test_restored() {
	local dir
	kernel tuned
	socket
	dir=$(there mktemp -d /var/tmp/minivmm-cpus.XXXXXX)
	on_exit there rm -rf "$dir"
	guest "$follows
		all 1 first; work 4; all 3 second; all 2 third; read x; all 2 again; all 4 fourth; all 1 fifth; echo '@@ warnings'; warnings"
	vm_start -k "$kernel" -i "$initrd" -c 1,max=4 --control "$sock" --append quiet
	runs_on first 1
	becomes second 3
	becomes third 2
	ctl snapshot "dir=$dir/snap" stop=on
	vm_wait 100 || fail "$vm_why"
	vm_start --restore "$dir/snap" --control "$sock"
	local limit=$((SECONDS + 60))
	until there test -S "$sock"; do
		[ "$SECONDS" -lt "$limit" ] || fail "it has no socket: $(cat "$vm_dir/err")"
		sleep 0.1
	done
	settles 2
	vm_send $'\n'
	runs_on again 2
	becomes fourth 4
	ctl cpus.set count=1
	runs_on fifth 1
	ends
}
