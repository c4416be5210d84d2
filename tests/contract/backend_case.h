// Cases that every backend must pass: compiled once, registered once for each.
#pragma once

#include <catch2/catch.hpp>
#include <memory>
#include <span>
#include <string>

#include "contract/harness.h"
#include "io_ways.h"

namespace haul::contract {

/// A backend under test: makes worlds that have nothing in them yet.
struct Backend {
  const char* name;
  std::unique_ptr<Harness> (*make)();
  const char* tags;  ///< beside those of the case
  bool over_uring;   ///< skipped where the kernel refuses io_uring
};

template <typename H>
constexpr Backend backend_of(const char* name, const char* tags = "") {
  return {name, []() -> std::unique_ptr<Harness> { return std::make_unique<H>(); }, tags, requires {H::over_uring;
}
};  // namespace haul::contract
}

/// Called while static objects are made.
std::span<const Backend> every_backend();

/// One case over one backend, for Catch.
class BackendCase final : public Catch::ITestInvoker {
 public:
  using Body = void (*)(const Backend&);
  BackendCase(Body body, const Backend& backend) : body_(body), backend_(backend) {}
  void invoke() const override {
    if (!backend_.over_uring || !test::skip_without_uring()) body_(backend_);
  }

 private:
  Body body_;
  const Backend& backend_;
};

/// Registers a case as "NAME - BACKEND" for each.
class BackendCases {
 public:
  BackendCases(BackendCase::Body body, const Catch::SourceLineInfo& where, const std::string& name, const std::string& tags) {
    for (const Backend& backend : every_backend()) {
      const std::string full_name = name + " - " + backend.name;
      Catch::AutoReg(new BackendCase(body, backend), where, Catch::StringRef(),
                     Catch::NameAndTags{full_name, tags + backend.tags});
    }
  }
};

}  // namespace haul::contract

#define HAUL_BACKEND_CASE(body, name, tags)                                                                                 \
  static void body(const ::haul::contract::Backend& backend);                                                               \
  static const ::haul::contract::BackendCases INTERNAL_CATCH_UNIQUE_NAME(cases)(body, CATCH_INTERNAL_LINEINFO, name, tags); \
  static void body(const ::haul::contract::Backend& backend)

/// Like TEST_CASE, once for each backend; the body makes its worlds by `backend.make()`.
#define BACKEND_TEST_CASE(name, tags) HAUL_BACKEND_CASE(INTERNAL_CATCH_UNIQUE_NAME(backend_case), name, tags)
