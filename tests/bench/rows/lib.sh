# shellcheck shell=bash
# What the rows of scripts/bench share. Each row is a script that runs where the KVM for it
# is; scripts/bench tells it all that it needs by the environment:
#
#   BENCH_ROUNDS   how many rounds count, after one that warms up
#   MINIVMM        the program, as people run it
#   BENCH          the folder of the built programs
#   CLOUD, KERNEL  Debian's cloud kernel, and our own as a vmlinux
#   WORK           a folder with what the caller made for this row
#
# On stdout there are samples as tests/bench/table.c describes them, on stderr all else.
set -uo pipefail
export LC_ALL=C.UTF-8
PATH=$PATH:/usr/sbin:/sbin
row=$(basename "$0")
round=0

say() { printf 'bench: %s: %s\n' "$row" "$*" >&2; }
die() { say "$*"; exit 1; }
now_us() { REPLY=${EPOCHREALTIME/[.,]/}; }

# sample MEASURE UNIT less|more CONTENDER VALUE; the warm-up's are not told.
sample() { [ "$round" = 0 ] || printf 'sample\t%s\t%s\t%s\t%s\t%s\t%s\n' "$row" "$@"; }
missing() { printf 'missing\t%s\t%s\t%s\n' "$row" "$@"; } # missing CONTENDER REASON

# absent COMMAND...: those that are not on PATH are missing.
absent() {
	local each
	for each; do command -v "$each" >/dev/null || missing "$each" "not on PATH"; done
}

# others KERNEL: VMMs that boot any kernel with WORK's initrd and disk, where they are on PATH.
# Into `field`; mem and line are the row's.
# shellcheck disable=SC2154
others() {
	if command -v lkvm >/dev/null; then
		field+=(::: kvmtool lkvm run -k "$1" -i "$WORK/initrd" -d "$WORK/disk.img" -m "$mem" -p "$line"
			--console serial)
	fi
	if command -v cloud-hypervisor >/dev/null; then
		field+=(::: cloud-hypervisor cloud-hypervisor --kernel "$1" --initramfs "$WORK/initrd"
			--disk "path=$WORK/disk.img" --memory "size=${mem}M" --serial tty --console off --cmdline "$line")
	fi
	absent lkvm cloud-hypervisor
}

# rounds FUNCTION...: each of them once a round, there and back: who comes after a big
# process pays for what the host still has to clear up, and that is not always the same one.
rounds() {
	local i n=$#
	for ((round = 0; round <= BENCH_ROUNDS; round++)); do
		for ((i = 1; i <= n; i++)); do
			if ((round % 2)); then "${!i}"; else local k=$((n + 1 - i)); "${!k}"; fi
		done
		say "round $round of $BENCH_ROUNDS$([ "$round" != 0 ] || echo ", which warms up")"
	done
}

declare -A what # what the marks of marked() end
# marked NAME COMMAND...: runs it, and tells the time between marks on its output: a single
# clock for all, outside of guests.
marked() {
	local name=$1 text from=0 got=0; shift
	while IFS= read -r text; do
		text=${text%$'\r'}
		case $text in
		*'bench: from') now_us; from=$REPLY ;;
		*'bench: to '*)
			now_us
			sample "${what[${text##*bench: to }]}" ms less "$name" $(((REPLY - from) / 1000))
			got=1 ;;
		esac
	done < <(timeout 600 "$@" 2>"$dir/err")
	[ "$got" = 1 ] || die "$name: no time: $(tail -n 3 "$dir/err")"
}

# scratch: a folder for this row alone in memory, into $dir; gone with the script.
scratch() {
	dir=$(mktemp -d "${1:-/dev/shm}/bench.XXXXXX") || exit 1
	trap 'rm -rf "$dir"' EXIT
	trap 'exit 130' INT TERM HUP
}

# What all guests of QEMU have.
qemu=(qemu-system-x86_64 -enable-kvm -cpu host -nodefaults -no-user-config -nographic -serial stdio -no-reboot)
line="console=ttyS0 panic=-1 quiet"
