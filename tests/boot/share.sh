# shellcheck shell=bash
# Shared directories, with Linux's own virtiofs as the judge. The directory is one of the
# host's that runs minivmm, on a file system that has all that Linux has.

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

# Debian's kernel has virtiofs as a module: it is packed, and our init mounts the shares on
# the disk's root, one of them on a directory that is not there. All that a guest makes, as
# the host sees it.
written() { # KERNEL TRANSPORT
	share_dir
	tiny_disk "$vm_dir/root.img"
	# shellcheck disable=SC2016
	there sh -c 'mkdir "$0/ro" "$0/rw"; echo as-it-was >"$0/ro/file"; echo for-you >"$0/rw/file"; mkdir "$0/rw/tree"
cd "$0/rw/tree"; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do mkdir d$i; echo $i >d$i/f; ln -s ../d$i/f d$i/l; done; tar -cf ../tree.tar .' "$dir"
	kernel "$1"
	# shellcheck disable=SC2016
	encoded 'n=$(printf "%0255d" 7)
grep virtiofs /proc/mounts; cat /mnt/in/file
dd if=/dev/urandom of=/mnt/in/big bs=64k count=64 2>/dev/null; md5sum </mnt/in/big | sed "s/^/sum /"
exec 5<>/mnt/in/gone; echo unlinked >&5; rm /mnt/in/gone; [ -e /mnt/in/gone ] || cat /proc/self/fd/5; exec 5>&-
echo long >/mnt/in/$n && cat /mnt/in/$n
ln -s /etc/passwd /mnt/in/abs; readlink /mnt/in/abs
mkdir /mnt/in/out && tar -xf /mnt/in/tree.tar -C /mnt/in/out && echo untarred
mv /mnt/in/out/d1 /mnt/in/out/moved; ln /mnt/in/file /mnt/in/hard; stat -c "links %h" /mnt/in/file
mkfifo /mnt/in/p; (echo through >/mnt/in/p &); cat /mnt/in/p
chmod 4711 /mnt/in/abs 2>/dev/null; echo x >/mnt/in/m; chmod 751 /mnt/in/m; touch -d "2001-02-03 04:05:06" /mnt/in/m
cat /data/file; echo no >/data/file || echo "not written"; rm -f /data/file 2>/dev/null || echo "not removed"
sync; echo "@@ warnings"; warnings'
	boots 0 400 --transport "$2" -k "$kernel" -d "$vm_dir/root.img" --share "$dir/rw:/mnt/in,rw,tag=in" \
		--share "$dir/ro:/data" --append "rw quiet $run"
	says '^in /mnt/in virtiofs rw,'
	says '^share1 /data virtiofs ro,'
	says '^for-you$'
	says '^unlinked$'
	says '^long$'
	says '^/etc/passwd$'
	says '^untarred$'
	says '^links 2$'
	says '^through$'
	says '^as-it-was$'
	says '^not written$'
	says '^not removed$'
	says "^sum $(there sh -c 'md5sum <"$0/rw/big"' "$dir" | cut -c1-32)"
	there diff -r "$dir/rw/tree/d2" "$dir/rw/out/d2" || fail "the tree that was unpacked is another"
	[ "$(there sh -c 'cd "$0/rw"; cat out/moved/f $(printf "%0255d" 7) m; stat -c "%a %Y" m; stat -c %F p; readlink abs' "$dir" | tr '\n' ' ')" = \
		"1 long x 751 981173106 fifo /etc/passwd " ] || fail "the host sees other files than the guest made"
	[ "$(there cat "$dir/ro/file")" = as-it-was ] || fail "the read-only share was changed"
	clean_dmesg
}
test_write_cloud_mmio_long() { written cloud mmio; }
test_write_cloud_pci() { written cloud pci; }
test_write_tuned_mmio() { written tuned mmio; }

