/* SPDX-License-Identifier: MIT */
/* dormouse: what operators type. A table says what each subcommand is called,
 * takes and does; help and usage come from it. */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/version.h"
#include "master/config.h"
#include "master/dormouse.h"

static int cmd_help(struct invocation *inv);
static int cmd_version(struct invocation *inv);

static const struct command commands[] = {
	{ "start", "", "start the server",
	  "Starts the server, by default in the background; the exit status then says\n"
	  "whether it came up. With -F it stays in the foreground and logs to standard\n"
	  "error, whatever the configuration says.\n"
	  "\nExamples:\n"
	  "  dormouse start\n"
	  "  dormouse -F -c ./dormouse.conf\n",
	  0, 0, "F", cmd_start, NULL },
	{ "stop", "", "stop the server; every client gets BYE",
	  "Wakes every sleeping session to say BYE, bounded by stop_timeout, then ends\n"
	  "all programs. With --now it does not wait for anybody. With --keep nobody gets BYE:\n"
	  "awake sessions fall asleep, and all sleepers are kept for keep_grace, for the next\n"
	  "start to go on with. Returns when the server has ended.\n"
	  "\nExamples:\n"
	  "  dormouse stop\n"
	  "  dormouse stop --now\n"
	  "  dormouse stop --keep\n",
	  0, 0, "JNK", cmd_stop, "stop" },
	{ "reload", "", "take over the configuration file",
	  "Reads the configuration file. If anything in it is wrong, says what, and nothing\n"
	  "changes; else the server goes on with the new one: listeners, certificates, limits,\n"
	  "times. No session is lost; what changed reaches an awake one when it next wakes.\n"
	  "\nExample:\n"
	  "  dormouse reload\n",
	  0, 0, "J", cmd_upgrade, "reload" },
	{ "upgrade", "", "go on as the programs that are installed now",
	  "After a new version was installed: tries the new programs and the configuration,\n"
	  "then replaces every running program. No session is lost: awake ones fall asleep at\n"
	  "the end of their command and wake as the new version; what cannot within\n"
	  "upgrade_grace gets BYE. If the new programs do not come up, the old ones go on.\n"
	  "\nExample:\n"
	  "  dormouse upgrade\n",
	  0, 0, "J", cmd_upgrade, "upgrade" },
	{ "status", "", "show the programs and what they report",
	  "Shows the server, each of its programs with pid, uptime and restarts, and its\n"
	  "listeners with the ports that they really have.\n"
	  "\nExamples:\n"
	  "  dormouse status\n"
	  "  dormouse status --json\n",
	  0, 0, "J", cmd_ask, "status" },
	{ "who", "[USER]", "list sessions, awake and asleep",
	  "Lists all sessions, or those of one user: id, state, mailbox, address, times.\n"
	  "\nExamples:\n"
	  "  dormouse who\n"
	  "  dormouse who anna\n"
	  "  dormouse who --json\n",
	  0, 1, "J", cmd_ask, "who" },
	{ "kick", "SESSION|USER", "end a session, or all of a user, with BYE",
	  "Ends one session (its id is shown by `dormouse who`) or all of a user.\n"
	  "\nExamples:\n"
	  "  dormouse kick 7f3a0d15c2b94e60\n"
	  "  dormouse kick anna\n",
	  1, 1, "J", cmd_ask, "kick" },
	{ "sleep", "SESSION", "put a session to sleep now",
	  "Asks a session to sleep without waiting for hibernate_after. Returns when it\n"
	  "sleeps, or says why it cannot.\n"
	  "\nExample:\n"
	  "  dormouse sleep 7f3a0d15c2b94e60\n",
	  1, 1, "J", cmd_ask, "sleep" },
	{ "wake", "SESSION", "wake a sleeping session",
	  "Wakes a session. Returns when it is awake, or asleep again with nothing to say.\n"
	  "\nExample:\n"
	  "  dormouse wake 7f3a0d15c2b94e60\n",
	  1, 1, "J", cmd_ask, "wake" },
	{ "holder", "", "show what imap-hibernate holds",
	  "Shows how many sessions sleep, what is watched, and counters.\n"
	  "\nExample:\n"
	  "  dormouse holder --json\n",
	  0, 0, "J", cmd_ask, "holder" },
	{ "sessions", "[USER]", "show the sessions that auth counts",
	  "Shows the registry that max_user_sessions is counted by.\n"
	  "\nExample:\n"
	  "  dormouse sessions\n",
	  0, 1, "J", cmd_ask, "sessions" },
	{ "user", "USER", "look a user up: uid, gid, home",
	  "Looks a user up the way a login does.\n"
	  "\nExample:\n"
	  "  dormouse user anna\n",
	  1, 1, "J", cmd_ask, "user" },
	{ "deliver", "[MAILBOX]", "store a message from standard input",
	  "Reads a message from standard input and stores it in MAILBOX (default INBOX)\n"
	  "of the user given with -u, of the Maildir given with -m, or of whoever calls.\n"
	  "As root it first becomes the mail's owner. The message is on disk when the\n"
	  "command returns 0.\n"
	  "\nExamples:\n"
	  "  dormouse deliver -u anna < message\n"
	  "  dormouse deliver -u anna Lists.debian < message\n"
	  "  dormouse deliver -m /home/anna/Maildir < message\n",
	  0, 1, "um", cmd_deliver, NULL },
	{ "export-uidlist", "USER|DIR", "give a Maildir back to Dovecot",
	  "Writes what Dormouse knows of a user's mailboxes, or of those in the Maildir DIR,\n"
	  "into the files from which Dovecot reads it: dovecot-uidlist, dovecot-keywords,\n"
	  "subscriptions and dovecot-uidvalidity. Clients then find every message under the\n"
	  "UID that it had. Stop the server, or end the user's sessions, before. Also see\n"
	  "doc/moving-from-dovecot.md.\n"
	  "\nExamples:\n"
	  "  dormouse export-uidlist anna\n"
	  "  dormouse export-uidlist /home/anna/Maildir\n",
	  0, 1, "m", cmd_export_uidlist, NULL },
	{ "check-config", "", "read the configuration and say what is wrong",
	  "Reads the configuration and says, with file and line, what is wrong in it.\n"
	  "\nExample:\n"
	  "  dormouse check-config -c /etc/dormouse/dormouse.conf\n",
	  0, 0, "", cmd_check_config, NULL },
	{ "state-dump", "FILE|SESSION", "print a session's state as text",
	  "Prints the state in FILE (unsealed; test builds write such), or that of a\n"
	  "sleeping session, which the server unseals. Secrets are left out.\n"
	  "\nExamples:\n"
	  "  dormouse state-dump ./state.bin\n"
	  "  dormouse state-dump 7f3a0d15c2b94e60\n",
	  1, 1, "J", cmd_state_dump, "state-dump" },
	{ "version", "", "print the version",
	  "Prints the version.\n", 0, 0, "", cmd_version, NULL },
	{ "help", "[COMMAND]", "print this, or more about a command",
	  "Prints what there is, or more about one command.\n"
	  "\nExample:\n"
	  "  dormouse help who\n",
	  0, 1, "", cmd_help, NULL },
};
#define COMMANDS	(sizeof(commands) / sizeof(commands[0]))

