/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/ipc.h"
#include "lib/settings.h"
#include "tests/unit.h"

#define TYPE 1

/* Sends `out` to ourselves. */
static struct ipc_in *there_and_back(struct ipc_out *out)
{
	struct ipc_in *in = NULL;
	int fds[2];

	require(ipc_pair(fds) == 0);
	check(ipc_send_free(fds[0], &out) == 0);
	check(ipc_recv(fds[1], &in) == 0);
	close(fds[0]);
	close(fds[1]);
	require(in != NULL);
	return in;
}

static void set_text(char **at, const char *value)
{
	free(*at);
	*at = strdup(value);
}

/* Every field differs from its default and from its neighbours. */
static void change_all(struct settings *s)
{
	set_text(&s->base_dir, "/srv/run");
	set_text(&s->mail, "~/mail");
	set_text(&s->index_dir, "/srv/index/%u");
	set_text(&s->user, "u1");
	set_text(&s->login_user, "u2");
	set_text(&s->auth_user, "u3");
	set_text(&s->log, "file:/srv/log");
	set_text(&s->log_level, "debug");
	set_text(&s->passwd_file, "/srv/passwd");
	set_text(&s->static_password, "p w\xc3\xa4\"");
	set_text(&s->static_home, "/srv/home/%u");
	set_text(&s->mechanisms, "scram-sha-256");
	set_text(&s->pam_service, "imap");
	s->hibernate_after_ms = 1ull << 40;
	s->hibernate = false;
	s->keepalive_interval_ms = 11;
	s->keepalives_ahead = 12;
	s->login_timeout_ms = 13;
	s->poll_interval_ms = 14;
	s->client_timeout_ms = 15;
	s->stop_timeout_ms = UINT64_MAX;
	s->upgrade_grace_ms = 61;
	s->keep_grace_ms = 62;
	s->spares = 16;
	s->max_processes = 17;
	s->max_sleepers = UINT32_MAX;
	s->login_processes = 18;
	s->login_max_clients = 19;
	s->max_user_sessions = 20;
	s->max_address_sessions = 22;
	s->first_valid_uid = 23;
	s->zygote_max_forks = 21;
	s->append_max_bytes = 1ull << 41;
	set_text(&s->special_use, "Gesendet=Sent");
	s->compress_window_max_bytes = 22;
	s->debug_hop = true;
	s->user_mode = true;
}

static void check_same(const struct settings *a, const struct settings *b)
{
	static const size_t texts[] = {
		offsetof(struct settings, base_dir), offsetof(struct settings, mail),
		offsetof(struct settings, index_dir), offsetof(struct settings, user),
		offsetof(struct settings, login_user),
		offsetof(struct settings, auth_user), offsetof(struct settings, log),
		offsetof(struct settings, log_level),
		offsetof(struct settings, passwd_file),
		offsetof(struct settings, static_password),
		offsetof(struct settings, static_home),
		offsetof(struct settings, special_use),
		offsetof(struct settings, mechanisms),
		offsetof(struct settings, pam_service),
	};
	for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
		const char *x = *(char *const *)((const char *)a + texts[i]);
		const char *y = *(char *const *)((const char *)b + texts[i]);

		check_row(x && y && x != y && strcmp(x, y) == 0, i);
	}
	check(a->hibernate_after_ms == b->hibernate_after_ms);
	check(a->hibernate == b->hibernate);
	check(a->keepalive_interval_ms == b->keepalive_interval_ms);
	check(a->keepalives_ahead == b->keepalives_ahead);
	check(a->login_timeout_ms == b->login_timeout_ms);
	check(a->poll_interval_ms == b->poll_interval_ms);
	check(a->client_timeout_ms == b->client_timeout_ms);
	check(a->stop_timeout_ms == b->stop_timeout_ms);
	check(a->upgrade_grace_ms == b->upgrade_grace_ms);
	check(a->keep_grace_ms == b->keep_grace_ms);
	check(a->spares == b->spares && a->max_processes == b->max_processes);
	check(a->max_sleepers == b->max_sleepers);
	check(a->login_processes == b->login_processes);
	check(a->login_max_clients == b->login_max_clients);
	check(a->max_user_sessions == b->max_user_sessions);
	check(a->max_address_sessions == b->max_address_sessions);
	check(a->first_valid_uid == b->first_valid_uid);
	check(a->zygote_max_forks == b->zygote_max_forks);
	check(a->append_max_bytes == b->append_max_bytes);
	check(a->compress_window_max_bytes == b->compress_window_max_bytes);
	check(a->debug_hop == b->debug_hop);
	check(a->user_mode == b->user_mode);
}

