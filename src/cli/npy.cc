#include "cli/npy.h"

#include <bit>
#include <utility>

#include "cli/output.h"

namespace skein::cli {

static_assert(std::endian::native == std::endian::little, "rows are written as they lie");

std::string npy_header(uint64_t rows, uint64_t cols) {
  using namespace std::string_view_literals;
  constexpr size_t kPreambleBytes = 10;  // magic, version, u16 length of what follows
  std::string text =
      fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, cols);
  while ((kPreambleBytes + text.size() + 1) % 64 != 0) text += ' ';
  text += '\n';
  std::string header(R"(?NUMPY)");
  header[0] = '\x93';
  header += "\x01\x00"sv;
  header += static_cast<char>(text.size() & 0xffu);
  header += static_cast<char>(text.size() >> 8);
  return header + text;
}

Result<NpyWriter> NpyWriter::open(const std::string& path, uint64_t rows, uint64_t cols) {
  NpyWriter writer;
  if (path != "-") {
    SKEIN_ASSIGN_OR_RETURN(writer.file_, AtomicFile::open(path));
  }
  const std::string header = npy_header(rows, cols);
  SKEIN_RETURN_IF_ERROR(writer.write(std::as_bytes(std::span(header))));
  return writer;
}

Status NpyWriter::write_row(std::span<const float> row) { return write(std::as_bytes(row)); }

Status NpyWriter::commit() { return file_ ? file_->commit() : Status{}; }

Status NpyWriter::write(std::span<const std::byte> bytes) {
  return file_ ? file_->write(bytes) : write_stdout(bytes);
}

}  // namespace skein::cli
