#include "backend/webgpu/bodies.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace skein::webgpu {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Body body_of(std::string_view code, std::string_view epilogue, uint64_t base, uint64_t groups) {
  Body body;
  body.text.add_text(code, "code");
  if (!epilogue.empty()) body.epilogue.add_text(epilogue, "epilogue");
  body.places = {{"base_JOB", base}};
  body.call = "run_JOB(group - #, lane)";
  body.groups = groups;
  return body;
}

TEST(Bodies, GivesAJobAloneItsPlacesAsConstants) {
  Bodies bodies;
  bodies.add(body_of("fn run_JOB() { base_JOB }", "fn store_JOB() {}", 7, 3));
  ShaderText shader;
  EXPECT_EQ(bodies.finish(shader), "  if (group < 3u) {\n    run_0(group - 0u, lane);\n  }");
  EXPECT_EQ(shader.text(), "const base_0 = 7u;\nfn store_0() {}\nfn run_0() { base_0 }\n");
}

TEST(Bodies, WritesTheCodeOfTwinsOnceAndTheirEpiloguesEach) {
  Bodies bodies;
  bodies.add(body_of("fn run_JOB() { base_JOB }", "fn store_JOB() { a }", 7, 3));
  bodies.add(body_of("fn run_JOB() { other }", "fn store_JOB() { a }", 8, 4));
  bodies.add(body_of("fn run_JOB() { base_JOB }", "fn store_JOB() { b }", 9, 5));
  EXPECT_EQ(bodies.num_groups(), 12u);
  ShaderText shader;
  const std::string branches = bodies.finish(shader);
  EXPECT_EQ(branches,
            "  if (group < 8u) {\n"
            "    var first = 0u;\n"
            "    if (group < 3u) {\n"
            "      first = 0u;\n"
            "      member_0 = 0u;\n"
            "      base_0 = 7u;\n"
            "    } else {\n"
            "      first = 3u;\n"
            "      member_0 = 1u;\n"
            "      base_0 = 9u;\n"
            "    }\n"
            "    run_0(group - first, lane);\n"
            "  } else if (group < 12u) {\n"
            "    run_1(group - 8u, lane);\n"
            "  }");
  EXPECT_THAT(shader.text(), HasSubstr("var<private> base_0: u32;\n"));
  EXPECT_THAT(shader.text(), HasSubstr("fn store_0_0() { a }\nfn store_0_1() { b }\n"));
  EXPECT_THAT(shader.text(), HasSubstr("fn run_0() { base_0 }\n"));
  EXPECT_THAT(shader.text(), HasSubstr("const base_1 = 8u;\n"));
  EXPECT_THAT(shader.text(), Not(HasSubstr("run_2")));
  EXPECT_EQ(shader.origin(1), "bodies.cc:1");
  EXPECT_EQ(shader.origin(2), "epilogue:1");
}

TEST(Bodies, KeepsJobsApartThatHaveNoEpilogueOrCallOtherwise) {
  Bodies bodies;
  bodies.add(body_of("fn copy_JOB() {}", "", 1, 1));
  bodies.add(body_of("fn copy_JOB() {}", "", 2, 1));
  Body other = body_of("fn run_JOB() {}", "fn store_JOB() {}", 3, 1);
  bodies.add(other);
  other.call = "nf4_start(lane); run_JOB(group - #, lane)";
  bodies.add(other);
  ShaderText shader;
  const std::string branches = bodies.finish(shader);
  EXPECT_THAT(branches, HasSubstr("nf4_start(lane); run_3(group - 3u, lane);"));
  EXPECT_THAT(shader.text(), Not(HasSubstr("var<private>")));
}

}  // namespace
}  // namespace skein::webgpu
