"""TLS in the config: defaults, every form, and what is refused with which words."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from nlb.model import protocols, tls
from nlb.model.tls import Certificate, Certificates, ListenerTls, TargetTls

CERTIFICATES = TypeAdapter(Certificates)


def complaint(model, **keys):
    """What is wrong with the only key that is."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(keys)
    (error,) = caught.value.errors()
    return f"{'.'.join(map(str, error['loc']))}: {error.get('ctx', {}).get('error', error['msg'])}"


def test_a_listener_shakes_hands_as_most_do():
    read = ListenerTls()
    assert (read.policy, read.client_ca, read.client_auth) == ("intermediate", None, "off")
    assert (read.alpn, read.strict_sni, read.handshake_timeout) == ((), False, 10)


def test_a_target_must_show_who_it_is():
    read = TargetTls()
    assert (read.verify, read.ca, read.server_name, read.alpn) == (True, None, None, ())


@pytest.mark.parametrize(
    ("written", "read"),
    [({}, "required"), ({"client_auth": "optional"}, "optional"), ({"client_auth": "off"}, "off")],
)
def test_who_says_who_signs_the_certificates_of_clients_wants_them(written, read):
    assert ListenerTls(client_ca="/etc/nlb/ca.pem", **written).client_auth == read


@pytest.mark.parametrize("word", ["optional", "required"])
def test_certificates_of_clients_need_somebody_who_signs_them(word):
    assert complaint(ListenerTls, client_auth=word).startswith(
        f"client_auth: is {word}, and nothing says who must have signed the certificates of clients; write client_ca"
    )
    assert ListenerTls(client_auth="off").client_auth == "off"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("h2", ("h2",)),
        (["h2", "http/1.1"], ("h2", "http/1.1")),
        ([], ()),
        (["acme-tls/1"], ("acme-tls/1",)),
    ],
)
def test_names_of_protocols(written, read):
    assert ListenerTls(alpn=written).alpn == TargetTls(alpn=written).alpn == read


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ([""], "alpn.0: '' is not the name of a protocol; write one such as h2 or http/1.1"),
        (["h 2"], "alpn.0: 'h 2' is not the name of a protocol; write one such as h2 or http/1.1"),
        (["x" * 256], f"alpn.0: '{'x' * 256}' is not the name of a protocol; write one such as h2 or http/1.1"),
        (["h2", "h2"], "alpn: h2 is given twice"),
        ([5], "alpn.0: must be text in quotes; this is a number"),
    ],
)
def test_no_names_of_protocols(written, told):
    assert complaint(ListenerTls, alpn=written) == told


@pytest.mark.parametrize(
    ("written", "place", "key"),
    [
        ({"cert": "/a.pem", "key": "/a.key"}, "/a.pem", "/a.key"),
        ({"cert": "/a.pem"}, "/a.pem", "/a.pem"),
        ({"directory": "/certs/"}, "/certs", ""),
        ({"directory": "/"}, "/", ""),
    ],
)
def test_a_certificate_is_a_pair_or_one_file_or_a_folder(written, place, key):
    read = Certificate.model_validate(written)
    assert (read.place, read.key_place) == (place, key)
    assert str(read) == (f"{place} with {key}" if "key" in written else place)
    assert CERTIFICATES.validate_python(written) == CERTIFICATES.validate_python([written]) == (read,)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({}, 'directory: names no file; write { cert = "/etc/nlb/www.pem", key = "/etc/nlb/www.key" }'),
        ({"cert": "a.pem"}, "cert: 'a.pem' must be the absolute path of a file, such as /etc/nlb/www.pem"),
        ({"cert": "/a", "key": "b"}, "key: 'b' must be the absolute path of a file, such as /etc/nlb/www.key"),
        ({"directory": "b"}, "directory: 'b' must be the absolute path of a folder, such as /etc/nlb/certs"),
        ({"cert": "/a", "directory": "/b"}, "directory: /a is there too; write each in a table of its own"),
        (
            {"key": "/b", "directory": "/c"},
            'key: is there without its certificate; write cert = "/etc/nlb/www.pem" beside it',
        ),
        ({"cert": "/a\n"}, "cert: '/a\n' must be the absolute path of a file, such as /etc/nlb/www.pem"),
    ],
)
def test_no_certificate(written, told):
    assert complaint(Certificate, **written) == told


def test_a_certificate_is_named_once():
    same = [{"cert": "/a"}, {"directory": "/b"}, {"cert": "/a", "key": "/k"}]
    with pytest.raises(ValidationError, match="/a is given twice"):
        CERTIFICATES.validate_python(same)


@pytest.mark.parametrize("name", ["www.example.com", "*.example.com", "WWW.Example.com.", "?.test", "*"])
def test_names_that_clients_ask_for(name):
    assert tls.sni(name) == name.lower().removesuffix(".")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("[2001:db8::1]", "is an address, and clients send names only"),
        ("example.com:443", "has a port; write the host here$"),
        ("https://example.com", "is a URL"),
        ("exämple.com", "is not ASCII"),
        ("", "is not a host"),
    ],
)
def test_no_names_that_clients_ask_for(name, told):
    with pytest.raises(ValueError, match=told):
        tls.sni(name)


@pytest.mark.parametrize(
    ("listener", "groups"),
    [
        ("tcp", ("tcp", "tls")),
        ("tls", ("tcp", "tls")),
        ("http", ("http", "https")),
        ("https", ("http", "https")),
    ],
)
def test_what_is_inside_the_encryption_stays_the_same(listener, groups):
    assert protocols.FORWARDS[listener] == groups


@pytest.mark.parametrize(
    ("needs", "protocol", "better"),
    [
        (protocols.needs_http, "tcp", "http"),
        (protocols.needs_http, "tls", "https"),
        (protocols.needs_tls, "tcp", "tls"),
        (protocols.needs_tls, "http", "https"),
    ],
)
def test_the_nearest_protocol_that_has_a_key_is_told(needs, protocol, better):
    assert needs(protocol).startswith(f'needs protocol = "{better}", because {protocol} ')
