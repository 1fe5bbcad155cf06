"""What targets are told of a client, and what is believed of what it says itself."""

from __future__ import annotations

import re
from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nlb.http1.forwarded import MODES, Forwarding, Peer
from nlb.http1.head import BadHead, Request, parse_request
from nlb.shield.cidr import Networks
from tests.unit.http1.asking import ask

ID = 0x0123456789ABCDEF_FEDCBA9876543210
HEX = "0123456789abcdeffedcba9876543210"
STRANGER, PROXY = "192.0.2.1", "10.0.0.7"
TRUSTED = Networks(["10.0.0.0/8", "2001:db8:a::/48"])


def peer(
    address: str = STRANGER,
    mode: str = "append",
    forwarded: str = "remove",
    proto: str = "http",
    ids: bool = False,
    via: bool = False,
    port: int = 80,
) -> Peer:
    return Forwarding(mode, forwarded, TRUSTED, proto, via, ids, ids).peer(address, port)


def lines(who: Peer, *came: str, request: Request | None = None) -> list[str]:
    text = who.lines(request or ask("http://www.example.com/", "GET", *came), ID).decode()
    assert text == "" or text.endswith("\r\n")
    return text.split("\r\n")[:-1]


def test_all_that_is_added_to_an_ordinary_request() -> None:
    assert lines(peer(ids=True, via=True)) == [
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Port: 80",
        "Via: 1.1 nlb",
        f"X-Request-Id: {HEX}",
        f"traceparent: 00-{HEX}-fedcba9876543210-00",
    ]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("forwarded", MODES)
@pytest.mark.parametrize("flags", range(8))
@pytest.mark.parametrize("port", [0, 8443])
def test_the_short_way_says_what_the_long_way_says(mode: str, forwarded: str, flags: int, port: int) -> None:
    settings = bool(flags & 1), bool(flags & 2), bool(flags & 4)
    who = Forwarding(mode, forwarded, TRUSTED, "https", *settings).peer("2001:db8::1", port)
    ordinary, other = ask(), ask()
    other.special = {}
    assert sorted(lines(who, request=ordinary)) == sorted(lines(who, request=other))


CLIENT = "X-Forwarded-For: 203.0.113.9"
HTTPS = "X-Forwarded-Proto: https"
PORT = "X-Forwarded-Port: 443"
OURS = ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: http", "X-Forwarded-Port: 80"]


@pytest.mark.parametrize(
    ("mode", "who", "came", "goes"),
    [
        pytest.param("append", STRANGER, [], OURS, id="append to nothing"),
        pytest.param(
            "append",
            STRANGER,
            [CLIENT, HTTPS, PORT],
            ["X-Forwarded-For: 203.0.113.9, 192.0.2.1", *OURS[1:]],
            id="append: a stranger's proto and port are not kept",
        ),
        pytest.param(
            "append",
            PROXY,
            [CLIENT, HTTPS, PORT],
            ["X-Forwarded-For: 203.0.113.9, 10.0.0.7", HTTPS, PORT],
            id="append: a trusted proxy's are",
        ),
        pytest.param(
            "append",
            PROXY,
            [HTTPS],
            ["X-Forwarded-For: 10.0.0.7", HTTPS],
            id="append: our port does not go with the proxy's proto",
        ),
        pytest.param(
            "append",
            PROXY,
            ["X-Forwarded-Port: 8080"],
            ["X-Forwarded-For: 10.0.0.7", "X-Forwarded-Proto: http", "X-Forwarded-Port: 8080"],
            id="append: the proxy's port alone",
        ),
        pytest.param(
            "append",
            STRANGER,
            ["X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 2.2.2.2"],
            ["X-Forwarded-For: 1.1.1.1, 2.2.2.2, 192.0.2.1", *OURS[1:]],
            id="append to several lines",
        ),
        pytest.param("append", STRANGER, ["X-Forwarded-For:"], OURS, id="append to an empty one"),
        pytest.param("replace", STRANGER, [CLIENT, HTTPS, PORT], OURS, id="replace"),
        pytest.param(
            "replace",
            PROXY,
            [CLIENT, HTTPS, PORT],
            ["X-Forwarded-For: 10.0.0.7", *OURS[1:]],
            id="replace what a trusted proxy said, too",
        ),
        pytest.param("preserve", STRANGER, [CLIENT, PORT], [CLIENT, PORT], id="preserve"),
        pytest.param("preserve", STRANGER, [], [], id="preserve nothing"),
        pytest.param("remove", PROXY, [CLIENT, HTTPS, PORT], [], id="remove"),
        pytest.param("remove", PROXY, [], [], id="remove nothing"),
    ],
)
def test_x_forwarded_by_mode(mode: str, who: str, came: list[str], goes: list[str]) -> None:
    assert lines(peer(who, mode), *came) == goes


