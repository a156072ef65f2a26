# shellcheck shell=bash
# What the tests of minivmm's manners share. A test file is run as
#
#	tests/cli/FILE MINIVMM PTY GUEST.elf [PATTERN]
#
# with GUEST the freestanding guest `manners`; it has functions test_NAME, reads this
# file and ends with `run_tests`, which calls each (or those that match PATTERN) in
# a subshell and a directory of its own. After each, nothing may be left behind.
# Status: 0 all passed, 1 not so, 77 skipped.
#
#   vmm ARGUMENT...         run it to its end: $status; its messages in ./err
#   start ARGUMENT...       the same in the background: $pid; output in ./out,
#                           stdin is the fifo ./in, which is open as fd 9
#   await REGEX [FILE]      until FILE (./out) says so
#   finish [SECONDS]        until it has ended: $status
#   on_tty STEP... [-- ARGUMENT...]  on a terminal, see pty.c: ./screen, $ended, $settings
#   guest WORD...           the guest of the runs that follow, and what it does
#   is GOT WANT WHAT;  says REGEX [FILE];  says_not REGEX [FILE];  fail WHY
#   only_messages FILE      no other lines than minivmm's own
#   boots                   how often the guest `reset` has said that it resets
set -u
export LC_ALL=C
# shellcheck source=../lib/wait.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/wait.sh"
minivmm=$(realpath "$1") pty=$(realpath "$2") elf=$(realpath "$3") pattern=${4:-}
name=$(basename "$0")
# But for one: all of it can be run in the sandbox.
for variable in $(compgen -e | grep ^MINIVMM_ | grep -vx MINIVMM_SANDBOX); do unset "$variable"; done

