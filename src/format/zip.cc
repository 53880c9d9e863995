#include "format/zip.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "format/byte_reader.h"
#include "format/safetensors_header.h"

namespace skein {
namespace {

constexpr uint32_t kLocalMagic = 0x04034b50;      // "PK\3\4"
constexpr uint32_t kEntryMagic = 0x02014b50;      // "PK\1\2"
constexpr uint32_t kEndMagic = 0x06054b50;        // "PK\5\6"
constexpr uint32_t kEnd64Magic = 0x06064b50;      // "PK\6\6"
constexpr uint32_t kLocator64Magic = 0x07064b50;  // "PK\6\7"

constexpr uint64_t kLocalBytes = 30, kEntryBytes = 46;  // without name, extra and comment
constexpr uint64_t kEndBytes = 22, kLocator64Bytes = 20;
constexpr uint64_t kMaxCommentBytes = 0xffff;
constexpr uint16_t kExtra64 = 1;
constexpr uint16_t kEncrypted = 1;

// Where the directory lies.
struct Directory {
  uint64_t num_entries = 0, offset_bytes = 0, size_bytes = 0;
};

// What the directory says of an entry.
struct Record {
  std::string name;
  uint16_t flags = 0, method = 0;
  uint64_t packed_bytes = 0, plain_bytes = 0, local_offset_bytes = 0;
};

tl::unexpected<Error> broken(const std::string& file, std::string_view what) {
  return error("{}: expected a zip archive, found {} (is the file cut short?)", file, what);
}

// The end record, from the back: its comment must reach the end of the file exactly.
std::optional<uint64_t> find_end(std::span<const std::byte> archive) {
  if (archive.size() < kEndBytes) return std::nullopt;
  const uint64_t last = archive.size() - kEndBytes;
  const uint64_t first = last - std::min(last, kMaxCommentBytes);
  for (uint64_t at = last + 1; at-- > first;) {
    ByteReader reader(archive.subspan(at));
    if (reader.read<uint32_t>() != kEndMagic) continue;
    reader.take(16);
    if (reader.read<uint16_t>() == reader.remaining()) return at;
  }
  return std::nullopt;
}

// The zip64 end record, which counts where the plain one at `end` has all ones.
Result<Directory> read_directory64(std::span<const std::byte> archive, uint64_t end,
                                   const std::string& file) {
  if (end < kLocator64Bytes) return broken(file, "no zip64 locator");
  ByteReader locator(archive.subspan(end - kLocator64Bytes));
  if (locator.read<uint32_t>() != kLocator64Magic) return broken(file, "no zip64 locator");
  const auto disk = locator.read<uint32_t>();
  const auto offset = locator.read<uint64_t>();
  const auto num_disks = locator.read<uint32_t>();
  if (disk != 0 || num_disks > 1) return error("{}: expected a zip archive of one disk", file);
  if (offset > end - kLocator64Bytes) return broken(file, "a zip64 record outside of it");
  ByteReader reader(archive.subspan(offset));
  if (reader.read<uint32_t>() != kEnd64Magic) return broken(file, "no zip64 record");
  reader.take(12);  // its length, versions
  const auto this_disk = reader.read<uint32_t>(), start_disk = reader.read<uint32_t>();
  reader.take(8);  // entries on this disk
  Directory directory;
  directory.num_entries = reader.read<uint64_t>();
  directory.size_bytes = reader.read<uint64_t>();
  directory.offset_bytes = reader.read<uint64_t>();
  if (!reader.ok()) return broken(file, "half a zip64 record");
  if (this_disk != 0 || start_disk != 0) {
    return error("{}: expected a zip archive of one disk", file);
  }
  return directory;
}

Result<Directory> read_directory(std::span<const std::byte> archive, const std::string& file) {
  const std::optional<uint64_t> end = find_end(archive);
  if (!end) return broken(file, "no directory at its end");
  ByteReader reader(archive.subspan(*end));
  reader.take(4);
  const auto disk = reader.read<uint16_t>(), start_disk = reader.read<uint16_t>();
  reader.take(2);  // entries on this disk
  Directory directory;
  directory.num_entries = reader.read<uint16_t>();
  directory.size_bytes = reader.read<uint32_t>();
  directory.offset_bytes = reader.read<uint32_t>();
  if (directory.num_entries == 0xffff || directory.size_bytes == 0xffffffff ||
      directory.offset_bytes == 0xffffffff) {
    SKEIN_ASSIGN_OR_RETURN(directory, read_directory64(archive, *end, file));
  } else if (disk != 0 || start_disk != 0) {
    return error("{}: expected a zip archive of one disk", file);
  }
  if (directory.offset_bytes > *end || directory.size_bytes > *end - directory.offset_bytes) {
    return broken(file, "a directory that reaches outside of it");
  }
  if (directory.num_entries > directory.size_bytes / kEntryBytes) {
    return broken(file, "more entries than its directory has room for");
  }
  return directory;
}

// Takes the 64-bit numbers from the extra field for those that are all ones.
bool read_extra64(std::span<const std::byte> extra, Record& record) {
  ByteReader fields(extra);
  while (fields.ok() && fields.remaining() >= 4) {
    const auto id = fields.read<uint16_t>(), length = fields.read<uint16_t>();
    ByteReader field(fields.take(length));
    if (id != kExtra64) continue;
    for (uint64_t* number :
         {&record.plain_bytes, &record.packed_bytes, &record.local_offset_bytes}) {
      if (*number == 0xffffffff) *number = field.read<uint64_t>();
    }
    return fields.ok() && field.ok();
  }
  return false;
}

Result<Record> read_record(ByteReader& reader, const std::string& file) {
  if (reader.read<uint32_t>() != kEntryMagic) return broken(file, "a broken directory");
  Record record;
  reader.take(4);  // versions
  record.flags = reader.read<uint16_t>();
  record.method = reader.read<uint16_t>();
  reader.take(8);  // time, date, checksum
  record.packed_bytes = reader.read<uint32_t>();
  record.plain_bytes = reader.read<uint32_t>();
  const auto name_bytes = reader.read<uint16_t>(), extra_bytes = reader.read<uint16_t>(),
             comment_bytes = reader.read<uint16_t>();
  reader.take(8);  // disk, attributes
  record.local_offset_bytes = reader.read<uint32_t>();
  record.name = reader.take_text(name_bytes);
  const std::span<const std::byte> extra = reader.take(extra_bytes);
  reader.take(comment_bytes);
  if (!reader.ok()) return broken(file, "a broken directory");
  const bool is_64 = record.packed_bytes == 0xffffffff || record.plain_bytes == 0xffffffff ||
                     record.local_offset_bytes == 0xffffffff;
  if (is_64 && !read_extra64(extra, record)) return broken(file, "a broken directory");
  return record;
}

// Where the data of an entry lies; its header must name it again.
Result<ZipEntry> resolve(std::span<const std::byte> archive, uint64_t directory_offset,
                         Record record, const std::string& file) {
  const std::string quoted = quote_name(record.name);
  if (record.name.find('\0') != std::string::npos) {
    return error("{}: entry {}: expected a name without control characters", file, quoted);
  }
  if ((record.flags & kEncrypted) != 0) {
    return error("{}: entry {}: expected it stored, found it encrypted", file, quoted);
  }
  if (record.method != 0) {
    return error("{}: entry {}: expected it stored, found it compressed (method {})", file, quoted,
                 record.method);
  }
  if (record.packed_bytes != record.plain_bytes) {
    return error("{}: entry {}: expected {} bytes, found {}", file, quoted, record.plain_bytes,
                 record.packed_bytes);
  }
  const uint64_t at = record.local_offset_bytes;
  if (at > directory_offset) return broken(file, "an entry outside of it");
  ByteReader reader(archive.subspan(at, directory_offset - at));
  const bool is_local = reader.read<uint32_t>() == kLocalMagic;
  reader.take(kLocalBytes - 8);
  const auto name_bytes = reader.read<uint16_t>(), extra_bytes = reader.read<uint16_t>();
  const std::string_view name = reader.take_text(name_bytes);
  reader.take(extra_bytes);
  const uint64_t offset_bytes = at + reader.position();
  const std::span<const std::byte> data = reader.take(record.plain_bytes);
  if (!is_local || !reader.ok() || name != record.name) {
    return error("{}: entry {}: expected its header and {} bytes at offset {}, found others", file,
                 quoted, record.plain_bytes, at);
  }
  return ZipEntry{std::move(record.name), data, offset_bytes};
}

Status check_apart(const std::vector<ZipEntry>& entries, const std::string& file) {
  std::vector<const ZipEntry*> order;
  for (const ZipEntry& entry : entries) order.push_back(&entry);
  std::sort(order.begin(), order.end(),
            [](const ZipEntry* a, const ZipEntry* b) { return a->offset_bytes < b->offset_bytes; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i - 1]->offset_bytes + order[i - 1]->data.size() > order[i]->offset_bytes) {
      return error("{}: entry {}: expected its own bytes, found those of {} too", file,
                   quote_name(order[i]->name), quote_name(order[i - 1]->name));
    }
  }
  return {};
}

}  // namespace

Result<std::vector<ZipEntry>> read_zip(std::span<const std::byte> archive,
                                       const std::string& file) {
  SKEIN_ASSIGN_OR_RETURN(const Directory directory, read_directory(archive, file));
  ByteReader reader(archive.subspan(directory.offset_bytes, directory.size_bytes));
  std::vector<ZipEntry> entries;
  for (uint64_t i = 0; i < directory.num_entries; ++i) {
    SKEIN_ASSIGN_OR_RETURN(Record record, read_record(reader, file));
    SKEIN_ASSIGN_OR_RETURN(ZipEntry entry,
                           resolve(archive, directory.offset_bytes, std::move(record), file));
    entries.push_back(std::move(entry));
  }
  SKEIN_RETURN_IF_ERROR(check_apart(entries, file));
  return entries;
}

}  // namespace skein
