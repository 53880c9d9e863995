#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "base/bits.h"
#include "base/check.h"

namespace skein {
namespace {

const char* kind_name(mode_t mode) noexcept {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a fifo";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  return "something else";
}

uint64_t page_bytes() noexcept {
  static const uint64_t bytes = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)),
      path_(std::exchange(other.path_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this == &other) return *this;
  unmap();
  data_ = std::exchange(other.data_, nullptr);
  size_bytes_ = std::exchange(other.size_bytes_, 0);
  path_ = std::exchange(other.path_, {});
  return *this;
}

MappedFile::~MappedFile() { unmap(); }

void MappedFile::unmap() noexcept {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_bytes_);
}

Result<MappedFile> MappedFile::open(const std::string& path) {
  // The system would silently stop at the NUL and open another file.
  if (path.find('\0') != std::string::npos) return error("expected a path, found one with a NUL");
  // O_NONBLOCK: opening a fifo that nobody writes to would wait for ever. Regular files ignore it.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
  struct stat info {};
  if (file.fd < 0 || ::fstat(file.fd, &info) != 0) {
    return error("{}: cannot open: {}", path, std::generic_category().message(errno));
  }
  if (!S_ISREG(info.st_mode)) {
    return error("{}: expected a regular file, found {}", path, kind_name(info.st_mode));
  }
  MappedFile mapped;
  mapped.path_ = path;
  const auto size_bytes = static_cast<size_t>(info.st_size);
  if (size_bytes == 0) return mapped;  // mmap refuses a length of 0
  void* data = ::mmap(nullptr, size_bytes, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (data == MAP_FAILED) {
    return error("{}: cannot map {} bytes: {}", path, size_bytes,
                 std::generic_category().message(errno));
  }
  mapped.data_ = static_cast<const std::byte*>(data);
  mapped.size_bytes_ = size_bytes;
  return mapped;
}

// The calls below are advice: where the kernel declines, the content is the same and only speed or
// memory differs.

void MappedFile::will_need(uint64_t offset_bytes, uint64_t length_bytes) const noexcept {
  CHECK(offset_bytes <= size_bytes_ && length_bytes <= size_bytes_ - offset_bytes);
  if (length_bytes == 0) return;
  const uint64_t begin = offset_bytes / page_bytes() * page_bytes();
  const uint64_t end = offset_bytes + length_bytes;
  ::madvise(const_cast<std::byte*>(data_ + begin), end - begin, MADV_WILLNEED);
}

void MappedFile::use_huge_pages() const noexcept {
  if (size_bytes_ == 0) return;
  ::madvise(const_cast<std::byte*>(data_), size_bytes_, MADV_HUGEPAGE);
}

void MappedFile::release(uint64_t offset_bytes, uint64_t length_bytes) const noexcept {
  CHECK(offset_bytes <= size_bytes_ && length_bytes <= size_bytes_ - offset_bytes);
  const uint64_t begin = round_up(offset_bytes, page_bytes());
  uint64_t end = offset_bytes + length_bytes;
  end = end == size_bytes_ ? round_up(end, page_bytes()) : end / page_bytes() * page_bytes();
  if (begin >= end) return;
  ::madvise(const_cast<std::byte*>(data_ + begin), end - begin, MADV_DONTNEED);
}

}  // namespace skein
