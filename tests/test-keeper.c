/* SPDX-License-Identifier: MIT */
#include "tests/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/ipc-proto.h"
#include "lib/ipc.h"
#include "lib/loop.h"
#include "master/keeper-table.h"
#include "master/keeper.h"

/* ---- the table ---- */

static void test_table_finds_what_was_added(void)
{
	struct keeper_table t;

	require(keeper_table_init(&t, 100) == 0);
	check(keeper_table_find(&t, 1, 2) == -1);
	keeper_table_add(&t, 1, 2, 10);
	keeper_table_add(&t, 1, 3, 11);
	check(keeper_table_find(&t, 1, 2) == 10);
	check(keeper_table_find(&t, 1, 3) == 11);
	check(keeper_table_find(&t, 2, 1) == -1);
	check(keeper_table_remove(&t, 1, 2) == 10);
	check(keeper_table_remove(&t, 1, 2) == -1);
	check(keeper_table_find(&t, 1, 2) == -1);
	check(keeper_table_find(&t, 1, 3) == 11);
	check(t.count == 1);
	keeper_table_deinit(&t);
}

#define MODEL_FDS	3000
/* Against the plainest model: an array by descriptor. */
static void test_table_agrees_with_a_model(void)
{
	static struct {
		bool used;
		uint64_t sid, cookie;
	} model[MODEL_FDS];
	uint64_t seed = unit_seed();
	struct keeper_table t;
	uint32_t count = 0;

	memset(model, 0, sizeof(model));
	require(keeper_table_init(&t, MODEL_FDS) == 0);
	for (int round = 0; round < 60000; round++) {
		int fd = (int)(unit_random(&seed) % MODEL_FDS);
		bool grow = round < 20000 || round % 3;

		if (!model[fd].used && grow) {
			model[fd].used = true;
			/* many share a session id; some pairs differ in it alone */
			model[fd].sid = unit_random(&seed) % 50;
			model[fd].cookie = (uint64_t)fd;
			keeper_table_add(&t, model[fd].sid, model[fd].cookie, fd);
			count++;
		} else if (model[fd].used && !grow) {
			model[fd].used = false;
			check(keeper_table_remove(&t, model[fd].sid, model[fd].cookie) == fd);
			count--;
		}
		check(t.count == count);
	}
	for (int fd = 0, at = 0; fd < MODEL_FDS; fd++) {
		uint64_t sid, cookie;

		check_row(keeper_table_find(&t, model[fd].sid, model[fd].cookie) ==
			  (model[fd].used ? fd : -1), fd);
		if (!model[fd].used)
			continue;
		at = keeper_table_next(&t, at, &sid, &cookie);
		check_row(at == fd && sid == model[fd].sid && cookie == model[fd].cookie, fd);
		at++;
	}
	keeper_table_deinit(&t);
}

/* ---- the keeper, over its sockets ---- */

struct rig {
	char path[64];
	int listen_fd;
	struct loop *loop;
	struct keeper *keeper;
};

static void rig_init(struct rig *r)
{
	snprintf(r->path, sizeof(r->path), "/tmp/test-keeper-%d", (int)getpid());
	require(ipc_listen(r->path, 0600, 16, &r->listen_fd) == 0);
	r->loop = loop_create();
	require(r->loop != NULL);
	r->keeper = keeper_create(r->loop, r->listen_fd, 256);
	require(r->keeper != NULL);
}

static void rig_deinit(struct rig *r)
{
	keeper_destroy(&r->keeper);
	loop_destroy(&r->loop);
	close(r->listen_fd);
	unlink(r->path);
}

/* Lets the keeper work until it has nothing left to do. */
static void rig_turn(struct rig *r)
{
	while (loop_once(r->loop, 0) > 0)
		;
}

static int rig_connect(struct rig *r)
{
	int fd;

	require(ipc_connect(r->path, &fd) == 0);
	return fd;
}

static int rig_holder(struct rig *r, int master)
{
	struct ipc_out *out = ipc_out_create(IPC_CHANNEL);
	int pair[2];

	require(ipc_pair(pair) == 0);
	ipc_out_u64(out, ROLE_HOLDER);
	ipc_out_fd(out, pair[1]);
	require(ipc_send_free(master, &out) == 0);
	close(pair[1]);
	rig_turn(r);
	return pair[0];
}

static void send_keep(int sock, const char *name, int fd)
{
	struct ipc_out *out = ipc_out_create(IPC_KEEP);

	ipc_out_str(out, name);
	ipc_out_fd(out, fd);
	require(ipc_send_free(sock, &out) == 0);
}

static void send_dup(int sock, uint64_t sid, uint64_t cookie, int fd)
{
	struct ipc_out *out = ipc_out_create(IPC_DUP);

	ipc_out_u64(out, sid);
	ipc_out_u64(out, cookie);
	ipc_out_fd(out, fd);
	require(ipc_send_free(sock, &out) == 0);
}

