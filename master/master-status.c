/* SPDX-License-Identifier: MIT */
/* The rows of `dormouse status`: the server, its programs, its listeners. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/ipc.h"
#include "lib/version.h"
#include "master/listeners.h"
#include "master/master-private.h"

struct cell {
	const char *key, *value;
};

static void row_send(int fd, const struct cell *cells, uint32_t n)
{
	struct ipc_out *out = ipc_out_create(CTL_ROW);

	if (out) {
		ipc_out_array(out, n);
		for (uint32_t i = 0; i < n; i++) {
			ipc_out_array(out, 2);
			ipc_out_str(out, cells[i].key);
			ipc_out_str(out, cells[i].value);
		}
	}
	(void)ipc_send_free(fd, &out);
}

struct number {
	char text[24];
};
static const char *number(struct number *n, uint64_t value)
{
	snprintf(n->text, sizeof(n->text), "%" PRIu64, value);
	return n->text;
}

static void row_server(struct master *m, int fd)
{
	struct number pid, launcher, keeper, uptime, fds;
	const struct cell cells[] = {
		{ "kind", "server" },
		{ "version", dormouse_version },
		{ "state", master_phase_name(m->phase) },
		{ "pid", number(&pid, (uint64_t)getpid()) },
		{ "launcher_pid", number(&launcher, (uint64_t)m->launcher_pid) },
		{ "keeper_pid", number(&keeper, (uint64_t)m->keeper_pid) },
		{ "keeper_connected", m->keeper_fd >= 0 ? "yes" : "no" },
		{ "uptime_s", number(&uptime, (clock_ms() - m->started_ms) / 1000) },
		{ "limit_descriptors", number(&fds, m->opt->max_fds) },
		{ "base_dir", m->config->settings.base_dir },
		{ "config", m->opt->config_file },
	};

	row_send(fd, cells, sizeof(cells) / sizeof(cells[0]));
}

static void row_program(const struct program *p, int fd)
{
	struct number pid, uptime, restarts;
	uint64_t lived = p->pid ? clock_ms() - p->started_ms : 0;
	const struct cell cells[] = {
		{ "kind", "program" },
		{ "program", p->name },
		{ "state", program_phase_name(p->phase) },
		{ "pid", number(&pid, (uint64_t)p->pid) },
		{ "uptime_s", number(&uptime, lived / 1000) },
		{ "restarts", number(&restarts, p->starts ? p->starts - 1 : 0) },
		{ "report", p->report },
	};

	row_send(fd, cells, sizeof(cells) / sizeof(cells[0]));
}

static void row_listener(struct master *m, const struct config_listener *l, int fd)
{
	char item[128];
	struct number port;
	const struct cell cells[] = {
		{ "kind", "listener" },
		{ "listener", l->name },
		{ "address", l->address },
		{ "port", port.text },
		{ "tls", l->tls ? "yes" : "no" },
	};

	listener_item_name(l, item, sizeof(item));
	number(&port, listener_port(items_get(&m->items, item)));
	row_send(fd, cells, sizeof(cells) / sizeof(cells[0]));
}

void master_status(void *ctx, int fd)
{
	struct master *m = ctx;

	row_server(m, fd);
	for (unsigned i = 0; i < m->n_programs; i++)
		row_program(&m->programs[i], fd);
	for (unsigned i = 0; i < m->config->n_listeners; i++)
		row_listener(m, &m->config->listeners[i], fd);
	control_end(fd, true, "");
}
