// What nvcc makes of a mapping gives the offsets that the host compiler's mapping gives, at every
// coordinate.
#include "layout/cuda/offsets.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "layout/any_mapping.h"
#include "layout/test_cases.h"

namespace skein {
namespace {

template <class F>
void for_each_mapping(F f) {
  for (const std::string_view text : kTestLayouts) {
    for (const Extents extents : kTestExtents) {
      SCOPED_TRACE(fmt::format("{} {} x {}", text, extents.rows, extents.cols));
      f(make_mapping(parse_layout(text).value(), extents, 16).value());
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
}

void expect_offsets(const AnyMapping& mapping, const Offsets& offsets) {
  const Extents extents = mapping.extents();
  ASSERT_EQ(offsets.narrow.size(), extents.num_elems());
  ASSERT_EQ(offsets.wide.size(), extents.num_elems());
  for (uint64_t i = 0; i < extents.num_elems(); ++i) {
    const uint64_t expected = mapping(i / extents.cols, i % extents.cols);
    ASSERT_EQ(offsets.narrow[i], expected);
    ASSERT_EQ(offsets.wide[i], expected);
  }
}

TEST(MappingCuda, HostCodeFromNvccGivesTheSameOffsets) {
  for_each_mapping([](const AnyMapping& mapping) {
    expect_offsets(mapping,
                   mapping.visit([](const auto& typed) { return offsets_on_host(typed); }));
  });
}

TEST(MappingCuda, DeviceCodeGivesTheSameOffsets) {
  if (const std::string reason = why_no_cuda_device(); !reason.empty()) {
    GTEST_SKIP() << "no CUDA device, device code was compiled but not run: " << reason;
  }
  for_each_mapping([](const AnyMapping& mapping) {
    Offsets offsets;
    ASSERT_EQ(mapping.visit([&](const auto& typed) { return offsets_on_device(typed, offsets); }),
              "");
    expect_offsets(mapping, offsets);
  });
}

}  // namespace
}  // namespace skein
