# Writes a C++ file with the bytes of a file in it: cmake -D INPUT=… -D OUTPUT=… -D NAME=… -P embed.cmake
file(READ ${INPUT} hex HEX)
string(REGEX REPLACE "(..)" "0x\\1,\n" bytes "${hex}")
file(WRITE ${OUTPUT} "// Made by embed.cmake.
#include \"tcp/kernel_cc/embedded.h\"

namespace haul::tcp::embedded {

namespace {
alignas(8) constexpr unsigned char bytes[] = {
${bytes}};
}  // namespace

const std::span<const unsigned char> ${NAME}(bytes);

}  // namespace haul::tcp::embedded
")