@pytest.mark.parametrize(
    ("address", "for_", "node"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1", '"[2001:db8::1]"'),
        ("fe80::1%eth0", "fe80::1", '"[fe80::1]"'),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("", "unknown", "unknown"),
        ("unix:", "unknown", "unknown"),
        ("/run/x, 10.0.0.1", "unknown", "unknown"),
    ],
)
def test_how_a_peer_is_written(address: str, for_: str, node: str) -> None:
    who = peer(address, forwarded="append")
    said = lines(who)
    assert said[0] == f"X-Forwarded-For: {for_}"
    assert said[3] == f"Forwarded: for={node};proto=http;host=www.example.com"
    assert who.address == for_


def test_without_a_port_none_is_told() -> None:
    assert lines(peer("", port=0)) == ["X-Forwarded-For: unknown", "X-Forwarded-Proto: http"]


ELEMENT = "for=192.0.2.1;proto=http;host=www.example.com"


@pytest.mark.parametrize(
    ("mode", "came", "goes"),
    [
        pytest.param("append", [], [ELEMENT], id="append to nothing"),
        pytest.param("append", ["for=1.2.3.4"], [f"for=1.2.3.4, {ELEMENT}"], id="append"),
        pytest.param("append", ["for=a", "for=b;by=c"], [f"for=a, for=b;by=c, {ELEMENT}"], id="append to two lines"),
        pytest.param("append", ['for="[2001:db8::1]:80"'], [f'for="[2001:db8::1]:80", {ELEMENT}'], id="quoted"),
        pytest.param("append", [r'for="a\", b"'], [rf'for="a\", b", {ELEMENT}'], id="a quote in the quotes"),
        pytest.param("append", ["for=a;;by=b , , for=c"], [f"for=a;;by=b , , for=c, {ELEMENT}"], id="empty elements"),
        pytest.param("append", ['for="a'], [ELEMENT], id="an open quote would swallow ours"),
        pytest.param("append", [r'for="a\"'], [ELEMENT], id="an escaped end is an open quote"),
        pytest.param("append", ["for=a,b=1;"], [f"for=a,b=1;, {ELEMENT}"], id="a last semicolon"),
        pytest.param("append", ["1.2.3.4"], [ELEMENT], id="no pair"),
        pytest.param("append", ["for=a b"], [ELEMENT], id="junk behind a pair"),
        pytest.param("append", ["for=[2001:db8::1]"], [ELEMENT], id="brackets without quotes"),
        pytest.param("append", [""], [ELEMENT], id="empty"),
        pytest.param("replace", ["for=1.2.3.4"], [ELEMENT], id="replace"),
        pytest.param("preserve", ['for="a'], ['for="a'], id="preserve, whatever it is"),
        pytest.param("preserve", [], [], id="preserve nothing"),
        pytest.param("remove", ["for=1.2.3.4"], [], id="remove"),
    ],
)
def test_forwarded_by_mode(mode: str, came: list[str], goes: list[str]) -> None:
    who = peer(mode="remove", forwarded=mode)
    assert lines(who, *(f"Forwarded: {value}" for value in came)) == [f"Forwarded: {value}" for value in goes]


@pytest.mark.parametrize(
    ("authority", "told"),
    [
        (b"example.com", ";host=example.com"),
        (b"example.com:8080", ';host="example.com:8080"'),
        (b"[2001:db8::1]:80", ';host="[2001:db8::1]:80"'),
        (b"a,b;c=d", ';host="a,b;c=d"'),
        (b"", ""),
        (b'a"b', ""),
        (b"a\\", ""),
        (b"a b", ""),
    ],
)
def test_the_host_in_forwarded(authority: bytes, told: str) -> None:
    request = ask()
    request.authority = authority
    who = peer(mode="remove", forwarded="append")
    assert lines(who, request=request) == [f"Forwarded: for=192.0.2.1;proto=http{told}"]


