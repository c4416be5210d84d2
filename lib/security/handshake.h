// What every TLS handshake of haul's has in common, whoever carries its bytes. Only files of this room include this.
#pragma once

#include <gnutls/gnutls.h>

#include <string_view>

#include "haul/status.h"
#include "security/context.h"

namespace haul::security {

/// TLS 1.3, our ciphers, our certificate; the other side must show one too. Returns a GnuTLS error.
int require_certificates(gnutls_session_t session, const SecurityContext& context);

/// What the context says of the certificates that the peer showed. `dialed`: this side dialed `host`.
SecurityContext::Verdict judge_shown(gnutls_session_t session, const SecurityContext& context, bool dialed,
                                     std::string_view host);

/// How TLS tells a peer why it is turned away.
int alert_for(SecurityContext::Refusal refusal);
/// And what such an alert means to the side that gets it.
Status alert_meaning(int alert, const SecurityContext& context);

}  // namespace haul::security
