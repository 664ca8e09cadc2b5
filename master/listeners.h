/* SPDX-License-Identifier: MIT */
#ifndef MASTER_LISTENERS_H
#define MASTER_LISTENERS_H
/* TCP listeners: made or taken from what the keeper has. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config;
struct activation;
struct config_listener;
struct items;

/* The name that a listener is kept under. */
void listener_item_name(const struct config_listener *l, char *name, size_t size);
/* Each configured listener is among the items afterwards, made from what was given if that
 * has its address; those that are kept but no longer configured listen no more. 0 or -errno, logged. missing_r: with it one that
 * cannot be opened is no failure of all; *missing_r then is its name (config's), else NULL. */
int listeners_prepare(const struct config *config, struct items *items,
		      struct activation *given, const char **missing_r);
/* A socket that listens, and was not ended. */
bool listener_listens(int fd);
/* The port that it really has; 0 if it has none. */
uint16_t listener_port(int fd);
/* BASE/ports: a line "NAME ADDRESS PORT" for each. 0 or -errno. */
int listeners_write_ports(const struct config *config, const struct items *items);
#endif