static void send_drop(int sock, uint64_t sid, uint64_t cookie)
{
	struct ipc_out *out = ipc_out_create(IPC_DROP);

	ipc_out_u64(out, sid);
	ipc_out_u64(out, cookie);
	require(ipc_send_free(sock, &out) == 0);
}

static void send_bare(int sock, uint32_t type)
{
	struct ipc_out *out = ipc_out_create(type);

	require(ipc_send_free(sock, &out) == 0);
}

/* The next message's type; 0: none there; 1000: the end. */
static uint32_t next_type(int sock)
{
	struct ipc_in *in;
	int ret = ipc_recv(sock, &in);
	uint32_t type;

	if (ret < 0)
		return ret == -EAGAIN ? 0 : 1000;
	type = ipc_in_type(in);
	ipc_in_destroy(&in);
	return type;
}

static ino_t inode_of(int fd)
{
	struct stat st;

	require(fstat(fd, &st) == 0);
	return st.st_ino;
}

/* Takes the welcome; returns the number of duplicates, their inodes by sid. */
static unsigned holder_welcome(struct rig *r, int holder, ino_t *inodes, unsigned size,
			       ino_t *table_r)
{
	unsigned n = 0;
	struct ipc_in *in;

	for (;;) {
		rig_turn(r);
		require(ipc_recv(holder, &in) == 0);
		if (ipc_in_type(in) == IPC_KEPT_ITEM) {
			check(strcmp(ipc_in_str(in), "table") == 0);
			cleanup_fd int fd = ipc_in_fd(in);
			*table_r = inode_of(fd);
		} else if (ipc_in_type(in) == IPC_DUPS) {
			uint32_t batch = ipc_in_array(in);

			for (uint32_t i = 0; i < batch; i++) {
				require(ipc_in_array(in) == 2);
				uint64_t sid = ipc_in_u64(in);
				check(ipc_in_u64(in) == sid + 1000);
				cleanup_fd int fd = ipc_in_fd(in);
				require(sid < size);
				inodes[sid] = inode_of(fd);
				n++;
			}
			check(ipc_in_done(in));
			send_bare(holder, IPC_DUPS_OK);
		} else {
			check(ipc_in_type(in) == IPC_FETCH_END);
			ipc_in_destroy(&in);
			return n;
		}
		ipc_in_destroy(&in);
	}
}

static void test_keeper_gives_items_to_the_next_master(void)
{
	struct rig r;
	struct ipc_in *in;
	int master, null = open("/dev/null", O_RDONLY), zero = open("/dev/zero", O_RDONLY);

	rig_init(&r);
	master = rig_connect(&r);
	send_keep(master, "key", null);
	send_keep(master, "key", zero);	/* replaces */
	rig_turn(&r);
	check(next_type(master) == IPC_KEEP_OK);
	check(next_type(master) == IPC_KEEP_OK);
	close(master);
	master = rig_connect(&r);
	send_bare(master, IPC_FETCH);
	rig_turn(&r);
	require(ipc_recv(master, &in) == 0);
	check(ipc_in_type(in) == IPC_KEPT_ITEM);
	check(strcmp(ipc_in_str(in), "key") == 0);
	{
		cleanup_fd int fd = ipc_in_fd(in);

		check(inode_of(fd) == inode_of(zero));
	}
	ipc_in_destroy(&in);
	check(next_type(master) == IPC_FETCH_END);
	check(next_type(master) == 0);
	close(master);
	close(null);
	close(zero);
	rig_deinit(&r);
}

static void test_keeper_makes_the_next_master_wait(void)
{
	struct rig r;
	int first, second, null = open("/dev/null", O_RDONLY);

	rig_init(&r);
	first = rig_connect(&r);
	rig_turn(&r);
	second = rig_connect(&r);
	send_bare(second, IPC_FETCH);
	rig_turn(&r);
	check(next_type(second) == 0);
	/* The last words of the first, sent after the second one asked. */
	send_keep(first, "late", null);
	close(first);
	rig_turn(&r);
	check(next_type(second) == IPC_KEPT_ITEM);
	check(next_type(second) == IPC_FETCH_END);
	close(second);
	close(null);
	rig_deinit(&r);
}

#define DUPS	100
/* handover.md, 13: the dead holder's last messages count, and its answers that
 * nobody reads any more do not matter. */
