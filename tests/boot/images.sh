# shellcheck shell=bash
# Root disks made by scripts/mkimage from each kind of source, each booted from.

# image SOURCE [OPTION...]: makes it and boots from it; its init is the tiny one's.
image() {
	local source=$1; shift
	"$here/mkimage" --output "$vm_dir/root.img" "$@" "$source" >"$vm_dir/path" 2>"$vm_dir/mkimage.log" ||
		fail "mkimage: $(cat "$vm_dir/mkimage.log")"
	[ "$(cat "$vm_dir/path")" = "$vm_dir/root.img" ] || fail "mkimage prints $(cat "$vm_dir/path")"
	kernel tuned
	encoded 'echo "root $(grep " / ext4" /proc/mounts | cut -d" " -f2)"; cat /etc/mark; mount -o remount,rw / && echo more >/etc/new && echo "room $(df -m / | awk "END { print \$4 }")"'
	boots 0 120 -k "$kernel" -d "$vm_dir/root.img" --append "quiet $run"
	says '^root /$'
	says '^the mark$'
	says '^room [1-9]'
}
marked_tree() { tiny_tree "$1"; mkdir "$1/etc"; echo the mark >"$1/etc/mark"; }

test_directory() {
	marked_tree "$vm_dir/tree"
	image "$vm_dir/tree"
}

test_partitioned() {
	marked_tree "$vm_dir/tree"
	image "$vm_dir/tree" --partition --label system
}

# As `docker export` writes it: no leading ./, the places that it mounts over empty.
test_exported_container() {
	marked_tree "$vm_dir/tree"
	touch "$vm_dir/tree/.dockerenv"
	mkdir -p "$vm_dir/tree/dev/pts"
	(cd "$vm_dir/tree" && tar -czf "$vm_dir/export.tar.gz" --owner=0 --group=0 .dockerenv *)
	image "$vm_dir/export.tar.gz"
}

# As `docker save` and `skopeo copy` write it: two layers, of which the second takes
# away a file and the contents of a directory, and writes through a link of the first.
layers() {
	marked_tree "$vm_dir/one"
	mkdir -p "$vm_dir/one/"{gone,var,run} "$vm_dir/two/"{etc,gone,var/run}
	ln -s /run "$vm_dir/one/var/run"
	touch "$vm_dir/one/etc/hidden" "$vm_dir/one/gone/old" "$vm_dir/two/etc/.wh.hidden" "$vm_dir/two/gone/.wh..wh..opq" \
		"$vm_dir/two/gone/fresh"
	echo "inside" >"$vm_dir/two/var/run/minivmm-mkimage-test"
	mkdir -p "$vm_dir/save/blobs/sha256"
	tar -C "$vm_dir/one" --owner=0 --group=0 -cf "$vm_dir/save/blobs/sha256/1111" .
	tar -C "$vm_dir/two" --owner=0 --group=0 -czf "$vm_dir/save/blobs/sha256/2222" etc/.wh.hidden gone var/run/minivmm-mkimage-test
}
judge_layers() {
	local debugfs; debugfs=$(PATH=$PATH:/sbin:/usr/sbin command -v debugfs)
	[ ! -e /run/minivmm-mkimage-test ] || fail "the layer wrote into the host's /run"
	"$debugfs" -R 'ls -p /gone' "$vm_dir/root.img" 2>/dev/null | grep -q /fresh/ || fail "the second layer's file is missing"
	if "$debugfs" -R 'ls -p /gone' "$vm_dir/root.img" 2>/dev/null | grep -q /old/; then fail "an opaque directory shows what is below"; fi
	if "$debugfs" -R 'ls -p /etc' "$vm_dir/root.img" 2>/dev/null | grep -Eq '/(hidden|\.wh\.hidden)/'; then fail "a file taken away is there"; fi
	[ "$("$debugfs" -R 'cat /run/minivmm-mkimage-test' "$vm_dir/root.img" 2>/dev/null)" = inside ] || fail "a link was not followed inside"
}
test_saved_container() {
	layers
	echo '[{"Config":"c.json","RepoTags":["x:1"],"Layers":["blobs/sha256/1111","blobs/sha256/2222"]}]' >"$vm_dir/save/manifest.json"
	tar -C "$vm_dir/save" -cf "$vm_dir/save.tar" manifest.json blobs
	image "$vm_dir/save.tar"
	judge_layers
}
test_oci_archive() {
	layers
	echo '{"schemaVersion":2,"layers":[{"digest":"sha256:1111","size":1},{"digest":"sha256:2222","size":1}]}' >"$vm_dir/save/blobs/sha256/3333"
	echo '{"schemaVersion":2,"manifests":[{"digest":"sha256:3333","size":1}]}' >"$vm_dir/save/index.json"
	echo '{"imageLayoutVersion":"1.0.0"}' >"$vm_dir/save/oci-layout"
	tar -C "$vm_dir/save" -cf "$vm_dir/save.tar" oci-layout index.json blobs
	image "$vm_dir/save.tar"
	judge_layers
}

