#include "backend/kernel_form.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace skein {
namespace {

using ::testing::HasSubstr;

TEST(KernelForm, TextAndBack) {
  for (const std::string_view text :
       {"auto", "group(128,32,2,16)", "tile(64,64,4,8)", "group(1024,1,8,32)+tile(16,256,8,4)"}) {
    const Result<KernelForm> form = parse_form(text);
    ASSERT_TRUE(form) << form.error().message;
    EXPECT_EQ(to_string(*form), text);
    EXPECT_EQ(form->is_auto(), text == "auto");
  }
  const KernelForm both = group_form(64, 8, 1, 4).with(tile_form(64, 32, 4, 4));
  EXPECT_EQ(to_string(both), "group(64,8,1,4)+tile(64,32,4,4)");
  EXPECT_EQ(both.with({}), both);
  EXPECT_EQ(both.with(group_form(32, 32, 2, 8)),
            group_form(32, 32, 2, 8).with(tile_form(64, 32, 4, 4)));
}

TEST(KernelForm, WhatNoDeviceHasIsOneLine) {
  for (const std::string_view text : {"",
                                      "+",
                                      "auto+auto",
                                      "group",
                                      "group(",
                                      "group()",
                                      "group(0,1,1,1)",
                                      "group(64,0,1,1)",
                                      "group(64,1,0,1)",
                                      "group(64,1,1,0)",
                                      "group(64,1,1000000000,4)",
                                      "group(64,1,1,64)",
                                      "group(96,32,1,4)",
                                      "group(64,128,1,4)",
                                      "group(16,16,1,4)",
                                      "group(2048,1,1,1)",
                                      "group(64,8,1,4",
                                      "group(64,8,1,4))",
                                      "group(64,8,1,4,2)",
                                      "group(64,8,1)",
                                      "group(64,8,1,-4)",
                                      "group(64, 8,1,4)",
                                      "group(99999999999999999999,8,1,4)",
                                      "group(64,8,1,4)+group(64,8,1,4)",
                                      "group(64,8,1,4)+",
                                      "tile(0,64,4,8)",
                                      "tile(64,64,4,32)",
                                      "tile(48,64,4,8)",
                                      "tile(64,64)",
                                      "tile(64,64,8)",
                                      "tile(64,64,16,8)",
                                      "tile(512,64,4,8)",
                                      "tile(64,8,4,4)",
                                      "rows(64)"}) {
    const Result<KernelForm> form = parse_form(text);
    ASSERT_FALSE(form) << text;
    EXPECT_THAT(form.error().message, HasSubstr("form: expected ")) << text;
    EXPECT_EQ(form.error().message.find('\n'), std::string::npos);
    EXPECT_LT(form.error().message.size(), 300u);
  }
  EXPECT_FALSE(parse_form(std::string(10'000, '+')));
}

}  // namespace
}  // namespace skein
