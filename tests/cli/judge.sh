# shellcheck shell=bash
# What bad-input and bad-machine share; each is run as FILE MINIVMM [-v].
#
#   judge STATUS WORDS COMMAND...            one case
#   usage WORDS ARGUMENTS...                 of minivmm, status 2
#   private STATUS WORDS SCRIPT ARGUMENTS... the same where SCRIPT has changed the mounts
#   bytes, zeroes, le, elf64                 to make files with; the file `good` is there
#   fault WHY, skipped+=(WHY), verdict
#
# Every case must end with its documented status (2 for usage and configuration, 1
# for a host's failure), exactly one line on stderr that names the culprit, nothing
# on stdout, no file made or changed, and within a second. -v shows each line.
set -u
export LC_ALL=C
minivmm=$(realpath "${1:?usage: $(basename "$0") MINIVMM [-v]}")
verbose=${2:-}
for name in $(compgen -e | grep ^MINIVMM_); do unset "$name"; done

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/files"
cd "$dir/files" || exit 1
cases=0 failed=0 skipped=()

# What the directory holds, with sizes and times of change, into $files.
listing() { files=$(find . -printf '%p %y %s %C@\n'); }

now_us() { REPLY=${EPOCHREALTIME/[.,]/}; }

fault() {
	failed=$((failed + 1))
	printf 'FAIL: %s\n      %s\n      stderr: %s\n' "$what" "$1" "${said:0:600}"
}

# slow_host MS: is that no more than ten times what a program takes that does nothing?
slow_host() {
	now_us; local start=$REPLY
	timeout -k 1 10 /bin/true
	now_us; [ "$1" -lt $(((REPLY - start) / 100)) ]
}

# judge STATUS WORDS COMMAND...: runs it and looks at all that is promised. WORDS
# is an extended regular expression that the line has to match after "minivmm: ".
# Few processes: a hundred cases, and hosts where a fork is dear.
judge() {
	local want=$1 words="^minivmm: $2" got start took before=$files lines said; shift 2
	what="${*##*/}"
	cases=$((cases + 1))
	# A busy host may take long once; the program does not do so three times.
	for _ in 1 2 3; do
		now_us; start=$REPLY
		timeout -k 1 10 "$@" </dev/null >../stdout 2>../stderr
		got=$?
		now_us; took=$(((REPLY - start) / 1000))
		[ "$took" -ge 1000 ] && ! slow_host "$took" || break
	done
	mapfile lines <../stderr
	said=${lines[*]}
	[ "$verbose" != -v ] || printf '%4d ms  %s\n' "$took" "${said:0:300}"
	[ "$got" = "$want" ] || fault "status $got, not $want"
	[[ ${#lines[@]} = 1 && $said == *$'\n' ]] || fault "not exactly one line on stderr"
	[[ $said =~ $words ]] || fault "no match for: $words"
	[[ ${said%$'\n'} != *[[:cntrl:]]* ]] || fault "control characters on stderr"
	[ ! -s ../stdout ] || fault "wrote to stdout: $(head -c 200 ../stdout)"
	listing
	[ "$files" = "$before" ] || fault "made or changed a file"
	[ "$took" -lt 1000 ] || slow_host "$took" || fault "took $took ms"
}

# usage WORDS ARGUMENTS...: status 2.
usage() { local words=$1; shift; judge 2 "$words" "$minivmm" "$@"; }

# bytes HEX...: those bytes.  zeroes N.
bytes() { local h; for h; do printf "\\x$h"; done; }
zeroes() { head -c "$1" /dev/zero; }

# le WIDTH VALUE: a little-endian number.
le() { local i; for ((i = 0; i < $1; i++)); do bytes "$(printf %02x $((($2 >> 8 * i) & 255)))"; done; }

# elf64 MACHINE: an executable with one segment of 4 KiB at 16 MiB, entered at its
# start, where it halts for ever; Linux by its own words.
elf64() {
	bytes 7f 45 4c 46 02 01 01 00; zeroes 8
	le 2 2; le 2 "$1"; le 4 1; le 8 $((16 << 20)); le 8 64; le 8 0; le 4 0
	le 2 64; le 2 56; le 2 1; le 2 64; le 2 0; le 2 0
	le 4 1; le 4 7; le 8 4096; le 8 $((16 << 20)); le 8 $((16 << 20)); le 8 4096; le 8 4096; le 8 4096
	zeroes $((4096 - 120))
	bytes fa f4 eb fd; printf 'Linux version 6.1.0-none (x) #1'; zeroes 4061
}

# private SCRIPT: runs it where mounts are our own, then minivmm with "$@".
unshare=(unshare --mount)
[ "$(id -u)" = 0 ] || unshare+=(--map-root-user)
private() {
	local want=$1 words=$2 script=$3; shift 3
	judge "$want" "$words" "${unshare[@]}" sh -c "$script"' || exit 99; exec "$@"' sh "$minivmm" "$@"
}
if ! "${unshare[@]}" sh -c 'mount --bind . .' 2>/dev/null; then
	private() { no_mounts=1; }
fi
no_mounts=

verdict() {
	local reason
	[ -z "$no_mounts" ] || skipped+=("what needs mounts in a namespace of our own: not permitted here")
	for reason in ${skipped[@]+"${skipped[@]}"}; do printf 'SKIP: %s\n' "$reason"; done
	printf '%d cases, %d faults\n' "$cases" "$failed"
	[ "$failed" = 0 ]
}

elf64 62 >good
