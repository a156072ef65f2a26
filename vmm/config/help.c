/* SPDX-License-Identifier: Apache-2.0 */
/* help: --help, laid out from the table in its own order, so that it lists all that
 * there is and nothing else. */
#include "vmm/config/cli.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { DOC_COLUMN = 33 };

static const char head[] =
	"usage: minivmm [run] --kernel FILE [OPTION]...\n"
	"       minivmm run [OPTION]... -- COMMAND [ARGUMENT]...\n"
	"       minivmm clone DIR [-n N | --template SOCKET] [OPTION]...\n"
	"       minivmm matrix FILE [-j N] [--junit FILE] [--json FILE]\n"
	"       minivmm ctl PATH METHOD [KEY=VALUE]... [--json]\n"
	"       minivmm list [--json]\n"
	"       minivmm doctor [--json | --sandbox]\n"
	"       minivmm version\n"
	"\n"
	"Boots a Linux guest in a virtual machine of its own. With a COMMAND it runs\n"
	"that in the guest as if it ran here: on this host's tree, which it sees and\n"
	"does not change, in the same directory, with stdin, stdout and stderr.\n"
	"Without --kernel it is under this host's own; with no COMMAND, a shell.\n";

static const char tail[] =
	"\n"
	"Examples:\n"
	"  minivmm -k vmlinuz -i initrd.img --append quiet\n"
	"  minivmm -k vmlinuz -c 2 -m 1G -d root.img --append root=/dev/vda\n"
	"  minivmm --config vm.ini -d scratch.img,id=data --timeout 60\n"
	"  minivmm run -k vmlinux --timeout 60 -- make check\n"
	"\n"
	"Settings: the command line beats the environment (MINIVMM_STOP_TIMEOUT=3 is\n"
	"--stop-timeout 3), which beats the file, which beats the default. --disk, --net,\n"
	"--share and --append given in one of them replace those of the weaker ones. In\n"
	"the file the long names are keys below the [section] shown above, and paths\n"
	"start from the file's own directory; a disk, network or share has a section:\n"
	"  [machine]              [disk.root]            [net.lan]\n"
	"  memory = 1G            path = root.img        user = on\n"
	"  cpus = 2               readonly = on          forward = 8080:80 2222:22\n"
	"\n"
	"minivmm matrix runs a guest over several kernels, CPU counts and memory sizes,\n"
	"see minivmm matrix --help.\n"
	"minivmm doctor tells what this host can run, and what to do about the rest.\n"
	"\n"
	"On the terminal: Ctrl-a x ends the VM, Ctrl-a p presses the power button,\n"
	"Ctrl-a s KEY is magic SysRq, Ctrl-a h tells what else there is.\n"
	"SIGTERM presses the guest's power button, a second one ends the VM.\n"
	"\n"
	"Exit status: 0 the guest powered off or rebooted, 1 the host failed, 2 usage or\n"
	"configuration, 3 the guest crashed, 4 the sandbox ended it, 124 --timeout ran\n"
	"out, 128+N signal N.\n"
	"With a COMMAND its own; 126 it cannot be run, 127 it is not there, 125 minivmm\n"
	"or the guest failed before it had one.\n";

static void print_option(const struct option_def *def)
{
	const char *doc = def->doc;
	int used = isgraph(def->key) ? printf("  -%c, --%s", def->key, def->name)
				     : printf("      --%s", def->name);

	if (def->arg)
		used += printf("%s%s", def->arg[0] == '[' ? "" : " ", def->arg);
	/* Too long for the column: the prose begins on the next line. */
	if (used > DOC_COLUMN - 2) {
		putchar('\n');
		used = 0;
	}
	for (size_t len; doc; doc = doc[len] ? doc + len + 1 : NULL, used = 0) {
		len = strcspn(doc, "\n");
		printf("%*s%.*s\n", DOC_COLUMN - used, "", (int)len, doc);
	}
}

static const char doctor_text[] =
	"usage: minivmm doctor [--json | --sandbox]\n"
	"\n"
	"Tells what this host can run, by running a tiny guest of its own and timing it,\n"
	"and what to do about what is missing: KVM and its capabilities, permissions,\n"
	"limits, memory and huge pages, helpers such as passt and tap. It takes about half\n"
	"a second, needs no kernel and changes nothing.\n"
	"\n"
	"      --json                     the same for machines: one JSON object; its\n"
	"                                 \"verdict\" is linux, ring0-emulated, no-kvm,\n"
	"                                 no-permission, unusable or broken\n"
	"      --sandbox                  instead: which calls each kind of thread has left\n"
	"                                 under --sandbox, and what of it this kernel can do\n"
	"\n"
	"Exit status: 0 Linux guests run here (--sandbox: it can be on), 1 not so, 2 usage.\n";

static void print_options(void)
{
	const char *section = "";

	fputs(head, stdout);
	for (const struct option_def *def = options; def->name; def++) {
		if (def->section && strcmp(def->section, section) != 0)
			printf("\n[%s]\n", def->section);
		else if (!def->section && section)
			printf("\nGeneral\n");
		section = def->section;
		print_option(def);
	}
	fputs(tail, stdout);
}

int cli_help(bool doctor, struct err *e)
{
	if (doctor)
		fputs(doctor_text, stdout);
	else
		print_options();
	if (fflush(stdout) != 0 || ferror(stdout))
		return err_host(e, -EIO, "--help: stdout: %s", strerror(errno));
	return 0;
}
