/* SPDX-License-Identifier: MIT */
#include "master/certs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/ipc.h"
#include "lib/memfd.h"
#include "master/config.h"

/* ---- stamps ---- */

static int64_t in_ns(const struct timespec *t)
{
	return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

static void stamp_file(const char *path, struct certs_file *f)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return;
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	f->size = st.st_size;
	f->mtime_ns = in_ns(&st.st_mtim);
	f->ctime_ns = in_ns(&st.st_ctim);
}

void certs_stamp(const struct config *config, struct certs_stamp *stamp_r)
{
	struct certs_file *f = stamp_r->file;

	memset(stamp_r, 0, sizeof(*stamp_r));
	for (unsigned i = 0; i < config->n_certs; i++) {
		stamp_file(config->certs[i].cert, f++);
		stamp_file(config->certs[i].key, f++);
	}
	if (*config->settings.ssl_ca)
		stamp_file(config->settings.ssl_ca, f);
}

bool certs_stamp_equal(const struct certs_stamp *a, const struct certs_stamp *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* ---- loading ---- */

static int complain(struct buf *errors, const char *where, const char *file, const char *why)
{
	buf_printf(errors, "%s: %s: %s\n", where, file, why);
	return -EINVAL;
}

static int file_append(const char *where, const char *path, struct buf *text,
		       struct buf *errors)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return complain(errors, where, path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return complain(errors, where, path, "is not a plain file");
	do {
		void *room = buf_reserve(text, 4096);

		if (!room)
			return complain(errors, where, path, "is too large");
		n = read(fd, room, 4096);
		if (n < 0)
			return complain(errors, where, path, strerror(errno));
		buf_added(text, (size_t)n);
	} while (n > 0);
	/* The next file begins a line. */
	return buf_append_str(text, "\n");
}

static void note_dates(const struct config_cert *c, const struct tls_cert *cert,
		       struct buf *notes)
{
	int when = tls_cert_when(cert);

	if (when != 0)
		complain(notes, c->where, c->cert, when > 0 ? "the certificate has expired"
							     : "the certificate is not valid yet");
}

static int pair_load(const struct config_cert *c, int *fd_r, struct buf *errors,
		     struct buf *notes)
{
	struct tls_cert cert;
	struct buf text;
	const char *why = "out of memory";
	int ret;

	buf_init(&text, 2 * TLS_PEM_MAX_BYTES);
	ret = file_append(c->where, c->cert, &text, errors);
	if (ret == 0 && strcmp(c->cert, c->key) != 0)
		ret = file_append(c->where, c->key, &text, errors);
	if (ret == 0) {
		ret = tls_cert_read(text.data, text.len, &cert, &why);
		if (ret < 0) {
			buf_printf(errors, "%s: %s and %s: %s\n", c->where, c->cert, c->key,
				   why);
		} else {
			note_dates(c, &cert, notes);
			tls_cert_deinit(&cert);
		}
	}
	if (ret == 0)
		ret = memfd_make("dormouse-certificate", text.data, text.len, fd_r);
	buf_wipe(&text);
	return ret;
}

static int authorities_load(const struct config *config, int *fd_r, struct buf *errors)
{
	const char *path = config->settings.ssl_ca, *why = "out of memory";
	STACK_OF(X509) *list = NULL;
	struct buf text;
	int ret;

	buf_init(&text, TLS_PEM_MAX_BYTES);
	ret = file_append(config->ca_where, path, &text, errors);
	if (ret == 0) {
		ret = tls_cert_read_list(text.data, text.len, &list, &why);
		if (ret < 0)
			complain(errors, config->ca_where, path, why);
		else
			tls_cert_list_free(&list);
	}
	if (ret == 0)
		ret = memfd_make("dormouse-authorities", text.data, text.len, fd_r);
	buf_deinit(&text);
	return ret;
}

int certs_load(const struct config *config, struct certs *certs_r, struct buf *errors,
	       struct buf *notes)
{
	int ret = 0;

	*certs_r = (struct certs){ .ca_fd = -1 };
	for (unsigned i = 0; i < config->n_certs && ret == 0; i++) {
		ret = pair_load(&config->certs[i], &certs_r->fds[i], errors, notes);
		if (ret == 0)
			certs_r->n++;
	}
	if (ret == 0 && *config->settings.ssl_ca)
		ret = authorities_load(config, &certs_r->ca_fd, errors);
	if (ret < 0)
		certs_deinit(certs_r);
	return ret;
}

int certs_check(const struct config *config, struct buf *errors, struct buf *notes)
{
	struct certs certs;
	int ret = certs_load(config, &certs, errors, notes);

	if (ret < 0 && errors->len == 0)
		buf_printf(errors, "certificates: %s\n", strerror(-ret));
	if (ret == 0)
		certs_deinit(&certs);
	return ret;
}

void certs_deinit(struct certs *certs)
{
	for (unsigned i = 0; i < certs->n; i++)
		close(certs->fds[i]);
	certs->n = 0;
	fd_close(&certs->ca_fd);
}

void certs_pack(const struct config *config, const struct certs *certs, int tickets_fd,
		struct ipc_out *out)
{
	ipc_out_array(out, certs->n);
	for (unsigned i = 0; i < certs->n; i++)
		ipc_out_str(out, config->certs[i].name);
	ipc_out_bool(out, certs->ca_fd >= 0);
	for (unsigned i = 0; i < certs->n; i++)
		ipc_out_fd(out, certs->fds[i]);
	if (certs->ca_fd >= 0)
		ipc_out_fd(out, certs->ca_fd);
	if (certs->n > 0)
		ipc_out_fd(out, tickets_fd);
}
