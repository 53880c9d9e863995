// TempFolder: a folder of its own for one test. ctest runs the tests of a program side by side, so
// a fixed name below the temporary folder would be shared.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

#include "base/check.h"

namespace skein {

// Removed with all it holds.
class TempFolder {
 public:
  TempFolder() : path_((std::filesystem::temp_directory_path() / "skein-test-XXXXXX").string()) {
    CHECK(::mkdtemp(path_.data()) != nullptr);
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::string& path() const noexcept { return path_; }
  // Of a file or folder in it.
  std::string path(std::string_view name) const {
    return (std::filesystem::path(path_) / name).string();
  }

 private:
  std::string path_;
};

}  // namespace skein
