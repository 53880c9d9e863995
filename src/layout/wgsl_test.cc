// The WGSL text gives the offset of the mapping at every coordinate. The oracle is an evaluator of
// the part of WGSL that the emitter may use; it is as strict as WGSL's grammar where C++'s is not
// (`a & b + c` is an error), and it demands that no intermediate value of a valid coordinate wraps.
#include "layout/wgsl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <cstdint>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "layout/test_cases.h"

namespace skein {
namespace {

using ::testing::HasSubstr;

// Throws std::runtime_error on anything that it does not know: the tests turn that into a failure.
class WgslFunction {
 public:
  explicit WgslFunction(std::string_view text) : text_(text) {
    expect("fn");
    name_ = identifier();
    for (const char* token :
         {"(", "row", ":", "u32", ",", "col", ":", "u32", ")", "->", "u32", "{"})
      expect(token);
    variables_ = {{"row", 0}, {"col", 1}};
    while (next() == "let") statement();
    expect("return");
    result_ = expression();
    for (const char* token : {";", "}"}) expect(token);
    if (!next().empty()) fail("the end");
  }

  const std::string& name() const { return name_; }

  uint32_t operator()(uint32_t row, uint32_t col) {
    values_.assign(variables_.size(), 0);
    values_[0] = row;
    values_[1] = col;
    for (size_t i = 0; i < lets_.size(); ++i) values_[i + 2] = value_of(lets_[i]);
    return value_of(result_);
  }

 private:
  struct Node {
    char op;            // '0' a constant, 'v' a variable, 'm' min, else the operator
    uint32_t constant;  // or the variable's number
    size_t left;
    size_t right;
  };

  [[noreturn]] void fail(std::string_view wanted) {
    throw std::runtime_error(fmt::format("expected {}, found '{}'", wanted, text_.substr(0, 30)));
  }

  static bool is_word(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
  }

  // The token in front; empty at the end.
  std::string_view next() {
    while (!text_.empty() && std::isspace(static_cast<unsigned char>(text_.front())) != 0)
      text_.remove_prefix(1);
    if (text_.starts_with("->")) return text_.substr(0, 2);
    size_t length = 0;
    while (length < text_.size() && is_word(text_[length])) ++length;
    return text_.substr(0, length == 0 ? 1 : length);
  }

  std::string_view take() {
    const std::string_view token = next();
    text_.remove_prefix(token.size());
    return token;
  }

  void expect(std::string_view token) {
    if (next() != token) fail(token);
    take();
  }

  std::string identifier() {
    const std::string_view token = next();
    if (token.empty() || std::isalpha(static_cast<unsigned char>(token.front())) == 0)
      fail("an identifier");
    return std::string(take());
  }

  void statement() {
    expect("let");
    const std::string name = identifier();
    expect("=");
    lets_.push_back(expression());
    expect(";");
    if (!variables_.emplace(name, variables_.size()).second) fail("a new name");
  }

  size_t add(Node node) {
    nodes_.push_back(node);
    return nodes_.size() - 1;
  }

  // primary ('&' primary)*, or a sum; never mixed.
  size_t expression() {
    size_t left = primary();
    if (next() != "&") return sum(left);
    while (next() == "&") {
      take();
      const size_t right = primary();
      left = add({'&', 0, left, right});
    }
    return left;
  }

  size_t sum(size_t first) {
    size_t left = product(first);
    while (next() == "+" || next() == "-") {
      const char op = take().front();
      const size_t right = product(primary());
      left = add({op, 0, left, right});
    }
    return left;
  }

  size_t product(size_t left) {
    while (next() == "*" || next() == "/" || next() == "%") {
      const char op = take().front();
      const size_t right = primary();
      left = add({op, 0, left, right});
    }
    return left;
  }

  size_t primary() {
    const std::string_view token = next();
    if (token == "(") {
      take();
      const size_t inner = expression();
      expect(")");
      return inner;
    }
    if (!token.empty() && std::isdigit(static_cast<unsigned char>(token.front())) != 0)
      return literal();
    const std::string name = identifier();
    if (name == "min") return min_call();
    if (!variables_.contains(name)) fail("a known name before this");
    return add({'v', static_cast<uint32_t>(variables_.at(name)), 0, 0});
  }

