// verify: are the bytes of a packed model still those that were written?
#pragma once

#include <cstdint>

#include "base/result.h"
#include "base/thread_pool.h"
#include "model/model_file.h"

namespace skein {

struct VerifiedModel {
  uint64_t num_tensors = 0;
  uint64_t num_bytes = 0;
};

// Compares the checksum of every tensor with that in the header. Errors, one line: the file is no
// packed model; a tensor without a checksum or a checksum without a tensor; tensors that differ,
// the first in the order of the file by name. Cost: reads the whole file, on all threads.
Result<VerifiedModel> verify_packed(const ModelFile& file, ThreadPool& pool);

}  // namespace skein
