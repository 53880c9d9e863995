#include "backend/kernel_form.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <charconv>
#include <span>

namespace skein {
namespace {

// One number of a form: where it goes, and what it may be.
struct Number {
  std::string_view what;
  uint32_t KernelForm::*field;
  uint32_t min, max;
};

constexpr std::array<Number, 4> kGroup = {
    {{"threads", &KernelForm::group_threads, kMinGroupThreads, kMaxGroupThreads},
     {"threads a row", &KernelForm::row_threads, 1, kMaxGroupThreads},
     {"rows a thread", &KernelForm::thread_rows, 1, 8},
     {"loads", &KernelForm::loads, 1, 32}}};
constexpr std::array<Number, 4> kTile = {{{"rows", &KernelForm::tile_rows, 16, 256},
                                          {"tokens", &KernelForm::tile_tokens, 16, 256},
                                          {"rows a thread", &KernelForm::tile_thread_rows, 4, 8},
                                          {"tokens a thread", &KernelForm::thread_tokens, 4, 16}}};

// The numbers of "NAME(1,2,3)".
Status parse_numbers(std::string_view text, std::string_view name, std::span<const Number> numbers,
                     KernelForm& form) {
  std::string_view rest = text.substr(name.size() + 1);
  for (size_t i = 0; i < numbers.size(); ++i) {
    const Number& number = numbers[i];
    const char* end = rest.data() + rest.size();
    uint32_t value = 0;
    const auto [stop, code] = std::from_chars(rest.data(), end, value);
    const char separator = i + 1 < numbers.size() ? ',' : ')';
    if (code != std::errc() || stop == end || *stop != separator) {
      return error("form: expected {} numbers in {}(...), found '{}'", numbers.size(), name, text);
    }
    if (value < number.min || value > number.max || !std::has_single_bit(value)) {
      return error("form: expected a power of two from {} to {} for the {} of '{}', found {}",
                   number.min, number.max, number.what, text, value);
    }
    form.*number.field = value;
    rest.remove_prefix(static_cast<size_t>(stop - rest.data()) + 1);
  }
  if (rest.empty()) return {};
  return error("form: expected {} numbers in {}(...), found '{}'", numbers.size(), name, text);
}

Status parse_part(std::string_view text, KernelForm& form) {
  if (text.starts_with("group(") && !form.has_group()) {
    SKEIN_RETURN_IF_ERROR(parse_numbers(text, "group", kGroup, form));
    if (form.row_threads <= form.group_threads) return {};
    return error("form: expected at most {} threads a row in '{}', found {}", form.group_threads,
                 text, form.row_threads);
  }
  if (text.starts_with("tile(") && !form.has_tile()) {
    SKEIN_RETURN_IF_ERROR(parse_numbers(text, "tile", kTile, form));
    if (form.thread_tokens <= form.tile_tokens) return {};
    return error("form: expected at most {} tokens a thread in '{}', found {}", form.tile_tokens,
                 text, form.thread_tokens);
  }
  return error(
      "form: expected auto, group(THREADS,ROW_THREADS,ROWS,LOADS) or tile(ROWS,TOKENS,"
      "THREAD_ROWS,THREAD_TOKENS), found '{}'",
      text.substr(0, 60));
}

}  // namespace

KernelForm KernelForm::with(const KernelForm& other) const noexcept {
  KernelForm form = *this;
  for (const Number& number : kGroup) {
    if (other.has_group()) form.*number.field = other.*number.field;
  }
  for (const Number& number : kTile) {
    if (other.has_tile()) form.*number.field = other.*number.field;
  }
  return form;
}

std::string to_string(const KernelForm& form) {
  std::string text;
  if (form.has_group()) {
    text = fmt::format("group({},{},{},{})", form.group_threads, form.row_threads, form.thread_rows,
                       form.loads);
  }
  if (form.has_tile()) {
    text += fmt::format("{}tile({},{},{},{})", text.empty() ? "" : "+", form.tile_rows,
                        form.tile_tokens, form.tile_thread_rows, form.thread_tokens);
  }
  return text.empty() ? "auto" : text;
}

Result<KernelForm> parse_form(std::string_view text) {
  KernelForm form;
  if (text == "auto") return form;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t plus = std::min(text.find('+', begin), text.size());
    SKEIN_RETURN_IF_ERROR(parse_part(text.substr(begin, plus - begin), form));
    begin = plus + 1;
  }
  return form;
}

}  // namespace skein
