#include "model/verify.h"

#include <atomic>
#include <vector>

#include "base/hash.h"

namespace skein {

Result<VerifiedModel> verify_packed(const ModelFile& file, ThreadPool& pool) {
  if (file.packed() == nullptr) {
    return error("{}: expected a packed model, which has checksums, found an ordinary one",
                 file.path());
  }
  const auto& weights = file.packed()->weights;
  const std::span<const TensorInfo> tensors = file.file()->tensors();
  VerifiedModel verified;
  for (const TensorInfo& tensor : tensors) {
    if (!weights.contains(tensor.name)) {
      return error("{}: tensor '{}': expected a checksum, found none", file.path(), tensor.name);
    }
    ++verified.num_tensors;
    verified.num_bytes += tensor.data.size();
  }
  for (const auto& [label, weight] : weights) {
    if (file.file()->find(label) != nullptr) continue;
    return error("{}: expected a packed tensor '{}', found its checksum only", file.path(), label);
  }

  // Tensors differ much in length, so threads take the next one instead of equal shares.
  std::vector<uint64_t> found(tensors.size());
  std::atomic<size_t> next{0};
  pool.run([&](uint32_t) {
    for (size_t i = next++; i < tensors.size(); i = next++) {
      found[i] = hash64(tensors[i].data);
      file.file()->file().release(tensors[i].offset_bytes, tensors[i].data.size());
    }
  });
  size_t first = tensors.size();
  uint64_t num_damaged = 0;
  for (size_t i = tensors.size(); i-- > 0;) {
    if (found[i] == weights.find(tensors[i].name)->second.checksum) continue;
    first = i;
    ++num_damaged;
  }
  if (num_damaged == 0) return verified;
  return error("{}: tensor '{}': expected checksum {}, found {}{}", file.path(),
               tensors[first].name, hash_text(weights.find(tensors[first].name)->second.checksum),
               hash_text(found[first]),
               num_damaged == 1
                   ? ""
                   : fmt::format(" ({} of {} tensors are damaged)", num_damaged, tensors.size()));
}

}  // namespace skein