  size_t literal() {
    const std::string token(take());
    if (token.back() != 'u' || token.size() > 11) fail("a u32 literal before this");
    const uint64_t value = std::stoull(token);
    if (value > std::numeric_limits<uint32_t>::max()) fail("a u32 literal before this");
    return add({'0', static_cast<uint32_t>(value), 0, 0});
  }

  size_t min_call() {
    expect("(");
    const size_t left = expression();
    expect(",");
    const size_t right = expression();
    expect(")");
    return add({'m', 0, left, right});
  }

  uint32_t value_of(size_t node) const {
    const Node& n = nodes_[node];
    if (n.op == '0') return n.constant;
    if (n.op == 'v') return values_[n.constant];
    const uint64_t left = value_of(n.left);
    const uint64_t right = value_of(n.right);
    if ((n.op == '/' || n.op == '%') && right == 0) throw std::runtime_error("division by zero");
    uint64_t value = 0;
    switch (n.op) {
      case '+':
        value = left + right;
        break;
      case '-':
        value = left - right;
        break;
      case '*':
        value = left * right;
        break;
      case '/':
        value = left / right;
        break;
      case '%':
        value = left % right;
        break;
      case '&':
        value = left & right;
        break;
      case 'm':
        value = left < right ? left : right;
        break;
    }
    if (value > std::numeric_limits<uint32_t>::max())
      throw std::runtime_error(fmt::format("'{}' wraps", n.op));
    return static_cast<uint32_t>(value);
  }

