#include "backend/backend.h"

namespace skein {

Result<Draws> Backend::make_draws(const Dimensions& /*dims*/, const Weights& /*weights*/) {
  return error("backend {}: draws no tokens by itself", name());
}

Status Backend::set_forms(const KernelForms& forms) {
  if (forms == KernelForms{}) return {};
  return error("backend {}: expected no forms, since its kernels have one each, found some",
               name());
}

Status Backend::copy(const Buffer& from, uint64_t from_bytes, Buffer& to, uint64_t num_bytes) {
  std::vector<std::byte> bytes(num_bytes);
  SKEIN_RETURN_IF_ERROR(download(from, from_bytes, bytes));
  return upload(to, 0, bytes);
}

}  // namespace skein
