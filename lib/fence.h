/* SPDX-License-Identifier: MIT */
#ifndef LIB_FENCE_H
#define LIB_FENCE_H
/* Who owns a client socket, and is a state still the latest? (handover.md)
 *
 * The lock: fcntl(F_SETLK, F_WRLCK) on the socket. Only its holder reads or
 * writes. It goes with its process, and with close() of ANY duplicate of the
 * socket in the owning process: after closing a surplus one, lock again.
 *
 * The fence: TCP's byte counts. They only grow; nobody can turn them back.
 * written = bytes_sent - bytes_retrans + notsent_bytes, of one TCP_INFO;
 * consumed = bytes_received - FIONREAD, repeated until stable, corrected for
 * the one that the peer's FIN adds. Nothing else than a moved fence permits
 * forgetting a session. */
#include <stdbool.h>
#include <stdint.h>

struct fence_counts {
	uint64_t written;	/* bytes that we wrote to the socket so far */
	uint64_t consumed;	/* bytes of the peer's that were read so far */
};
enum fence_verdict {
	FENCE_GOOD,		/* the state is still the latest */
	FENCE_MOVED,		/* somebody served the session since, or it was ended */
};
/* 0 with the counts as of now; -EOPNOTSUPP if fd is not a TCP socket;
 * otherwise -errno. ended_r (may be NULL): our shutdown(), a reset: anything
 * but ESTABLISHED or CLOSE_WAIT. Then the counts may be one off. shutdown(SHUT_RD)
 * alone is not seen: a session ends with SHUT_RDWR or SHUT_WR. -EAGAIN: bytes
 * came so fast that no stable count was found; try later. Sets SO_OOBINLINE. */
int fence_read(int fd, struct fence_counts *now_r, bool *ended_r);
/* A state names counts and the bytes of keepalives prepared beyond
 * counts->written. Good while consumed is the same, written is in
 * [counts->written, counts->written + keepalive_bytes] and the connection is
 * not shut down. *written_r (may be NULL) is the kernel's count. Errors of
 * fence_read() count as moved only for a socket that ended (ENOTCONN, ECONNRESET); others: -errno.
 * Returns enum fence_verdict or -errno. */
int fence_look(int fd, const struct fence_counts *counts, uint64_t keepalive_bytes,
	       uint64_t *written_r);
/* F_SETLK, F_WRLCK. 0, -EAGAIN (somebody else has it), -errno. */
int fence_lock(int fd);
int fence_unlock(int fd);
/* Who has the lock: its pid, 0 nobody (or we), -errno. */
int fence_owner(int fd);
/* SO_COOKIE. 0 or -errno. */
int fence_cookie(int fd, uint64_t *cookie_r);
#endif
