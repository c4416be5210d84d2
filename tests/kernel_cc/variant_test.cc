// Which form of cong_control() a kernel has: read from types that are made here, and from those of the kernel that runs.
#include "tcp/kernel_cc/variant.h"

#include <bpf/btf.h>

#include <catch2/catch.hpp>
#include <memory>

using namespace haul;
using haul::tcp::cong_control_arguments;

namespace {

/// A kernel's types, as far as they matter.
class Types {
 public:
  Types() : types_(btf__new_empty(), btf__free) { int_ = btf__add_int(types_.get(), "int", 4, BTF_INT_SIGNED); }

  int function(int arguments) {
    const int made = btf__add_func_proto(types_.get(), 0);
    for (int i = 0; i < arguments; ++i) btf__add_func_param(types_.get(), "argument", int_);
    return made;
  }
  int pointer(int to) { return btf__add_ptr(types_.get(), to); }
  int number() const { return int_; }
  void operations(const char* member, int type) {
    btf__add_struct(types_.get(), "tcp_congestion_ops", 16);
    btf__add_field(types_.get(), "key", int_, 0, 0);
    btf__add_field(types_.get(), member, type, 64, 0);
  }
  const btf* get() const { return types_.get(); }

 private:
  std::unique_ptr<btf, decltype(&btf__free)> types_;
  int int_ = 0;
};

}  // namespace

TEST_CASE("kernel variant: two and four arguments are known", "[kernel-cc]") {
  const int arguments = GENERATE(2, 4);
  Types types;
  types.operations("cong_control", types.pointer(types.function(arguments)));
  const auto found = cong_control_arguments(types.get());
  REQUIRE(found.ok());
  CHECK(*found == arguments);
}

TEST_CASE("kernel variant: another number is refused, and told", "[kernel-cc]") {
  Types types;
  types.operations("cong_control", types.pointer(types.function(3)));
  const auto found = cong_control_arguments(types.get());
  REQUIRE_FALSE(found.ok());
  CHECK(found.status().code() == StatusCode::unsupported);
  CHECK(found.status().message().find("takes 3 arguments") != std::string_view::npos);
}

TEST_CASE("kernel variant: types that are not as expected are refused", "[kernel-cc]") {
  Types types;
  SECTION("no operations") {}
  SECTION("no such member") { types.operations("cong_avoid", types.pointer(types.function(2))); }
  SECTION("no pointer") { types.operations("cong_control", types.number()); }
  SECTION("no function") { types.operations("cong_control", types.pointer(types.number())); }
  const auto found = cong_control_arguments(types.get());
  REQUIRE_FALSE(found.ok());
  CHECK(found.status().code() == StatusCode::unsupported);
}

TEST_CASE("kernel variant: the kernel that runs has a form that is known", "[kernel-cc]") {
  const auto found = haul::tcp::cong_control_arguments_here();
  INFO(found.status().to_string());
  CHECK(found.ok());
}
