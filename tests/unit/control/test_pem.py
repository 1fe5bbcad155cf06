"""Certificates, keys and authorities as files: what is told of those that cannot be what they are named for."""

from __future__ import annotations

import os

import pytest
import trustme

from nlb.control import pem
from nlb.model.tls import Certificate

CA = trustme.CA()
SERVER = CA.issue_cert("www.example.com")
CHAIN = b"".join(blob.bytes() for blob in SERVER.cert_chain_pems)
KEY = SERVER.private_key_pem.bytes()
LOCKED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n"
OLD_LOCKED = b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES\n\nMIIB\n"
WHERE = ("listener", 0, "certificates")


@pytest.fixture
def files(tmp_path):
    """Writes files, and gives the paths of those that were named."""

    def write(**contents):
        for name, content in contents.items():
            if content is not None:
                (tmp_path / name).write_bytes(content)
        return {name: str(tmp_path / name) for name in contents}

    return write


def told(item):
    return [(wrong.path[4:], wrong.message) for wrong in pem.mistakes_of_certificates(WHERE, (Certificate(**item),))]


@pytest.mark.parametrize("key", [KEY, KEY.replace(b" EC", b""), KEY.replace(b" EC", b" RSA")])
def test_a_pair_is_good(files, key):
    assert told(files(cert=CHAIN, key=key)) == []


@pytest.mark.parametrize("content", [CHAIN + KEY, KEY + CHAIN])
def test_one_file_may_have_both(files, content):
    assert told(files(cert=content)) == []


@pytest.mark.parametrize(
    ("contents", "place", "complaint"),
    [
        ({"cert": None, "key": KEY}, "cert", "is not there; write the absolute path of a file"),
        ({"cert": CHAIN, "key": None}, "key", "is not there; write the absolute path of a file"),
        ({"cert": b"", "key": KEY}, "cert", "holds no certificate in PEM form"),
        ({"cert": KEY, "key": KEY}, "cert", "holds no certificate in PEM form, but a private key"),
        ({"cert": CHAIN, "key": CHAIN}, "key", "holds no private key in PEM form, but a certificate"),
        ({"cert": CHAIN, "key": b"x"}, "key", "holds no private key in PEM form"),
        ({"cert": b"0\x82\x03\xa1", "key": KEY}, "cert", "holds no certificate in PEM form, and seems to be DER"),
        ({"cert": CHAIN, "key": LOCKED}, "key", "has a key that needs a password, and nobody is there to type it"),
        ({"cert": CHAIN, "key": OLD_LOCKED}, "key", "has a key that needs a password, and nobody is there to type it"),
        ({"cert": CHAIN + LOCKED}, "cert", "has a key that needs a password"),
        ({"cert": CHAIN}, "cert", "holds no private key beside the certificate; write key = "),
        ({"cert": b"x"}, "cert", "holds no certificate in PEM form"),
        ({"cert": None}, "cert", "is not there"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_once_where_it_is_named(files, contents, place, complaint):
    paths = files(**contents)
    ((path, message),) = told(paths)
    assert path == (place,)
    assert message.startswith(f"{paths[place]} {complaint}")


def test_both_of_a_pair_may_be_wrong(files):
    assert [path for path, _ in told(files(cert=None, key=None))] == [("cert",), ("key",)]


def test_a_folder_must_be_one(tmp_path):
    (tmp_path / "a").write_bytes(CHAIN)
    assert told({"directory": str(tmp_path)}) == []
    for name, complaint in (("a", "is not a folder; write its absolute path"), ("b", "is not there; write")):
        ((path, message),) = told({"directory": str(tmp_path / name)})
        assert path == ("directory",)
        assert message.startswith(f"{tmp_path / name} {complaint}")


def test_authorities_are_certificates(files):
    paths = files(ca=CA.cert_pem.bytes(), key=KEY)
    where = ("target_group", 0, "target_tls", "ca")
    assert list(pem.mistakes_of_authorities(where, None)) == []
    assert list(pem.mistakes_of_authorities(where, paths["ca"])) == []
    (wrong,) = pem.mistakes_of_authorities(where, paths["key"])
    assert (wrong.path, wrong.message) == (where, f"{paths['key']} holds no certificate in PEM form, but a private key")


@pytest.mark.skipif(os.getuid() == 0, reason="root may read every file")
def test_a_key_that_may_not_be_read_is_told(files):
    paths = files(cert=CHAIN, key=KEY)
    os.chmod(paths["key"], 0)
    ((path, message),) = told(paths)
    assert path == ("key",)
    assert "may not be read by this user" in message
