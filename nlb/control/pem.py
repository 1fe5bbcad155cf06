"""The files of certificates, keys and authorities that a config names: are they there, may they be read, and is in them
what should be? Whether a key fits its certificate, and how long that holds, is for those who load them to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from nlb.control import named_file
from nlb.model.checks import Wrong
from nlb.model.sketch import Path
from nlb.model.tls import Certificate

# A chain has some KiB, the authorities of all the world 250.
LARGEST = 4 << 20

_CERTIFICATE = re.compile(rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----")
_KEY = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----")
_LOCKED = re.compile(rb"-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: *4, *ENCRYPTED", re.MULTILINE)


def mistakes_of_certificates(where: Path, certificates: tuple[Certificate, ...]) -> Iterator[Wrong]:
    """`where` is the path of the list."""
    for number, item in enumerate(certificates):
        path = (*where, number)
        if item.directory:
            yield from _told((*path, "directory"), item.directory, _trouble_with_folder(item.directory))
        if item.cert:
            yield from _told((*path, "cert"), item.cert, _trouble_with_certificate(item.cert))
            # One file has both: what is wrong with the certificate is told already.
            if item.key or not _trouble_with_certificate(item.cert):
                key = "key" if item.key else "cert"
                yield from _told((*path, key), item.key_place, _trouble_with_key(item.key_place, bool(item.key)))


def mistakes_of_authorities(path: Path, file: str | None) -> Iterator[Wrong]:
    """`path` is that of the key that names the file."""
    if file:
        yield from _told(path, file, _trouble_with_certificate(file))


def _told(path: Path, place: str, trouble: str) -> Iterator[Wrong]:
    if trouble:
        yield Wrong(path, f"{place} {trouble}")


def _trouble_with_folder(path: str) -> str:
    try:
        named_file.look_into(path)
    except ValueError as error:
        return str(error)
    return ""


def _trouble_with_certificate(path: str) -> str:
    try:
        content = named_file.read(path, LARGEST)
    except ValueError as error:
        return str(error)
    if _CERTIFICATE.search(content):
        return ""
    return f"holds no certificate in PEM form{_instead(content)}"


def _trouble_with_key(path: str, is_own: bool) -> str:
    try:
        content = named_file.read(path, LARGEST)
    except ValueError as error:
        return str(error)
    if _LOCKED.search(content):
        return "has a key that needs a password, and nobody is there to type it; write a file with the bare key"
    if _KEY.search(content):
        return ""
    if is_own:
        return f"holds no private key in PEM form{_instead(content)}"
    return 'holds no private key beside the certificate; write key = "/etc/nlb/www.key" if it is in a file of its own'


def _instead(content: bytes) -> str:
    """What seems to be in a file of another kind."""
    if _KEY.search(content) or _LOCKED.search(content):
        return ", but a private key"
    if _CERTIFICATE.search(content):
        return ", but a certificate"
    if content.startswith(b"0\x82"):
        return ", and seems to be DER; openssl x509 -inform DER or openssl pkey -inform DER makes PEM of it"
    return ""
