#include "backend/cpu/cpu_target.h"

#include <fmt/ranges.h>

#include <atomic>
#include <cstdlib>

#include "backend/cpu/cpu_features.h"
#include "hwy/highway.h"

namespace skein {
namespace {

struct CpuTarget {
  std::string_view name;
  int64_t highway_target;
  bool needs_avx512_bf16 = false;
  bool has_avx512 = false;
};

// Worst first. Highway's AVX3_DL without BF16 (Ice Lake) is `avx512` here: the two differ in
// nothing that the kernels use but VNNI, which is asked for apart.
#if HWY_ARCH_X86
constexpr CpuTarget kTargets[] = {{"scalar", HWY_BASELINE_SCALAR},
                                  {"sse4", HWY_SSE4},
                                  {"avx2", HWY_AVX2},
                                  {"avx512", HWY_AVX3, false, true},
                                  {"zen4", HWY_AVX3_DL, true, true}};
#else
constexpr CpuTarget kTargets[] = {{"scalar", HWY_BASELINE_SCALAR}, {"native", HWY_STATIC_TARGET}};
#endif

std::atomic<const CpuTarget*> g_chosen{nullptr};
std::atomic<int64_t> g_executed{0};

bool is_supported(const CpuTarget& target) {
  // The scalar target is compiled in but is no feature of a CPU.
  if (target.highway_target == HWY_BASELINE_SCALAR) return true;
  // In this program and of this CPU.
  if ((HWY_TARGETS & hwy::SupportedTargets() & target.highway_target) == 0) return false;
  return !target.needs_avx512_bf16 || cpu_has_avx512_bf16();
}

const CpuTarget& best_target() {
  const CpuTarget* best = &kTargets[0];
  for (const CpuTarget& target : kTargets) {
    if (is_supported(target)) best = &target;
  }
  return *best;
}

void choose(const CpuTarget& target) {
  g_chosen.store(&target);
  hwy::GetChosenTarget().Update(target.highway_target);
}

}  // namespace

std::vector<std::string_view> supported_cpu_targets() {
  std::vector<std::string_view> names;
  for (const CpuTarget& target : kTargets) {
    if (is_supported(target)) names.push_back(target.name);
  }
  return names;
}

Status select_cpu_target(std::string_view name) {
  for (const CpuTarget& target : kTargets) {
    if (target.name != name || !is_supported(target)) continue;
    choose(target);
    return {};
  }
  return error("CPU target: expected one of {} (what this CPU runs), found '{}'",
               fmt::join(supported_cpu_targets(), ", "), name);
}

Status select_default_cpu_target() {
  const char* name = std::getenv("SKEIN_CPU");
  if (name == nullptr || *name == '\0') {
    choose(best_target());
    return {};
  }
  Status status = select_cpu_target(name);
  if (!status) return error("SKEIN_CPU: {}", status.error().message);
  return {};
}

std::string_view cpu_target_name() noexcept {
  const CpuTarget* chosen = g_chosen.load(std::memory_order_relaxed);
  return chosen != nullptr ? chosen->name : best_target().name;
}

bool cpu_target_has_bf16() noexcept {
  const CpuTarget* chosen = g_chosen.load(std::memory_order_relaxed);
  return chosen != nullptr ? chosen->needs_avx512_bf16 : best_target().needs_avx512_bf16;
}

bool cpu_target_has_vnni() noexcept {
  static const bool cpu_has = cpu_has_avx512_vnni();
  const CpuTarget* chosen = g_chosen.load(std::memory_order_relaxed);
  return cpu_has && (chosen != nullptr ? chosen->has_avx512 : best_target().has_avx512);
}

bool cpu_target_has_amx() noexcept {
  // In this order: the system is asked only where it matters.
  return cpu_target_has_bf16() && cpu_has_amx_bf16();
}

void record_executed_cpu_target(int64_t highway_target) noexcept {
  // Looked at first: a store on every call would move the line between the cores.
  if (g_executed.load(std::memory_order_relaxed) == highway_target) return;
  g_executed.store(highway_target, std::memory_order_relaxed);
}

void clear_executed_cpu_target() noexcept { g_executed.store(0); }

std::string_view executed_cpu_target() noexcept {
  const int64_t executed = g_executed.load();
  for (const CpuTarget& target : kTargets) {
    if (target.highway_target == executed) return target.name;
  }
  return "";
}

}  // namespace skein