# What is closed on the host is seen at the guest's next open, whichever way it was
# changed, and the other way round.
test_coherence() {
	share_dir
	kernel tuned
	# shellcheck disable=SC2016
	there sh -c 'cd "$0"; mkdir d; echo old >d/f; echo old >d/g; echo 1 >d/h; head -c 100000 /dev/zero >d/big' "$dir"
	# shellcheck disable=SC2016
	guest 'mkdir -p /s; mount -t virtiofs share0 /s; cd /s
md5sum d/big >/dev/null; cat d/f d/g d/h; ls d | wc -l
echo ready; read x
cat d/f d/g d/h; md5sum d/big | cut -c1-32; [ -e d/i ] && echo "new is there"; [ -e d/away ] || echo "away is not"
echo from-the-guest >d/back; echo ready2; read x
cat d/f; cat d/back; echo "@@ warnings"; warnings'
	vm_start -k "$kernel" -i "$initrd" --share "$dir,rw" --append quiet
	vm_expect '^ready' 240 || fail "$vm_why"
	# In place, by another file, a longer one, one of the same size, and a new name.
	# shellcheck disable=SC2016
	there sh -c 'cd "$0"; echo "new and longer" >d/f; echo new >x; mv x d/g; echo 2 >d/h
head -c 100000 /dev/urandom >d/big; echo i >d/i; sync' "$dir"
	vm_send $'\n'
	vm_expect '^ready2' 240 || fail "$vm_why"
	says '^new and longer$'
	says '^new$'
	says '^2$'
	says '^new is there$'
	says "^$(there sh -c 'md5sum <"$0/d/big"' "$dir" | cut -c1-32)$"
	[ "$(there cat "$dir/d/back")" = from-the-guest ] || fail "the host does not see what the guest closed"
	# The whole directory becomes another.
	# shellcheck disable=SC2016
	there sh -c 'cd "$0"; mkdir e; echo in-another-directory >e/f; echo changed-back >e/back; mv d old; mv e d' "$dir"
	vm_send $'\n'
	vm_wait 240 || fail "$vm_why"
	[ "$vm_status" = 0 ] || fail "status $vm_status"
	says '^in-another-directory$'
	says '^changed-back$'
	clean_dmesg
}

# A share as the root: the kernel mounts it by itself, or our init after loading the
# modules.
root_share() { # KERNEL SHARE ARGUMENT...
	local kind=$1 share=$2; shift 2
	kernel "$kind"
	tiny_tree "$vm_dir/tree"
	# shellcheck disable=SC2016
	encoded 'echo "root $(grep " / " /proc/mounts | grep virtiofs | cut -d" " -f1-4)"; touch /x || echo "touch refused"; ls -l /bin/busybox; echo "@@ warnings"; warnings'
	boots 0 300 -k "$kernel" --share "$vm_dir/tree$share" "$@" --append "quiet $run"
	says '^root .* / virtiofs ro'
	says '^touch refused$'
	clean_dmesg
}
test_root_tag_tuned() { root_share tuned ,tag=system --append 'root=system rootfstype=virtiofs ro'; }
test_root_slash_cloud() { root_share cloud :/; }

# The host's own tree as the guest's, read-only, with programs that ask much of a file
# system in a share that they can write: git, mmap, locks, attributes.
test_programs() {
	share_dir
	kernel tuned
	there tee "$dir/run" >/dev/null <<'RUN'
#!/bin/sh
PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME=/tmp
export PATH HOME
exec </dev/console >/dev/console 2>&1
mount -t tmpfs tmp /tmp
cd /mnt
git init -q repo && cd repo && mkdir n && cp /usr/share/doc/git/RelNotes/2.2* n 2>/dev/null; cp /etc/passwd /etc/fstab . 2>/dev/null
i=0; while [ $i -lt 25 ]; do mkdir -p d$i; echo $i >d$i/f; i=$((i + 1)); done
git add -A && git -c user.name=me -c user.email=me@here commit -qm first && git status --porcelain | wc -l | sed 's/^/changed /'
echo more >d3/f; git status --porcelain; git checkout -q d3/f; git fsck 2>&1 | tail -n 1; git log --oneline | wc -l | sed 's/^/commits /'
cd ..
/mnt/share_work /mnt/open
echo "proc $(ls /proc/1 >/dev/null && echo real)"
touch /usr/bin/x 2>/dev/null || echo "root refused"
echo '@@ warnings'; dmesg -r | sed -n 's/^<\([0-4]\)>/dmesg<\1> /p'
sync
busybox poweroff -f
RUN
	there chmod 755 "$dir/run"
	there mkdir -m 777 "$dir/open"
	there cp "$(dirname "$vm_binary")/tests/boot/share_work" "$dir/" || fail "share_work is not built; run scripts/build dev"
	boots 0 580 -k "$kernel" -m 512 --share /:/ --share "$dir:/mnt,rw" --append 'quiet init=/mnt/run'
	says '^changed 0$'
	says '^ M d3/f$'
	says '^commits 1$'
	says_not '^(error|fatal):'
	says_not '^failed: '
	says '^works: all$'
	says '^proc real$'
	says '^root refused$'
	there git -C "$dir/repo" -c safe.directory='*' fsck --strict >"$vm_dir/fsck" 2>&1 || fail "git fsck on the host: $(tail -n 3 "$vm_dir/fsck")"
	[ "$(there stat -c '%u %g' "$dir/open/theirs")" = "66 77" ] || fail "the file is another's on the host"
	clean_dmesg
}
