// Keeping the end of what is said.
#include "tcp/kernel_cc/loader_log.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>

namespace haul::tcp {

namespace {

constexpr size_t most_kept = 2000;

std::mutex& one_at_a_time() {
  static std::mutex mutex;
  return mutex;
}

std::string& kept() {
  static std::string text;
  return text;
}

int length_of(const char* format, va_list arguments) {
  va_list again;
  va_copy(again, arguments);
  const int length = std::vsnprintf(nullptr, 0, format, again);
  va_end(again);
  return length;
}

// The verifier's log of a program comes as one piece, which may be long.
int keep(libbpf_print_level level, const char* format, va_list arguments) {
  if (level == LIBBPF_DEBUG) return 0;
  const int length = length_of(format, arguments);
  if (length <= 0) return 0;
  std::string piece(static_cast<size_t>(length) + 1, '\0');
  std::vsnprintf(piece.data(), piece.size(), format, arguments);
  piece.pop_back();  // the zero at its end
  std::replace(piece.begin(), piece.end(), '\n', ' ');
  std::string& text = kept();
  text += piece;
  if (text.size() > most_kept) text.erase(0, text.size() - most_kept);
  return length;
}

}  // namespace

LoaderLog::LoaderLog() : lock_(one_at_a_time()), before_(libbpf_set_print(keep)) { kept().clear(); }
LoaderLog::~LoaderLog() { libbpf_set_print(before_); }

const std::string& LoaderLog::text() { return kept(); }

}  // namespace haul::tcp
