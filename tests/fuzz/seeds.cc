// haul_fuzz_seeds: writes the inputs that each target's corpus begins with, made by the encoders: haul_fuzz_seeds CORPUS_FOLDER
// With --check it only compares: a seed that differs means that a format changed and the corpus did not.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "fuzz/target.h"

namespace {

namespace fs = std::filesystem;

bool write(const fs::path& file, std::span<const std::byte> bytes) {
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out << haul::fuzz::to_text(bytes);
  return out.flush().good();
}

bool equals(const fs::path& file, std::span<const std::byte> bytes) {
  std::ifstream in(file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  return in.is_open() && text == haul::fuzz::to_text(bytes);
}

}  // namespace

int main(int count, char** values) {
  const bool check = count == 3 && std::string_view(values[1]) == "--check";
  if (count != 2 && !check) {
    std::fprintf(stderr, "usage: %s [--check] CORPUS_FOLDER\n", values[0]);
    return 2;
  }
  const fs::path corpus = values[count - 1];
  size_t made = 0;
  size_t bad = 0;
  for (const auto& target : haul::fuzz::targets()) {
    const fs::path folder = corpus / target.name;
    if (!check) fs::create_directories(folder);
    target.seeds([&](std::string_view name, std::span<const std::byte> bytes) {
      const fs::path file = folder / ("seed-" + std::string(name));
      const bool good = check ? equals(file, bytes) : write(file, bytes);
      if (!good)
        std::printf("%s: %s\n", file.c_str(), check ? "missing or not what the encoders make now" : "cannot be written");
      bad += good ? 0U : 1U;
      ++made;
    });
  }
  std::printf("%zu seeds, %zu bad\n", made, bad);
  if (check && bad > 0) std::printf("after a change of a format: scripts/fuzz.sh --seeds\n");
  return bad == 0 && made > 0 ? 0 : 1;
}
