// HostBackend: what every backend over host memory shares: buffers, copies, and steps that have run
// when they return.
//
// Goals: the reference and the CPU backend differ in arithmetic only. Non-goals: steps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "backend/backend.h"

namespace skein {

class HostBackend : public Backend {
 public:
  Result<std::shared_ptr<Buffer>> allocate(uint64_t num_bytes) override;

  // Preconditions: the range lies inside `buffer`, which is a host buffer and, for upload,
  // writable.
  Status upload(Buffer& buffer, uint64_t offset_bytes, std::span<const std::byte> bytes) override;
  Status download(const Buffer& buffer, uint64_t offset_bytes, std::span<std::byte> bytes) override;

  // Nothing is ever pending on a host.
  Status finish() override;
};

}  // namespace skein
