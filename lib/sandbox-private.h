/* SPDX-License-Identifier: MIT */
#ifndef LIB_SANDBOX_PRIVATE_H
#define LIB_SANDBOX_PRIVATE_H
/* Inside sandbox: how this was built. */
#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define SANDBOX_SANITIZED 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define SANDBOX_SANITIZED 1
#endif
#ifndef SANDBOX_SANITIZED
#define SANDBOX_SANITIZED 0
#endif

#if SANDBOX_SANITIZED || defined(DORMOUSE_FAULTS)
#define SANDBOX_TEST_BUILD 1
#else
#define SANDBOX_TEST_BUILD 0
#endif
#endif
