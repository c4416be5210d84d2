// TLS records sealed and opened by the kernel (kTLS, Linux 4.13 and 4.17).
#pragma once

#include "haul/status.h"
#include "security/records.h"

namespace haul::tcp {

/// Hands both directions of a connected socket to the kernel. From then on it carries plain bytes for this process.
/// Errors: unsupported (this kernel has no tls module, or not this cipher: the socket is as it was).
Status use_kernel_tls(int socket, const security::RecordKeys& sends, const security::RecordKeys& receives);

/// What an error of such a socket means. Errors: protocol (bytes were altered on the way), peer_lost.
Status kernel_tls_failure(int system_error);

}  // namespace haul::tcp