static const struct {
	char letter;
	const char *text;
} option_texts[] = {
	{ 'F', "  -F, --foreground     stay in the foreground, log to standard error\n" },
	{ 'J', "      --json           print JSON\n" },
	{ 'N', "      --now            do not wait for anybody\n" },
	{ 'K', "      --keep           keep the sessions for the next start\n" },
	{ 'u', "  -u, --user USER      to this user's mail\n" },
	{ 'm', "  -m, --maildir DIR    to this Maildir\n" },
};

int dormouse_fail(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("dormouse: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return DORMOUSE_FAILED;
}

int dormouse_config(const struct invocation *inv, struct config *config)
{
	struct buf errors;
	int ret = config_load(inv->config_file, config, &errors);

	if (ret < 0 && errors.len > 0)
		fwrite(errors.data, 1, errors.len, stderr);
	else if (ret < 0)
		dormouse_fail("%s: %s", inv->config_file, strerror(-ret));
	buf_deinit(&errors);
	return ret;
}

static const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

/* ---- help ---- */

static void help_all(FILE *to)
{
	fputs("Usage: dormouse [-c FILE] COMMAND [ARGUMENTS]\n"
	      "       dormouse [-c FILE] -F\n\nCommands:\n", to);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(to, "  %-16s%-14s%s\n", commands[i].name, commands[i].args,
			commands[i].summary);
	fputs("\nOptions:\n"
	      "  -c, --config FILE    the configuration (" CONFIG_DEFAULT_FILE ")\n"
	      "  -b, --base-dir DIR   the run directory, without reading a configuration\n"
	      "  -F, --foreground     start in the foreground\n"
	      "  -h, --help           this, or with a command more about it\n"
	      "\nExit status: 0 done, 1 failed, 2 called wrongly.\n", to);
}

static int help_one(const struct command *cmd)
{
	printf("Usage: dormouse %s%s%s%s\n\n%s\nOptions:\n", cmd->name,
	       *cmd->options ? " [OPTIONS]" : "", *cmd->args ? " " : "", cmd->args,
	       cmd->help);
	for (size_t i = 0; i < sizeof(option_texts) / sizeof(option_texts[0]); i++) {
		if (strchr(cmd->options, option_texts[i].letter))
			fputs(option_texts[i].text, stdout);
	}
	fputs("  -c, --config FILE    the configuration (" CONFIG_DEFAULT_FILE ")\n"
	      "  -b, --base-dir DIR   the run directory, without reading a configuration\n",
	      stdout);
	return DORMOUSE_OK;
}

static int usage_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int usage_error(const char *fmt, ...)
{
	va_list ap;

	fputs("dormouse: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs("; see: dormouse help\n", stderr);
	return DORMOUSE_USAGE;
}

static int cmd_help(struct invocation *inv)
{
	const struct command *cmd;

	if (inv->argc == 0) {
		help_all(stdout);
		return DORMOUSE_OK;
	}
	cmd = command_find(inv->argv[0]);
	return cmd ? help_one(cmd) : usage_error("there is no command %s", inv->argv[0]);
}

static int cmd_version(struct invocation *inv)
{
	(void)inv;
	printf("dormouse %s\n", dormouse_version);
	return DORMOUSE_OK;
}

/* ---- options ---- */

enum { OPT_JSON = 256, OPT_NOW, OPT_KEEP, OPT_VERSION };
struct parsed {
	struct invocation inv;
	bool help, version;
	char seen[16];		/* letters of the options that not every command has */
};

static void option_seen(struct parsed *p, char letter)
{
	size_t n = strlen(p->seen);

	if (!strchr(p->seen, letter) && n < sizeof(p->seen) - 1)
		p->seen[n] = letter;
}

static int option_take(struct parsed *p, int c)
{
	switch (c) {
	case 'c': p->inv.config_file = optarg; return 0;
	case 'b': p->inv.base_dir = optarg; return 0;
	case 'h': p->help = true; return 0;
	case OPT_VERSION: p->version = true; return 0;
	case 'F': p->inv.foreground = true; option_seen(p, 'F'); return 0;
	case 'u': p->inv.user = optarg; option_seen(p, 'u'); return 0;
	case 'm': p->inv.maildir = optarg; option_seen(p, 'm'); return 0;
	case OPT_JSON: p->inv.json = true; option_seen(p, 'J'); return 0;
	case OPT_NOW: p->inv.now = true; option_seen(p, 'N'); return 0;
	case OPT_KEEP: p->inv.keep = true; option_seen(p, 'K'); return 0;
	default: return -EINVAL;	/* getopt has said why */
	}
}

/* Options may stand before and behind the command, in any order. */
static int options_read(struct parsed *p, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "base-dir", required_argument, NULL, 'b' },
		{ "foreground", no_argument, NULL, 'F' },
		{ "help", no_argument, NULL, 'h' },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "now", no_argument, NULL, OPT_NOW },
		{ "keep", no_argument, NULL, OPT_KEEP },
		{ "user", required_argument, NULL, 'u' },
		{ "maildir", required_argument, NULL, 'm' },
		{ "version", no_argument, NULL, OPT_VERSION },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "c:b:Fhu:m:", longs, NULL)) != -1) {
		if (option_take(p, c) < 0)
			return -EINVAL;
	}
	p->inv.argc = argc - optind;
	p->inv.argv = argv + optind;
	return 0;
}

