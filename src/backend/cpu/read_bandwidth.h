// The read bandwidth of memory, measured: the roof for every GB/s that is printed.
#pragma once

#include "base/result.h"

namespace skein {

class ThreadPool;

// Bytes per second of a plain read by all threads of `pool`, each over its contiguous share of 512
// MiB in huge pages (far more than the caches hold): the median of several reads. Takes about 0.4
// s. Errors: the system has not that much memory.
Result<double> measure_read_bandwidth(ThreadPool& pool);

}  // namespace skein
