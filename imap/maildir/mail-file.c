/* SPDX-License-Identifier: MIT */
#include "imap/maildir/mail-file.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "imap/mailbox.h"
#include "lib/cleanup.h"
#include "lib/limits.h"

/* ---- what it is ---- */

static const struct {
	enum mail_form form;
	uint8_t len;
	char magic[15];
	const char *name;
} forms[] = {
	{ MAIL_FORM_GZIP, 2, "\x1f\x8b", "gzip" },
	{ MAIL_FORM_ENCRYPTED, 9, "CRYPTED\x03\x07", "encrypted" },
	{ MAIL_FORM_BZIP2, 3, "BZh", "bzip2" },
	{ MAIL_FORM_XZ, 6, "\xfd" "7zXZ\0", "xz" },
	{ MAIL_FORM_LZMA, 3, "]\0\0", "lzma" },
	{ MAIL_FORM_LZ4, 15, "Dovecot-LZ4\x0d\x2a\x9b\xc5", "lz4" },
	{ MAIL_FORM_ZSTD, 4, "\x28\xb5\x2f\xfd", "zstd" },
};

/* "BZh" alone could begin a field's name: then a level and the first block. */
static bool is_bzip2(const uint8_t *p, size_t len)
{
	return len >= 10 && p[3] >= '1' && p[3] <= '9' &&
	       (!memcmp(p + 4, "1AY&SY", 6) || !memcmp(p + 4, "\x17\x72\x45\x38\x50\x90", 6));
}

enum mail_form mail_form_of(const void *data, size_t len)
{
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (len < forms[i].len || memcmp(data, forms[i].magic, forms[i].len))
			continue;
		if (forms[i].form != MAIL_FORM_BZIP2 || is_bzip2(data, len))
			return forms[i].form;
	}
	return MAIL_FORM_PLAIN;
}

const char *mail_form_name(enum mail_form form)
{
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (forms[i].form == form)
			return forms[i].name;
	}
	return "plain";
}

int mail_file_open(struct mail_file *f, int fd)
{
	uint8_t head[MAIL_FORM_BYTES];
	ssize_t n = pread(fd, head, sizeof(head), 0);
	int rc = n < 0 ? -errno : 0;

	f->fd = fd;
	f->inflating = f->ended = false;
	f->pos = f->in_at = 0;
	f->form = rc == 0 ? mail_form_of(head, (size_t)n) : MAIL_FORM_PLAIN;
	if (rc == 0 && f->form != MAIL_FORM_PLAIN && f->form != MAIL_FORM_GZIP)
		rc = MAILBOX_E_FOREIGN;
	if (rc)
		fd_close(&f->fd);
	return rc;
}

void mail_file_close(struct mail_file *f)
{
	if (f->inflating)
		inflateEnd(&f->z);
	f->inflating = false;
	fd_close(&f->fd);
}

/* ---- gzip ---- */

static int inflate_begin(struct mail_file *f)
{
	int rc;

	if (f->inflating) {
		rc = inflateReset(&f->z);
	} else {
		memset(&f->z, 0, sizeof(f->z));
		rc = inflateInit2(&f->z, 16 + MAX_WBITS);	/* gzip's head and end only */
		f->inflating = rc == Z_OK;
	}
	f->z.avail_in = 0;
	f->pos = f->in_at = 0;
	f->ended = false;
	return rc == Z_OK ? 0 : -ENOMEM;
}

/* More input: 1, 0 at the end of the file, -errno. */
static int input_fill(struct mail_file *f)
{
	ssize_t n;

	if (f->z.avail_in > 0)
		return 1;
	n = pread(f->fd, f->in, sizeof(f->in), (off_t)f->in_at);
	if (n < 0)
		return -errno;
	f->z.next_in = f->in;
	f->z.avail_in = (uInt)n;
	f->in_at += (uint64_t)n;
	return n > 0;
}

/* RFC 1952 2.2: members follow each other. What follows the last and is none
 * (padding) is left alone, as gzip does. */
static int member_ended(struct mail_file *f)
{
	int more = input_fill(f);

	if (more < 0)
		return more;
	if (more == 0 || f->z.next_in[0] != 0x1f) {
		f->ended = true;
		return 0;
	}
	return inflateReset(&f->z) == Z_OK ? 0 : -EBADMSG;
}

/* Up to len plain bytes from where it is: 0 at the end. */
static long inflate_some(struct mail_file *f, void *data, size_t len)
{
	f->z.next_out = data;
	f->z.avail_out = (uInt)len;
	while (f->z.avail_out == len && !f->ended) {
		int rc = input_fill(f);

		if (rc <= 0)		/* cut short */
			return rc < 0 ? rc : -EBADMSG;
		rc = inflate(&f->z, Z_NO_FLUSH);
		if (rc == Z_MEM_ERROR)
			return -ENOMEM;
		if (rc == Z_STREAM_END)
			rc = member_ended(f) == 0 ? Z_OK : Z_DATA_ERROR;
		/* What came before the damage could be told; the next call meets it
		   again. */
		if (rc != Z_OK && f->z.avail_out == len)
			return -EBADMSG;
	}
	len -= f->z.avail_out;
	f->pos += len;
	return f->pos > MAIL_INFLATED_MAX_BYTES ? -EFBIG : (long)len;
}

static long gzip_read(struct mail_file *f, uint64_t offset, void *data, size_t len)
{
	uint8_t skipped[4096];
	int rc = 0;

	if (!f->inflating || offset < f->pos)
		rc = inflate_begin(f);
	while (rc == 0 && f->pos < offset) {
		uint64_t ahead = offset - f->pos;
		long n = inflate_some(f, skipped, ahead < sizeof(skipped) ? (size_t)ahead
								       : sizeof(skipped));
		if (n <= 0)
			return n;
	}
	return rc ? rc : inflate_some(f, data, len < (1u << 30) ? len : 1u << 30);
}

long mail_file_read(struct mail_file *f, uint64_t offset, void *data, size_t len)
{
	ssize_t n;

	if (f->form == MAIL_FORM_GZIP)
		return gzip_read(f, offset, data, len);
	n = pread(f->fd, data, len, (off_t)offset);
	return n < 0 ? -errno : n;
}
