// haul_fuzz_replay: runs every input of the corpus once, in builds without a fuzzer: haul_fuzz_replay CORPUS [TARGET]...
// Says before each input which it is, so that a crash has a name.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "fuzz/target.h"

namespace {

namespace fs = std::filesystem;
using haul::fuzz::Target;

haul::fuzz::Bytes read(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  return haul::fuzz::to_bytes(text);
}

/// False: the folder has none, so that this target is not tested.
bool replay(const Target& target, const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(folder, missing)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) {
    std::printf("%s\n", file.c_str());
    std::fflush(stdout);
    target.run(read(file));
  }
  std::printf("%.*s: %zu inputs\n", static_cast<int>(target.name.size()), target.name.data(), files.size());
  return !files.empty();
}

}  // namespace

int main(int count, char** values) {
  if (count < 2) {
    std::fprintf(stderr, "usage: %s CORPUS_FOLDER [TARGET]...\n", values[0]);
    return 2;
  }
  const fs::path corpus = values[1];
  const std::vector<std::string> wanted(values + 2, values + count);
  bool good = true;
  for (const std::string& name : wanted) {
    if (haul::fuzz::find_target(name) != nullptr) continue;
    std::fprintf(stderr, "fuzz: no target is called %s\n", name.c_str());
    return 2;
  }
  for (const Target& target : haul::fuzz::targets()) {
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), target.name) == wanted.end()) continue;
    if (replay(target, corpus / target.name)) continue;
    std::fprintf(stderr, "fuzz: %s has no corpus in %s\n", std::string(target.name).c_str(), corpus.c_str());
    good = false;
  }
  return good ? 0 : 1;
}
