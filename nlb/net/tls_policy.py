"""What a listener accepts of TLS: Mozilla's two recommendations for servers, as data.

modern is TLS 1.3 alone; intermediate adds TLS 1.2 for clients since about 2014. Two departures, each with its reason:

* No DHE suites: their keys cost a server ten times what ECDHE's do, which is an attack of its own, and no client that
  Mozilla lists needs them.
* Our order decides, not the client's, as scanners ask for. What Mozilla leaves the order to the client for is kept: a
  client that puts ChaCha20 first, a phone without AES in hardware, gets it (PRIORITIZE_CHACHA).
"""

from __future__ import annotations

from dataclasses import dataclass

# SSL_OP_PRIORITIZE_CHACHA; the ssl module has no name for it.
PRIORITIZE_CHACHA = 1 << 21

# OpenSSL's level of 112 bits: RSA from 2048 bits, no SHA-1 in signatures. Builds differ in their default.
SECURITY_LEVEL = 2

# Of TLS 1.3, for both policies. AES-128 first, as Mozilla has it: its hash is SHA-256, so a handshake costs 10 us less.
SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")

# Key exchange, best first. What this OpenSSL does not know is left out; the first comes with OpenSSL 3.5.
GROUPS = ("X25519MLKEM768", "X25519", "P-256", "P-384")


@dataclass(frozen=True, slots=True)
class Policy:
    """`minimum` is a name of ssl.TLSVersion; `ciphers` are those of TLS 1.2."""

    minimum: str
    ciphers: tuple[str, ...] = ()


POLICIES = {
    "modern": Policy("TLSv1_3"),
    "intermediate": Policy(
        "TLSv1_2",
        (
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "ECDHE-RSA-AES128-GCM-SHA256",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-RSA-AES256-GCM-SHA384",
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            "ECDHE-RSA-CHACHA20-POLY1305",
        ),
    ),
}
