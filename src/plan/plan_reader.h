// PlanReader: reading JSON that somebody else wrote, member by member. Internal to plan/.
//
// Goals: code that reads a file looks like the file; the first thing that is wrong is the error,
// with the place where it stands ("plan.json: matrices[3].layout: ..."); after it every member
// reads as a harmless default, so that no caller needs to ask.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace skein {

// Errors: no JSON (with the place), brackets nested deeper than max_depth.
Result<nlohmann::ordered_json> parse_shallow_json(std::string_view text, const std::string& name,
                                                  size_t max_depth);

class PlanReader {
 public:
  using Json = nlohmann::ordered_json;

  // All three must outlive the reader. `where` is the place in the file, empty for all of it.
  PlanReader(const Json& json, const std::string& name, std::string where,
             std::optional<Error>& first_error)
      : json_(&json), name_(&name), where_(std::move(where)), first_error_(&first_error) {}

  // A member of an object.
  PlanReader operator[](const char* key) const;
  // Whether an object has it; false of anything else.
  bool has(const char* key) const;
  // Any other member is an error.
  void only(std::initializer_list<std::string_view> keys) const;
  // The elements of a list that has at most max_size.
  std::vector<PlanReader> list(size_t max_size) const;

  std::string text() const;
  uint64_t whole(uint64_t min, uint64_t max) const;
  // From 0 on.
  double number(double max) const;

  // A text that `parse` takes; its error is the reader's.
  template <class T>
  T parsed(const std::function<Result<T>(std::string_view)>& parse) const {
    const std::string value = text();
    if (*first_error_) return T{};
    Result<T> result = parse(value);
    if (!result) {
      fail_to_parse(result.error().message);
      return T{};
    }
    return *result;
  }

 private:
  void fail(std::string_view message) const;
  void expected(std::string_view what) const;
  // A parser's message may begin with the name of what it parses, as the place ends with it.
  void fail_to_parse(std::string_view message) const;

  const Json* json_;
  const std::string* name_;
  std::string where_;
  std::optional<Error>* first_error_;
};

}  // namespace skein
