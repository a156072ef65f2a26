# shellcheck shell=bash
# `minivmm matrix`: commands in guests.

# cells_end STATUS [OPTION...]: of $vm_dir/t.ini; its results in j.json and j.xml.
cells_end() {
	local want=$1 got=0; shift
	timeout 300 "${vm_on[@]}" "$vm_binary" matrix "$vm_dir/t.ini" --json "$vm_dir/j.json" --junit "$vm_dir/j.xml" "$@" \
		</dev/null >"$vm_dir/out" 2>"$vm_dir/err" || got=$?
	[ "$got" = "$want" ] || fail "status $got, not $want"
}
cells_hold() { jq -e "$1" "$vm_dir/j.json" >/dev/null || fail "not so: $1"; }

# One passes, one fails, one crashes, one hangs, one has minivmm's own words for statuses.
test_cells_verdicts() {
	cat >"$vm_dir/t.ini" <<-END
		[matrix]
		kernel = $kernel
		cpus = 1, 2, 3, 4, 5
		command = "case \$(nproc) in 1) echo fine;; 2) echo bad >&2; exit 3;; 3) echo c >/proc/sysrq-trigger;; 4) sleep 1000;; 5) exit 124; esac"
		[run]
		timeout = 60
	END
	cells_end 1
	cells_hold '[.cells[].result] == ["passed", "failed", "error", "error", "failed"]'
	cells_hold '[.cells[].message] == [null, "status 3", "panic: sysrq triggered crash", "timeout", "status 124"]'
	cells_hold '[.cells[].command_status] == [0, 3, null, null, 124]'
	cells_hold '.cells[0].output == "fine\n" and .cells[1].output == "bad\n"'
	cells_hold '.cells[2].output | contains("Kernel panic - not syncing: sysrq triggered crash")'
	cells_hold 'all(.cells[0,1,4].timings; .first_instruction_ns < .command_started_ns and .command_started_ns < .command_ended_ns)'
	grep -q 'tests="5" failures="2" errors="2" skipped="0"' "$vm_dir/j.xml" || fail "JUnit: $(head -n 3 "$vm_dir/j.xml")"
	grep -q '<failure type="status" message="status 3">bad' "$vm_dir/j.xml" || fail "no failure in JUnit"
}

# The same command under a distribution's kernel and ours, in two sizes.
test_cells_of_kernels() {
	local ours
	kernel tuned
	ours=$kernel
	kernel cloud
	printf '[matrix]\nkernel = %s, %s\nmemory = 384M, 512M\ncommand = uname -r\n' "$ours" "$kernel" >"$vm_dir/t.ini"
	cells_end 0
	cells_hold '[.cells[].memory / 1048576] == [384, 512, 384, 512]'
	cells_hold '.cells[0].output == .cells[1].output and .cells[2].output == .cells[3].output and .cells[0].output != .cells[2].output'
	cells_hold ".cells[2].output == \"$("$here/fetch-kernel" --release cloud)\n\""
}

# Ctrl-C amid commands: nothing is left of any.
test_cells_interrupted() {
	printf '[matrix]\nkernel = %s\nmemory = 64M, 65M, 66M\ncommand = "echo begun; sleep 1000"\n[boot]\nappend = amid=it\n' \
		"$kernel" >"$vm_dir/t.ini"
	# shellcheck disable=SC2016
	"${vm_on[@]}" timeout 200 sh -c '"$0" matrix "$1/t.ini" -j 2 --json "$1/j.json" >"$1/out" 2>"$1/err" & pid=$!
		sleep 20; kill -TERM $pid; wait $pid; echo "status $?"
		pgrep -f "config $1/t.ini" || echo "none is left"' "$vm_binary" "$vm_dir" >"$vm_dir/ended" 2>&1 || true
	grep -q '^status 143$' "$vm_dir/ended" || fail "$(cat "$vm_dir/ended")"
	grep -q '^none is left$' "$vm_dir/ended" || fail "$(cat "$vm_dir/ended")"
	cells_hold '[.cells[].message] == ["interrupted", "interrupted", "not begun"]'
}
