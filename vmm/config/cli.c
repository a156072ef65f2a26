/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli: see cli.h. argp splits the words by the table in options.c. Its own error messages take two
 * lines and its defaults leave the process, so both are switched off: with ARGP_SILENT it only says
 * that some word was not understood, and explain() finds out which and why.
 */
#include "vmm/config/cli.h"

#include "vmm/config/suggest.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* One reading of the command line. */
struct pass {
	struct vm_config *c; /* NULL on the first pass: nothing is applied */
	struct level level;
	struct err *e;
	struct cli_scan found;
	const struct option_def *setting; /* the first that is given for a machine */
	enum config_action action;
	int word; /* index of the first word that was not wholly understood yet */
};

static int explain_short(const char *word, struct err *e)
{
	struct suggestion near = {0};

	for (const char *p = word + 1; *p; p++) {
		const struct option_def *def = option_by_key((unsigned char)*p);

		if (def && !def->arg)
			continue;
		if (def)
			return err_usage(e, -EINVAL, "-%c: needs a value: %s", *p, def->arg);
		for (const struct option_def *o = options; o->name; o++) {
			if (strcmp(o->name, word + 1) == 0)
				return err_usage(e, -EINVAL, "%.80s: did you mean --%s?", word,
						 o->name);
			suggest_offer(&near, word + 1, o->name);
		}
		if (near.name)
			return err_usage(e, -EINVAL, "%.80s: unknown option; did you mean --%s?",
					 word, near.name);
		/* `-smp` is no -s with something behind it. */
		return err_usage(e, -EINVAL, "-%.*s: unknown option; see minivmm --help",
				 p == word + 1 ? 40 : 1, p);
	}
	return err_usage(e, -EINVAL, "%.80s: not understood; see minivmm --help", word);
}

static int explain_long(const char *word, struct err *e)
{
	char name[80], several[200] = "";
	const struct option_def *def = NULL;
	struct suggestion near = {0};
	unsigned matches = 0;

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(word + 2, "="), word + 2);
	for (const struct option_def *o = options; o->name; o++) {
		suggest_offer(&near, name, o->name);
		if (strncmp(o->name, name, strlen(name)) != 0)
			continue;
		matches++;
		snprintf(several + strlen(several), sizeof(several) - strlen(several), "%s--%s",
			 *several ? ", " : "", o->name);
		def = o;
	}
	if (option_by_name(name)) {
		def = option_by_name(name);
		matches = 1;
	}
	if (matches == 1 && def->arg)
		return err_usage(e, -EINVAL, "--%s: needs a value: %s", def->name, def->arg);
	if (matches == 1)
		return err_usage(e, -EINVAL, "--%s: takes no value", def->name);
	if (matches > 1)
		return err_usage(e, -EINVAL, "--%s: could be %s", name, several);
	if (near.name)
		return err_usage(e, -EINVAL, "--%s: unknown option; did you mean --%s?", name,
				 near.name);
	return err_usage(e, -EINVAL, "--%s: unknown option; see minivmm --help", name);
}

/* Why did getopt stumble over this word? */
static int explain(const char *word, struct err *e)
{
	return word[0] == '-' && word[1] == '-' ? explain_long(word, e) : explain_short(word, e);
}

/* What is behind "--" is the guest's. */
static int take_command(struct pass *p, const char *word)
{
	return p->c ? command_add_word(p->c, word, p->e) : 0;
}

static int take_word(struct pass *p, const char *word, unsigned nth)
{
	struct suggestion near = {0};

	if (nth)
		return err_usage(p->e, -EINVAL, "%.80s: one word too much; see minivmm --help",
				 word);
	if (strcmp(word, "run") == 0) {
		p->found.run = true;
		return 0;
	}
	if (strcmp(word, "doctor") == 0) {
		p->found.doctor = true;
		return 0;
	}
	if (strcmp(word, "version") == 0) {
		p->action = CONFIG_VERSION;
		return -ECANCELED;
	}
	if (strcmp(word, "ctl") == 0)
		return err_usage(p->e, -EINVAL, "ctl: comes first: minivmm ctl PATH METHOD");
	if (strcmp(word, "list") == 0)
		return err_usage(p->e, -EINVAL, "list: comes first: minivmm list");
	if (strcmp(word, "clone") == 0)
		return err_usage(p->e, -EINVAL, "clone: comes first: minivmm clone DIR");
	if (strcmp(word, "matrix") == 0)
		return err_usage(p->e, -EINVAL, "matrix: comes first: minivmm matrix FILE");
	suggest_offer(&near, word, "run");
	suggest_offer(&near, word, "clone");
	suggest_offer(&near, word, "matrix");
	suggest_offer(&near, word, "ctl");
	suggest_offer(&near, word, "list");
	suggest_offer(&near, word, "version");
	suggest_offer(&near, word, "doctor");
	if (near.name)
		return err_usage(p->e, -EINVAL, "%.80s: unknown command; did you mean %s?", word,
				 near.name);
	return err_usage(p->e, -EINVAL,
			 "%.80s: unknown command; a kernel is given with --kernel FILE", word);
}

