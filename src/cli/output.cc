#include "cli/output.h"

#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace skein::cli {
namespace {

std::string system_message(int code) { return std::generic_category().message(code); }

// 0, or the errno of what went wrong. A device that takes nothing counts as full.
int write_all(int fd, const char* data, size_t num_bytes) noexcept {
  while (num_bytes != 0) {
    const ssize_t written = ::write(fd, data, num_bytes);
    if (written < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    if (written == 0) return ENOSPC;
    data += written;
    num_bytes -= static_cast<size_t>(written);
  }
  return 0;
}

}  // namespace

Status write_stdout(std::string_view bytes) {
  const int code = write_all(STDOUT_FILENO, bytes.data(), bytes.size());
  if (code != 0) return error("stdout: cannot write: {}", system_message(code));
  return {};
}

Status write_stdout(std::span<const std::byte> bytes) {
  return write_stdout({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

Status write_json(const Json& value) {
  return write_stdout(value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

void write_stderr(std::string_view text) noexcept {
  (void)write_all(STDERR_FILENO, text.data(), text.size());
}

std::string one_line(std::string_view text) {
  std::string line;
  bool after_break = true;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool is_break = c == '\n' || c == '\r' || c == '\t';
    if (is_break || (c == ' ' && after_break)) {
      if (!after_break && line.back() != ' ') line += ' ';
      after_break = true;
      continue;
    }
    after_break = false;
    if (byte < 0x20 || byte == 0x7f) {
      line += fmt::format("\\x{:02x}", byte);
    } else {
      line += c;
    }
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

void say(std::string_view line) noexcept {
  try {
    write_stderr(fmt::format("skein: {}\n", one_line(line)));
  } catch (...) {
    write_stderr("skein: out of memory\n");
  }
}

Result<std::string> read_stdin(size_t max_bytes) {
  std::string text;
  size_t num_bytes = 0;
  for (;;) {
    text.resize(num_bytes + (size_t{1} << 16));
    const ssize_t got = ::read(STDIN_FILENO, text.data() + num_bytes, text.size() - num_bytes);
    if (got < 0) {
      if (errno == EINTR) continue;
      return error("stdin: cannot read: {}", system_message(errno));
    }
    if (got == 0) break;
    num_bytes += static_cast<size_t>(got);
    if (num_bytes > max_bytes)
      return error("stdin: expected at most {} bytes, found more", max_bytes);
  }
  text.resize(num_bytes);
  return text;
}

}  // namespace skein::cli
