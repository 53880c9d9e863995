#include "backend/webgpu/shader_library.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace skein::webgpu {
namespace {

using ::testing::HasSubstr;

TEST(ShaderLibraryTest, FillsInValuesAndKnowsWhereLinesComeFrom) {
  ShaderValues values;
  values.set("J", 3);
  values.set("COLS", 64);
  values.set("NUM_TOKENS", "b1[0].x");
  for (const char* name : {"X", "OUT"}) values.set(name, "b0");
  for (const char* name : {"X_OFFSET", "X_STRIDE", "OUT_OFFSET", "OUT_STRIDE"}) values.set(name, 5);
  ShaderText shader;
  shader.add_text("// one\n// two\n", "here");
  ASSERT_TRUE(shader.add_file("copy.wgsl", values));
  EXPECT_THAT(shader.text(), HasSubstr("fn copy_3(item: u32)"));
  EXPECT_THAT(shader.text(), HasSubstr("token < b1[0].x"));
  EXPECT_EQ(shader.text().find("{{"), std::string::npos);
  EXPECT_EQ(shader.origin(2), "here:2");
  EXPECT_EQ(shader.origin(3), "shaders/copy.wgsl:1");
  EXPECT_EQ(shader.origin(6), "shaders/copy.wgsl:4");
}

TEST(ShaderLibraryTest, RepeatsAndChooses) {
  ShaderValues values;
  values.set("DTYPE", "f16");
  values.set("IS_F32", 0);
  values.set("IS_F16", 1);
  values.set("IS_BF16", 0);
  ShaderText shader;
  ASSERT_TRUE(shader.add_file("lib/plain.wgsl", values));
  EXPECT_THAT(shader.text(), HasSubstr("f16_quad_1"));
  EXPECT_EQ(shader.text().find("f32_quad_0"), std::string::npos);
  EXPECT_EQ(shader.text().find("//!"), std::string::npos);

  ShaderValues head;
  for (const char* name : {"DATA", "OUT"}) head.set(name, "b");
  head.set("ELEMS", 9);
  head.set("GROUPS_X", 2);
  ShaderText read;
  ASSERT_TRUE(read.add_file("read.wgsl", head));
  for (int i = 0; i < 8; ++i) {
    EXPECT_THAT(read.text(), HasSubstr("let words_" + std::to_string(i) + " ="));
  }
  EXPECT_EQ(read.text().find("let words_8"), std::string::npos);
}

TEST(ShaderLibraryTest, NamesWhatIsMissing) {
  ShaderText shader;
  const Status unknown = shader.add_file("no.wgsl", {});
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().message, HasSubstr("'no.wgsl'"));
  const Status value = shader.add_file("copy.wgsl", {});
  ASSERT_FALSE(value);
  EXPECT_EQ(value.error().message, "shaders/copy.wgsl:1: expected a value for 'J', found none");
}

}  // namespace
}  // namespace skein::webgpu
