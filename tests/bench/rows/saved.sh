# shellcheck shell=bash disable=SC2034,SC2154 # rows read them, peers.sh sets them
# Saved machines for the rows restore and clone, which source this. Each has a disk and a network, and
# its guest waits in a loop until it sees that it has been away.
# shellcheck disable=SC1091
. "$(dirname "$(readlink -f "$0")")/../peers.sh"
if [ ! -w /dev/kvm ]; then
	missing minivmm "/dev/kvm cannot be opened"
	exit 0
fi
# The network is a tap, in a namespace of the whole row's.
if [ -z "${BENCH_NET:-}" ] && unshare -n true 2>/dev/null; then
	rm -rf "$dir"
	trap - EXIT
	BENCH_NET=1 exec unshare -n "$0"
fi

# saved NAME MIB [WORD...]: into $dir/NAME, of a machine of MIB of which most is written to. How, further,
# is in `how`.
how=()
saved() {
	local name=$1 mib=$2 full limit=$((SECONDS + 120)) append=() word; shift 2
	# Up to the hole below 4 GiB.
	full=$((mib > 3072 ? 2900 : mib - 24))
	for word in away=1 mib=$full "$@"; do append+=(--append "$word"); done
	truncate -s 64M "$dir/disk-$name"
	"$MINIVMM" -q -k "$BENCH/../guest/alive.elf" -m "${mib}M" --control "$dir/ctl" "${append[@]}" \
		-d "$dir/disk-$name,readonly=on" "${net[@]}" >"$dir/out" </dev/null &
	until grep -q ready "$dir/out" 2>/dev/null; do
		[ "$SECONDS" -lt "$limit" ] || die "the guest to be saved does not come up"
		sleep 0.1
	done
	"$MINIVMM" ctl "$dir/ctl" snapshot dir="$dir/$name" stop=on "${how[@]}" >/dev/null || die "no snapshot"
	wait
	# Who goes on within half a second does not know that it was away.
	sleep 1
}

net=()
if [ -n "${BENCH_NET:-}" ] && ip tuntap add t0 mode tap 2>/dev/null; then
	net=(-n tap=t0,vhost=off)
else
	say "no tap can be made here: the saved machines have no network"
fi
# What the bare calls map.
printf '\xee\xfa\xf4' >"$dir/code"
truncate -s 64M "$dir/bare"
dd if="$dir/code" of="$dir/bare" bs=4096 seek=1 conv=notrunc status=none
cp --sparse=always "$dir/bare" "$dir/bare4"
truncate -s 4G "$dir/bare4"
