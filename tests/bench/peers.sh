# shellcheck shell=bash disable=SC2034,SC2054 # rows read them; commas belong to QEMU
# Who takes part in the rows about processes, and by which command. Sourced by rows/start,
# end, churn and density, which say first what the guest is to do:
#
#   contenders paced|instant|idle   fills the array `field`: NAME COMMAND ::: NAME COMMAND ...
#
# A process that runs in the machine or in the container is bench-peer or its like, a
# guest; they all say the same.
# shellcheck disable=SC1091,SC2154 # lib.sh sets them
. "$(dirname "$(readlink -f "$0")")/lib.sh"
ram_mib=64

scratch
program=
leave() {
	local status=$? state
	trap '' INT TERM HUP
	if [ -n "$program" ]; then
		kill -TERM "$program" 2>/dev/null # and with it all that it has started
		wait "$program"
	fi
	for state in "$dir"/crun/*/; do
		[ ! -d "$state" ] || crun --root "$dir/crun" --cgroup-manager=disabled delete -f "$(basename "$state")"
	done 2>/dev/null
	rm -rf "$dir"
	exit "$status"
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# measure COMMAND...: a signal for us is heard at once, whatever the command does.
measure() {
	"$@" </dev/null &
	program=$!
	wait "$program"
	local status=$?
	program=
	[ "$status" = 0 ] || die "$1: status $status"
}

# crun knows cgroups of version 2 only and runs no container without; where a host has others,
# it gets a view of its own. This is the whole row, anew: so nothing is in the figures.
view_cgroups() {
	[ -z "${BENCH_VIEW:-}" ] && command -v crun >/dev/null && [ "$(id -u)" = 0 ] || return 0
	[ "$(stat -f -c %T /sys/fs/cgroup 2>/dev/null)" != cgroup2fs ] || return 0
	unshare -m true 2>/dev/null || return 0
	rm -rf "$dir"
	trap - EXIT
	BENCH_VIEW=1 exec unshare -m bash -c 'umount -R -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup
		exec "$@"' view "$0"
}

# bundle WHAT: the peer alone is in it. /dev is each one's own: what crun puts there, and takes away first if
# it is there already, others would trip over.
bundle() {
	mkdir -p "$dir/bundle/rootfs/proc" "$dir/bundle/rootfs/dev" "$dir/crun"
	cp "$BENCH/bench-peer" "$dir/bundle/rootfs/peer"
	cat >"$dir/bundle/config.json" <<-END
		{"ociVersion": "1.0.0", "root": {"path": "rootfs", "readonly": true},
		 "process": {"terminal": false, "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["/peer", "$1"]},
		 "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
		            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}],
		 "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"},
		                          {"type": "network"}]}}
	END
}

# The container that there is: crun's, or one by bubblewrap.
container() {
	local why
	bundle "$1"
	crun=(crun --root "$dir/crun" --cgroup-manager=disabled run -b "$dir/bundle" "@")
	bwrap=(bwrap --unshare-pid --unshare-ipc --unshare-uts --unshare-net --die-with-parent
		--ro-bind "$dir/bundle/rootfs" / --proc /proc --dev /dev /peer "$1")
	mkdir -p "$dir/probed" && sed 's/"idle"/"instant"/' "$dir/bundle/config.json" >"$dir/probed/config.json" &&
		ln -sfn ../bundle/rootfs "$dir/probed/rootfs"
	if ! command -v crun >/dev/null; then
		why="not on PATH"
	elif why=$(timeout 10 crun --root "$dir/crun" --cgroup-manager=disabled run -b "$dir/probed" probe 2>&1 >/dev/null); then
		field+=(::: crun "${crun[@]}")
		return
	fi
	missing crun "$(tail -n 1 <<<"$why")"
	if ! command -v bwrap >/dev/null; then
		missing bubblewrap "not on PATH"
	elif why=$(timeout 10 "${bwrap[@]:0:${#bwrap[@]}-1}" instant 2>&1 >/dev/null); then
		field+=(::: bubblewrap "${bwrap[@]}")
	else
		missing bubblewrap "$(tail -n 1 <<<"$why")"
	fi
}

contenders() {
	field=(minivmm "$MINIVMM" -q --stop-timeout 0 -m "$ram_mib" -k "$BENCH/$1.elf"
		::: "bare KVM calls" "$BENCH/bench-baseline" "$1")
	if [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
		missing minivmm "/dev/kvm cannot be opened"
		missing "bare KVM calls" "/dev/kvm cannot be opened"
		missing "qemu microvm" "/dev/kvm cannot be opened"
		exit 0
	fi
	# The leanest that it has.
	if command -v qemu-system-x86_64 >/dev/null; then
		field+=(::: "qemu microvm" qemu-system-x86_64 -M microvm,x-option-roms=off,pit=off,pic=off,rtc=off
			-accel kvm -cpu host -m "$ram_mib" -nodefaults -no-user-config -nographic -serial stdio
			-no-reboot -kernel "$BENCH/$1.elf")
	else
		missing "qemu microvm" "not on PATH"
	fi
	container "$1"
}

view_cgroups
