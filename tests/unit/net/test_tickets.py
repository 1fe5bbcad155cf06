"""Keys of session tickets, and OpenSSL behind Python's back: proved, or left alone."""

from __future__ import annotations

import ctypes
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlb.net import openssl as module
from nlb.net import tickets
from nlb.net.openssl import OpenSsl, OutOfReachError, openssl, out_of_reach
from nlb.net.tickets import SECRET_BYTES, resumption_works, share_tickets, ticket_key


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """What is kept for the process is tried anew, and tried again after the test."""
    module._reach.cache_clear()
    resumption_works.cache_clear()
    yield
    module._reach.cache_clear()
    resumption_works.cache_clear()


def test_sessions_are_resumed_across_contexts_here() -> None:
    assert out_of_reach() == ""
    assert resumption_works() == ""


def test_a_key_of_openssl_s_size_from_secret_and_domain() -> None:
    reached = openssl()
    assert reached is not None
    key = ticket_key(b"secret", (b"a", b"b"), reached.ticket_key_size)
    assert len(key) == reached.ticket_key_size == 80
    assert key == ticket_key(b"secret", (b"a", b"b"), 80)
    assert len(set(key)) > 40


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.lists(st.binary(max_size=3), max_size=3)), unique_by=str))
def test_another_secret_or_domain_is_another_key_from_its_name_on(made: list[tuple[int, list[bytes]]]) -> None:
    keys = [ticket_key(secret.to_bytes(SECRET_BYTES, "big"), tuple(domain), 80) for secret, domain in made]
    assert len({key[:16] for key in keys}) == len({key[16:48] for key in keys}) == len(made)


@pytest.mark.parametrize("size", [0, 48, 79, 81])
def test_a_key_of_another_size_never_reaches_openssl(size: int) -> None:
    reached = openssl()
    assert reached is not None
    with pytest.raises(ValueError, match=rf"a ticket key of {size} bytes; 80 are right"):
        reached.set_ticket_key(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), bytes(size))


# --- whatever differs, OpenSSL is left alone, and everything else goes on


def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pointer of a context leads to another one's."""
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found = module._pointer_at
    monkeypatch.setattr(module, "_pointer_at", lambda address, offset=0: found(id(other), offset))


def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fields of an object begin somewhere else: what is read there are no pointers of ours, or none at all."""
    junk = ctypes.create_string_buffer(b"\x10" * 64)
    monkeypatch.setattr(module, "_pointer_at", lambda address, offset=0: junk[offset] and 0x1010101010101010)


def shifted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if objects had another head."""
    monkeypatch.setattr(module, "_FIRST", module._FIRST + 8)


def another_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssl, "OPENSSL_VERSION", "OpenSSL 9.9.9")


def built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FUNCTIONS", {"SSL_that_is_not_there": (None, [])})


def not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._ssl, "__file__", "/nowhere/_ssl.so")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (elsewhere, "this Python keeps its TLS contexts in a way that nlb does not know"),
        (nowhere, "this Python keeps its TLS contexts in a way that nlb does not know"),
        (shifted, "this Python keeps its TLS contexts in a way that nlb does not know"),
        (another_library, f"found {ssl.OPENSSL_VERSION}, but Python's is OpenSSL 9.9.9"),
        (built_in, "OpenSSL is built into this Python and cannot be seen from outside"),
        (not_loaded, "OpenSSL is built into this Python and cannot be seen from outside"),
    ],
)
def test_openssl_out_of_reach(monkeypatch: pytest.MonkeyPatch, change: Any, why: str) -> None:
    change(monkeypatch)
    assert openssl() is None
    assert out_of_reach() == resumption_works() == why
    assert not share_tickets(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), bytes(32))


def test_a_context_that_is_not_what_python_says_is_not_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    reached = openssl()
    assert reached is not None
    ours, other = (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(2))
    other.options |= ssl.OP_NO_TICKET
    found = module._pointer_at
    monkeypatch.setattr(module, "_pointer_at", lambda address, offset=0: found(id(other), offset))
    with pytest.raises(OutOfReachError, match="is not what Python says"):
        reached.set_ticket_key(ours, bytes(80))


def test_a_key_that_does_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenSsl, "set_ticket_key", lambda self, context, key: None)
    assert resumption_works() == "OpenSSL took the key, but a TLS 1.2 session of one worker is not known to another"


def test_a_key_that_opens_everything_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "ticket_key", lambda secret, domain, size: bytes(size))
    assert resumption_works() == "OpenSSL took the key, but resumes TLS 1.2 sessions without it"


def test_what_the_library_says_python_shows() -> None:
    reached = openssl()
    assert reached is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert reached.set_groups(context, ("NOT-A-GROUP", "X25519", "P-256")) == ["X25519", "P-256"]
    reached.set_suites(context, ("TLS_AES_128_GCM_SHA256",))
    assert [cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.3"] == [
        "TLS_AES_128_GCM_SHA256"
    ]
