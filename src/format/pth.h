// Pth: a .pth file, as torch.save writes a dict of tensors (BlinkDL's releases), checked in full
// before anything of it is used, its tensors as views of the file.
//
// The format: a zip archive (zip.h) with NAME/data.pkl, a pickle that describes the tensors
// (torch_pickle.h), NAME/data/KEY, the bytes of one storage each, and in later versions
// NAME/byteorder.
//
// Goals: a file that anybody made can be opened without running anything of it; no copy of the
// data. Non-goals: writing, tensors whose elements do not lie in order (strides), files for
// big-endian machines, the format of before torch 1.6: these are refused by name.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "format/tensor_info.h"

namespace skein {

// In the order of their data in the file. `file` must outlive the result; `name` stands at the
// start of every message. Cost: the directory and the pickle; the data is not touched.
Result<std::vector<TensorInfo>> read_pth(std::span<const std::byte> file, const std::string& name);

}  // namespace skein