if [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
	echo "SKIP: /dev/kvm cannot be opened"
	exit 77
fi
# It may be there and of no use, in a container for one.
if ! why=$(timeout -k 1 20 "$minivmm" -k "$elf" --append do=machine --serial off --timeout 10 \
	</dev/null 2>&1) && [[ $why == *"/dev/kvm"* ]]; then
	echo "SKIP: $why"
	exit 77
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
limit=60

fail() {
	printf '    %s\n' "$*" >>"$scratch/why"
	exit 1
}

is() { [ "$1" = "$2" ] || fail "$3 is '$1', not '$2'"; }
says() { has "$1" "${2:-out}" || fail "${2:-out} does not say: $1"; }
says_not() { ! has "$1" "${2:-out}" || fail "${2:-out} says: $1"; }
lines_of() { wc -l <"$1"; }
boots() { grep -c '^resetting' out; }
only_messages() { ! grep -qv "^minivmm: " "$1" || fail "$1 has other lines than minivmm's"; }

guest() { guest=(-k "$elf" --append "do=$*"); }
guest=()

# The mark is how what belongs to a test is known by its environment. env and
# timeout exec: $! is minivmm itself where no timeout is in between.
vmm() {
	UX_MARK=$mark timeout --foreground -s KILL "$limit" "$minivmm" "${guest[@]}" "$@" 2>err
	status=$?
	return "$status"
}

start() {
	[ -p in ] || mkfifo in
	exec 9<>in
	: >out 2>err # at once: words of one before are nobody's to wait for
	UX_MARK=$mark "$minivmm" "${guest[@]}" "$@" <in >out 2>err 9>&- &
	pid=$!
}

await() {
	local deadline=$((SECONDS + 60)) late
	while :; do
		# Asked before: that this shell was kept waiting is not said of the guest.
		late=$((SECONDS >= deadline))
		! has "$1" "${2:-out}" || return 0
		[ "$late" = 0 ] || fail "${2:-out} does not say in time: $1; it begins: $(head -n 3 "${2:-out}" | head -c 200 | cat -v)"
		sleep 0.02
	done
}

running() { kill -0 "$pid" 2>/dev/null; }

finish() {
	local deadline=$((SECONDS + 1 + ${1:-20}))
	while running; do
		if [ "$SECONDS" -ge "$deadline" ]; then
			kill -9 "$pid"
			fail "it still runs after ${1:-20} s"
		fi
		sleep 0.02
	done
	wait "$pid" 2>/dev/null
	status=$?
}

on_tty() {
	local steps=() word
	while [ $# -gt 0 ] && [ "$1" != -- ]; do steps+=("$1"); shift; done
	[ $# = 0 ] || shift
	timeout --foreground -k 1 "$limit" "$pty" "${leads[@]}" -o screen -r ended "${steps[@]}" -- \
		env UX_MARK="$mark" "${command[@]}" "${guest[@]}" "$@" 2>pty.err || fail "$(cat pty.err)"
	{ read -r ended && read -r word settings; } <ended
}
command=("$minivmm") leads=()

# What a test has left behind: processes, temporary files, locks.
ours() {
	local file
	grep -lsxz "UX_MARK=$mark" /proc/[0-9]*/environ | while read -r file; do
		echo "$(basename "${file%/environ}") ($(cat "${file%/environ}/comm" 2>/dev/null))"
	done
}

left_behind() {
	local deadline=$((SECONDS + 3)) file inode
	# A guardian whose process was killed has a moment to put things right.
	while [ -n "$(ours)" ]; do
		if [ "$SECONDS" -ge "$deadline" ]; then
			ours | sed 's/^/    left behind: process /'
			ours | while read -r pid _; do kill -9 "$pid"; done
			break
		fi
		sleep 0.05
	done
	find "$TMPDIR" "$XDG_RUNTIME_DIR" -mindepth 1 | sed 's/^/    left behind: file /'
	for file in *; do
		[ -f "$file" ] || continue
		inode=$(stat -c %i "$file")
		grep -E "^[0-9]+: (POSIX|FLOCK|OFDLCK) .*:$inode " /proc/locks |
			sed "s/^/    left behind: lock on $file: /"
	done
}

# Whatever a test waits for in vain, it does not wait for ever.
wait_for_group() {
	local deadline=$((SECONDS + 120))
	while kill -0 "$1" 2>/dev/null; do
		if [ "$SECONDS" -ge "$deadline" ]; then
			echo "    still running after two minutes" >>"$scratch/why"
			kill -9 -- -"$1"
			break
		fi
		sleep 0.01
	done
	wait "$1" 2>/dev/null
}

run_tests() {
	local failed=0 passed=0 each rc from took
	for each in $(declare -F | sed -n 's/^declare -f \(test_.*\)/\1/p'); do
		[[ ${each#test_} =~ $pattern ]] || continue
		mark=$$.$each
		mkdir "$scratch/$each" "$scratch/tmp" "$scratch/run"
		: >"$scratch/why"
		export TMPDIR=$scratch/tmp XDG_RUNTIME_DIR=$scratch/run
		now_ms from
		set -m # a process group of its own
		(set +m; cd "$scratch/$each" && "$each") 2>"$scratch/stderr" &
		pid=$!
		set +m
		wait_for_group "$pid"
		rc=$?
		since "$from"
		took=$REPLY
		(cd "$scratch/$each" && left_behind) >>"$scratch/why"
		if [ "$rc" = 0 ] && [ ! -s "$scratch/why" ]; then
			echo "ok $name/${each#test_} ($took ms)"
			passed=$((passed + 1))
		else
			echo "not ok $name/${each#test_} ($took ms)"
			cat "$scratch/why"
			for log in "$scratch/stderr" "$scratch/$each"/{err,out,screen}; do
				[ ! -f "$log" ] || tail -n 8 "$log" | tail -c 800 | cat -v |
					sed "s/^/      $(basename "$log"): /"
			done
			failed=$((failed + 1))
		fi
		rm -rf "${scratch:?}/$each" "$scratch/tmp" "$scratch/run"
	done
	echo "$passed passed, $failed failed"
	[ "$failed" = 0 ]
}
