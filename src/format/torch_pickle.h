// The pickle inside of a .pth file, read as data: which tensors a saved dict of tensors has, and
// where they lie.
//
// A pickle is a program for a stack machine that may call any function of the machine it runs on.
// This reader calls none. It knows the opcodes that torch.save writes for a dict of tensors and the
// handful of names that stand in them (OrderedDict, _rebuild_tensor_v2, the storage classes);
// every other opcode and every other name is refused, by name, before anything else happens.
//
// Goals: time and memory linear in the length of the pickle, no recursion. Non-goals: other
// objects, protocols above 2 (torch.save's default is 2), torch's format of before version 1.6.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "format/file_dtype.h"

namespace skein {

struct PickledTensor {
  std::string name;
  FileDType dtype = FileDType::kF32;
  std::string storage;                 // the entry data/STORAGE of the archive
  uint64_t storage_elems = 0;          // as the pickle says; the archive must agree
  uint64_t offset_elems = 0;           // of the first element in the storage
  std::vector<uint64_t> shape;         // slowest axis first
  std::vector<uint64_t> stride_elems;  // as many as shape
};

// Longest pickle. A model of 61 layers has half a MiB.
inline constexpr uint64_t kMaxPickleBytes = uint64_t{4} << 20;

// What one opcode can ask for again and again, five bytes each time: more tensors or longer names
// of storages (torch numbers them) than any model has. They bound the memory of a hostile pickle to
// some hundred MiB.
inline constexpr size_t kMaxPickledTensors = size_t{1} << 16;
inline constexpr size_t kMaxStorageNameBytes = 64;

// In the order of the dict; a name that was set twice counts as set last. `file` stands at the
// start of every message. Nothing is known of the numbers but that they are not negative.
Result<std::vector<PickledTensor>> read_torch_pickle(std::span<const std::byte> pickle,
                                                     const std::string& file);

}  // namespace skein
