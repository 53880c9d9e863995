// Any text as a plan file: read or refused in one line, and what was read has layouts and forms
// that exist and is the same when written and read again.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "plan/plan_file.h"

namespace skein {
namespace {

void check_error(const std::string& message) {
  CHECK(message.starts_with("input: ") && message.size() < 3000);
}

void check_file(const PlanFile& file) {
  for (const MatrixPlan& matrix : file.matrices) {
    CHECK(validate(matrix.layout));
    const Result<KernelForm> form = parse_form(to_string(matrix.form));
    CHECK(form && *form == matrix.form);
    for (const TriedLayout& tried : matrix.tried) CHECK(validate(tried.layout));
    for (const MatrixShape& shape : matrix.kind.shapes) CHECK(shape.rows > 0 && shape.cols > 0);
    CHECK(file.find(matrix.kind) != nullptr);
  }
}

}  // namespace
}  // namespace skein

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace skein;
  const auto file = parse_plan_file({reinterpret_cast<const char*>(data), size}, "input");
  if (!file) {
    check_error(file.error().message);
    return 0;
  }
  check_file(*file);
  const std::string text = to_text(*file);
  const auto again = parse_plan_file(text, "input");
  CHECK(again && to_text(*again) == text);
  CHECK(plan_file_name(file->key) == plan_file_name(again->key));
  return 0;
}
