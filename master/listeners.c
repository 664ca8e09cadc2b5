/* SPDX-License-Identifier: MIT */
#include "master/listeners.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "master/config.h"
#include "master/items.h"
#include "master/notify.h"

/* Clients that come while imap-login is being restarted wait here. */
#define LISTEN_BACKLOG	1024
#define ITEM_PREFIX	"listen/"

void listener_item_name(const struct config_listener *l, char *name, size_t size)
{
	snprintf(name, size, ITEM_PREFIX "%s/%s/%u", l->name, l->address, l->port);
}

static int set_one(int fd, int level, int option)
{
	int one = 1;

	return setsockopt(fd, level, option, &one, sizeof(one)) < 0 ? -errno : 0;
}

static int listener_open(const struct config_listener *l, int *fd_r)
{
	cleanup_fd int fd = socket(l->sa.ss_family,
				   SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int ret;

	if (fd < 0)
		return -errno;
	ret = set_one(fd, SOL_SOCKET, SO_REUSEADDR);
	/* "::" must not take what "0.0.0.0" is to have. */
	if (ret == 0 && l->sa.ss_family == AF_INET6)
		ret = set_one(fd, IPPROTO_IPV6, IPV6_V6ONLY);
	if (ret < 0)
		return ret;
	if (bind(fd, (const struct sockaddr *)&l->sa, l->sa_len) < 0 ||
	    listen(fd, LISTEN_BACKLOG) < 0)
		return -errno;
	*fd_r = fd_steal(&fd);
	return 0;
}

bool listener_listens(int fd)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return fd >= 0 &&
	       getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len) == 0 && value;
}

/* ---- those that came with the start (systemd's socket units) ---- */

static bool address_is(int fd, const struct config_listener *l)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	const struct sockaddr_in *a = (const void *)&sa, *b = (const void *)&l->sa;
	const struct sockaddr_in6 *a6 = (const void *)&sa, *b6 = (const void *)&l->sa;

	memset(&sa, 0, sizeof(sa));
	if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0 || sa.ss_family != l->sa.ss_family)
		return false;
	if (sa.ss_family == AF_INET)
		return a->sin_port == b->sin_port && a->sin_addr.s_addr == b->sin_addr.s_addr;
	return sa.ss_family == AF_INET6 && a6->sin6_port == b6->sin6_port &&
	       memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0;
}

static bool is_stream(int fd)
{
	int type = 0;
	socklen_t len = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
}

/* The one for l, now the caller's, or -1. */
static int given_take(struct activation *given, const struct config_listener *l)
{
	for (unsigned i = 0; i < given->n; i++) {
		int fd = given->fd[i];

		if (!address_is(fd, l) || !is_stream(fd) || !listener_listens(fd))
			continue;
		if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
			continue;
		given->fd[i] = given->fd[--given->n];
		return fd;
	}
	return -1;
}

/* Whoever left them there, clients would wait in them for ever. */
static void given_end(struct activation *given)
{
	for (unsigned i = 0; i < given->n; i++) {
		char address[INET6_ADDRSTRLEN] = "?";
		struct sockaddr_storage sa;
		socklen_t len = sizeof(sa);

		memset(&sa, 0, sizeof(sa));
		if (getsockname(given->fd[i], (struct sockaddr *)&sa, &len) == 0)
			inet_ntop(sa.ss_family, sa.ss_family == AF_INET6 ?
				  (void *)&((struct sockaddr_in6 *)&sa)->sin6_addr :
				  (void *)&((struct sockaddr_in *)&sa)->sin_addr,
				  address, sizeof(address));
		log_warn("activation", "address=%s port=%u error=%s", address,
			 listener_port(given->fd[i]),
			 log_str("no listen section has this address and port; not used"));
	}
	activation_close(given);
}

static bool listener_is_configured(const struct config *config, const char *item)
{
	char name[128];

	for (unsigned i = 0; i < config->n_listeners; i++) {
		listener_item_name(&config->listeners[i], name, sizeof(name));
		if (strcmp(name, item) == 0)
			return true;
	}
	return false;
}

/* The keeper has no word for forgetting, and closing our copy alone would
 * leave clients in the backlog of nobody: shutdown() ends it for all copies. */
static void listeners_end_old(const struct config *config, const struct items *items)
{
	for (unsigned i = 0; i < items->n; i++) {
		const char *name = items->v[i].name;

		if (strncmp(name, ITEM_PREFIX, strlen(ITEM_PREFIX)) != 0 ||
		    listener_is_configured(config, name) ||
		    !listener_listens(items->v[i].fd))
			continue;
		shutdown(items->v[i].fd, SHUT_RDWR);
		log_info("listen-end", "name=%s", log_str(name));
	}
}

static int listener_prepare(const struct config_listener *l, struct items *items,
			    struct activation *given)
{
	char name[128];
	bool kept;
	int fd, ret, came = given_take(given, l);

	listener_item_name(l, name, sizeof(name));
	fd = items_get(items, name);
	kept = listener_listens(fd);
	if (kept) {
		/* The same socket, from the start before. */
		fd_close(&came);
	} else {
		fd = came;
		ret = came >= 0 ? 0 : listener_open(l, &fd);
		if (ret == 0)
			ret = items_put(items, name, fd);
		if (ret < 0) {
			log_error("listen", "name=%s address=%s port=%u error=%s",
				  l->name, l->address, l->port,
				  log_str(strerror(-ret)));
			return ret;
		}
	}
	log_info("listen", "name=%s address=%s port=%u%s", l->name, l->address,
		 listener_port(fd), kept ? " kept=yes" : came >= 0 ? " activated=yes" : "");
	return 0;
}

int listeners_prepare(const struct config *config, struct items *items,
		      struct activation *given, const char **missing_r)
{
	int ret = 0;

	listeners_end_old(config, items);
	for (unsigned i = 0; i < config->n_listeners && ret == 0; i++) {
		ret = listener_prepare(&config->listeners[i], items, given);
		if (ret < 0 && missing_r != NULL) {
			*missing_r = config->listeners[i].name;
			ret = 0;
		}
	}
	given_end(given);
	return ret;
}

uint16_t listener_port(int fd)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	memset(&sa, 0, sizeof(sa));
	if (fd < 0 || getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
		return 0;
	return ntohs(((struct sockaddr_in *)&sa)->sin_port);
}

int listeners_write_ports(const struct config *config, const struct items *items)
{
	char path[PATH_MAX], tmp[PATH_MAX + 8], name[128];
	FILE *f;
	int ret;

	snprintf(path, sizeof(path), "%s/ports", config->settings.base_dir);
	snprintf(tmp, sizeof(tmp), "%s.new", path);
	f = fopen(tmp, "we");
	if (!f)
		return -errno;
	for (unsigned i = 0; i < config->n_listeners; i++) {
		const struct config_listener *l = &config->listeners[i];

		listener_item_name(l, name, sizeof(name));
		fprintf(f, "%s %s %u\n", l->name, l->address,
			listener_port(items_get(items, name)));
	}
	ret = ferror(f) ? -EIO : 0;
	if (fclose(f) != 0)
		ret = -errno;
	if (ret == 0 && rename(tmp, path) < 0)
		ret = -errno;
	return ret;
}
