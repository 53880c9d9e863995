#include "format/tensor_file.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

#include "base/file.h"
#include "format/byte_reader.h"
#include "format/pth.h"
#include "format/safetensors.h"
#include "format/safetensors_header.h"

namespace skein {
namespace {

namespace fs = std::filesystem;

// What the first bytes say.
enum class Content : uint8_t { kSafetensors, kIndex, kZip, kGguf, kOther };

bool has_safetensors_header(std::span<const std::byte> bytes) {
  uint64_t header_bytes = 0;
  if (bytes.size() <= sizeof header_bytes) return false;
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  return header_bytes <= Safetensors::kMaxHeaderBytes && text_of(bytes)[8] == '{';
}

Content content_of(std::span<const std::byte> bytes) {
  const std::string_view text = text_of(bytes);
  if (text.starts_with("GGUF")) return Content::kGguf;
  if (text.starts_with("PK\x03\x04") || text.starts_with("PK\x05\x06")) return Content::kZip;
  if (has_safetensors_header(bytes)) return Content::kSafetensors;
  const size_t first = text.substr(0, 64).find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && text[first] == '{') return Content::kIndex;
  return Content::kOther;
}

// What a file that is no model of ours is, as far as its first bytes tell.
std::string describe(std::span<const std::byte> bytes) {
  const std::string_view text = text_of(bytes);
  if (text.empty()) return "an empty file";
  if (text.starts_with("\x80\x02\x8a\x0a")) {
    return "a file of torch before version 1.6; save it anew with a later one";
  }
  if (text.starts_with("\x80")) return "a pickle";
  if (text.starts_with("fmgg")) return "a model of rwkv.cpp";
  if (text.starts_with("FUGG")) return "a big-endian .gguf file";
  if (text.starts_with("lmgg") || text.starts_with("tjgg")) return "a model of an old llama.cpp";
  if (text.starts_with("version https://git-lfs")) {
    return "a Git LFS pointer: the model itself was not downloaded";
  }
  if (text.starts_with("<!DOCTYPE") || text.starts_with("<!doctype") || text.starts_with("<html")) {
    return "a web page";
  }
  std::string hex;
  for (const std::byte byte : bytes.first(std::min<size_t>(bytes.size(), 8))) {
    hex += fmt::format("{}{:02x}", hex.empty() ? "" : " ", std::to_integer<unsigned>(byte));
  }
  return fmt::format("{} bytes that begin with {}", bytes.size(), hex);
}

// Whether the name says that it should be a .safetensors file, so that its reader's message is the
// one that helps.
bool is_named_safetensors(const std::string& path) {
  return path.ends_with(".safetensors") || path.ends_with(".st");
}

using Shards = std::map<std::string, std::set<std::string>>;  // the tensors of each

// "weight_map" of an index. Files are named without folders: an index names its neighbours only.
Result<Shards> read_index(const std::string& path) {
  SKEIN_ASSIGN_OR_RETURN(const std::string text, read_text_file(path, TensorFile::kMaxIndexBytes));
  const auto json = nlohmann::json::parse(text, nullptr, false);
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (!json.is_object() || map == json.end() || !map->is_object()) {
    return error("{}: expected a model or an index with a weight_map, found {}", path,
                 json.is_discarded() ? "text that is no JSON" : "JSON without one");
  }
  Shards shards;
  for (const auto& [name, value] : map->items()) {
    const std::string file = value.is_string() ? value.get<std::string>() : std::string();
    const bool is_plain = !file.empty() && file != "." && file != ".." &&
                          file.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
    if (!is_plain) {
      return error("{}: tensor {}: expected the name of a file in the same folder, found {}", path,
                   quote_name(name), quote_name(file));
    }
    shards[file].insert(name);
  }
  if (shards.empty()) return error("{}: expected tensors in its weight_map, found none", path);
  if (shards.size() > TensorFile::kMaxShards) {
    return error("{}: expected at most {} shards, found {}", path, TensorFile::kMaxShards,
                 shards.size());
  }
  return shards;
}

}  // namespace

std::string_view to_string(FileFormat format) noexcept {
  switch (format) {
    case FileFormat::kSafetensors:
      return "safetensors";
    case FileFormat::kPth:
      return "pth";
    case FileFormat::kGguf:
      return "gguf";
  }
  return "?";
}

