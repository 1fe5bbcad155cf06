"""The first message of TLS clients, in the clear: real ones by OpenSSL, and made ones that no client sends."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nlb.net.client_hello import LIMIT, MOST_RECORDS, REASONS, Hello, NotTls, parse
from nlb.net.pem import load_chain
from nlb.net.tickets import _CERTIFICATE, _KEY, _pem


def said_by_openssl(name: str | None = "shop.example", alpn: tuple[str, ...] = (), version: str = "TLSv1_3") -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.maximum_version = ssl.TLSVersion[version]
    if alpn:
        context.set_alpn_protocols(list(alpn))
    out = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


REAL = said_by_openssl("shop.example", ("h2", "http/1.1"))


def sized(width: int, body: bytes) -> bytes:
    return len(body).to_bytes(width, "big") + body


def extension(kind: int, body: bytes) -> bytes:
    return kind.to_bytes(2, "big") + sized(2, body)


def server_name(name: bytes, kind: int = 0) -> bytes:
    return extension(0, sized(2, bytes((kind,)) + sized(2, name)))


def alpn(*names: bytes) -> bytes:
    return extension(16, sized(2, b"".join(sized(1, name) for name in names)))


def hello(*extensions: bytes, after: bytes = b"") -> bytes:
    """A message, without its record."""
    start = b"\3\3" + bytes(32) + sized(1, b"session") + sized(2, b"\x13\x01") + sized(1, b"\0")
    end = sized(2, b"".join(extensions)) if extensions else b""
    return b"\1" + sized(3, start + end + after)


def record(body: bytes, version: int = 1, kind: int = 22) -> bytes:
    return bytes((kind, 3, version)) + sized(2, body)


def cut(message: bytes, sizes: list[int]) -> bytes:
    """A message in records of these sizes; the last has the rest."""
    records = []
    for size in sizes:
        if len(message) > size:
            records.append(record(message[:size]))
            message = message[size:]
    return b"".join([*records, record(message)])


def reason(data: bytes) -> str:
    with pytest.raises(NotTls) as refused:
        parse(data)
    assert str(refused.value) == REASONS[refused.value.reason]
    return refused.value.reason


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize(
    ("name", "protocols"),
    [("shop.example", ()), ("Shop.EXAMPLE", ("h2", "http/1.1")), (None, ("http/1.1",)), (None, ())],
)
def test_what_openssl_says(version: str, name: str | None, protocols: tuple[str, ...]) -> None:
    said = said_by_openssl(name, protocols, version)
    assert parse(said) == Hello((name or "").lower(), tuple(word.encode() for word in protocols))


def test_an_address_is_asked_for_by_no_name() -> None:
    assert parse(said_by_openssl("192.0.2.7")) == Hello("", ())


@pytest.mark.parametrize(
    ("message", "found"),
    [
        pytest.param(hello(), Hello("", ()), id="no extensions at all"),
        pytest.param(hello(b""), Hello("", ()), id="an empty list of extensions"),
        pytest.param(hello(server_name(b"a.example.")), Hello("a.example", ()), id="a dot at the end"),
        pytest.param(hello(server_name(b"x" * 255)), Hello("x" * 255, ()), id="the longest name"),
        pytest.param(hello(extension(0x0A0A, b""), alpn(b"h2")), Hello("", (b"h2",)), id="grease"),
        pytest.param(hello(alpn(b"\x00\xff")), Hello("", (b"\x00\xff",)), id="a protocol of any bytes"),
    ],
)
def test_what_may_be_said(message: bytes, found: Hello) -> None:
    assert parse(record(message)) == found
    assert parse(record(message, version=3) + b"\x17\x03\x03 early data") == found


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(hello(server_name(b"a.example"), server_name(b"b.example")), id="two names"),
        pytest.param(hello(alpn(b"h2"), alpn(b"h2")), id="protocols twice"),
        pytest.param(hello(extension(0, sized(2, b"\0" + sized(2, b"a") + b"\0" + sized(2, b"b")))), id="two in one"),
        pytest.param(hello(server_name(b"a.example", kind=1)), id="a name of another kind"),
        pytest.param(hello(server_name(b"")), id="an empty name"),
        pytest.param(hello(server_name(b"x" * 256)), id="a name too long"),
        pytest.param(hello(server_name(b"a\0.example")), id="NUL in a name"),
        pytest.param(hello(server_name(b"a\r\nb")), id="line end in a name"),
        pytest.param(hello(server_name(b"a b")), id="blank in a name"),
        pytest.param(hello(server_name("ä.example".encode())), id="a name that is not ASCII"),
        pytest.param(hello(extension(0, b"")), id="no list of names"),
        pytest.param(hello(extension(16, b"")), id="no list of protocols"),
        pytest.param(hello(alpn()), id="an empty list of protocols"),
        pytest.param(hello(alpn(b"")), id="an empty protocol"),
        pytest.param(hello(extension(16, sized(2, b"\x09h2"))), id="a protocol cut short"),
        pytest.param(hello(alpn(b"h2"), after=b"more"), id="something after the extensions"),
        pytest.param(hello(b"\0\0\0\x09ab"), id="an extension cut short"),
        pytest.param(hello(b"\0"), id="half an extension"),
        pytest.param(b"\1" + sized(3, bytes(30)), id="shorter than its random"),
        pytest.param(b"\1" + sized(3, b""), id="empty"),
        pytest.param(b"\2" + sized(3, bytes(40)), id="a server's hello"),
    ],
)
def test_what_breaks_the_rules(message: bytes) -> None:
    assert reason(record(message)) == "bad_hello"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\n", "plain_http"),
        (b"PROPFIND /", "plain_http"),
        (b"GET", "plain_http"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not_tls"),
        (b"get / http/1.1", "not_tls"),
        (b"\x16", None),
        (b"\x16\x03", None),
        (b"\x16\x02\x01", "not_tls"),
        (b"\x16\x03\x01\x00\x00", "not_tls"),
        (b"\x16\x03\x01\x40\x01", "not_tls"),
        (b"\x16\x03\x01\x40\x00", None),
        (b"\x16\x03\x01\x40\x00\x02", "bad_hello"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "not_tls"),
        (bytes.fromhex("802e010002001500000010"), "not_tls"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "not_tls"),
        (b"\r\n\r\n\0\r\nQUIT\n", "not_tls"),
    ],
)
def test_other_first_bytes(data: bytes, why: str | None) -> None:
    if why is None:
        assert parse(data) is None
    else:
        assert reason(data) == why


def test_it_is_known_at_once_that_a_message_is_too_large() -> None:
    assert reason(record(b"\1" + (LIMIT - 3).to_bytes(3, "big"))) == "too_large"
    assert parse(record(b"\1" + (LIMIT - 4).to_bytes(3, "big"))) is None


def test_the_largest_that_is_read() -> None:
    room = LIMIT - len(hello(server_name(b"a.example"), extension(21, b"")))
    message = hello(server_name(b"a.example"), extension(21, bytes(room)))
    assert len(message) == LIMIT
    assert parse(cut(message, [9000])) == Hello("a.example", ())


def test_too_many_pieces() -> None:
    message = hello(server_name(b"a.example"))
    assert parse(cut(message, [1] * (MOST_RECORDS - 1))) == Hello("a.example", ())
    assert reason(cut(message, [1] * MOST_RECORDS)) == "too_large"


def test_a_record_of_another_kind_in_between() -> None:
    message = REAL[5:]
    assert reason(record(message[:50]) + record(message[50:], kind=23)) == "bad_hello"
    assert reason(record(message[:50]) + record(b"")) == "bad_hello"


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 300), max_size=20))
@example(sizes=[1, 1, 1, 1, 1])
def test_however_it_is_cut_into_records_and_reads(sizes: list[int]) -> None:
    data = cut(REAL[5:], sizes)
    for end in range(len(data)):
        assert parse(data[:end]) is None
    assert parse(data) == Hello("shop.example", (b"h2", b"http/1.1"))


@settings(deadline=None)
@given(data=st.binary(max_size=400))
def test_junk_is_refused_with_a_word(data: bytes) -> None:
    for start in (b"", b"\x16\x03\x01", REAL[:50]):
        judge(start + data)


def judge(data: bytes) -> Hello | None:
    try:
        return parse(data)
    except NotTls as refused:
        why = refused.reason
    assert why in REASONS
    return None


def asked_for(data: bytes) -> list[str | None]:
    """The names that OpenSSL's server is asked for by these bytes: none when it refuses them."""
    names: list[str | None] = []

    def note(connection: Any, name: str | None, context: Any) -> None:
        names.append(name)

    SERVER.sni_callback = note
    incoming = ssl.MemoryBIO()
    incoming.write(data)
    server = SERVER.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    try:
        server.do_handshake()
    except ssl.SSLError:
        pass
    return names


SERVER = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
load_chain(SERVER, _pem("CERTIFICATE", _CERTIFICATE) + _pem("PRIVATE KEY", _KEY))


@settings(max_examples=300, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(5, len(REAL) - 1), st.integers(0, 127)), min_size=0, max_size=3),
    sizes=st.lists(st.integers(1, 300), max_size=3),
)
def test_where_openssl_reads_a_name_so_do_we(changes: list[tuple[int, int]], sizes: list[int]) -> None:
    bytes_of = bytearray(REAL)
    for place, value in changes:
        bytes_of[place] = value
    data = cut(bytes(bytes_of[5:]), sizes)
    ours = judge(data)
    theirs = asked_for(data)
    if ours is not None and theirs:
        assert ours.name == (theirs[0] or "").lower().rstrip(".")
