// CHECK and DCHECK: contracts between pieces of Skein. A failed one is a bug of ours: it prints
// where and aborts. Nothing that a file, a device or a user can cause may reach a CHECK; that is a
// Result (result.h).
#pragma once

namespace skein {

// Prints "FILE:LINE: check failed: CONDITION" to stderr and aborts.
[[noreturn]] void check_failed(const char* file, int line, const char* condition) noexcept;

}  // namespace skein

#define CHECK(condition) \
  ((condition) ? (void)0 : ::skein::check_failed(__FILE__, __LINE__, #condition))

// On in debug builds and under sanitizers, where the condition's cost does not matter.
#if !defined(NDEBUG) || defined(SKEIN_SANITIZED)
#define SKEIN_DCHECK_IS_ON 1
#define DCHECK(condition) CHECK(condition)
#else
#define SKEIN_DCHECK_IS_ON 0
#define DCHECK(condition) ((void)sizeof(!(condition)))
#endif
