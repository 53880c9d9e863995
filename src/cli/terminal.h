// The terminal: whether there is one, a progress bar, Ctrl-C, and lines that a person types.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace skein::cli {

bool stdin_is_terminal() noexcept;
bool stdout_is_terminal() noexcept;
bool stderr_is_terminal() noexcept;

// One line of at most `columns` characters: "prefill [#####.....]  52 %  1200 tokens/s". fraction
// in [0, 1].
std::string progress_line(std::string_view label, double fraction, std::string_view detail,
                          uint32_t columns);

// A bar on stderr that is redrawn in place and erased at the end. It draws nothing where stderr is
// no terminal, and nothing during the first moments, so that what is fast does not flicker.
class ProgressBar {
 public:
  explicit ProgressBar(std::string label);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // Redraws ten times a second at most. `detail` stands behind the per cent: a speed, a name.
  void update(double fraction, std::string_view detail = {});
  void erase() noexcept;

  double seconds() const noexcept;

 private:
  using Clock = std::chrono::steady_clock;

  std::string label_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point next_draw_;
  bool enabled_;
  bool drawn_ = false;
};

// While one lives, Ctrl-C (SIGINT) sets a flag instead of ending the program.
class InterruptGuard {
 public:
  InterruptGuard() noexcept;
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  // Whether Ctrl-C was pressed since the last reset().
  static bool interrupted() noexcept;
  static void reset() noexcept;
};

// Lines of stdin, without their newline.
class LineReader {
 public:
  enum class Outcome : uint8_t { kLine, kEnd, kInterrupted, kFailed };

  // kLine: `line` is the next line. kEnd: no more (Ctrl-D). kInterrupted: Ctrl-C, which is reset;
  // what was typed so far is dropped. kFailed: stdin cannot be read, or a line has more than
  // kMaxLineBytes; `line` says what happened.
  Outcome next(std::string& line);

  static constexpr size_t kMaxLineBytes = size_t{1} << 26;

 private:
  std::string pending_;
  size_t scanned_ = 0;  // of pending_, known to have no newline
  bool at_end_ = false;
};

}  // namespace skein::cli
