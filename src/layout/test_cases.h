// The layouts and shapes that the laws of this folder are tested over. Only tests include it.
#pragma once

#include <string_view>

#include "layout/extents.h"

namespace skein {

// Every kind, blocks of one, of primes, of powers of two, with and without chunks and alignment.
inline constexpr std::string_view kTestLayouts[] = {
    "row_major",
    "row_major@64B",
    "row_major@128B",
    "col_major",
    "col_major@4B",
    "col_major@256B",
    "interleave(1,1)",
    "interleave(4,8)",
    "interleave(4,8,2)",
    "interleave(3,6,3)",
    "interleave(2,5,1)@64B",
    "interleave(16,64,4)@128B",
    "interleave(8,32)",
    "tile(1,7)",
    "tile(2,3)",
    "tile(8,4)@64B",
    "tile(16,32)",
    "morton(1)",
    "morton(2)",
    "morton(3)@64B",
    "morton(4)",
    "morton(4)@256B",
    "morton(32)",
};

// 1, primes, powers of two, multiples and non-multiples of the blocks above; wide, tall and square.
inline constexpr Extents kTestExtents[] = {
    {1, 1},  {1, 2},  {2, 1},  {1, 17},  {17, 1},  {2, 2},   {3, 5},   {5, 3},   {4, 8},
    {6, 10}, {7, 13}, {13, 7}, {8, 8},   {16, 16}, {9, 9},   {31, 33}, {32, 32}, {64, 1},
    {1, 64}, {3, 65}, {65, 3}, {37, 61}, {61, 37}, {64, 96}, {128, 5}, {5, 127}, {97, 101}};

inline constexpr uint32_t kTestElementBits[] = {4, 8, 16, 32};

}  // namespace skein