static int take_option(struct pass *p, const struct option_def *def, char *arg, const char *word)
{
	/* getopt reads `-kernel bzImage` as `-k ernel` and a word too much. */
	if (word[1] != '-' && option_by_name(word + 1))
		return err_usage(p->e, -EINVAL, "%.80s: did you mean --%s?", word, word + 1);
	if (p->c)
		return def->set ? option_apply(p->c, &p->level, def, arg, p->e) : 0;
	if (def->key == KEY_JSON) {
		p->found.json = true;
		return 0;
	}
	/* doctor has one of that name. */
	if (def->key == KEY_SANDBOX && !arg) {
		p->found.sandbox = true;
		return 0;
	}
	if (!p->setting && def->key != 'h' && def->key != 'V')
		p->setting = def;
	if (def->key == KEY_RESTORE)
		p->found.restore = arg;
	if (def->key == KEY_CONFIG) {
		p->found.config_file = arg;
	} else if (!def->set) {
		p->action = def->key == 'h' ? CONFIG_DONE : CONFIG_VERSION;
		return -ECANCELED;
	}
	return 0;
}

static error_t parse_one(int key, char *arg, struct argp_state *state)
{
	struct pass *p = state->input;
	const struct option_def *def;
	int err;

	if (key == ARGP_KEY_ERROR) {
		if (p->action == CONFIG_RUN && p->word < state->argc)
			explain(state->argv[p->word], p->e);
		return 0;
	}
	if (key == ARGP_KEY_END || key == ARGP_KEY_NO_ARGS) {
		if (state->quoted)
			p->found.command = true;
		return 0;
	}
	if (key == ARGP_KEY_ARG && state->quoted && state->next > state->quoted) {
		p->found.command = true;
		err = take_command(p, arg);
	} else if (key == ARGP_KEY_ARG) {
		err = take_word(p, arg, state->arg_num);
	} else {
		def = option_by_key(key);
		if (!def)
			return ARGP_ERR_UNKNOWN;
		err = take_option(p, def, arg, state->argv[p->word]);
	}
	p->word = state->next;
	return -err;
}

static void to_argp(struct argp_option out[OPTIONS_MAX])
{
	for (const struct option_def *def = options; def->name; def++)
		*out++ = (struct argp_option){
			.name = def->name,
			.key = def->key,
			.arg = def->arg,
			.flags = def->arg && def->arg[0] == '[' ? OPTION_ARG_OPTIONAL : 0,
		};
	*out = (struct argp_option){0};
}

static int read_words(struct pass *p, int argc, char **argv)
{
	struct argp_option words[OPTIONS_MAX];
	const struct argp argp = {.options = words, .parser = parse_one};
	int err;

	to_argp(words);
	p->level.kind = LEVEL_CLI;
	p->action = CONFIG_RUN;
	p->word = 1;
	/* In order: argv is the caller's, and is not to be rearranged. */
	err = argp_parse(&argp, argc, argv, ARGP_SILENT | ARGP_IN_ORDER, NULL, p);
	if (!err || p->action != CONFIG_RUN)
		return (int)p->action;
	/* What argp alone can fail at is memory. */
	return p->e->kind ? p->e->code : err_host(p->e, -err, "out of memory");
}

int cli_scan(int argc, char **argv, struct cli_scan *found, struct err *e)
{
	struct pass p = {.e = e};
	int action = read_words(&p, argc, argv);

	if (!p.found.config_file)
		p.found.config_file = found->config_file;
	else if (p.found.restore && action == CONFIG_RUN)
		return err_usage(e, -EINVAL,
				 "--config: not together with --restore, whose machine has its "
				 "settings; give what is to differ on the command line");
	*found = p.found;
	if (action != CONFIG_RUN || !found->doctor)
		return action;
	if (p.setting)
		return err_usage(e, -EINVAL,
				 "--%s: is for a machine, and doctor makes none; leave "
				 "it out",
				 p.setting->name);
	return CONFIG_DOCTOR;
}

int cli_apply(struct vm_config *c, int argc, char **argv, struct err *e)
{
	struct pass p = {.c = c, .e = e};
	int action = read_words(&p, argc, argv);

	return action < 0 ? action : 0;
}