# A size that fits: many small files want inodes, and the disk has room afterwards.
test_many_small_files_long() {
	marked_tree "$vm_dir/tree"
	mkdir "$vm_dir/tree/many"
	(cd "$vm_dir/tree/many" && seq 30000 | xargs touch)
	image "$vm_dir/tree"
}

# Debian from nothing, under our own kernel: systemd finds all that it wants.
test_debian_tuned_long() {
	local image; image=$("$here/mkimage") || fail "mkimage"
	kernel tuned
	cp --reflink=auto --sparse=always "$image" "$vm_dir/debian.img"
	vm_start -k "$kernel" -m 256 -d "$vm_dir/debian.img" --append "quiet systemd.show_status=0" --stop-timeout 90
	vm_expect 'login: ' 150 || fail "$vm_why"
	vm_send $'root\n'
	vm_expect 'root@[^ ]*# ' 60 || fail "$vm_why"
	vm_send $'echo; systemctl is-system-running --wait; systemctl --failed --no-legend | wc -l; uname -r\n'
	vm_expect '^running' 60 || fail "$vm_why"
	vm_expect '^0' 60 || fail "units failed"
	vm_expect '^6.*-microvm' 60 || fail "$vm_why"
	vm_signal TERM
	vm_wait 120 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status after the power button"
}

# refused WHAT REGEX ARGUMENT...: status not 0, a line that says why, nothing left behind.
refused() {
	local what=$1 regex=$2 before after said; shift 2
	before=$(ls -A "$vm_dir")
	if said=$("$here/mkimage" "$@" 2>&1 >/dev/null); then fail "$what: accepted"; fi
	after=$(ls -A "$vm_dir")
	grep -Eq "^scripts/mkimage: .*($regex)" <<<"$said" || fail "$what: it says: $said"
	[ "$before" = "$after" ] || fail "$what: left behind: $after"
}
test_bad_sources() {
	head -c 100000 /dev/urandom >"$vm_dir/noise"
	mkdir "$vm_dir/tree"; head -c 3000000 /dev/urandom >"$vm_dir/tree/big"
	tar -C "$vm_dir" -cf "$vm_dir/whole.tar" tree
	head -c 1000000 "$vm_dir/whole.tar" >"$vm_dir/cut.tar"
	mkdir "$vm_dir/empty"; echo '[]' >"$vm_dir/empty/manifest.json"; tar -C "$vm_dir/empty" -cf "$vm_dir/none.tar" manifest.json
	refused "nothing there" 'no such directory or tarball' -o "$vm_dir/x.img" "$vm_dir/nowhere"
	refused "no --output" 'give --output' "$vm_dir/tree"
	refused "noise" 'not a tarball' -o "$vm_dir/x.img" "$vm_dir/noise"
	refused "a tarball cut short" 'not a tarball|no image of it' -o "$vm_dir/x.img" "$vm_dir/cut.tar"
	refused "an archive without an image" 'no image in it' -o "$vm_dir/x.img" "$vm_dir/none.tar"
	refused "too small" 'no image of it' -o "$vm_dir/x.img" -s 2M "$vm_dir/tree"
	refused "a size that is none" 'not a size' -o "$vm_dir/x.img" -s much "$vm_dir/tree"
}

# Ctrl-C, as a terminal sends it: to all of the group. Nothing is left.
test_interrupted() {
	local pid left
	mkdir "$vm_dir/tree" "$vm_dir/dir"
	head -c 200M /dev/urandom >"$vm_dir/tree/big"
	# SIGINT is ignored in what bash starts in the background: not so behind setsid and env.
	setsid env --default-signal=INT "$here/mkimage" -o "$vm_dir/dir/x.img" "$vm_dir/tree" >/dev/null 2>"$vm_dir/log2" &
	pid=$!
	for ((i = 0; i < 200; i++)); do
		if compgen -G "$vm_dir/dir/.minivmm.*/fs.img" >/dev/null; then break; fi
		sleep 0.05
	done
	compgen -G "$vm_dir/dir/.minivmm.*/fs.img" >/dev/null || fail "it did not begin"
	kill -INT -- "-$pid" || fail "it had ended already"
	local rc=0; wait "$pid" || rc=$?
	[ "$rc" = 130 ] || fail "status $rc, not 130"
	left=$(ls -A "$vm_dir/dir")
	[ -z "$left" ] || fail "left behind: $left"
}
