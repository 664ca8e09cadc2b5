/* SPDX-License-Identifier: MIT */
/* One question to PAM and to the name services. It runs in a process of its
 * own that ends afterwards, so nothing is kept from one to the next. */
#include <errno.h>
#include <pwd.h>
#include <security/pam_appl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/sysuser.h"
#include "lib/log.h"

/* The password to whatever is asked without an echo; what is said to the user
 * has nobody to hear it; any other question has no answer here. */
static int pam_talk(int count, const struct pam_message **messages,
	struct pam_response **responses_r, void *ctx)
{
	struct pam_response *responses;
	const char *password = ctx;

	if (count <= 0 || count > PAM_MAX_NUM_MSG)
		return PAM_CONV_ERR;
	responses = calloc((size_t)count, sizeof(*responses));
	if (!responses)
		return PAM_BUF_ERR;
	for (int i = 0; i < count; i++) {
		int style = messages[i]->msg_style;
		if (style == PAM_TEXT_INFO || style == PAM_ERROR_MSG)
			continue;
		if (style == PAM_PROMPT_ECHO_OFF)
			responses[i].resp = strdup(password);
		if (responses[i].resp)
			continue;
		for (int j = 0; j < i; j++)
			free(responses[j].resp);
		free(responses);
		return PAM_CONV_ERR;
	}
	*responses_r = responses;
	return PAM_SUCCESS;
}

/* auth has delays of its own, which keep no process. */
static void pam_no_delay(int status, unsigned usec, void *ctx)
{
}

static int pam_open(const char *service, const char *user, const struct pam_conv *conv,
	pam_handle_t **pam_r)
{
	char directory[1024];
	const char *slash = strrchr(service, '/');

	if (!slash)
		return pam_start(service, user, conv, pam_r);
	snprintf(directory, sizeof(directory), "%.*s", (int)(slash - service), service);
	return pam_start_confdir(slash + 1, user, conv, directory, pam_r);
}

static enum sysuser_result pam_verdict(pam_handle_t *pam, const char *step, int ret)
{
	switch (ret) {
	case PAM_SUCCESS:
		return SYSUSER_OK;
	case PAM_USER_UNKNOWN:
		return SYSUSER_UNKNOWN;
	case PAM_AUTH_ERR:
	case PAM_MAXTRIES:
	case PAM_CRED_INSUFFICIENT:
		return SYSUSER_WRONG;
	case PAM_PERM_DENIED:
	case PAM_ACCT_EXPIRED:
	case PAM_NEW_AUTHTOK_REQD:
		return SYSUSER_DENIED;
	default:
		log_error("pam", "%s: %s", step, pam_strerror(pam, ret));
		return SYSUSER_FAILED;
	}
}

/* A module may have written the name in another way. */
static void pam_name(pam_handle_t *pam, char *name, size_t size)
{
	const void *item = NULL;

	if (pam_get_item(pam, PAM_USER, &item) == PAM_SUCCESS && item)
		snprintf(name, size, "%s", (const char *)item);
}

static enum sysuser_result pam_ask(pam_handle_t *pam, enum sysuser_question question,
	const char *remote)
{
	const int flags = PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK;

	(void)pam_set_item(pam, PAM_TTY, "dormouse");
	if (*remote)
		(void)pam_set_item(pam, PAM_RHOST, remote);
	(void)pam_set_item(pam, PAM_FAIL_DELAY, (const void *)pam_no_delay);
	if (question == SYSUSER_CHECK) {
		enum sysuser_result result =
			pam_verdict(pam, "pam_authenticate", pam_authenticate(pam, flags));
		if (result != SYSUSER_OK)
			return result;
	}
	return pam_verdict(pam, "pam_acct_mgmt", pam_acct_mgmt(pam, flags));
}

static enum sysuser_result user_facts(const char *name, struct sysuser_facts *facts_r)
{
	errno = 0;
	const struct passwd *pw = getpwnam(name);
	if (!pw)
		return errno == 0 || errno == ENOENT || errno == ESRCH ? SYSUSER_UNKNOWN
								       : SYSUSER_FAILED;
	if (strlen(pw->pw_name) > USER_NAME_MAX_BYTES ||
		strlen(pw->pw_dir) > USER_HOME_MAX_BYTES)
		return SYSUSER_DENIED;
	facts_r->uid = pw->pw_uid;
	facts_r->gid = pw->pw_gid;
	strcpy(facts_r->name, pw->pw_name);
	strcpy(facts_r->home, pw->pw_dir);
	return SYSUSER_OK;
}

enum sysuser_result sysuser_answer(enum sysuser_question question, const char *service,
	const char *user, const char *password, const char *remote,
	struct sysuser_facts *facts_r)
{
	const struct pam_conv conv = { pam_talk, (void *)(uintptr_t)password };
	char name[USER_NAME_MAX_BYTES + 1];
	pam_handle_t *pam = NULL;

	if (question == SYSUSER_LOOKUP)
		return user_facts(user, facts_r);
	int ret = pam_open(service, user, &conv, &pam);
	if (ret != PAM_SUCCESS) {
		log_error("pam", "service %s cannot be used: %s", log_str(service),
			pam_strerror(pam, ret));
		return SYSUSER_FAILED;
	}
	snprintf(name, sizeof(name), "%s", user);
	enum sysuser_result result = pam_ask(pam, question, remote);
	if (result == SYSUSER_OK)
		pam_name(pam, name, sizeof(name));
	(void)pam_end(pam, result == SYSUSER_OK ? PAM_SUCCESS : PAM_AUTH_ERR);
	return result == SYSUSER_OK ? user_facts(name, facts_r) : result;
}
