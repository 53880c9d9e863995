// KernelForm: how a device's kernels divide a matrix product among threads. As a layout, a form is
// a value with a text: the backend has rules of its own, a tuner measures others, a plan keeps
// them.
//
// Law: results depend on a form by rounding only. Non-goals: what a backend makes of it, and
// whether a device has room for it (Backend::set_forms).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace skein {

// A part that is all zeros is the backend's own choice, by dtype and shape. A form says what is
// wanted: a short row has fewer threads, a dispatch of several products the largest workgroup that
// one of them asks for.
struct KernelForm {
  // One token or few: "group(128,32,2,16)".
  uint32_t group_threads = 0;  // of a workgroup
  uint32_t row_threads = 0;    // that share a row, or read the rows of one col side by side
  uint32_t thread_rows = 0;    // rows that a thread sums at once
  uint32_t loads = 0;          // of weights that a thread has in flight
  // Many tokens: "tile(128,64,8,8)".
  uint32_t tile_rows = 0, tile_tokens = 0;           // of a workgroup
  uint32_t tile_thread_rows = 0, thread_tokens = 0;  // whose sums a thread has

  bool has_group() const noexcept { return group_threads != 0; }
  bool has_tile() const noexcept { return tile_rows != 0; }
  bool is_auto() const noexcept { return !has_group() && !has_tile(); }
  // This form with `other`'s parts where that has some.
  KernelForm with(const KernelForm& other) const noexcept;

  friend bool operator==(const KernelForm&, const KernelForm&) = default;
};

// Of each kind of matrices that has a kernel of its own to choose for.
struct KernelForms {
  KernelForm attention, low_rank, ffn_key, ffn_value, head;
  friend bool operator==(const KernelForms&, const KernelForms&) = default;
};

constexpr uint32_t kMinGroupThreads = 32, kMaxGroupThreads = 1024;

constexpr KernelForm group_form(uint32_t group_threads, uint32_t row_threads, uint32_t thread_rows,
                                uint32_t loads) {
  KernelForm form;
  form.group_threads = group_threads;
  form.row_threads = row_threads;
  form.thread_rows = thread_rows;
  form.loads = loads;
  return form;
}
constexpr KernelForm tile_form(uint32_t rows, uint32_t tokens, uint32_t thread_rows,
                               uint32_t thread_tokens) {
  KernelForm form;
  form.tile_rows = rows;
  form.tile_tokens = tokens;
  form.tile_thread_rows = thread_rows;
  form.thread_tokens = thread_tokens;
  return form;
}

// "auto", "group(128,32,2,16)", "tile(64,64,4,8)" or both with a + between. Law:
// parse_form(to_string(f))
// == f.
std::string to_string(const KernelForm& form);

// Errors, one line: another text, a number that is no power of two or beyond what any device has.
Result<KernelForm> parse_form(std::string_view text);

}  // namespace skein
