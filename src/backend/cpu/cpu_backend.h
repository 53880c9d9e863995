// CpuBackend: the ten steps on the host's cores, with the SIMD instructions that the machine has.
//
// Goals: decode at the speed of memory, prefill at the speed of the multipliers; each step one
// fused operation; no memory is taken per token. Non-goals: several forward passes at once in one
// backend (make two).
//
// Laws: results do not depend on the number of threads, bit for bit. Between CPU targets and
// between T = 1 and T = n they agree to rounding of f32.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "backend/backend.h"

namespace skein {

struct CpuOptions {
  uint32_t num_threads = 0;  // 0: as many as physical cores
  Precision precision = Precision::kExact;
  std::string target;  // a name of cpu_target.h; empty: what SKEIN_CPU names, or the best one
};

// Errors: num_threads beyond ThreadPool::kMaxThreads, a target that is unknown or that this machine
// cannot run, no memory. The target counts for the whole process.
Result<std::unique_ptr<Backend>> make_cpu_backend(const CpuOptions& options);

}  // namespace skein
