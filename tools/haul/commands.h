// The commands of haul. Each returns the exit code.
#pragma once

#include "options.h"

namespace haul::tool {

int serve(const CommonOptions& common, const ServeOptions& options);
int push(const CommonOptions& common, const MoveOptions& options);
int pull(const CommonOptions& common, const MoveOptions& options);
int probe(const CommonOptions& common, const ProbeOptions& options);
/// `address` may be empty.
int explain(const CommonOptions& common, const std::string& address);
int keygen(const CommonOptions& common, const KeygenOptions& options);
int cc(const CommonOptions& common, const CcOptions& options);
int fingerprint(const CommonOptions& common, const std::string& certificate_file);

}  // namespace haul::tool
