/* SPDX-License-Identifier: Apache-2.0 */
/*
 * share_work DIR: what programs ask of a file system, in DIR of a share. A line for each that
 * worked, an error and status 1 for the first that did not. For tests/boot/share.sh.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static void check(int worked, const char *what)
{
	if (!worked) {
		printf("failed: %s: %s\n", what, strerror(errno));
		exit(1);
	}
	printf("works: %s\n", what);
}

static void map_shared(void)
{
	int fd = open("mapped", O_RDWR | O_CREAT | O_TRUNC, 0644);
	char buf[5], *m;

	check(!ftruncate(fd, 65536), "ftruncate");
	m = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(m != MAP_FAILED, "mmap");
	memcpy(m + 1000, "hello", 5);
	check(!msync(m, 65536, MS_SYNC) && pread(fd, buf, 5, 1000) == 5 && !memcmp(buf, "hello", 5),
	      "msync and read");
	munmap(m, 65536);
	close(fd);
}

static void attributes(void)
{
	char value[16], names[64];
	ssize_t n;

	check(!setxattr("mapped", "user.color", "blue", 4, 0), "setxattr");
	check(getxattr("mapped", "user.color", value, sizeof(value)) == 4, "getxattr");
	n = listxattr("mapped", names, sizeof(names));
	check(n > 0 && memmem(names, (size_t)n, "user.color", 11), "listxattr");
}

static void locks(void)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int one = open("mapped", O_RDWR), two = open("mapped", O_RDWR);

	check(!flock(one, LOCK_EX | LOCK_NB), "flock");
	check(flock(two, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK, "a second flock waits");
	check(!fcntl(one, F_OFD_SETLK, &lock), "a record lock");
	check(fcntl(two, F_OFD_SETLK, &lock) && errno == EAGAIN, "a second one waits");
	close(one);
	close(two);
}

static void sparse(void)
{
	int fd = open("sparse", O_RDWR | O_CREAT | O_TRUNC, 0644);
	int to = open("copy", O_RDWR | O_CREAT | O_TRUNC, 0644);
	struct stat st;

	check(pwrite(fd, "x", 1, 1 << 20) == 1, "a write past the end");
	check(lseek(fd, 0, SEEK_DATA) > 0, "SEEK_DATA");
	check(lseek(fd, 0, SEEK_HOLE) == 0, "SEEK_HOLE");
	lseek(fd, 0, SEEK_SET);
	check(copy_file_range(fd, NULL, to, NULL, 300000, 0) == 300000, "copy_file_range");
	check(!fallocate(to, 0, 0, 400000) && !fstat(to, &st) && st.st_size == 400000, "fallocate");
	check(!fallocate(to, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 65536), "a hole");
}

static void names(void)
{
	struct stat st;

	unlink("a");
	unlink("b");
	close(open("a", O_CREAT | O_WRONLY, 0644));
	close(open("b", O_CREAT | O_WRONLY, 0600));
	check(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE) && errno == EEXIST,
	      "RENAME_NOREPLACE");
	check(!renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE) && !stat("a", &st) &&
		      (st.st_mode & 0777) == 0600,
	      "RENAME_EXCHANGE");
	check(!chown("a", 1234, 4321) && !stat("a", &st) && st.st_uid == 1234 && st.st_gid == 4321,
	      "chown");
}

static void suid(void)
{
	int status, fd = open("su", O_CREAT | O_RDWR, 0666);
	struct stat st;
	pid_t child;

	fchmod(fd, 04777);
	child = fork();
	if (!child) {
		if (setgid(77) || setuid(66))
			_exit(1);
		fd = open("su", O_WRONLY);
		_exit(write(fd, "x", 1) != 1 || open("theirs", O_CREAT | O_WRONLY, 0644) < 0);
	}
	waitpid(child, &status, 0);
	check(!status, "another user's file");
	check(!stat("theirs", &st) && st.st_uid == 66 && st.st_gid == 77, "it is that user's");
	check(!fstat(fd, &st) && !(st.st_mode & 06000), "writing takes set-user-ID away");
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	check(argc == 2 && !chdir(argv[1]), "chdir");
	map_shared();
	attributes();
	locks();
	sparse();
	names();
	suid();
	puts("works: all");
	return 0;
}
