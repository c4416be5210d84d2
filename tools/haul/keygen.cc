// haul keygen and haul fingerprint.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <string>

#include "commands.h"
#include "outcome.h"
#include "print.h"
#include "security/keys.h"

namespace haul::tool {

using object::Failure;
using object::FailureKind;

namespace {

constexpr size_t max_certificate_bytes = 1U << 20;
constexpr int64_t day_s = 86400;

/// The library's message stands; its errno tells programs what kind of failure it was.
Failure local_failure(const Status& status) {
  Failure failure{.kind = FailureKind::unsuitable, .message = std::string(status.message())};
  if (status.system_error() != 0) failure.kind = object::file_failure(status.system_error(), "").kind;
  return failure;
}

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

/// For its owner only, like the key that comes into it.
Status make_folder(const std::string& path) {
  if (mkdir(path.c_str(), S_IRWXU) == 0) return {};
  const int error = errno;
  struct stat found {};
  if (error == EEXIST && stat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode)) return {};
  return Status::from_errno(StatusCode::invalid, error,
                            fmt::format("cannot make the folder \"{}\" (check the name, and the permissions above it)", path));
}

std::string day_text(int64_t time_s) {
  const auto day = std::chrono::floor<std::chrono::days>(std::chrono::sys_seconds(std::chrono::seconds(time_s)));
  const std::chrono::year_month_day date(day);
  return fmt::format("{:04}-{:02}-{:02}", static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                     static_cast<unsigned>(date.day()));
}

}  // namespace

int keygen(const CommonOptions& common, const KeygenOptions& options) {
  const auto failed = [&](const Failure& failure, int code) { return report_failure("keygen", failure, code, common.json); };
  const std::string name = options.name.empty() ? host_name() : options.name;
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  const int64_t now_s = now.time_since_epoch().count();
  const int64_t valid_s = options.days * day_s;
  const auto identity = security::make_identity(name, now_s, valid_s);
  if (!identity) {
    const bool own_name = options.name.empty() && identity.status().code() == StatusCode::invalid;
    const std::string_view hint = own_name ? " (it is this host's; choose another with --name)" : "";
    return failed(usage_failure(fmt::format("{}{}", identity.status().message(), hint)),
                  identity.status().code() == StatusCode::invalid ? exit_usage : exit_transfer);
  }

  const std::string prefix = options.folder.ends_with('/') ? options.folder : options.folder + '/';
  const std::string key_file = prefix + "haul.key";
  const std::string certificate_file = prefix + "haul.crt";
  if (const Status made = make_folder(options.folder); !made.ok()) return failed(local_failure(made), exit_local_file);
  if (const Status written = security::write_identity(*identity, key_file, certificate_file); !written.ok())
    return failed(local_failure(written), exit_local_file);

  const std::string fingerprint = identity->fingerprint.to_string();
  const std::string line = fmt::format("{} {} push pull", name, fingerprint);
  const std::string last_day = day_text(now_s + valid_s);
  if (common.json) {
    print_json({{"command", "keygen"},
                {"ok", true},
                {"exit_code", 0},
                {"name", name},
                {"key_file", key_file},
                {"certificate_file", certificate_file},
                {"valid_until", last_day},
                {"fingerprint", fingerprint},
                {"authorized_peers_line", line}});
    return exit_ok;
  }
  print(stdout, "{}: the private key; it stays here\n{}: the certificate, valid until {}\n{}\n\n", key_file, certificate_file,
        last_day, fingerprint);
  print(stdout, "The other side knows this one by a line in its file of authorized peers:\n{}\n", line);
  return exit_ok;
}

int fingerprint(const CommonOptions& common, const std::string& certificate_file) {
  const auto failed = [&](const Status& status) {
    return report_failure("fingerprint", local_failure(status), exit_local_file, common.json);
  };
  const auto text = security::read_text_file(certificate_file, max_certificate_bytes);
  if (!text) return failed(text.status());
  const auto found = security::fingerprint_of_certificate(*text, certificate_file);
  if (!found) return failed(found.status());
  if (common.json) {
    print_json({{"command", "fingerprint"},
                {"ok", true},
                {"exit_code", 0},
                {"file", certificate_file},
                {"fingerprint", found->to_string()}});
  } else {
    print(stdout, "{}\n", found->to_string());
  }
  return exit_ok;
}

}  // namespace haul::tool
