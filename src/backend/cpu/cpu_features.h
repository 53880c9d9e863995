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

// Whether a core reads weights faster in two streams side by side than in one. Intel's prefetcher
// of L2 goes up to 20 lines ahead in a 4 KiB page, so that one stream leaves most of the 48 misses
// unused that an L2 of Sapphire Rapids can have at once. Measured 2026-11-28 in a probe (2 cores of
// an Intel Xeon, 2 GiB of f16 rows in huge pages, a plain read 31 GB/s): one stream 26 GB/s, its
// prefetches into L2 and 3 KiB ahead 28, two streams 29 to 30, with or without prefetches. On Zen 4
// and Zen 5 one stream reaches all of the bandwidth.
bool cpu_wants_two_streams() noexcept;

}  // namespace skein
