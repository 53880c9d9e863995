// Forms without a device: what is refused, what is cut down, what is offered.
#include "backend/webgpu/forms.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace skein::webgpu {
namespace {

using ::testing::HasSubstr;

// What WebGPU promises of every device.
GpuLimits least_limits() {
  GpuLimits limits;
  limits.max_group_threads = 256;
  limits.max_group_bytes = 16384;
  return limits;
}

GpuLimits large_limits() {
  GpuLimits limits;
  limits.max_group_threads = 1024;
  limits.max_group_bytes = 49152;
  limits.has_subgroups = true;
  return limits;
}

TEST(Forms, WhatADeviceHasNoRoomForIsOneLine) {
  const GpuLimits least = least_limits(), large = large_limits();
  EXPECT_TRUE(check_form({}, least));
  EXPECT_TRUE(check_form(group_form(256, 256, 8, 32), least));
  EXPECT_TRUE(check_form(group_form(1024, 1024, 1, 1), large));
  EXPECT_TRUE(check_form(tile_form(128, 128, 4, 8), large));
  for (const KernelForm& form : {group_form(512, 8, 1, 4),   // more threads than the device
                                 tile_form(128, 128, 4, 8),  // more memory
                                 tile_form(64, 64, 4, 4), tile_form(16, 16, 4, 16),  // four threads
                                 tile_form(256, 16, 4, 4)}) {  // more threads than x has loads
    const Status status = check_form(form, least);
    ASSERT_FALSE(status) << to_string(form);
    EXPECT_THAT(status.error().message, HasSubstr("on this device, found"));
    EXPECT_THAT(status.error().message, HasSubstr(to_string(form)));
    EXPECT_EQ(status.error().message.find('\n'), std::string::npos);
  }
}

TEST(Forms, AProductThatIsTooSmallCutsThemDown) {
  const Layout layout = Layout::row_major();
  const GpuLimits limits = large_limits();
  // Rows of 32 f16 are four loads.
  const ProductShape low_rank{DType::kF16, 768, 32, &layout, 1};
  EXPECT_EQ(group_of(group_form(256, 128, 4, 16), Shader::kRows, low_rank, limits),
            group_form(256, 4, 4, 16));
  // Three tokens leave room for the sums of two rows.
  const ProductShape three{DType::kF16, 768, 768, &layout, 3};
  EXPECT_EQ(group_of(group_form(64, 64, 8, 4), Shader::kRows, three, limits),
            group_form(64, 64, 2, 4));
  // Of kCols and kAny a thread has one sum.
  EXPECT_EQ(group_of(group_form(64, 16, 4, 4), Shader::kAny, three, limits),
            group_form(64, 16, 1, 4));
  const ProductShape few_rows{DType::kF16, 16, 768, &layout, 1};
  EXPECT_EQ(group_of(group_form(64, 16, 4, 4), Shader::kCols, few_rows, limits),
            group_form(64, 2, 1, 4));
}

TEST(Forms, WithoutAnyTheRulesCount) {
  const Layout layout = Layout::row_major();
  const ProductShape shape{DType::kF16, 2048, 2048, &layout, 1};
  EXPECT_EQ(group_of({}, Shader::kRows, shape, large_limits()), group_form(128, 128, 1, 16));
  EXPECT_EQ(group_of(tile_form(64, 64, 4, 4), Shader::kRows, shape, large_limits()),
            group_of({}, Shader::kRows, shape, large_limits()));
  EXPECT_EQ(tile_of({}, 512, large_limits()).rows(), 128u);
  EXPECT_EQ(tile_of({}, 512, least_limits()).rows(), 32u);
  EXPECT_EQ(tile_of({}, 16, large_limits()).rows(), 128u);
  EXPECT_EQ(tile_of({}, 16, least_limits()).rows(), 64u);
  EXPECT_EQ(tile_of(tile_form(128, 32, 4, 4), 512, large_limits()).rows(), 128u);
  EXPECT_EQ(tile_of(tile_form(128, 32, 4, 4), 512, large_limits()).tokens(), 32u);
  EXPECT_EQ(tile_of(tile_form(128, 32, 4, 4), 512, large_limits()).threads(), 256u);
  EXPECT_EQ(tile_of(tile_form(128, 32, 8, 4), 512, large_limits()).rows(), 128u);
  EXPECT_EQ(tile_of(tile_form(128, 32, 8, 4), 512, large_limits()).threads(), 128u);
  EXPECT_EQ(tile_of(tile_form(128, 32, 4, 4), 8, large_limits()).tokens(), 16u);
}

TEST(Forms, ThreadsAreRowsWhereRowsLieSideBySide) {
  const auto suits = [](DType dtype, const char* layout, Extents extents) {
    return suits_lanes(dtype,
                       make_mapping(*parse_layout(layout), extents, element_bits(dtype)).value());
  };
  EXPECT_TRUE(suits(DType::kNF4, "interleave(32,64,32)", {100, 128}));
  EXPECT_TRUE(suits(DType::kInt8, "interleave(8,128,16)@128B", {100, 128}));
  EXPECT_FALSE(suits(DType::kNF4, "interleave(4,64,32)", {100, 128}));  // half a line of memory
  EXPECT_FALSE(suits(DType::kNF4, "interleave(32,64,8)", {100, 128}));  // four bytes of a row
  EXPECT_FALSE(suits(DType::kNF4, "interleave(32,64,32)", {100, 96}));  // half a unit of cols
  EXPECT_FALSE(suits(DType::kNF4, "row_major", {100, 128}));
  EXPECT_FALSE(suits(DType::kF16, "interleave(32,64,8)", {100, 128}));
  EXPECT_FALSE(suits(DType::kQ4K, "interleave(32,256,32)", {100, 256}));
}

// The defaults of a GPU suit the shaders that they are for.
TEST(Forms, DefaultLayoutsAreThoseOfTheirShaders) {
  GpuLimits software = large_limits();
  software.is_software = true;
  for (const DType dtype : kAllDTypes) {
    const auto index = static_cast<size_t>(dtype);
    EXPECT_EQ(dense_layouts_of(software)[index], Layout::row_major()) << to_string(dtype);
    const Layout layout = dense_layouts_of(large_limits())[index].value();
    const AnyMapping mapping = make_mapping(layout, {96, 256}, element_bits(dtype)).value();
    EXPECT_EQ(suits_lanes(dtype, mapping), layout != Layout::row_major()) << to_string(dtype);
  }
  EXPECT_EQ(to_string(*dense_layouts_of(large_limits())[static_cast<size_t>(DType::kNF4)]),
            "interleave(32,64,32)");
}

// A dispatch with rows enough has 64 of them a workgroup, others fewer, so that every core has one.
TEST(Forms, LanesLeaveEveryCoreAWorkgroup) {
  const Layout layout = Layout::interleave(32, 64, 32);
  const GpuLimits limits = large_limits();
  const auto form = [&](uint64_t rows, uint64_t cols, uint64_t dispatch_rows, uint32_t tokens) {
    return group_of({}, Shader::kLanes, {DType::kNF4, rows, cols, &layout, tokens, dispatch_rows},
                    limits);
  };
  EXPECT_EQ(form(16384, 4096, 0, 1), group_form(512, 16, 2, 1));
  EXPECT_EQ(form(4096, 4096, 0, 1), group_form(512, 32, 2, 1));
  EXPECT_EQ(form(4096, 4096, 12288, 1), group_form(512, 16, 2, 1));
  EXPECT_EQ(form(768, 768, 0, 1), group_form(64, 8, 2, 1));
  EXPECT_EQ(form(16384, 4096, 0, 4), group_form(512, 16, 2, 1));
  EXPECT_EQ(group_of(group_form(256, 64, 8, 4), Shader::kLanes, {DType::kNF4, 768, 768, &layout, 2},
                     limits),
            group_form(256, 8, 4, 4));
  // Every form on offer is one that the device has room for.
  const AnyMapping mapping = make_mapping(layout, {4096, 4096}, 4).value();
  const auto forms = list_forms(MatrixOp::kDense, DType::kNF4, mapping, 1, limits);
  EXPECT_FALSE(forms.empty());
  for (const KernelForm& one : forms) {
    EXPECT_TRUE(check_form(one, limits));
    EXPECT_GE(one.group_threads / one.row_threads, 8u) << to_string(one);
  }
}

TEST(Forms, FewTokensShareRowsAmongWholeRuns) {
  for (const auto& [cols, lanes] : {std::pair<uint64_t, uint32_t>{4, 32},
                                    {64, 32},
                                    {128, 32},
                                    {256, 64},
                                    {768, 128},
                                    {2048, 128}}) {
    EXPECT_EQ(few_lanes(64, cols, 5), lanes) << cols;
    EXPECT_EQ(few_lanes(64, cols, 16), lanes) << cols;
  }
}

TEST(Forms, OnlyWhatTheDeviceHasRoomForIsOffered) {
  GpuLimits software = least_limits();
  software.is_software = true;
  for (const GpuLimits& limits : {least_limits(), large_limits(), software}) {
    for (const std::string_view text :
         {"row_major", "col_major", "interleave(16,64,1)", "morton(3)"}) {
      const AnyMapping mapping = make_mapping(*parse_layout(text), {2048, 2048}, 16).value();
      for (const MatrixOp op : {MatrixOp::kDense, MatrixOp::kSparse}) {
        for (const uint32_t num_tokens : {1u, 8u, 512u}) {
          const auto forms = list_forms(op, DType::kF16, mapping, num_tokens, limits);
          EXPECT_EQ(forms.empty(), num_tokens == 8) << text;
          for (const KernelForm& form : forms) {
            EXPECT_TRUE(check_form(form, limits)) << to_string(form);
            EXPECT_EQ(form.has_group(), num_tokens == 1);
            EXPECT_EQ(form.has_tile(), num_tokens == 512);
            EXPECT_EQ(parse_form(to_string(form)).value(), form);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace skein::webgpu