  std::string_view text_;  // what is still to be read
  std::string name_;
  std::map<std::string, size_t, std::less<>> variables_;  // row, col, then the lets in order
  std::vector<Node> nodes_;
  std::vector<size_t> lets_;
  size_t result_ = 0;
  std::vector<uint32_t> values_;
};

AnyMapping mapping_of(std::string_view text, Extents extents, uint32_t element_bits = 32) {
  return make_mapping(parse_layout(text).value(), extents, element_bits).value();
}

TEST(Wgsl, GivesTheOffsetAtEveryCoordinate) {
  for (const std::string_view text : kTestLayouts) {
    for (const Extents extents : kTestExtents) {
      const AnyMapping mapping = mapping_of(text, extents, 16);
      const std::string wgsl = emit_wgsl(mapping, "offset_of").value();
      SCOPED_TRACE(fmt::format("{} {} x {}\n{}", text, extents.rows, extents.cols, wgsl));
      WgslFunction function(wgsl);
      ASSERT_EQ(function.name(), "offset_of");
      for (uint32_t row = 0; row < extents.rows; ++row) {
        for (uint32_t col = 0; col < extents.cols; ++col)
          ASSERT_EQ(function(row, col), mapping(row, col));
      }
    }
  }
}

TEST(Wgsl, TheDistanceOfRowsCanBeAName) {
  for (const std::string_view text : {"row_major", "row_major@128B"}) {
    for (const Extents extents : kTestExtents) {
      const AnyMapping mapping = mapping_of(text, extents, 16);
      std::string wgsl = emit_wgsl_by_stride(mapping, "offset_of", "stride").value();
      SCOPED_TRACE(fmt::format("{} {} x {}\n{}", text, extents.rows, extents.cols, wgsl));
      EXPECT_EQ(wgsl.find("stride") != std::string::npos, extents.rows > 1);
      if (extents.rows > 1) {
        wgsl.replace(wgsl.find("stride"), 6, fmt::format("{}u", mapping(1, 0)));
      }
      WgslFunction function(wgsl);
      for (uint32_t row = 0; row < extents.rows; ++row) {
        for (uint32_t col = 0; col < extents.cols; ++col)
          ASSERT_EQ(function(row, col), mapping(row, col));
      }
    }
  }
}

// Shapes near the limit of u32: the corners, where an intermediate value would wrap first.
TEST(Wgsl, NothingWrapsNearTheLimit) {
  constexpr Extents kLarge[] = {{65535, 65536},  {65536, 65535}, {4294967295, 1},
                                {1, 4294967295}, {60000, 70001}, {3, 1431655765}};
  for (const std::string_view text :
       {"row_major", "col_major", "interleave(4,8,2)", "tile(3,5)", "morton(1)", "morton(4)"}) {
    for (const Extents extents : kLarge) {
      const AnyMapping mapping = mapping_of(text, extents);
      const Result<std::string> wgsl = emit_wgsl(mapping, "f");
      if (mapping.required_span_size() > std::numeric_limits<uint32_t>::max()) {
        EXPECT_FALSE(wgsl.has_value());
        continue;
      }
      WgslFunction function(wgsl.value());
      for (const uint64_t row :
           {uint64_t{0}, extents.rows / 3, extents.rows / 2, extents.rows - 1}) {
        for (const uint64_t col :
             {uint64_t{0}, extents.cols / 3, extents.cols / 2, extents.cols - 1}) {
          ASSERT_EQ(function(static_cast<uint32_t>(row), static_cast<uint32_t>(col)),
                    mapping(row, col))
              << text << "\n"
              << *wgsl;
        }
      }
    }
  }
}

TEST(Wgsl, ReadsAsAPersonWouldWriteIt) {
  EXPECT_EQ(emit_wgsl(mapping_of("row_major@128B", {6, 10}), "f").value(),
            "fn f(row: u32, col: u32) -> u32 {\n  return row * 32u + col;\n}\n");
  EXPECT_EQ(emit_wgsl(mapping_of("interleave(4,8,2)", {6, 10}), "f").value(),
            "fn f(row: u32, col: u32) -> u32 {\n"
            "  let block_offset = row / 4u * 64u + col / 8u * 32u;\n"
            "  let chunk = col % 8u / 2u * 4u + row % 4u;\n"
            "  return block_offset + chunk * 2u + col % 2u;\n}\n");
  EXPECT_THAT(emit_wgsl(mapping_of("morton(1)", {1, 9}), "f").value(), HasSubstr("return col;"));
  EXPECT_THAT(emit_wgsl(mapping_of("tile(4,8)", {1, 1}), "f").value(), HasSubstr("return 0u;"));
}

TEST(Wgsl, RefusesNamesThatAreNoFreeIdentifier) {
  const AnyMapping mapping = mapping_of("row_major", {2, 2});
  for (const std::string_view name :
       {"", "_", "__f", "1f", "f g", "f(", "fn", "min", "u32", "let", "f\n", "\xc3\xa9"}) {
    EXPECT_FALSE(emit_wgsl(mapping, name).has_value()) << name;
  }
  EXPECT_TRUE(emit_wgsl(mapping, "weight_offset_2").has_value());
}

TEST(Wgsl, RefusesSpansBeyondU32) {
  EXPECT_FALSE(emit_wgsl(mapping_of("row_major", {65536, 65536}), "f").has_value());
  EXPECT_FALSE(emit_wgsl(mapping_of("row_major@128B", {65536, 65535}), "f").has_value());
  EXPECT_TRUE(emit_wgsl(mapping_of("row_major", {65535, 65535}), "f").has_value());
}

// The evaluator is the judge here, so it is judged too.
TEST(WgslEvaluator, IsStrict) {
  const auto body = [](std::string_view expression) {
    return fmt::format("fn f(row: u32, col: u32) -> u32 {{ return {}; }}", expression);
  };
  const auto value = [&](std::string_view expression) {
    return WgslFunction(body(expression))(7, 3);
  };
  EXPECT_EQ(value("row - col - 1u"), 3u);
  EXPECT_EQ(value("row / 2u * 2u + col % 2u"), 7u);
  EXPECT_EQ(value("(row & 6u) * min(col, 2u)"), 12u);
  for (const std::string_view bad : {"row & 1u + col", "row + col & 1u", "row * 2", "row +",
                                     "other", "min(row)", "4294967296u"}) {
    EXPECT_THROW(value(bad), std::runtime_error) << bad;
  }
  for (const std::string_view bad : {"col - row", "row * 4294967295u", "row / (col - 3u)"}) {
    EXPECT_THROW(value(bad), std::runtime_error) << bad;
  }
}

}  // namespace
}  // namespace skein
