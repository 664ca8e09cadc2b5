/* SPDX-License-Identifier: MIT */
#include "tests/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/buf.h"
#include "master/backoff.h"
#include "master/config-text.h"
#include "master/config.h"

static void test_duration_takes_units(void)
{
	static const struct {
		const char *text;
		int ret;
		uint64_t ms;
	} rows[] = {
		{ "0", 0, 0 },
		{ "30", 0, 30000 },
		{ "30s", 0, 30000 },
		{ "30 s", 0, 30000 },
		{ "500ms", 0, 500 },
		{ "2m", 0, 120000 },
		{ "1h", 0, 3600000 },
		{ "3d", 0, UINT64_C(259200000) },
		{ "", -EINVAL, 0 },
		{ "s", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
		{ "+1", -EINVAL, 0 },
		{ "1.5s", -EINVAL, 0 },
		{ "3x", -EINVAL, 0 },
		{ "3mss", -EINVAL, 0 },
		{ "3 ", 0, 3000 },
		{ " 3", -EINVAL, 0 },
		{ "99999999999999999999", -ERANGE, 0 },
		{ "18446744073709551615", -ERANGE, 0 },
		{ "36601d", -ERANGE, 0 },
		{ "36600d", 0, UINT64_C(36600) * 86400000 },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		uint64_t ms = 77;
		int ret = duration_parse(rows[i].text, &ms);

		check_row(ret == rows[i].ret, i);
		check_row(ms == (ret == 0 ? rows[i].ms : 77), i);
	}
}

static void test_duration_formats_what_it_parses(void)
{
	static const struct {
		uint64_t ms;
		const char *text;
	} rows[] = {
		{ 0, "0" }, { 1, "1ms" }, { 1500, "1500ms" }, { 30000, "30s" },
		{ 90000, "90s" }, { 120000, "2m" }, { 7200000, "2h" },
		{ 86400000, "1d" },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		uint64_t ms = 77;
		char text[32];

		check_row(strcmp(duration_format(rows[i].ms, text), rows[i].text) == 0, i);
		check_row(duration_parse(text, &ms) == 0 && ms == rows[i].ms, i);
	}
}

static void test_size_takes_units(void)
{
	static const struct {
		const char *text;
		int ret;
		uint64_t bytes;
	} rows[] = {
		{ "0", 0, 0 },
		{ "1000", 0, 1000 },
		{ "64k", 0, 65536 },
		{ "512 M", 0, 512u << 20 },
		{ "3G", 0, UINT64_C(3) << 30 },
		{ "1024G", 0, UINT64_C(1) << 40 },
		{ "1025G", -ERANGE, 0 },
		{ "1099511627777", -ERANGE, 0 },
		{ "18014398509481985k", -ERANGE, 0 },
		{ "99999999999999999999", -ERANGE, 0 },
		{ "99999999999999999999x", -EINVAL, 0 },
		{ "64K", -EINVAL, 0 },
		{ "64MB", -EINVAL, 0 },
		{ "1.5M", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
		{ "M", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
	};
	static const struct {
		uint64_t bytes;
		const char *text;
	} formats[] = {
		{ 0, "0" }, { 1023, "1023" }, { 1024, "1k" }, { 1536, "1536" },
		{ 3 << 20, "3M" }, { UINT64_C(1) << 40, "1024G" },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		uint64_t bytes = 77;
		int ret = size_parse(rows[i].text, UINT64_C(1) << 40, &bytes);

		check_row(ret == rows[i].ret, i);
		check_row(bytes == (ret == 0 ? rows[i].bytes : 77), i);
	}
	for (size_t i = 0; i < UNIT_COUNT(formats); i++) {
		char text[32];

		check_row(strcmp(size_format(formats[i].bytes, text), formats[i].text) == 0, i);
	}
}

static void test_number_is_digits_and_no_more_than_max(void)
{
	static const struct {
		const char *text;
		uint64_t max;
		int ret;
		uint64_t value;
	} rows[] = {
		{ "0", 10, 0, 0 },
		{ "10", 10, 0, 10 },
		{ "11", 10, -ERANGE, 0 },
		{ "9", 5, -ERANGE, 0 },
		{ "11x", 10, -EINVAL, 0 },
		{ "1x", 10, -EINVAL, 0 },
		{ "", 10, -EINVAL, 0 },
		{ "18446744073709551615", UINT64_MAX, 0, UINT64_MAX },
		{ "18446744073709551616", UINT64_MAX, -ERANGE, 0 },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		uint64_t value = 77;
		int ret = number_parse(rows[i].text, rows[i].max, &value);

		check_row(ret == rows[i].ret, i);
		check_row(value == (ret == 0 ? rows[i].value : 77), i);
	}
}

static void test_braces_are_counted_outside_strings_and_comments(void)
{
	static const struct {
		const char *text;
		enum config_text_error error;
		unsigned line;
	} rows[] = {
		{ "", CONFIG_TEXT_OK, 0 },
		{ "a = 1\n", CONFIG_TEXT_OK, 0 },
		{ "a { b = 1 }\n", CONFIG_TEXT_OK, 0 },
		{ "x = 1\na {\n b = 1\n", CONFIG_TEXT_OPEN_BRACE, 2 },
		{ "a { }\nb {\nc { }\n", CONFIG_TEXT_OPEN_BRACE, 2 },
		{ "a { }\n}\n", CONFIG_TEXT_STRAY_BRACE, 2 },
		{ "a = \"}\"\n", CONFIG_TEXT_OK, 0 },
		{ "a = '{'\n", CONFIG_TEXT_OK, 0 },
		{ "a = \"\\\"}\"\n", CONFIG_TEXT_OK, 0 },
		{ "# {\n// {\n/* {\n{ */\n", CONFIG_TEXT_OK, 0 },
		{ "a { # }\n", CONFIG_TEXT_OPEN_BRACE, 1 },
		{ "a { // }\n}", CONFIG_TEXT_OK, 0 },
		/* inside a word these begin no comment */
		{ "a { b = x#y }\n", CONFIG_TEXT_OK, 0 },
		{ "a { b = http://x }\n", CONFIG_TEXT_OK, 0 },
		{ "\n\na = \"b\n\n", CONFIG_TEXT_OPEN_STRING, 3 },
		{ "a = \"b\\", CONFIG_TEXT_OPEN_STRING, 1 },
		{ "\n/* x\n", CONFIG_TEXT_OPEN_COMMENT, 2 },
		{ "/*/", CONFIG_TEXT_OPEN_COMMENT, 1 },
		{ "/* \" */ a { }\n", CONFIG_TEXT_OK, 0 },
		{ "{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{", CONFIG_TEXT_OPEN_BRACE, 1 },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char text[80];
		unsigned line = 0;
		enum config_text_error error;

		strcpy(text, rows[i].text);
		error = config_text_check(text, strlen(text), &line);

		check_row(error == rows[i].error, i);
		if (error != CONFIG_TEXT_OK)
			check_row(line == rows[i].line, i);
	}
}

static void test_comments_become_blanks(void)
{
	char text[] = "a = 1 # x\n// y\n/* z\n */ b = \"# no /* one\" // q\nc = x#y";
	unsigned line;

	check(config_text_check(text, strlen(text), &line) == CONFIG_TEXT_OK);
	check(strcmp(text, "a = 1    \n    \n    \n    b = \"# no /* one\"     \nc = x#y") == 0);
}

static void test_braces_survive_any_bytes(void)
{
	static const char alphabet[] = "{}\"'\\#/*\n a=\0";
	uint64_t seed = unit_seed();

	for (int round = 0; round < 20000; round++) {
		char text[24];
		size_t len = unit_random(&seed) % sizeof(text);
		unsigned line = 0, lines = 1;

		for (size_t i = 0; i < len; i++) {
			text[i] = alphabet[unit_random(&seed) % sizeof(alphabet)];
			lines += text[i] == '\n';
		}
		config_text_check(text, len, &line);
		check(line <= lines);
	}
}

static void test_word_distance(void)
{
	char longest[80];

	check(word_distance("", "") == 0);
	check(word_distance("abc", "abc") == 0);
	check(word_distance("abc", "") == 3);
	check(word_distance("hibernate_aftr", "hibernate_after") == 1);
	check(word_distance("kitten", "sitting") == 3);
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	check(word_distance(longest, "x") > 60);
}

static void test_backoff_starts_at_once_then_slows_down(void)
{
	static const uint64_t wanted[] = { 0, 100, 200, 400, 500, 500, 500 };
	struct backoff b = { 0 };

	for (size_t i = 0; i < UNIT_COUNT(wanted); i++)
		check_row(backoff_next_ms(&b, 5) == wanted[i], i);
	/* One good life and all is forgotten. */
	check(backoff_next_ms(&b, BACKOFF_WELL_MS) == 0);
	check(backoff_next_ms(&b, 5) == 100);
}

static void test_config_reads_what_it_is_told(void)
{
	static const char text[] =
		"base_dir = \"/tmp/x\"\nhibernate = no\nhibernate_after = 1500ms\n"
		"poll_interval = 2m\nappend_max = 64M\ncompress_window_max = 4k\ndebug_hop = yes\nspares = 7\nmail = \"~/M\"\n"
		"user = nobody login_user = daemon auth_user = mail\n"
		"log_level = warn\nlog = \"file:/tmp/log\"\n"
		"listen one { address = \"127.0.0.1\" port = 143 tls = no }\n"
		"listen two { address = \"::1\" port = 0 }\n"
		"auth { static_password = \"secret\" static_home = \"/home/%u\" \n"
		"mechanisms = \"Plain scram-sha-256\" pam_service = \"/etc/x/imap\"\n"
		"first_valid_uid = 500 }\nmax_address_sessions = 9\n";
	char name[] = "/tmp/test-config-XXXXXX";
	struct config config;
	struct buf errors;
	int fd = mkstemp(name);

	require(fd >= 0 && write(fd, text, sizeof(text) - 1) == sizeof(text) - 1);
	close(fd);
	if (config_load(name, &config, &errors) < 0) {
		fwrite(errors.data, 1, errors.len, stderr);
		buf_deinit(&errors);
		unlink(name);
		CU_FAIL_FATAL("config_load");
	}
	buf_deinit(&errors);
	unlink(name);
	check(strcmp(config.settings.base_dir, "/tmp/x") == 0);
	check(!config.settings.hibernate);
	check(config.settings.hibernate_after_ms == 1500);
	check(config.settings.poll_interval_ms == 120000);
	check(config.settings.spares == 7);
	check(config.settings.append_max_bytes == 64 << 20);
	check(config.settings.compress_window_max_bytes == 4096);
	check(config.settings.debug_hop);
	check(strcmp(config.settings.static_password, "secret") == 0);
	check(strcmp(config.settings.static_home, "/home/%u") == 0);
	check(strcmp(config.settings.mechanisms, "Plain scram-sha-256") == 0);
	check(strcmp(config.settings.pam_service, "/etc/x/imap") == 0);
	check(config.settings.first_valid_uid == 500);
	check(config.settings.max_address_sessions == 9);
	check(config_log_level(&config.settings) == LOG_L_WARN);
	check(strcmp(config_log_file(&config.settings), "/tmp/log") == 0);
	require(config.n_listeners == 2);
	check(config.listeners[0].port == 143 && !config.listeners[0].tls);
	check(config.listeners[0].sa.ss_family == AF_INET);
	check(((struct sockaddr_in *)&config.listeners[0].sa)->sin_port == htons(143));
	check(config.listeners[1].sa.ss_family == AF_INET6);
	check(config.listeners[1].port == 0);
	config_deinit(&config);
}

static void test_config_refuses_what_auth_could_not_use(void)
{
	static const struct {
		const char *line, *why;
	} rows[] = {
		{ "mechanisms = \"\"", "is empty" },
		{ "mechanisms = \"plain cram-md5\"", "cram-md5 is none" },
		{ "mechanisms = \"plain,login\"", "plain,login is none" },
		{ "mechanisms = \"scram-sha-256-plus\"", "is none" },
		{ "pam_service = \"../shadow\"", "no service of PAM" },
		{ "pam_service = \"/etc/pam.d/\"", "no service of PAM" },
		{ "first_valid_uid = 0", "out of range" },
		{ "first_valid_uid = 4294967295", "out of range" },
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char name[] = "/tmp/test-config-XXXXXX", text[300];
		struct config config;
		struct buf errors;

		snprintf(text, sizeof(text), "listen a { address = \"127.0.0.1\" port = 1 }\n"
			"auth { %s }\n", rows[i].line);
		int fd = mkstemp(name);
		require(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
		close(fd);
		check_row(config_load(name, &config, &errors) < 0, i);
		buf_append_u8(&errors, 0);
		check_row(errors.data && strstr((char *)errors.data, rows[i].why), i);
		check_row(errors.data && strstr((char *)errors.data, ":2: "), i);
		buf_deinit(&errors);
		unlink(name);
	}
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_duration_takes_units),
		UNIT_TEST(test_duration_formats_what_it_parses),
		UNIT_TEST(test_size_takes_units),
		UNIT_TEST(test_number_is_digits_and_no_more_than_max),
		UNIT_TEST(test_braces_are_counted_outside_strings_and_comments),
		UNIT_TEST(test_comments_become_blanks),
		UNIT_TEST(test_braces_survive_any_bytes),
		UNIT_TEST(test_word_distance),
		UNIT_TEST(test_backoff_starts_at_once_then_slows_down),
		UNIT_TEST(test_config_reads_what_it_is_told),
		UNIT_TEST(test_config_refuses_what_auth_could_not_use),
	};
	return unit_run("config", tests, UNIT_COUNT(tests));
}