static int command_run(struct parsed *p, const struct command *cmd)
{
	for (const char *letter = p->seen; *letter; letter++) {
		if (!strchr(cmd->options, *letter))
			return usage_error("%s does not take all of these options",
					   cmd->name);
	}
	if (p->inv.argc < cmd->min_args || p->inv.argc > cmd->max_args)
		return usage_error("%s takes %s", cmd->name,
				   *cmd->args ? cmd->args : "no arguments");
	p->inv.command = cmd;
	return cmd->fn(&p->inv);
}

int main(int argc, char **argv)
{
	struct parsed p = { .inv.config_file = CONFIG_DEFAULT_FILE };
	const struct command *cmd;

	log_open("dormouse", LOG_TO_STDERR, LOG_L_WARN);
	if (options_read(&p, argc, argv) < 0)
		return usage_error("that was not understood");
	if (p.version)
		return cmd_version(&p.inv);
	if (p.inv.argc == 0 && p.help) {
		help_all(stdout);
		return DORMOUSE_OK;
	}
	if (p.inv.argc == 0 && p.inv.foreground)
		return command_run(&p, command_find("start"));
	if (p.inv.argc == 0) {
		help_all(stderr);
		return DORMOUSE_USAGE;
	}
	cmd = command_find(p.inv.argv[0]);
	if (!cmd)
		return usage_error("there is no command %s", p.inv.argv[0]);
	p.inv.argc--;
	p.inv.argv++;
	return p.help ? help_one(cmd) : command_run(&p, cmd);
}
