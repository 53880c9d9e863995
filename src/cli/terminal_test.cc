#include "cli/terminal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <limits>
#include <string>

#include "cli/output.h"

namespace skein::cli {
namespace {

TEST(Terminal, ProgressLineShowsTheFraction) {
  EXPECT_EQ(progress_line("load", 0, "", 80), "load [..............................]   0 %  ");
  EXPECT_EQ(progress_line("load", 0.5, "9 t/s", 80),
            "load [###############...............]  50 %  9 t/s");
  EXPECT_EQ(progress_line("load", 1, "", 80), "load [##############################] 100 %  ");
}

TEST(Terminal, ProgressLineHoldsForAnyInput) {
  for (const double fraction : {-1.0, 2.0, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_EQ(progress_line("x", fraction, "", 80).size(), progress_line("x", 0.5, "", 80).size());
  }
  EXPECT_EQ(progress_line("prefill", 0.5, "long detail", 10), "prefill [#");
}

TEST(Output, OneLineIsOneLine) {
  EXPECT_EQ(one_line("a: expected\n  b,\tfound \x1b[2J"), "a: expected b, found \\x1b[2J");
  EXPECT_EQ(one_line("\n\n"), "");
  EXPECT_EQ(one_line("grüße 漢"), "grüße 漢");
}

// Gives `text` to the program as its stdin while it lives.
class FakeStdin {
 public:
  explicit FakeStdin(const std::string& text) : saved_(::dup(STDIN_FILENO)) {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    EXPECT_EQ(::write(ends[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
    ::dup2(ends[0], STDIN_FILENO);
    ::close(ends[0]);
    ::close(ends[1]);
  }
  ~FakeStdin() {
    ::dup2(saved_, STDIN_FILENO);
    ::close(saved_);
  }

 private:
  int saved_;
};

TEST(Terminal, LinesEndAtNewlinesAndAtTheEnd) {
  const FakeStdin fake("one\n\n\xff two\r\nlast");
  LineReader reader;
  std::string line;
  for (const char* expected : {"one", "", "\xff two\r", "last"}) {
    ASSERT_EQ(reader.next(line), LineReader::Outcome::kLine);
    EXPECT_EQ(line, expected);
  }
  EXPECT_EQ(reader.next(line), LineReader::Outcome::kEnd);
}

TEST(Terminal, AnInterruptDropsTheLine) {
  const FakeStdin fake("later\n");
  const InterruptGuard guard;
  LineReader reader;
  std::string line;
  std::raise(SIGINT);
  EXPECT_TRUE(InterruptGuard::interrupted());
  EXPECT_EQ(reader.next(line), LineReader::Outcome::kInterrupted);
  EXPECT_FALSE(InterruptGuard::interrupted());
  EXPECT_EQ(reader.next(line), LineReader::Outcome::kLine);
  EXPECT_EQ(line, "later");
}

TEST(Output, StdinHasABound) {
  {
    const FakeStdin fake("12345");
    EXPECT_EQ(read_stdin(5).value(), "12345");
  }
  const FakeStdin fake("123456");
  EXPECT_FALSE(read_stdin(5).has_value());
}

}  // namespace
}  // namespace skein::cli