static void round_trip(const struct settings *s)
{
	struct ipc_out *out = ipc_out_create(TYPE);
	struct settings back;
	struct ipc_in *in;

	settings_pack(s, out);
	ipc_out_str(out, "role data");
	in = there_and_back(out);
	check(settings_unpack(&back, in) == 0);
	check_same(s, &back);
	/* What follows in SETUP is where it should be. */
	check(strcmp(ipc_in_str(in), "role data") == 0 && ipc_in_done(in));
	settings_deinit(&back);
	ipc_in_destroy(&in);
}

static void test_settings_begin_with_what_the_design_says(void)
{
	struct settings s;

	require(settings_init(&s) == 0);
	check(strcmp(s.base_dir, "/run/dormouse") == 0);
	check(strcmp(s.mail, "~/Maildir") == 0);
	check(strcmp(s.user, "dormouse") == 0);
	check(strcmp(s.login_user, "dormouse-login") == 0);
	check(strcmp(s.auth_user, "dormouse-auth") == 0);
	check(s.hibernate && s.hibernate_after_ms == 30000);
	check(s.keepalive_interval_ms == 120000 && s.keepalives_ahead == 2);
	check(s.login_timeout_ms == 60000 && s.spares == 2 && !s.user_mode);
	check(s.append_max_bytes == 512 << 20 && s.max_user_sessions == 100);
	check(s.compress_window_max_bytes == 8192 && !s.debug_hop);
	settings_deinit(&s);
	check(s.base_dir == NULL);
	settings_deinit(&s);
}

static void test_words_of_a_list_are_found_whole(void)
{
	check(settings_has_word("plain login", "plain"));
	check(settings_has_word("  Plain  LOGIN ", "login"));
	check(!settings_has_word("plain login", "log"));
	check(!settings_has_word("scram-sha-256-plus", "scram-sha-256"));
	check(!settings_has_word("", "plain") && !settings_has_word("   ", ""));
}

static void test_settings_come_back_as_they_were_sent(void)
{
	struct settings s;

	require(settings_init(&s) == 0);
	round_trip(&s);
	change_all(&s);
	round_trip(&s);
	settings_deinit(&s);
}

/* Another number of fields, or the right number of the wrong kind. */
static void test_settings_unpack_refuses_another_shape(void)
{
	for (unsigned n = 0; n < 40; n++) {
		struct ipc_out *out = ipc_out_create(TYPE);
		struct settings back;
		struct ipc_in *in;

		ipc_out_array(out, n);
		for (unsigned i = 0; i < n; i++)
			ipc_out_u64(out, 1);
		in = there_and_back(out);
		check_row(settings_unpack(&back, in) == -EBADMSG, n);
		check_row(back.base_dir == NULL, n);
		settings_deinit(&back);
		ipc_in_destroy(&in);
	}
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_settings_begin_with_what_the_design_says),
		UNIT_TEST(test_words_of_a_list_are_found_whole),
		UNIT_TEST(test_settings_come_back_as_they_were_sent),
		UNIT_TEST(test_settings_unpack_refuses_another_shape),
	};
	return unit_run("settings", tests, UNIT_COUNT(tests));
}
