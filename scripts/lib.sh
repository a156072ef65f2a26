# shellcheck shell=bash
# Functions that the scripts here share. Sourced, never run.
#
#   prog=scripts/NAME
#   . "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib.sh"
#
# Conventions: results on stdout, everything told to a person on stderr; an
# error is one line "scripts/NAME: what: cause; remedy"; what takes long goes
# into the cache and is made atomically there (a temporary neighbour, renamed
# when it is complete), so that an interrupted run leaves nothing half made.

here=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
root=$(dirname "$here")
cache=${MINIVMM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/minivmm}
prog=${prog:-scripts/$(basename "$0")}
export LC_ALL=C.UTF-8

say() { printf '%s\n' "$*" >&2; }
note() { [ -n "${quiet:-}" ] || printf '%s: %s\n' "$prog" "$*" >&2; }
# die WHAT: status 1, the caller's own failure.  usage_error: status 2.
die() { printf '%s: %s\n' "$prog" "$*" >&2; exit 1; }
usage_error() { printf '%s: %s; see %s --help\n' "$prog" "$*" "$prog" >&2; exit 2; }

# help: prints the comment block at the head of the calling script.
help() {
	sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"
	exit 0
}

# now_ms: milliseconds of a monotonic-enough clock, without a fork.
now_ms() { local t=${EPOCHREALTIME/[.,]/}; printf -v "${1:-REPLY}" %s "${t%???}"; }

# since VAR_MS: seconds with one decimal since then, into REPLY.
since() { local n; now_ms n; n=$((n - $1)); printf -v REPLY '%d.%d' $((n / 1000)) $((n % 1000 / 100)); }

# step WHAT CMD...: runs CMD with its output kept back, tells WHAT and how long
# it took, and shows the output's end if it failed. On a terminal the line is
# there while the work goes on.
step() {
	local what=$1 log start rc=0 secs; shift
	log=$(mktemp "${TMPDIR:-/tmp}/minivmm-step.XXXXXX")
	now_ms start
	[ -t 2 ] && printf '%s ... ' "$what" >&2
	"$@" >"$log" 2>&1 </dev/null || rc=$?
	since "$start"; secs=$REPLY
	if [ -t 2 ]; then
		printf '\r\033[K' >&2
	fi
	if [ "$rc" = 0 ]; then
		printf '%s: %s s\n' "$what" "$secs" >&2
	else
		printf '%s: FAILED after %s s; the end of its output:\n' "$what" "$secs" >&2
		tail -n 40 "$log" | sed 's/^/    /' >&2
	fi
	rm -f "$log"
	return "$rc"
}

need() { # need CMD PACKAGE: the tool is there, or one line says how to get it
	command -v "$1" >/dev/null || PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null ||
		die "$1: not found (Debian package $2); run scripts/setup"
}

# on_exit CMD...: runs when the script ends, however it ends; last added first.
on_exit() { exit_jobs+=("$(printf '%q ' "$@")"); }
run_exit_jobs() {
	local rc=$? i
	trap '' INT TERM HUP
	for ((i = ${#exit_jobs[@]} - 1; i >= 0; i--)); do eval "${exit_jobs[i]}" || true; done
	exit "$rc"
}
# clean_exit: at the head of a script, which has this done, and of a subshell that adds
# jobs of its own: bash gives it neither traps nor an EXIT.
clean_exit() {
	exit_jobs=()
	trap run_exit_jobs EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	trap 'exit 129' HUP
}
clean_exit

# temp_dir VAR [PARENT]: a directory that goes away with the script.
temp_dir() {
	local d; mkdir -p "${2:-${TMPDIR:-/tmp}}"
	d=$(mktemp -d "${2:-${TMPDIR:-/tmp}}/.minivmm.XXXXXX")
	on_exit rm -rf "$d"
	printf -v "$1" %s "$d"
}

# locked FILE: waits (bounded) for an exclusive lock that lasts until the script ends.
locked() {
	mkdir -p "$(dirname "$1")"
	exec {lock_fd}>"$1"
	flock -w "${2:-600}" "$lock_fd" ||
		die "$1: locked by another run for ${2:-600} s; wait for it or end it"
}
