// Every offset of a mapping as nvcc's code gives it, on the host and on the device. Only the test
// beside it uses this.
//
// The definitions are compiled by nvcc (offsets.cu), the callers by the host compiler: neither sees
// the other's libraries.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace skein {

// Row by row, with both index types.
struct Offsets {
  std::vector<uint32_t> narrow;
  std::vector<uint64_t> wide;
};

// Empty where a CUDA device is there, else the runtime's reason why not.
std::string why_no_cuda_device();

// For RowMajor, ColMajor, Interleave and Morton.
template <class Mapping>
Offsets offsets_on_host(const Mapping& mapping);

// Empty and `offsets` filled, or the runtime's error.
template <class Mapping>
std::string offsets_on_device(const Mapping& mapping, Offsets& offsets);

}  // namespace skein