Result<TensorFile> TensorFile::open(const std::string& path) {
  SKEIN_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
  TensorFile result;
  switch (content_of(file.bytes())) {
    case Content::kIndex:
      return open_index(path);
    case Content::kZip:
      result.format_ = FileFormat::kPth;
      break;
    case Content::kGguf:
      result.format_ = FileFormat::kGguf;
      break;
    case Content::kSafetensors:
      break;
    case Content::kOther:
      if (is_named_safetensors(path)) break;
      return error("{}: expected a .safetensors, .pth or .gguf model, found {}", path,
                   describe(file.bytes()));
  }
  SKEIN_RETURN_IF_ERROR(result.add(std::move(file)));
  result.index_names();
  for (size_t i = 1; i < result.by_name_.size(); ++i) {
    const std::string& name = result.tensors_[result.by_name_[i]].name;
    if (result.tensors_[result.by_name_[i - 1]].name != name) continue;
    return error("{}: tensor {}: expected the name once, found it twice", path, quote_name(name));
  }
  return result;
}

Result<TensorFile> TensorFile::open_index(const std::string& path) {
  SKEIN_ASSIGN_OR_RETURN(const Shards shards, read_index(path));
  TensorFile result;
  std::set<std::string> seen;
  for (const auto& [file, names] : shards) {
    const std::string shard = (fs::path(path).parent_path() / file).string();
    SKEIN_ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::open(shard));
    const size_t before = result.tensors_.size();
    SKEIN_RETURN_IF_ERROR(result.add(std::move(mapped)));
    std::set<std::string> found;
    for (size_t i = before; i < result.tensors_.size(); ++i) found.insert(result.tensors_[i].name);
    for (const std::string& name : names) {
      if (found.contains(name)) continue;
      return error("{}: tensor {}: expected it in {}, found none", path, quote_name(name), shard);
    }
    for (const std::string& name : found) {
      if (seen.insert(name).second) continue;
      return error("{}: tensor {}: expected the name once, found it in two shards", path,
                   quote_name(name));
    }
  }
  result.index_names();
  return result;
}

Status TensorFile::add(MappedFile file) {
  const std::string& path = file.path();
  switch (format_) {
    case FileFormat::kSafetensors: {
      SKEIN_ASSIGN_OR_RETURN(const Safetensors parsed, Safetensors::parse(file.bytes(), path));
      metadata_.insert(parsed.metadata().begin(), parsed.metadata().end());
      tensors_.insert(tensors_.end(), parsed.tensors().begin(), parsed.tensors().end());
      break;
    }
    case FileFormat::kPth: {
      SKEIN_ASSIGN_OR_RETURN(tensors_, read_pth(file.bytes(), path));
      break;
    }
    case FileFormat::kGguf: {
      SKEIN_ASSIGN_OR_RETURN(Gguf parsed, Gguf::parse(file.bytes(), path));
      tensors_ = std::exchange(parsed.tensors, {});
      gguf_ = std::make_unique<const Gguf>(std::move(parsed));
      break;
    }
  }
  files_.push_back(std::move(file));
  return {};
}

void TensorFile::index_names() {
  by_name_.resize(tensors_.size());
  std::iota(by_name_.begin(), by_name_.end(), size_t{0});
  std::sort(by_name_.begin(), by_name_.end(),
            [&](size_t a, size_t b) { return tensors_[a].name < tensors_[b].name; });
}

const TensorInfo* TensorFile::find(std::string_view name) const noexcept {
  const auto found =
      std::lower_bound(by_name_.begin(), by_name_.end(), name,
                       [&](size_t i, std::string_view want) { return tensors_[i].name < want; });
  if (found == by_name_.end() || tensors_[*found].name != name) return nullptr;
  return &tensors_[*found];
}

uint64_t TensorFile::num_bytes() const noexcept {
  uint64_t bytes = 0;
  for (const MappedFile& file : files_) bytes += file.bytes().size();
  return bytes;
}

namespace {

// The file that the bytes lie in; nullptr for none.
const MappedFile* file_of(std::span<const MappedFile> files, std::span<const std::byte> data) {
  for (const MappedFile& file : files) {
    const std::span<const std::byte> bytes = file.bytes();
    if (data.data() >= bytes.data() && data.data() + data.size() <= bytes.data() + bytes.size()) {
      return &file;
    }
  }
  return nullptr;
}

}  // namespace

void TensorFile::will_need(std::span<const std::byte> data) const noexcept {
  const MappedFile* file = file_of(files_, data);
  if (file == nullptr || data.empty()) return;
  file->will_need(static_cast<uint64_t>(data.data() - file->bytes().data()), data.size());
}

void TensorFile::release(std::span<const std::byte> data) const noexcept {
  const MappedFile* file = file_of(files_, data);
  if (file == nullptr || data.empty()) return;
  file->release(static_cast<uint64_t>(data.data() - file->bytes().data()), data.size());
}

}  // namespace skein