@pytest.mark.parametrize(
    ("came", "client"),
    [
        ("", PROXY),
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.1.1.1", "203.0.113.9"),
        ("203.0.113.9,10.1.1.1 ,\t2001:db8:a::1", "203.0.113.9"),
        ("1.1.1.1, 203.0.113.9, 10.1.1.1", "203.0.113.9"),  # what the client wrote itself is not reached
        ("10.2.2.2, 10.1.1.1", "10.2.2.2"),  # all are trusted: the first
        ("203.0.113.9:5123", "203.0.113.9"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:567", "2001:db8::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, ::ffff:10.1.1.1", "203.0.113.9"),
        # Junk ends the walk at whoever is known last.
        ("203.0.113.9, junk", PROXY),
        ("203.0.113.9, junk, 10.1.1.1", "10.1.1.1"),
        ("unknown, 10.1.1.1", "10.1.1.1"),
        ("203.0.113.9, ", PROXY),
        ("203.0.113.9, , 10.1.1.1", "10.1.1.1"),
        ('"203.0.113.9"', PROXY),
        ("203.0.113.9:", PROXY),
        ("203.0.113.9:123456", PROXY),
        ("203.0.113.999", PROXY),
        ("203.0.113.9/32", PROXY),
        ("0203.0.113.9", PROXY),
        ("2001:db8::1%eth0", PROXY),
        ("[2001:db8::1", PROXY),
        ("203.0.113.9 10.1.1.1", PROXY),
        ("abcd", PROXY),
    ],
)
def test_who_the_client_is_behind_a_trusted_proxy(came: str, client: str) -> None:
    request = ask("http://a/", "GET", f"X-Forwarded-For: {came}")
    assert peer(PROXY).client(request) == client
    assert peer(STRANGER).client(request) == STRANGER
    assert peer("").client(request) == "unknown"


@pytest.mark.parametrize(("hops", "client"), [(28, "203.0.113.9"), (29, "203.0.113.9"), (30, "10.0.0.1")])
def test_no_more_than_30_entries_are_looked_at(hops: int, client: str) -> None:
    came = ", ".join(["203.0.113.9", *(f"10.0.0.{hop}" for hop in range(1, hops + 1))])
    assert peer(PROXY).client(ask("http://a/", "GET", f"X-Forwarded-For: {came}")) == client


def test_without_the_field_the_proxy_is_the_client() -> None:
    assert peer(PROXY).client(ask()) == PROXY
    assert peer(PROXY).client(ask("http://a/", "GET", HTTPS)) == PROXY


TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("came", "kept"),
    [
        pytest.param(f"00-{TRACE}-{SPAN}-01", True, id="valid"),
        pytest.param(f"00-{TRACE}-{SPAN}-ff", True, id="flags to come"),
        pytest.param(f"01-{TRACE}-{SPAN}-01", True, id="a version to come"),
        pytest.param(f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", True, id="a version to come, with more"),
        pytest.param(f"cc-{TRACE}-{SPAN}-01.more", False, id="a version to come, without the hyphen"),
        pytest.param(f"00-{TRACE}-{SPAN}-01-more", False, id="version 00 has no more"),
        pytest.param(f"ff-{TRACE}-{SPAN}-01", False, id="version ff"),
        pytest.param(f"FE-{TRACE}-{SPAN}-01", False, id="upper case version"),
        pytest.param(f"00-{TRACE.upper()}-{SPAN}-01", False, id="upper case id"),
        pytest.param(f"00-{'0' * 32}-{SPAN}-01", False, id="trace id of zeros"),
        pytest.param(f"00-{TRACE}-{'0' * 16}-01", False, id="parent id of zeros"),
        pytest.param(f"00-{TRACE[1:]}-{SPAN}-01", False, id="short trace id"),
        pytest.param(f"00-{TRACE}0-{SPAN}-01", False, id="long trace id"),
        pytest.param(f"00-{TRACE}-{SPAN[1:]}-01", False, id="short parent id"),
        pytest.param(f"00-{TRACE}-{SPAN}-1", False, id="short flags"),
        pytest.param(f"00-{TRACE}-{SPAN}", False, id="no flags"),
        pytest.param(f"0-{TRACE}-{SPAN}-01", False, id="short version"),
        pytest.param(f"00-{TRACE}-{SPAN}-0g", False, id="no hex"),
        pytest.param(f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01", False, id="two"),
        pytest.param("", False, id="empty"),
    ],
)
def test_a_valid_traceparent_is_kept(came: str, kept: bool) -> None:
    who = Forwarding("remove", "remove", TRUSTED, "http", False, False, True).peer(STRANGER, 80)
    goes = came if kept else f"00-{HEX}-fedcba9876543210-00"
    assert lines(who, f"traceparent: {came}") == [f"traceparent: {goes}"]


@pytest.mark.parametrize(
    ("came", "kept"),
    [
        ("a", True),
        ("Root=1-67891233-abcdef012345678912345678", True),
        ("A.b_c~d+e/f=g-0", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("a b", False),
        ("a, b", False),
        ('"a"', False),
        ("{a}", False),
        ("a:b", False),
        ("\u00e4", False),
        ("", False),
    ],
)
def test_a_well_formed_request_id_is_kept(came: str, kept: bool) -> None:
    request = ask("http://a/", "GET", f"X-Request-Id: {came}")
    who = Forwarding("remove", "remove", TRUSTED, "http", False, True, False).peer(STRANGER, 80)
    goes = came if kept else HEX
    assert lines(who, request=request) == [f"X-Request-Id: {goes}"]
    assert who.request_id(request, ID) == goes


def test_the_request_id_for_the_log() -> None:
    without = peer(ids=False)
    assert peer(ids=True).request_id(ask(), ID) == HEX
    assert without.request_id(ask(), ID) == ""
    assert without.request_id(ask("http://a/", "GET", "X-Request-Id: a"), ID) == "a"
    assert without.request_id(ask("http://a/", "GET", 'X-Request-Id: "'), ID) == ""


def test_what_is_switched_off_passes_as_it_came() -> None:
    came = ["Via: 1.0 fred", 'X-Request-Id: "x"', "traceparent: none"]
    assert lines(peer(mode="remove"), *came) == came


@pytest.mark.parametrize(
    ("version", "came", "goes"),
    [
        ("1.1", [], "Via: 1.1 nlb"),
        ("1.0", [], "Via: 1.0 nlb"),
        ("1.1", ["Via: 1.0 fred, 1.1 p.example"], "Via: 1.0 fred, 1.1 p.example, 1.1 nlb"),
        ("1.1", ["Via: 1.0 fred", "Via: 1.1 p.example"], "Via: 1.0 fred, 1.1 p.example, 1.1 nlb"),
    ],
)
def test_via_says_which_version_reached_us(version: str, came: list[str], goes: str) -> None:
    request = parse_request("\r\n".join([f"GET / HTTP/{version}", "Host: a", *came, "", ""]).encode())
    assert request is not None
    assert lines(peer(mode="remove", via=True), request=request) == [goes]


NAMES = ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Port", "Forwarded", "Via", "X-Request-Id", "traceparent"]
HOSTILE = st.text(st.sampled_from('a1.:,;="\\[] \t%\r\n\0\x80\xff'), max_size=20) | st.text(max_size=20)


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), HOSTILE), max_size=4),
    st.sampled_from(MODES),
    st.sampled_from(MODES),
    st.sampled_from([STRANGER, PROXY, ""]),
)
@example([("Forwarded", 'for="a\\')], "append", "append", STRANGER)
@example([("X-Forwarded-For", "%b%s%%")], "append", "append", PROXY)
def test_no_value_adds_a_line_or_hides_what_we_know(
    came: list[tuple[str, str]], mode: str, forwarded: str, address: str
) -> None:
    data = "".join(["GET / HTTP/1.1\r\nHost: a\r\n", *(f"{name}: {value}\r\n" for name, value in came), "\r\n"])
    try:
        request = parse_request(data.encode("utf-8", errors="replace"))
    except BadHead:
        return
    if request is None or request.size != len(data.encode("utf-8", errors="replace")):
        return
    who = peer(address, mode, forwarded, ids=True, via=True)
    said = who.lines(request, ID)
    seen = [line.partition(b": ") for line in said.split(b"\r\n")[:-1]]
    names = [name.decode() for name, _, _ in seen]
    assert sorted(set(names)) == sorted(names)
    assert set(names) <= set(NAMES)
    assert not re.search(rb"[\r\n\0]", said.replace(b"\r\n", b""))
    fields = {name: value for name, _, value in seen}
    if mode in ("append", "replace"):
        assert fields[b"X-Forwarded-For"].rpartition(b", ")[2] == who.address.encode()
    if forwarded in ("append", "replace"):
        last = re.sub(rb'"(?:[^"\\]|\\.)*"', b"q", fields[b"Forwarded"]).rpartition(b", ")[2]
        assert last == b"for=%b;proto=http;host=a" % who.address.encode()
    assert fields[b"Via"].endswith(b"1.1 nlb")
    client = who.client(request)
    assert client == who.address or (address == PROXY and str(ip_address(client)) == client)
