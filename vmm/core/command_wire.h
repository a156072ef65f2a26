/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command_wire: what minivmm and the guest's init tell each other about a command
 * (`minivmm run -- COMMAND`).
 *
 * Before: the file /m/command of the initramfs, a row of strings that each end in a NUL.
 * The first byte of a string is one of the letters below, the rest its value.
 *
 * Then: streams over vsock, which the guest opens to the host, one port each. On the
 * control stream go messages of two numbers, little endian, 32 bits each: what and a
 * value. Each stream ends on its own; when the guest has said EXITED it waits until the
 * host closes the control stream, and powers off.
 */
#ifndef VMM_CORE_COMMAND_WIRE_H
#define VMM_CORE_COMMAND_WIRE_H

enum {
	COMMAND_WORD = 'A', /* a word of the command; none: a shell */
	COMMAND_DIR = 'D',  /* the directory in which it starts */
	COMMAND_ENV = 'E',  /* NAME=VALUE */
	/* A network that is to be up before it starts: "SECONDS MAC NAME", how long its DHCP
	 * server may take, by which it is known, and what the host calls it. */
	COMMAND_NET = 'N',
	COMMAND_USER = 'U',    /* USER[:GROUP], whose it is: names or numbers of the guest's */
	COMMAND_IDS = 'I',     /* the same in numbers: "UID GID GROUP..."; neither: root's */
	COMMAND_OVERLAY = 'O', /* the root gets a layer to write into */
	COMMAND_INIT = 'S',    /* it runs in the system that the root's own init brings up */
	/* Its stdin and stdout are a terminal, of a size: "ROWS COLUMNS"; with COMMAND_TTY_ERR
	 * its stderr as well. */
	COMMAND_TTY = 'T',
	COMMAND_TTY_ERR = 't',
};

/* Ports of the host (CID 2). */
enum {
	COMMAND_PORT_CONTROL = 5330,
	COMMAND_PORT_STDIN,
	COMMAND_PORT_STDOUT,
	COMMAND_PORT_STDERR,
};

enum {
	/* from the guest */
	COMMAND_STARTED = 1, /* it is about to run */
	COMMAND_EXITED = 2,  /* its status as a shell has it, 0 to 255 */
	/* from the host */
	COMMAND_SIGNAL = 3, /* for the command's process group */
	COMMAND_SIZE = 4,   /* of the terminal: rows, columns * 65536 */
};

enum { COMMAND_MESSAGE_LEN = 8 };

#endif
