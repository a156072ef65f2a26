# shellcheck shell=bash
# What the tests of saved machines share, beside lib.sh, which this reads. The guest is alive.elf, beside
# GUEST.elf, which ends with a FAIL if anything of it is not as it left it.
# shellcheck disable=SC1091,SC2154,SC2034 # lib.sh sets and reads variables
. "$(dirname "$0")/lib.sh"
command -v jq >/dev/null || { echo "SKIP: no jq"; exit 77; }
elf=$(dirname "$elf")/alive.elf

# alive [NAME=VALUE]...: what the guest is to do.
alive() { words=(); local w; for w in "$@"; do words+=(--append "$w"); done; }
# up OPTION...: a machine with a socket, in its third round.
up() { start -k "$elf" -m 64M --control sock "${words[@]}" "$@"; await '^round 3'; }
ctl() { timeout 60 "$minivmm" ctl sock "$@" >answer 2>why; rc=$?; }
done_by() { ctl "$@"; is "$rc" 0 "the status of ctl $* ($(cat why))"; }
refused_by() { # REGEX WORD...
	local want=$1; shift
	ctl "$@"
	is "$rc" 1 "the status of ctl $*"
	says "$want" why
}
# saved [OPTION]...: ./snap is the snapshot of a machine that has ended.
saved() { up "$@"; done_by snapshot dir=snap stop=on; finish; is "$status" 0 "the status"; mv out first; }
saved_packed() {
	up "$@"
	done_by snapshot dir=snap stop=on compress=zstd
	finish; is "$status" 0 "the status"; mv out first
}
# The last that it has said to the end.
last_round() { grep -aE $'^round [0-9]+\r$' "$1" | tail -1 | tr -dc 0-9; }
# All rounds of the files given, one behind the other, in a row and each once.
in_a_row() {
	cat "$@" | grep -a $'^round .*\r$' | tr -d '\r' | awk '{ if ($2 != NR) exit 1 } END { exit NR < 4 }' ||
		fail "rounds are missing or come twice: $(cat "$@" | tail -5)"
}
# goes_on [OPTION]...: the restored one, some rounds further, and ended by its button.
goes_on() {
	local from
	from=$(last_round first)
	start --restore snap "$@"
	await "^round $((from + 4))"
	kill -TERM "$pid"
	finish
	is "$status" 0 "the status of the restored one"
}
# refused REGEX [OPTION]...: minivmm --restore snap OPTION... with one line and status 1 or 2.
refused() {
	local want=$1; shift
	timeout 30 "$minivmm" --restore snap "$@" </dev/null >out 2>why; rc=$?
	[ "$rc" = 1 ] || [ "$rc" = 2 ] || fail "status $rc of --restore snap $*: $(cat why)"
	is "$(lines_of why)" 1 "the lines of --restore snap $*"
	says "$want" why
}
# flipped FILE OFFSET: with one bit of it turned.
flipped() {
	cp -r good snap
	python3 - "$1" "$2" <<'P'
import sys
f = open("snap/" + sys.argv[1], "r+b"); f.seek(int(sys.argv[2])); b = f.read(1)
f.seek(int(sys.argv[2])); f.write(bytes([b[0] ^ 1 << int(sys.argv[2]) % 8]))
P
}