static void test_keeper_reads_the_dead_holder_to_its_end(void)
{
	ino_t inodes[DUPS] = { 0 }, sent[DUPS], table = 0;
	int master, holder, next, pair[2], null = open("/dev/null", O_RDONLY);
	struct rig r;
	unsigned n;

	rig_init(&r);
	master = rig_connect(&r);
	rig_turn(&r);
	holder = rig_holder(&r, master);
	check(holder_welcome(&r, holder, inodes, DUPS, &table) == 0);
	next = rig_holder(&r, master);	/* waits */
	check(next_type(next) == 0);
	for (uint64_t sid = 0; sid < DUPS; sid++) {
		require(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
		sent[sid] = inode_of(pair[0]);
		send_dup(holder, sid, sid + 1000, pair[0]);
		close(pair[0]);
		close(pair[1]);
	}
	send_keep(holder, "table", null);
	send_drop(holder, 5, 1005);
	send_drop(holder, 6, 1);		/* another cookie: nobody's */
	close(holder);				/* with 100 answers unread */
	n = holder_welcome(&r, next, inodes, DUPS, &table);
	check(n == DUPS - 1);
	check(table == inode_of(null));
	for (unsigned sid = 0; sid < DUPS; sid++)
		check_row(inodes[sid] == (sid == 5 ? 0 : sent[sid]), sid);
	check(next_type(next) == 0);
	close(next);
	close(master);
	close(null);
	rig_deinit(&r);
}

static void test_keeper_replaces_a_repeated_duplicate(void)
{
	ino_t inodes[DUPS] = { 0 }, table = 0, second;
	int master, holder, one[2], two[2];
	struct rig r;
	char byte;

	rig_init(&r);
	master = rig_connect(&r);
	rig_turn(&r);
	holder = rig_holder(&r, master);
	holder_welcome(&r, holder, inodes, DUPS, &table);
	require(socketpair(AF_UNIX, SOCK_STREAM, 0, one) == 0);
	require(socketpair(AF_UNIX, SOCK_STREAM, 0, two) == 0);
	second = inode_of(two[0]);
	send_dup(holder, 7, 1007, one[0]);
	send_dup(holder, 7, 1007, two[0]);
	close(one[0]);
	close(two[0]);
	rig_turn(&r);
	check(next_type(holder) == IPC_DUP_OK);
	check(next_type(holder) == IPC_DUP_OK);
	/* The first one has been closed, the second has not. */
	check(recv(one[1], &byte, 1, MSG_DONTWAIT) == 0);
	check(recv(two[1], &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
	close(holder);
	rig_turn(&r);
	holder = rig_holder(&r, master);
	check(holder_welcome(&r, holder, inodes, DUPS, &table) == 1);
	check(inodes[7] == second);
	close(holder);
	close(master);
	close(one[1]);
	close(two[1]);
	rig_deinit(&r);
}

static void test_keeper_says_no_when_it_is_full(void)
{
	ino_t inodes[DUPS] = { 0 }, table = 0;
	int master, holder, null = open("/dev/null", O_RDONLY);
	unsigned yes = 0, no = 0;
	struct rig r;

	rig_init(&r);	/* 256 descriptors, some of them spare */
	master = rig_connect(&r);
	rig_turn(&r);
	holder = rig_holder(&r, master);
	holder_welcome(&r, holder, inodes, DUPS, &table);
	for (uint64_t sid = 0; sid < 300; sid++) {
		uint32_t type;

		send_dup(holder, sid, sid, null);
		rig_turn(&r);
		type = next_type(holder);
		yes += type == IPC_DUP_OK;
		no += type == IPC_DUP_NO;
	}
	check(yes + no == 300);
	check(yes > 180 && yes < 230);
	/* One goes, one fits. */
	send_drop(holder, 0, 0);
	send_dup(holder, 1000, 1000, null);
	rig_turn(&r);
	check(next_type(holder) == IPC_DUP_OK);
	close(holder);
	close(master);
	close(null);
	rig_deinit(&r);
}

/* Each ends its own connection, and nothing else. */
static void test_keeper_refuses_what_is_not_permitted(void)
{
	ino_t inodes[DUPS] = { 0 }, table = 0;
	int null = open("/dev/null", O_RDONLY);
	struct rig r;

	rig_init(&r);
	for (int row = 0; row < 5; row++) {
		int master = rig_connect(&r), holder;
		int bad = master;

		rig_turn(&r);
		holder = rig_holder(&r, master);
		holder_welcome(&r, holder, inodes, DUPS, &table);
		switch (row) {
		case 0: send_dup(master, 1, 1, null); break;
		case 1: send_drop(master, 1, 1); break;
		case 2: send_bare(bad = holder, IPC_FETCH); break;
		case 3: send_bare(bad = holder, IPC_DUPS_OK); break;
		case 4: send_keep(bad = holder, "", null); break;
		}
		rig_turn(&r);
		check_row(next_type(bad) == 1000, row);
		check_row(next_type(bad == master ? holder : master) == 0, row);
		close(holder);
		close(master);
		rig_turn(&r);
	}
	close(null);
	rig_deinit(&r);
}

int main(void)
{
	static const struct unit_test tests[] = {
		UNIT_TEST(test_table_finds_what_was_added),
		UNIT_TEST(test_table_agrees_with_a_model),
		UNIT_TEST(test_keeper_gives_items_to_the_next_master),
		UNIT_TEST(test_keeper_makes_the_next_master_wait),
		UNIT_TEST(test_keeper_reads_the_dead_holder_to_its_end),
		UNIT_TEST(test_keeper_replaces_a_repeated_duplicate),
		UNIT_TEST(test_keeper_says_no_when_it_is_full),
		UNIT_TEST(test_keeper_refuses_what_is_not_permitted),
	};
	return unit_run("keeper", tests, UNIT_COUNT(tests));
}
