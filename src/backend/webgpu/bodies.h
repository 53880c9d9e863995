// The code of a shader that does several jobs, each with workgroups of its own. Jobs whose code is
// the same but for where things lie, twins, have it once: a dispatch finds its code cold, and of
// seven products that share one the code was 135 KB (H200, sixteen tokens, docs/results.md).
//
// Goals: twins are found by their text, so that nothing has to say which jobs are. Non-goals: what
// the code does.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backend/webgpu/shader_library.h"

namespace skein::webgpu {

// u32 names that a text reads, as "base_JOB".
using Places = std::vector<std::pair<std::string_view, uint64_t>>;

// In all texts JOB stands for what tells a job's names from those of others.
struct Body {
  ShaderText text;      // functions: run_JOB
  ShaderText epilogue;  // store_JOB(token, row, sum), which may differ between twins; or nothing
  Places places;        // which may differ between twins
  std::string call;     // what a workgroup does: "run_JOB(group - #, lane)"; # is the job's first
  uint64_t groups = 0;
};

// Appends the code of a job that has it alone.
void add_body(const Body& body, std::string_view name, ShaderText& shader);

class Bodies {
 public:
  void add(Body body) { bodies_.push_back(std::move(body)); }
  uint64_t num_groups() const;
  // Appends all code to `shader`. Returns statements that have the workgroup `group` do its part.
  std::string finish(ShaderText& shader) const;

 private:
  std::vector<Body> bodies_;
};

}  // namespace skein::webgpu
