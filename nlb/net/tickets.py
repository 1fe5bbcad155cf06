"""The keys of session tickets: a client comes back to another worker, or after a reload, and is known by its ticket.

Control draws a secret, keeps it in memory alone (on a disk it would open recorded traffic of years) and tells it to
all workers; after ROTATION it draws another. OpenSSL's plain call takes one key, so tickets of the old one then cost a
full handshake, once: a client's tickets live LIFETIME, so that meets those who come back within it, once a day. The
other call, a callback that knows old keys too, was tried: safe, and 11 us of Python on each full handshake (4 %), all
day, to spare that.

A key is made from the secret and from what a session was granted under: a ticket from a listener that asks for no
client certificate must be worth nothing at one that does, nor one from before a change of its authorities.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ssl
from functools import cache

from nlb.net.openssl import OutOfReachError, openssl, out_of_reach
from nlb.net.pem import load_chain

SECRET_BYTES = 32

# Seconds. As long as a recorded connection of TLS 1.2 can be opened by whoever comes by the secret.
ROTATION = 24 * 3600.0

# Per connection, in TLS 1.3. Clients use each once; who comes back with as many connections as before has one for each.
# OpenSSL's default of two costs 13 us and a packet more on every full handshake, for tickets that are mostly thrown
# away.
TICKETS = 1

# Seconds that a ticket lives: OpenSSL's default.
LIFETIME = 2 * 3600.0


def ticket_key(secret: bytes, domain: tuple[bytes, ...], size: int) -> bytes:
    """Sessions are resumed where secret and domain are the same, and nowhere else."""
    label = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in domain)).digest()
    blocks = range(-(-size // 64))
    return b"".join(hmac.digest(secret, b"ticket%d" % block + label, "sha512") for block in blocks)[:size]


def share_tickets(context: ssl.SSLContext, secret: bytes, domain: tuple[bytes, ...] = ()) -> bool:
    """Resume what any context with the same secret and domain began. False: OpenSSL is out of reach, and sessions are
    resumed by this context alone. Only the context that a connection began with counts, not one that SNI led to."""
    reached = openssl()
    if reached is None:
        return False
    reached.set_ticket_key(context, ticket_key(secret, domain, reached.ticket_key_size))
    return True


@cache
def resumption_works() -> str:
    """Empty, or why a client is known by one worker only. Tried once in a process, 25 ms: two contexts that share a
    secret, a client that comes back to the other one, and to a third that has another secret."""
    if reason := out_of_reach():
        return reason
    try:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            first, second, stranger = (_server(bytes((secret,)) * SECRET_BYTES) for secret in (1, 1, 2))
            client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            client.check_hostname = False
            client.verify_mode = ssl.CERT_NONE
            client.maximum_version = version
            session = _meet(first, client, None).session
            name = version.name.replace("_", ".").replace("v", " ")
            if not _meet(second, client, session).session_reused:
                return f"OpenSSL took the key, but a {name} session of one worker is not known to another"
            if _meet(stranger, client, session).session_reused:
                return f"OpenSSL took the key, but resumes {name} sessions without it"
    except (OutOfReachError, ssl.SSLError) as trouble:
        return str(trouble)
    return ""


def _server(secret: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_chain(context, _pem("CERTIFICATE", _CERTIFICATE) + _pem("PRIVATE KEY", _KEY))
    share_tickets(context, secret)
    return context


def _meet(server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLObject:
    """One handshake in memory; the client's end of it, which has the ticket."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(up, down, server_side=True)
    theirs = client.wrap_bio(down, up, session=session)
    for end in (theirs, ours, theirs, ours):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            pass
    try:
        theirs.read(1)  # tickets of TLS 1.3 come after the handshake
    except ssl.SSLWantReadError:
        pass
    return theirs


def _pem(what: str, body: str) -> bytes:
    lines = base64.encodebytes(base64.b64decode(body)).decode()
    return f"-----BEGIN {what}-----\n{lines}-----END {what}-----\n".encode()


# For the trial alone, made for it, trusted by nobody: no secret.
_CERTIFICATE = (
    "MIIBCjCBsaADAgECAgEBMAoGCCqGSM49BAMCMA4xDDAKBgNVBAMMA25sYjAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowDjEMMAoG"
    "A1UEAwwDbmxiMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEDC8W64d2IguQ55wiD64exS+hCHyyhvSCs2m2g1xnPrKTjjeQyuPGmHoh3HHeBFi"
    "VwIUSu9GNja/b9UZtZAJlDAKBggqhkjOPQQDAgNIADBFAiEAwAVAjsZhrBWz7G2wMjkTVV7Yql7AgR4jyWRBmCDoCZACIAQhNCoqAYPNP/95619c"
    "UpXViuVeJpeLcUJo8Q6vyV/F"
)
_KEY = (
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg49ws1/UD8jj8BadxfNUu2yZ4kcs//I+FnqggWI8te/ChRANCAAQQMLxbrh3YiC5D"
    "nnCIPrh7FL6EIfLKG9IKzabaDXGc+spOON5DK48aYeiHccd4EWJXAhRK70Y2Nr9v1Rm1kAmU"
)
