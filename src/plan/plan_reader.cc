#include "plan/plan_reader.h"

#include <fmt/format.h>

#include <algorithm>

namespace skein {
namespace {

const nlohmann::ordered_json kNothing;

// Brackets inside strings do not count; the text need not be JSON.
size_t nesting_depth(std::string_view text) {
  size_t depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return deepest;
}

// A value in a message: short, whatever it is.
std::string shown(const nlohmann::ordered_json& value) {
  constexpr size_t kMaxLength = 60;
  std::string text = value.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace);
  if (text.size() > kMaxLength) text = text.substr(0, kMaxLength) + "...";
  return text;
}

}  // namespace

Result<nlohmann::ordered_json> parse_shallow_json(std::string_view text, const std::string& name,
                                                  size_t max_depth) {
  if (const size_t depth = nesting_depth(text); depth > max_depth) {
    return error("{}: expected JSON of at most {} nested brackets, found {}", name, max_depth,
                 depth);
  }
  try {
    return nlohmann::ordered_json::parse(text);
  } catch (const nlohmann::json::parse_error& thrown) {
    return error("{}: expected JSON, found something else at byte {} of {}", name, thrown.byte,
                 text.size());
  } catch (const nlohmann::json::exception&) {
    return error("{}: expected JSON, found a number that is none", name);
  }
}

PlanReader PlanReader::operator[](const char* key) const {
  const std::string where = where_.empty() ? key : fmt::format("{}.{}", where_, key);
  PlanReader missing(kNothing, *name_, where, *first_error_);
  if (*first_error_) return missing;
  if (!json_->is_object()) {
    expected("an object");
    return missing;
  }
  const auto found = json_->find(key);
  if (found != json_->end()) return {*found, *name_, where, *first_error_};
  missing.fail("expected a value, found none");
  return missing;
}

bool PlanReader::has(const char* key) const {
  return !*first_error_ && json_->is_object() && json_->contains(key);
}

void PlanReader::only(std::initializer_list<std::string_view> keys) const {
  if (*first_error_) return;
  if (!json_->is_object()) return expected("an object");
  for (const auto& [key, value] : json_->items()) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      return fail(fmt::format("expected one of {}, found {}", fmt::join(keys, ", "), shown(key)));
    }
  }
}

std::vector<PlanReader> PlanReader::list(size_t max_size) const {
  std::vector<PlanReader> elements;
  if (*first_error_) return elements;
  if (!json_->is_array()) {
    expected("a list");
  } else if (json_->size() > max_size) {
    fail(fmt::format("expected at most {} elements, found {}", max_size, json_->size()));
  } else {
    for (size_t i = 0; i < json_->size(); ++i) {
      elements.emplace_back((*json_)[i], *name_, fmt::format("{}[{}]", where_, i), *first_error_);
    }
  }
  return elements;
}

std::string PlanReader::text() const {
  if (*first_error_) return {};
  constexpr size_t kMaxTextBytes = 1000;
  if (json_->is_string()) {
    std::string value = json_->get<std::string>();
    if (value.size() <= kMaxTextBytes) return value;
  }
  expected(fmt::format("a text of at most {} bytes", kMaxTextBytes));
  return {};
}

uint64_t PlanReader::whole(uint64_t min, uint64_t max) const {
  if (*first_error_) return min;
  if (json_->is_number_unsigned()) {
    if (const auto value = json_->get<uint64_t>(); value >= min && value <= max) return value;
  }
  expected(min == max ? fmt::format("{}", min)
                      : fmt::format("a whole number from {} to {}", min, max));
  return min;
}

double PlanReader::number(double max) const {
  if (*first_error_) return 0;
  if (json_->is_number()) {
    if (const auto value = json_->get<double>(); value >= 0 && value <= max) return value;
  }
  expected(fmt::format("a number from 0 to {}", max));
  return 0;
}

void PlanReader::fail(std::string_view message) const {
  if (*first_error_) return;
  *first_error_ = Error{where_.empty() ? fmt::format("{}: {}", *name_, message)
                                       : fmt::format("{}: {}: {}", *name_, where_, message)};
}

void PlanReader::expected(std::string_view what) const {
  fail(fmt::format("expected {}, found {}", what, shown(*json_)));
}

void PlanReader::fail_to_parse(std::string_view message) const {
  const std::string key = where_.substr(where_.rfind('.') + 1) + ": ";
  fail(message.starts_with(key) ? message.substr(key.size()) : message);
}

}  // namespace skein
