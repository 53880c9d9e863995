#include "cli/terminal.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <system_error>
#include <utility>

#include "cli/output.h"
#include "cli/table.h"

namespace skein::cli {
namespace {

constexpr auto kFirstDraw = std::chrono::milliseconds(300);
constexpr auto kRedraw = std::chrono::milliseconds(100);
constexpr uint32_t kBarWidth = 30;

std::atomic<bool> interrupt_flag = false;
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may touch nothing else");

extern "C" void on_interrupt(int) { interrupt_flag.store(true, std::memory_order_relaxed); }

uint32_t stderr_columns() noexcept {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace

bool stdin_is_terminal() noexcept { return ::isatty(STDIN_FILENO) == 1; }
bool stdout_is_terminal() noexcept { return ::isatty(STDOUT_FILENO) == 1; }
bool stderr_is_terminal() noexcept { return ::isatty(STDERR_FILENO) == 1; }

std::string progress_line(std::string_view label, double fraction, std::string_view detail,
                          uint32_t columns) {
  fraction = std::isfinite(fraction) ? std::clamp(fraction, 0.0, 1.0) : 0.0;
  const auto filled = static_cast<size_t>(fraction * kBarWidth);
  std::string line =
      fmt::format("{} [{}{}] {:3.0f} %  {}", label, std::string(filled, '#'),
                  std::string(kBarWidth - filled, '.'), std::floor(fraction * 100.0), detail);
  while (!line.empty() && num_characters(line) > columns) line.pop_back();
  return line;
}

ProgressBar::ProgressBar(std::string label)
    : label_(std::move(label)), next_draw_(start_ + kFirstDraw), enabled_(stderr_is_terminal()) {}

ProgressBar::~ProgressBar() { erase(); }

void ProgressBar::update(double fraction, std::string_view detail) {
  const auto now = Clock::now();
  if (!enabled_ || now < next_draw_) return;
  // One column stays free: a terminal that has just filled a line may already have broken it.
  const std::string line = progress_line(label_, fraction, detail, stderr_columns() - 1);
  write_stderr(fmt::format("\r\x1b[2K{}", line));
  drawn_ = true;
  next_draw_ = now + kRedraw;
}

void ProgressBar::erase() noexcept {
  if (drawn_) write_stderr("\r\x1b[2K");
  drawn_ = false;
}

double ProgressBar::seconds() const noexcept {
  return std::chrono::duration<double>(Clock::now() - start_).count();
}

InterruptGuard::InterruptGuard() noexcept {
  reset();
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
}

InterruptGuard::~InterruptGuard() { std::signal(SIGINT, SIG_DFL); }

bool InterruptGuard::interrupted() noexcept {
  return interrupt_flag.load(std::memory_order_relaxed);
}

void InterruptGuard::reset() noexcept { interrupt_flag.store(false, std::memory_order_relaxed); }

namespace {

// Waits until stdin has something or has ended, or Ctrl-C was pressed. In short waits, since the
// signal may come between a look at the flag and the wait, or to another thread.
void wait_for_stdin() noexcept {
  constexpr int kWaitMs = 100;
  pollfd in = {STDIN_FILENO, POLLIN, 0};
  while (!InterruptGuard::interrupted() && ::poll(&in, 1, kWaitMs) == 0) {
  }
}

}  // namespace

LineReader::Outcome LineReader::next(std::string& line) {
  for (;;) {
    const size_t newline = pending_.find('\n', scanned_);
    if (newline != std::string::npos) {
      line = pending_.substr(0, newline);
      pending_.erase(0, newline + 1);
      scanned_ = 0;
      return Outcome::kLine;
    }
    scanned_ = pending_.size();
    if (at_end_) {
      if (pending_.empty()) return Outcome::kEnd;
      line = std::exchange(pending_, {});
      scanned_ = 0;
      return Outcome::kLine;
    }
    if (pending_.size() > kMaxLineBytes) {
      line = fmt::format("stdin: expected lines of at most {} bytes, found more", kMaxLineBytes);
      return Outcome::kFailed;
    }
    wait_for_stdin();
    if (InterruptGuard::interrupted()) {
      InterruptGuard::reset();
      pending_.clear();
      scanned_ = 0;
      return Outcome::kInterrupted;
    }
    char buffer[4096];
    const ssize_t got = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (got > 0) {
      pending_.append(buffer, static_cast<size_t>(got));
    } else if (got == 0) {
      at_end_ = true;
    } else if (errno != EINTR) {
      line = "stdin: cannot read: " + std::generic_category().message(errno);
      return Outcome::kFailed;
    }
  }
}

}  // namespace skein::cli
