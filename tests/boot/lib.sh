# shellcheck shell=bash
# What the boot tests share. A test is a function test_NAME in one of the files
# *.sh here; tests/boot/run calls each in a subshell of its own, in a directory
# of its own ($vm_dir), with everything from scripts/vm.sh at hand.
#
#   kernel tuned                        path of our own kernel (an ELF), into $kernel
#   kernel cloud | generic | vmlinux    of a stock one, where that is the point
#   guest SCRIPT                        initrd=FILE: busybox, whose init runs SCRIPT
#   encoded SCRIPT                      run=BASE64 into $run, for a guest with the tiny disk as root
#   boots STATUS SECONDS ARGUMENT...    runs minivmm to its end; STATUS is wanted
#   says REGEX, says_not REGEX          about the console's output
#   told REGEX                          about minivmm's messages
#   there COMMAND...                    runs it where minivmm runs
#   fail WHY, skip WHY

fail() { echo "$*" >"$vm_dir/why"; exit 1; }
skip() { echo "$*" >"$vm_dir/why"; exit 77; }

there() { "${vm_on[@]}" "$@"; }

kernel() {
	case $1 in
	vmlinux) kernel=$("$here/fetch-kernel" --vmlinux cloud) ;;
	tuned) kernel=$("$here/build-kernel") ;;
	*) kernel=$("$here/fetch-kernel" "$1") ;;
	esac
}

guest() {
	tiny_initrd
	initrd=$vm_dir/initrd
	printf '%s\n' "$1" >"$vm_dir/test.sh"
	{ cat "$REPLY"; (cd "$vm_dir" && echo test.sh | cpio -o -H newc --quiet -R 0:0); } >"$initrd"
}

encoded() { run=run=$(printf '%s' "$1" | base64 -w0); }

# tiny_disk FILE [OPTION...]: a disk whose root is the busybox guest.
tiny_disk() {
	local file=$1; shift
	rm -rf "$vm_dir/tree"
	tiny_tree "$vm_dir/tree"
	"$here/mkimage" --size 32M --output "$file" "$@" "$vm_dir/tree" >/dev/null 2>"$vm_dir/mkimage.log" ||
		fail "mkimage: $(cat "$vm_dir/mkimage.log")"
}

boots() {
	local want=$1 limit=$2; shift 2
	vm_start "$@"
	vm_wait "$limit" || fail "$vm_why"
	[ "$vm_status" = "$want" ] || fail "status $vm_status, not $want"
}

console() { tr -d '\r' <"$vm_dir/out"; }
# All of the console is read: a grep that leaves at its first find would make tr fail.
says() { console | grep -aE -- "$1" >/dev/null || fail "the console does not say: $1"; }
says_not() { if console | grep -aE -- "$1" >/dev/null; then fail "the console says: $(console | grep -aE -m1 -- "$1")"; fi; }
told() { grep -qE -- "$1" "$vm_dir/err" || fail "minivmm's messages do not say: $1"; }

# clean_dmesg: nothing worse than a notice in the guest's log but what is allowed.
# The guest's script has to call `warnings`.
clean_dmesg() {
	local bad
	says '^@@ warnings$'
	bad=$(console | sed -n 's/^dmesg<[0-4]> //p' | sed 's/^\[ *[0-9.]*\] *//' |
		grep -vE -f <(sed '/^#/d;/^$/d' "$tests/allowed-dmesg") | head -n 5 || true)
	[ -z "$bad" ] || fail "the guest's kernel complains: $bad"
}
