"""How a listener's contexts are made: what its policy allows, its certificates, and whom it asks for theirs.

A context takes 0.3 ms, and 0.5 ms more per certificate; it has 20 KiB.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from typing import Any

from nlb.net.openssl import openssl
from nlb.net.pem import as_file, load_chain
from nlb.net.tickets import TICKETS
from nlb.net.tls_policy import GROUPS, POLICIES, PRIORITIZE_CHACHA, SECURITY_LEVEL, SUITES

CLIENT_AUTH = {"off": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


class Recipe:
    """Of one listener, from what control sends: see tls.ServerContext."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._policy: str = spec["policy"]
        self._alpn: list[str] = list(spec["alpn"])
        self._client_ca: str = spec["client_ca"]
        self._client_auth: str = spec["client_auth"]
        self._pems = [certificate["pem"].encode() for certificate in spec["certificates"]]

    @property
    def domain(self) -> tuple[bytes, ...]:
        """What a session was granted under."""
        return (self._policy.encode(), self._client_auth.encode(), self._client_ca.encode())

    def context(self, numbers: Iterable[int]) -> ssl.SSLContext:
        context = server_context(self._policy)
        for number in numbers:
            load_chain(context, self._pems[number])
        if self._alpn:
            context.set_alpn_protocols(self._alpn)
        context.verify_mode = CLIENT_AUTH[self._client_auth]
        if context.verify_mode != ssl.CERT_NONE:
            context.load_verify_locations(cadata=self._client_ca)
            if reached := openssl():
                with as_file(self._client_ca.encode()) as path:
                    reached.name_authorities(context, path)
        return context


def server_context(policy: str) -> ssl.SSLContext:
    """A context that keeps to a policy, and has no certificate yet."""
    allowed = POLICIES[policy]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion[allowed.minimum]
    context.set_ciphers(":".join((*(allowed.ciphers or ("DEFAULT",)), f"@SECLEVEL={SECURITY_LEVEL}")))
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE | PRIORITIZE_CHACHA
    context.num_tickets = TICKETS
    if reached := openssl():
        reached.set_groups(context, GROUPS)
        reached.set_suites(context, SUITES)
        reached.keep_no_sessions(context)
    return context
