"""One certificate with its chain and its key: read, judged, and what is wrong with it in a sentence.

Control alone does this; workers get bytes. `cryptography` reads the certificates: what the ssl module shows of one is
little (no kind of key, nothing of a chain) and behind private functions, and to read DER by ourselves would be a parser
of what strangers write. It is imported when the first certificate is read, 60 ms. OpenSSL has the last word: a pair is
good when a context of the listener's policy takes it.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from nlb.net.pem import load_chain
from nlb.net.tls_context import server_context

if TYPE_CHECKING:
    from cryptography import x509

# Seconds before its end that a certificate is warned of. Renewing tools renew 30 days ahead: by then they have failed
# for nine.
WARN_AHEAD = 21 * 24 * 3600.0

_MOST_BYTES = 1 << 20  # of one file; a chain has 2 to 10 KiB
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)

# OpenSSL's reason when it does not load a pair -> what it means.
_REFUSALS = {
    "EE_KEY_TOO_SMALL": "the key is too short to be safe; RSA takes 2048 bits or more",
    "CA_KEY_TOO_SMALL": "an authority in the chain has a key too short to be safe",
    "CA_MD_TOO_WEAK": "it is signed with a hash that is no longer safe, such as SHA-1",
}

_MISMATCHES = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")


class Pair(NamedTuple):
    """A certificate with its chain, and its key; both may be one file."""

    cert: str
    key: str


class Fault(NamedTuple):
    """What is wrong with a pair, which `file` is the certificate of. `usable`: clients may refuse it, but it can be
    served, and is better than nothing. `word` is for programs, `text` begins with the file that is to blame."""

    word: str
    file: str
    text: str
    usable: bool = False


@dataclass(frozen=True, slots=True)
class Certificate:
    """A pair that can be served. Times are seconds since 1970; names in small letters, `*.` first in wildcards."""

    file: str
    names: tuple[str, ...]
    addresses: tuple[str, ...]
    kind: str  # of its key: ecdsa, rsa, ed25519, ed448
    bits: int
    fingerprint: str  # SHA-256, hexadecimal
    serial: str
    subject: str
    issuer: str
    not_before: float
    not_after: float
    chain: int  # certificates that are sent after it
    doubts: tuple[str, ...]  # words of faults that it had when it was read, whatever the time
    pem: bytes = field(repr=False)  # all of it, and the key

    def is_valid(self, now: float) -> bool:
        return self.not_before <= now < self.not_after


class BadPair(Exception):  # noqa: N818  a fault that leaves nothing to serve
    def __init__(self, word: str, file: str, text: str) -> None:
        super().__init__(f"{file}: {text}")
        self.word = word


def read_pair(pair: Pair, policy: str) -> tuple[Certificate, list[Fault]]:
    """A pair that can be served, and what speaks against it nevertheless. Raises BadPair."""
    body = read_file(pair.cert)
    held = blocks(body)
    if not held:
        raise BadPair("not_pem", pair.cert, _what_instead(body))
    chain = [block for label, block in held if label == b"CERTIFICATE"]
    if not chain:
        labels = ", ".join(sorted({label.decode().lower() for label, _ in held}))
        raise BadPair("no_certificate", pair.cert, f"it holds no certificate, only: {labels}")
    key = _key(pair.key, held if pair.key == pair.cert else blocks(read_file(pair.key)))
    read = [_parse(block, number, pair.cert) for number, block in enumerate(chain, 1)]
    doubts = [Fault(word, pair.cert, f"{pair.cert}: {text}", usable=True) for word, text in _doubts(read)]
    certificate = _describe(read, b"".join(chain) + key, pair.cert, tuple(doubt.word for doubt in doubts))
    _try(chain, key, pair, policy)
    return certificate, doubts


def judge(certificate: Certificate, now: float) -> list[Fault]:
    """What time makes of it. All of these are usable."""
    if now >= certificate.not_after:
        word, text = "expired", f"it ended on {_date(certificate.not_after)}"
    elif now < certificate.not_before:
        word, text = "not_yet_valid", f"it begins on {_date(certificate.not_before)}; is the clock right?"
    elif certificate.not_after - now < WARN_AHEAD:
        days = int((certificate.not_after - now) // 86400)
        word, text = "ends_soon", f"it ends on {_date(certificate.not_after)}, in {days} days"
    else:
        return []
    return [Fault(word, certificate.file, f"{certificate.file}: {text}", usable=True)]


def _key(path: str, blocks: list[tuple[bytes, bytes]]) -> bytes:
    keys = [(label, block) for label, block in blocks if b"PRIVATE KEY" in label]
    if not keys:
        raise BadPair("no_key", path, "it holds no private key")
    if len(keys) > 1:
        text = f"it holds {len(keys)} private keys; put each with its certificate in files of its own"
        raise BadPair("no_key", path, text)
    label, block = keys[0]
    if b"ENCRYPTED" in label or b"ENCRYPTED" in block[:200]:
        text = "the key is encrypted, and nobody is there to type a password; decrypt it: openssl pkey -in OLD -out NEW"
        raise BadPair("encrypted_key", path, text)
    if label == b"OPENSSH PRIVATE KEY":
        raise BadPair("bad_key", path, "it is a key of OpenSSH; TLS takes keys in PKCS #8: openssl genpkey")
    return block


def _parse(block: bytes, number: int, path: str) -> x509.Certificate:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(block)
    except ValueError:
        which = "the certificate" if number == 1 else f"certificate {number} of the chain"
        raise BadPair("bad_certificate", path, f"{which} cannot be read: it is damaged, or cut short") from None


def _describe(chain: list[x509.Certificate], pem: bytes, path: str, doubts: tuple[str, ...]) -> Certificate:
    from cryptography.hazmat.primitives import hashes

    leaf = chain[0]
    try:
        names, addresses = _names(leaf)
    except ValueError:
        raise BadPair("bad_certificate", path, "the certificate's extensions cannot be read") from None
    kind, bits = _kind(leaf, path)
    return Certificate(
        file=path,
        names=names,
        addresses=addresses,
        kind=kind,
        bits=bits,
        fingerprint=leaf.fingerprint(hashes.SHA256()).hex(),
        serial=f"{leaf.serial_number:X}",
        subject=leaf.subject.rfc4514_string(),
        issuer=leaf.issuer.rfc4514_string(),
        not_before=leaf.not_valid_before_utc.timestamp(),
        not_after=leaf.not_valid_after_utc.timestamp(),
        chain=len(chain) - 1,
        doubts=doubts,
        pem=pem,
    )


def _names(leaf: x509.Certificate) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of hosts, and addresses. Raises ValueError."""
    from cryptography import x509

    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return (), ()
    names = dict.fromkeys(name.lower().rstrip(".") for name in found.get_values_for_type(x509.DNSName))
    return tuple(names), tuple(str(address) for address in found.get_values_for_type(x509.IPAddress))


