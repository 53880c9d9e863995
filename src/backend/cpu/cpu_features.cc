#include "backend/cpu/cpu_features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace skein {

bool cpu_has_avx512_bf16() noexcept {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

bool cpu_has_avx512_vnni() noexcept {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512vnni") != 0;
#else
  return false;
#endif
}

bool cpu_has_amx_bf16() noexcept {
#if defined(__x86_64__) && defined(__linux__)
  static const bool may_use = [] {
    unsigned a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned kBF16 = 1u << 22, kTile = 1u << 24;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
    if ((d & (kBF16 | kTile)) != (kBF16 | kTile)) return false;
    // The only palette that there is so far: 8 tiles of 16 rows of 64 bytes.
    constexpr unsigned kBytesPerRowAndTiles = 64 | 8u << 16, kRows = 16;
    if (__get_cpuid_count(0x1d, 1, &a, &b, &c, &d) == 0) return false;
    if (b != kBytesPerRowAndTiles || (c & 0xffff) != kRows) return false;
    // Linux gives a process the tiles' 8 KiB of state on demand; it refuses where a signal stack is
    // too small for them, and kernels before 5.16 do not know the call.
    constexpr long kArchReqXcompPerm = 0x1023, kXfeatureTileData = 18;
    return syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureTileData) == 0;
  }();
  return may_use;
#else
  return false;
#endif
}

bool cpu_wants_two_streams() noexcept {
#if defined(__x86_64__)
  return __builtin_cpu_is("intel") != 0;
#else
  return false;
#endif
}

}  // namespace skein
