// SKEIN_HD: marks what nvcc compiles for both sides. Nothing elsewhere.
#pragma once

#if defined(__CUDACC__)
#define SKEIN_HD __host__ __device__
#else
#define SKEIN_HD
#endif
