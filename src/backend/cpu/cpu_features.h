// What this CPU has beyond the targets that Highway 1.0 knows.
#pragma once

namespace skein {

// VDPBF16PS and the conversions of AVX512-BF16 (Zen 4, Cooper Lake, Sapphire Rapids and later).
bool cpu_has_avx512_bf16() noexcept;

// VPDPBUSD of AVX512-VNNI on 512 bits (Cascade Lake, Ice Lake, Zen 4 and later).
bool cpu_has_avx512_vnni() noexcept;

// TDPBF16PS of AMX (Sapphire Rapids and later), and this process may use it: the first call asks
// the system.
bool cpu_has_amx_bf16() noexcept;

}  // namespace skein
