// The layouts that the tuner tries.
#pragma once

#include <span>
#include <vector>

#include "backend/kernel_registry.h"
#include "model/matrix_kinds.h"

namespace skein {

// `standard` first, then every order that has a kernel in `kernels` for the kind's op and dtype,
// without and with alignment. Left out are layouts that put every element of every shape where one
// before them does: an alignment that rows have anyway.
std::vector<Layout> list_candidates(const MatrixKind& kind, std::span<const KernelInfo> kernels,
                                    const Layout& standard);

}  // namespace skein
