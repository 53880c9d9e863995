#include "layout/wgsl.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <limits>
#include <map>
#include <string>
#include <utility>

namespace skein {
namespace {

constexpr uint64_t kMaxU32 = std::numeric_limits<uint32_t>::max();

// The statements before the return, and the names that they took.
struct Body {
  std::string statements;
  std::map<std::string, int> uses;
};

// How tightly WGSL binds an expression. `&` mixes with nothing: WGSL wants parentheses on both of
// its sides.
enum class Binds : uint8_t { kAnd, kSum, kProduct, kAtom };

// The index type that builds text. Goals: constants folded, parentheses only where WGSL wants them.
// It keeps bounds of every value, since they fold most of what a general body says too much: row %
// 4u is row where there are 4 rows.
//
// A bound above u32 is cut to it: emit_wgsl() has seen that the span is a u32, so the value itself
// is one.
class Expr {
 public:
  // A constant, as the mappings' bodies write it: Index(row_stride).
  explicit Expr(uint64_t value) : Expr(nullptr, "", Binds::kAtom, value, value) {}
  // A name whose value is at most `max`.
  Expr(Body* body, std::string name, uint64_t max)
      : Expr(body, std::move(name), Binds::kAtom, 0, max) {}

  const std::string& text() const { return text_; }

  friend Expr operator+(const Expr& a, const Expr& b) {
    if (a.is(0)) return b;
    if (b.is(0)) return a;
    return binary(a, "+", b, Binds::kSum, a.min_ + b.min_, a.max_ + b.max_);
  }
  // a >= b.
  friend Expr operator-(const Expr& a, const Expr& b) {
    if (b.is(0)) return a;
    return binary(a, "-", b, Binds::kSum, a.min_ - std::min(a.min_, b.max_), a.max_ - b.min_);
  }
  friend Expr operator*(const Expr& a, const Expr& b) {
    if (a.is(1)) return b;
    if (b.is(1)) return a;
    return binary(a, "*", b, Binds::kProduct, a.min_ * b.min_, a.max_ * b.max_);
  }
  // b is a constant, here and in the next two.
  friend Expr operator/(const Expr& a, const Expr& b) {
    if (b.is(1)) return a;
    return binary(a, "/", b, Binds::kProduct, a.min_ / b.max_, a.max_ / b.max_);
  }
  friend Expr operator%(const Expr& a, const Expr& b) {
    if (a.max_ < b.max_) return a;
    return binary(a, "%", b, Binds::kProduct, 0, b.max_ - 1);
  }
  friend Expr operator&(const Expr& a, const Expr& b) {
    const uint64_t possible = std::bit_ceil(a.max_ + 1) - 1;
    const uint64_t mask = b.max_ & possible;
    if (mask == possible) return a;
    return binary(a, "&", Expr(mask), Binds::kAnd, 0, mask);
  }
  friend Expr min_of(const Expr& a, const Expr& b) {
    if (a.max_ <= b.min_) return a;
    if (b.max_ <= a.min_) return b;
    return Expr(a.body_ != nullptr ? a.body_ : b.body_,
                fmt::format("min({}, {})", a.text_, b.text_), Binds::kAtom,
                std::min(a.min_, b.min_), std::min(a.max_, b.max_));
  }
  // What is one word already needs no name.
  friend Expr let(const char* name, const Expr& value) {
    if (value.binds_ == Binds::kAtom) return value;
    const int uses = value.body_->uses[name]++;
    std::string unique = uses == 0 ? std::string(name) : fmt::format("{}_{}", name, uses);
    fmt::format_to(std::back_inserter(value.body_->statements), "  let {} = {};\n", unique,
                   value.text_);
    return Expr(value.body_, std::move(unique), Binds::kAtom, value.min_, value.max_);
  }

 private:
  Expr(Body* body, std::string text, Binds binds, uint64_t min, uint64_t max)
      : text_(std::move(text)),
        binds_(binds),
        body_(body),
        min_(std::min(min, kMaxU32)),
        max_(std::min(max, kMaxU32)) {
    if (min_ == max_) {
      text_ = fmt::format("{}u", max_);
      binds_ = Binds::kAtom;
    }
  }

  // `a OP b`, with parentheses around an operand that binds less than its side needs. All of WGSL's
  // operators group from the left, so the right side needs more; `&` wants atoms on both.
  static Expr binary(const Expr& a, std::string_view op, const Expr& b, Binds binds, uint64_t min,
                     uint64_t max) {
    const Binds left = binds == Binds::kAnd ? Binds::kAtom : binds;
    const Binds right = binds == Binds::kSum ? Binds::kProduct : Binds::kAtom;
    return Expr(a.body_ != nullptr ? a.body_ : b.body_,
                fmt::format("{} {} {}", a.at_least(left), op, b.at_least(right)), binds, min, max);
  }

  bool is(uint64_t value) const { return min_ == value && max_ == value; }
  std::string at_least(Binds binds) const { return binds_ < binds ? "(" + text_ + ")" : text_; }

  std::string text_;
  Binds binds_;
  Body* body_;    // null for a constant that no name went into
  uint64_t min_;  // min_ <= value <= max_; a constant where they are equal
  uint64_t max_;
};

// WGSL's keywords, and the names that the emitted body itself uses.
constexpr std::string_view kTakenNames[] = {
    "alias",   "break",      "case",    "const", "const_assert", "continue", "continuing",
    "default", "diagnostic", "discard", "else",  "enable",       "false",    "fn",
    "for",     "if",         "let",     "loop",  "override",     "requires", "return",
    "struct",  "switch",     "true",    "var",   "while",        "min",      "u32"};

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// ASCII identifiers only. Those that begin with an underscore are legal WGSL in part; we use none.
bool is_function_name(std::string_view name) {
  if (name.empty() || !is_letter(name.front())) return false;
  const bool has_only_word_chars = std::all_of(
      name.begin(), name.end(), [](char c) { return is_letter(c) || is_digit(c) || c == '_'; });
  return has_only_word_chars &&
         std::find(std::begin(kTakenNames), std::end(kTakenNames), name) == std::end(kTakenNames);
}

// `stride_name`: of the distance of rows; nothing: it is a constant.
Result<std::string> emit(const AnyMapping& mapping, std::string_view function_name,
                         std::string_view stride_name) {
  if (!is_function_name(function_name)) {
    return error("expected a free WGSL identifier as function name, found '{}'", function_name);
  }
  if (mapping.required_span_size() > kMaxU32) {
    return error("layout {}: expected a span of at most {} elements for WGSL's u32, found {}",
                 to_string(mapping.layout()), kMaxU32, mapping.required_span_size());
  }
  Body body;
  const Expr row(&body, "row", mapping.extents().rows - 1);
  const Expr col(&body, "col", mapping.extents().cols - 1);
  const Expr offset = mapping.visit([&](const auto& typed) {
    if (stride_name.empty()) return typed(row, col);
    const Expr stride(&body, std::string(stride_name), mapping.required_span_size());
    return row * stride + typed(Expr(0), col);
  });
  return fmt::format("fn {}(row: u32, col: u32) -> u32 {{\n{}  return {};\n}}\n", function_name,
                     body.statements, offset.text());
}

}  // namespace

Result<std::string> emit_wgsl(const AnyMapping& mapping, std::string_view function_name) {
  return emit(mapping, function_name, {});
}

Result<std::string> emit_wgsl_by_stride(const AnyMapping& mapping, std::string_view function_name,
                                        std::string_view stride_name) {
  CHECK(mapping.layout().kind == LayoutKind::kRowMajor);
  return emit(mapping, function_name, stride_name);
}

}  // namespace skein
