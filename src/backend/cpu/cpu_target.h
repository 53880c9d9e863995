// Named CPU targets: which instruction set the kernels of this process use.
//
// Goals: every target is compiled into one binary, is chosen once, has a name for messages and can
// be forced (environment variable SKEIN_CPU), so that each one can be tested on one machine.
// Non-goals: changing the target while a kernel runs; a target per thread.
//
//   scalar   portable C++, one element at a time
//   sse4     SSE4.1 and 4.2, no fused multiply-add
//   avx2     AVX2, FMA, F16C
//   avx512   AVX-512 F, BW, CD, DQ, VL; where the CPU has VNNI too, at Precision::kFast that
//   zen4     avx512 and VNNI, VBMI2, BF16 and the rest of Zen 4's list (Sapphire Rapids has them
//   too); where the CPU has AMX too, at Precision::kFast that
//
// On other architectures there are `scalar` and `native`.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace skein {

// The targets that this CPU runs, worst first: the last one is the default.
std::vector<std::string_view> supported_cpu_targets();

// Chooses the target of every later kernel call. Errors: a name that is unknown or that this CPU
// cannot run; the message lists those it can.
Status select_cpu_target(std::string_view name);

// What a backend does when it is made: the target that SKEIN_CPU names, or the best one. Errors are
// those of select_cpu_target(). Without this call Highway's own choice counts.
Status select_default_cpu_target();

// The target that is chosen now.
std::string_view cpu_target_name() noexcept;

// Whether the chosen target has products of pairs of bf16 (VDPBF16PS).
bool cpu_target_has_bf16() noexcept;

// Whether the chosen target may use products of int8 (VPDPBUSD): avx512 and zen4, where the CPU has
// them.
bool cpu_target_has_vnni() noexcept;

// Whether the chosen target may use tiles of bf16 (TDPBF16PS): zen4, where the CPU and the system
// let it.
bool cpu_target_has_amx() noexcept;

// Kernels note the target that they were compiled for, so that a test can prove that the forced one
// ran: clear, call a kernel, compare. The record is of the last kernel on any thread; "" is none.
void record_executed_cpu_target(int64_t highway_target) noexcept;
void clear_executed_cpu_target() noexcept;
std::string_view executed_cpu_target() noexcept;

}  // namespace skein
