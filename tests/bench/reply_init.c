/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's init for the rows reply and breathe: does what it is told over vsock (reply.h), one
 * connection after the other, for ever. Built with musl, static. */
#include "tests/bench/reply.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* [Linux, include/uapi/linux/vm_sockets.h] */
struct vm_address {
	sa_family_t family;
	unsigned short reserved;
	unsigned int port, cid;
	unsigned char zero[4];
};
enum { FAMILY = 40, MIB = 1 << 20, PAGE = 4096 };
#define ANY_CID 0xffffffffu

static unsigned round_of;

/* Pages that are all different. */
static void fill(uint64_t *p, size_t len)
{
	round_of++;
	for (size_t i = 0; i < len / sizeof(*p); i++)
		p[i] = (i + 1) * 0x9e3779b97f4a7c15ull + round_of;
}

static void *take(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	fill(p, len);
	return p;
}

static int carry_out(const char *word, size_t len)
{
	static void *kept;
	void *p;

	if (!strcmp(word, REPLY_PING))
		return 1;
	if (!strcmp(word, REPLY_FILL))
		return (kept = take(len)) != NULL;
	if (!strcmp(word, REPLY_AGAIN) && kept)
		fill(kept, len);
	else if (!strcmp(word, REPLY_TAKE) && (p = take(len)))
		munmap(p, len);
	else
		return 0;
	return 1;
}

static void serve(int fd)
{
	char line[64], word[16];
	unsigned mib;
	ssize_t n = read(fd, line, sizeof(line) - 1);

	line[n > 0 ? n : 0] = '\0';
	if (sscanf(line, "%15s %u", word, &mib) == 2 && carry_out(word, (size_t)mib * MIB))
		(void)!write(fd, "!\n", 2);
	close(fd);
}

int main(void)
{
	struct vm_address here = {.family = FAMILY, .port = REPLY_PORT, .cid = ANY_CID};
	int fd = socket(FAMILY, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof(here)) || listen(fd, 8)) {
		perror("vsock");
		return 1;
	}
	for (;;)
		serve(accept(fd, NULL, NULL));
}
