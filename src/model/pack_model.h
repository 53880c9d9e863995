// pack_model: an ordinary model file in, a packed one out: every weight in its planned type and
// layout, ready to be used where it lies in the file.
//
// Goals: one pass, with one weight in memory at a time; the file appears complete or not at all;
// what the disk has no room for is known at the start. Non-goals: the vocabulary, which stays a
// file of its own.
//
// The file, front to back: header; from a multiple of 4 KiB on the hot arena, the weights in the
// order of use, each at a multiple of kPackedAlignBytes, exactly as Placement::kHot has them in
// memory; at a multiple of 4 KiB the embedding; zeros that SIMD may read behind it. What the
// metadata say is in packed_header.h.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "model/model_file.h"
#include "model/rwkv7.h"

namespace skein {

struct PackSummary {
  std::vector<WeightReport> reports;  // in the order of use
  std::vector<std::string> warnings;  // as Rwkv7::warnings() has them
  uint64_t file_bytes = 0;
};

// Writes the model in `source` to `path`. The plan is that of `options`; its placement does not
// matter. `backend` says which layouts there are kernels for. `should_stop`, if any, is asked after
// each weight. Errors: `source` is packed already; what Rwkv7::load refuses; the file cannot be
// written; "interrupted".
Result<PackSummary> pack_model(const ModelFile& source, const std::string& path,
                               const Backend& backend, const Rwkv7::LoadOptions& options,
                               const std::function<bool()>& should_stop = {});

}  // namespace skein
