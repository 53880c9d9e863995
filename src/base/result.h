// How Skein makes and passes on errors. The types are public (skein/result.h): every failure that
// the world can cause is a Result. Our own bugs are CHECKs (check.h), not errors. Non-goals: error
// codes to switch on, stack traces.
#pragma once

#include <fmt/format.h>

#include <utility>

#include "skein/result.h"

namespace skein {

// Builds the failed Result: `return error("{}: expected {} bytes, found {}", path, want, have);`
template <typename... Args>
[[nodiscard]] tl::unexpected<Error> error(fmt::format_string<Args...> format, Args&&... args) {
  return tl::unexpected(Error{fmt::format(format, std::forward<Args>(args)...)});
}

}  // namespace skein

// Leaves the function with the error of `expr` (a Result of any type), if it has one.
#define SKEIN_RETURN_IF_ERROR(expr)                             \
  do {                                                          \
    if (auto skein_status = (expr); !skein_status) {            \
      return ::tl::unexpected(std::move(skein_status).error()); \
    }                                                           \
  } while (false)

// `SKEIN_ASSIGN_OR_RETURN(auto file, MappedFile::open(path));`
#define SKEIN_ASSIGN_OR_RETURN(lhs, expr) \
  SKEIN_ASSIGN_OR_RETURN_IMPL(SKEIN_CONCAT(skein_result_, __LINE__), lhs, expr)
#define SKEIN_ASSIGN_OR_RETURN_IMPL(result, lhs, expr)             \
  auto result = (expr);                                            \
  if (!result) return ::tl::unexpected(std::move(result).error()); \
  lhs = *std::move(result)
#define SKEIN_CONCAT_IMPL(a, b) a##b
#define SKEIN_CONCAT(a, b) SKEIN_CONCAT_IMPL(a, b)
