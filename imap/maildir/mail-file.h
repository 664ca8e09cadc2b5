/* SPDX-License-Identifier: MIT */
#ifndef IMAP_MAILDIR_MAIL_FILE_H
#define IMAP_MAILDIR_MAIL_FILE_H
/* A message's file as plain bytes. Dovecot's zlib plugin keeps messages
 * compressed, its mail_crypt plugin encrypted; what a file is, its first bytes
 * say. No message begins like any of these: a header has printable characters.
 * gzip is read, in constant memory; what we cannot read is named and refused,
 * never taken for text.
 *
 * Going back in a compressed file begins anew from its start: readers go
 * forward. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

enum mail_form {
	MAIL_FORM_PLAIN,
	MAIL_FORM_GZIP,
	MAIL_FORM_ENCRYPTED,
	MAIL_FORM_BZIP2, MAIL_FORM_XZ, MAIL_FORM_LZMA, MAIL_FORM_LZ4, MAIL_FORM_ZSTD,
};
/* So many bytes decide. */
#define MAIL_FORM_BYTES		16
enum mail_form mail_form_of(const void *data, size_t len);
const char *mail_form_name(enum mail_form form);

#define MAIL_FILE_IN_BYTES	(16 * 1024)
struct mail_file {
	int fd;
	enum mail_form form;
	/* gzip: */
	z_stream z;
	bool inflating;			/* z is in use */
	bool ended;			/* behind its last byte */
	uint64_t pos;			/* of the next plain byte from z */
	uint64_t in_at;			/* of the next byte to read */
	uint8_t in[MAIL_FILE_IN_BYTES];
};
/* Takes fd over, also if it fails. 0, MAILBOX_E_FOREIGN (f->form says why), -errno. */
int mail_file_open(struct mail_file *f, int fd);
void mail_file_close(struct mail_file *f);
/* Plain bytes at offset: how many, 0 at the end, -errno (-EBADMSG: damaged). */
long mail_file_read(struct mail_file *f, uint64_t offset, void *data, size_t len);
#endif