def _kind(leaf: x509.Certificate, path: str) -> tuple[str, int]:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    try:
        key = leaf.public_key()
    except (UnsupportedAlgorithm, ValueError):
        key = None
    if isinstance(key, rsa.RSAPublicKey):
        return "rsa", key.key_size
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "ecdsa", key.key_size
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519", 256
    if isinstance(key, ed448.Ed448PublicKey):
        return "ed448", 456
    raise BadPair("bad_key", path, "its key is of a kind that TLS servers do not use; ECDSA and RSA are right")


def _try(chain: list[bytes], key: bytes, pair: Pair, policy: str) -> None:
    """Load it as a worker will."""
    reason = _refusal(b"".join(chain) + key, policy)
    if not reason:
        return
    if text := _REFUSALS.get(reason):
        raise BadPair("refused", pair.cert, text)
    if reason not in _MISMATCHES:
        raise BadPair("bad_key", pair.key, f"OpenSSL cannot use it ({reason.lower().replace('_', ' ')})")
    text = f"the key in {pair.key} is not this certificate's"
    for number, block in enumerate(chain[1:], 2):
        if not _refusal(block + key, policy):
            text = f"the key is for certificate {number} in it; that must be the first, then the one that signed it"
    raise BadPair("key_mismatch", pair.cert, text)


def _refusal(pem: bytes, policy: str) -> str:
    """OpenSSL's reason not to load this; empty when it does."""
    try:
        load_chain(server_context(policy), pem)
    except ssl.SSLError as refusal:
        return refusal.reason or str(refusal)
    return ""


def _doubts(chain: list[x509.Certificate]) -> Iterator[tuple[str, str]]:
    """What clients will stumble on, and OpenSSL does not ask: names, and whether each is signed by the next."""
    from cryptography.exceptions import InvalidSignature

    with suppress(ValueError):
        if _names(chain[0]) == ((), ()):
            yield "no_names", "it is for no name (no subjectAltName; clients have not looked at the CN since 2017)"
    for number, (lower, upper) in enumerate(pairwise(chain), 1):
        try:
            lower.verify_directly_issued_by(upper)
        except (InvalidSignature, TypeError, ValueError):
            text = f"certificate {number + 1} in it did not sign certificate {number}: wrong order, or another's chain"
            yield "chain", text
            return
    if len(chain) == 1 and _is_of_public_authority(chain[0]):
        yield (
            "chain",
            "the intermediate that signed it is not sent along, so many clients refuse it; use the full chain",
        )


def _is_of_public_authority(leaf: x509.Certificate) -> bool:
    """It says where its intermediate is to be had, which those of a private authority seldom do."""
    from cryptography import x509
    from cryptography.x509.oid import AuthorityInformationAccessOID

    try:
        about = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    return any(one.access_method == AuthorityInformationAccessOID.CA_ISSUERS for one in about)


def read_file(path: str) -> bytes:
    """A file of certificates or keys. Raises BadPair."""
    try:
        with open(path, "rb", opener=_open) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BadPair("unreadable", path, "it is no file")
            body = file.read(_MOST_BYTES + 1)
    except OSError as trouble:
        raise BadPair("unreadable", path, words_of(trouble)) from None
    if len(body) > _MOST_BYTES:
        raise BadPair("not_pem", path, "it is larger than 1 MiB, which no certificate is")
    return body


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe's other end is not waited for


def blocks(body: bytes) -> list[tuple[bytes, bytes]]:
    """(label, all of it) of each block of PEM."""
    return [(match[1], match[0] + b"\n") for match in _BLOCK.finditer(body)]


# --- words


def _what_instead(body: bytes) -> str:
    if not body.strip():
        return "it is empty"
    if b"-----BEGIN" in body:
        return "it is cut short: a block of PEM has no end"
    if body[:1] == b"\x30":
        return "it is in DER; convert it: openssl x509 -inform der -in OLD -out NEW (PKCS #12: openssl pkcs12 -nodes)"
    return "it is not PEM: no line -----BEGIN CERTIFICATE-----"


def words_of(trouble: OSError) -> str:
    return os.strerror(trouble.errno or 0).lower()


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
