#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "base/check.h"

namespace skein {
namespace {

constexpr mode_t kPermissionBits = 07777;

std::string reason(int errno_value) { return std::generic_category().message(errno_value); }

Status check_path(const std::string& path) {
  if (path.empty()) return error("expected a path, found an empty one");
  // The system would silently stop at the NUL and use another file.
  if (path.find('\0') != std::string::npos) return error("expected a path, found one with a NUL");
  return {};
}

// Creates a file of a new name in `folder`; gives the descriptor, or -1 and errno. The name says
// whose it is, so that a leftover of a killed process can be recognised. mkstemp would do, but
// ignores the umask.
int create_temporary(const std::filesystem::path& folder, std::string& path) {
  static std::atomic<uint64_t> counter{0};
  for (;;) {
    path = (folder / fmt::format(".skein-{}-{}.tmp", ::getpid(), counter++)).string();
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0 || errno != EEXIST) return fd;
  }
}

// After a rename only this makes the new name survive a power cut. Some file systems cannot; the
// content is safe then.
void sync_folder(const std::filesystem::path& folder) noexcept {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

std::filesystem::path folder_of(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  return folder.empty() ? std::filesystem::path(".") : folder;
}

}  // namespace

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      target_path_(std::move(other.target_path_)),
      temporary_path_(std::exchange(other.temporary_path_, {})),
      fd_(std::exchange(other.fd_, -1)) {}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  if (this == &other) return *this;
  abandon();
  path_ = std::move(other.path_);
  target_path_ = std::move(other.target_path_);
  temporary_path_ = std::exchange(other.temporary_path_, {});
  fd_ = std::exchange(other.fd_, -1);
  return *this;
}

AtomicFile::~AtomicFile() { abandon(); }

void AtomicFile::abandon() noexcept {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_path_.empty()) ::unlink(temporary_path_.c_str());
  fd_ = -1;
  temporary_path_.clear();
}

Result<AtomicFile> AtomicFile::open(const std::string& path) {
  SKEIN_RETURN_IF_ERROR(check_path(path));
  AtomicFile file;
  file.path_ = path;
  file.target_path_ = path;
  struct stat info {};
  const bool exists = ::stat(path.c_str(), &info) == 0;
  if (!exists && errno != ENOENT) return error("{}: cannot write: {}", path, reason(errno));
  if (exists && S_ISDIR(info.st_mode)) {
    return error("{}: expected a file to write, found a folder", path);
  }
  if (exists && !S_ISREG(info.st_mode)) {
    file.fd_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (file.fd_ < 0) return error("{}: cannot write: {}", path, reason(errno));
    return file;
  }
  if (exists) {
    std::error_code failure;
    const auto target = std::filesystem::canonical(path, failure);
    if (failure) return error("{}: cannot write: {}", path, failure.message());
    file.target_path_ = target.string();
    // A rename needs no permission on the file that it replaces, but a read-only file should stay.
    if (::faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) != 0) {
      return error("{}: cannot write: {}", path, reason(errno));
    }
  }
  file.fd_ = create_temporary(folder_of(file.target_path_), file.temporary_path_);
  if (file.fd_ < 0) {
    file.temporary_path_.clear();
    return error("{}: cannot create a file in its folder: {}", path, reason(errno));
  }
  // Best effort: the content matters more.
  if (exists) ::fchmod(file.fd_, info.st_mode & kPermissionBits);
  return file;
}

Status AtomicFile::write(std::span<const std::byte> bytes) {
  CHECK(fd_ >= 0);
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return error("{}: cannot write: {}", path_, reason(errno));
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

Status AtomicFile::reserve(uint64_t num_bytes) {
  if (temporary_path_.empty() || num_bytes == 0) return {};
  const auto length = static_cast<off_t>(num_bytes);
  while (::fallocate(fd_, FALLOC_FL_KEEP_SIZE, 0, length) != 0) {
    if (errno == EINTR) continue;
    if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG) {
      return error("{}: cannot write {} bytes: {}", path_, num_bytes, reason(errno));
    }
    break;
  }
  return {};
}

Status AtomicFile::overwrite(uint64_t offset_bytes, std::span<const std::byte> bytes) {
  CHECK(fd_ >= 0);
  while (!bytes.empty()) {
    const ssize_t written =
        ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset_bytes));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return error("{}: cannot write: {}", path_, reason(errno));
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset_bytes += static_cast<uint64_t>(written);
  }
  return {};
}

Status AtomicFile::commit() {
  CHECK(fd_ >= 0);
  const bool direct = temporary_path_.empty();
  // Devices and fifos do not know fsync; there is nothing to make durable either.
  if (!direct && ::fsync(fd_) != 0) return error("{}: cannot write: {}", path_, reason(errno));
  if (::close(std::exchange(fd_, -1)) != 0) {
    return error("{}: cannot write: {}", path_, reason(errno));
  }
  if (direct) return {};
  if (::rename(temporary_path_.c_str(), target_path_.c_str()) != 0) {
    return error("{}: cannot write: {}", path_, reason(errno));
  }
  temporary_path_.clear();
  sync_folder(folder_of(target_path_));
  return {};
}

Status write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
  SKEIN_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::open(path));
  SKEIN_RETURN_IF_ERROR(file.write(bytes));
  return file.commit();
}

Result<std::string> read_text_file(const std::string& path, uint64_t max_bytes) {
  SKEIN_RETURN_IF_ERROR(check_path(path));
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) return error("{}: cannot open: {}", path, reason(errno));
  // Read to the end rather than trust the length: fifos and /proc have none.
  constexpr size_t kChunkBytes = size_t{1} << 16;
  std::string text;
  ssize_t found = 1;
  int failure = 0;
  while (found != 0 && text.size() <= max_bytes) {
    const size_t used = text.size();
    text.resize(used + kChunkBytes);
    found = ::read(fd, text.data() + used, kChunkBytes);
    failure = found < 0 ? errno : 0;
    text.resize(used + static_cast<size_t>(std::max<ssize_t>(found, 0)));
    if (failure != 0 && failure != EINTR) break;
  }
  ::close(fd);
  if (failure != 0) return error("{}: cannot read: {}", path, reason(failure));
  if (text.size() > max_bytes) {
    return error("{}: expected at most {} bytes, found more", path, max_bytes);
  }
  return text;
}

}  // namespace skein
