# shellcheck shell=bash
# Shared directories, with Linux's own virtiofs as the judge. The directory is one of the
# host's that runs minivmm, on a file system that has all that Linux has.

# there COMMAND...: where minivmm runs.
there() { "${vm_on[@]}" "$@"; }

# share_dir: makes $dir, an empty one that goes with the test.
share_dir() {
	dir=$(there mktemp -d /var/tmp/minivmm-share.XXXXXX)
	there chmod 755 "$dir"
	on_exit there rm -rf "$dir"
}

# shares KERNEL SCRIPT ARGUMENT...: boots with busybox alone; SCRIPT runs with $dir mounted
# on /s.
shares() {
	local script="mkdir -p /s; mount -t virtiofs share0 /s || echo 'no mount'; $2"
	kernel "$1"; shift 2
	guest "$script"
	boots 0 240 -k "$kernel" -i "$initrd" "$@" --append quiet
	says_not '^no mount'
}

test_read_tuned() {
	share_dir
	# shellcheck disable=SC2016
	there sh -c 'cd "$0"; dd if=/dev/urandom of=big bs=1M count=24 status=none; echo hello >small
mkdir -p d/e; i=0; while [ $i -lt 300 ]; do echo $i >d/file-with-a-number-$i; i=$((i + 1)); done; ln -s ../small d/link' "$dir"
	shares tuned 'md5sum </s/big; cat /s/small /s/d/link; ls /s/d | wc -l | sed "s/^/entries /"
cat /s/d/file-with-a-number-* | md5sum; touch /s/new || echo "touch refused"; stat -c "%U %a" /s/small; readlink /s/d/link
echo "@@ warnings"; warnings' --share "$dir"
	says "^$(there sh -c 'md5sum <"$0/big"' "$dir" | cut -c1-32)"
	says "^$(there sh -c 'cat "$0"/d/file-with-a-number-* | md5sum' "$dir" | cut -c1-32)"
	says '^entries 302$'
	says '^hello$'
	says 'touch: .*Read-only file system'
	says '^touch refused$'
	says '^\.\./small$'
	clean_dmesg
}
