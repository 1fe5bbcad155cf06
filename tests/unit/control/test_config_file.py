"""From a path to a config: whatever lies there, the answer is a config or an error that names the file."""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path

import pytest
import trustme

from nlb.control import config_file
from nlb.errors import ConfigError
from tests.networks import content, listing

ROOT = Path(__file__).resolve().parents[3]
MINIMAL = (ROOT / "conf/minimal.toml").read_bytes()


def refusal(path):
    with pytest.raises(ConfigError) as caught:
        config_file.read(path)
    return str(caught.value)


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "nlb.toml"
        path.write_bytes(content)
        return path

    return write


def test_a_file_is_read(write):
    assert config_file.read(write(MINIMAL)).groups[0].name == "web"
    assert config_file.read(str(write(MINIMAL.replace(b"\n", b"\r\n")))).groups[0].name == "web"


def test_a_pipe_is_read(tmp_path):
    reading, writing = os.pipe()
    os.write(writing, MINIMAL)
    os.close(writing)
    try:
        assert config_file.read(f"/dev/fd/{reading}").groups[0].name == "web"
    finally:
        os.close(reading)


def test_a_missing_file_is_an_error_and_not_a_config_of_defaults(tmp_path):
    path = tmp_path / "absent.toml"
    assert refusal(path) == f"{path}: there is no such file; begin with a copy of conf/minimal.toml"


def test_a_folder_is_no_config(tmp_path):
    assert refusal(tmp_path) == f"{tmp_path}: this is a folder; name a file in it, such as {tmp_path}/nlb.toml"


def test_a_file_below_a_file_is_not_there(write):
    path = write(MINIMAL) / "nlb.toml"
    assert refusal(path) == f"{path}: cannot be read: Not a directory"


def test_a_name_that_no_file_can_have_is_refused():
    assert "cannot be the name of a file" in refusal("nlb\0.toml")


@pytest.mark.skipif(os.getuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_refused(write):
    path = write(MINIMAL)
    path.chmod(0)
    assert refusal(path).startswith(f"{path}: this user may not read it")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("# größe\nname = 'größe'\n".encode("latin-1"), ":1:5: byte 0xf6 is not UTF-8; save the file in UTF-8"),
        (b"a = 1\n# \xc3\xa4 \xe4\n", ":2:5: byte 0xe4 is not UTF-8; save the file in UTF-8"),
        (b"\xef\xbb\xbf" + MINIMAL, ":1:1: the file begins with a byte order mark; save it as UTF-8 without one (BOM)"),
        (b"\xff\xfe" + "a = 1".encode("utf-16-le"), ":1:1: byte 0xff is not UTF-8; save the file in UTF-8"),
        (b"a = 1\n\0", ":2:1: this is not a character of a text file"),
        (b"", ':1:1: no listener, so nobody could connect; write [[listener]] and below it bind = "0.0.0.0:80"'),
        (b"#" * ((8 << 20) + 1), ": larger than 8 MiB, so this is not a config"),
        (b"x" * (8 << 20), ":1:8388609: a = is expected here: write key = value, or [key] for a table"),
    ],
    ids=["latin-1", "one byte", "a byte order mark", "utf-16", "a NUL", "nothing", "too large", "the largest"],
)
def test_what_is_no_text_is_refused_where_it_ceases_to_be_one(write, content, complaint):
    path = write(content)
    assert refusal(path).splitlines()[0] == f"{path}{complaint}"


HTTP = """[[listener]]
bind = "0.0.0.0:80"
protocol = "http"
error_pages = { 502 = "FOLDER/502.html", 503 = "FOLDER/503.html" }
[[target_group]]
name = "web"
protocol = "http"
"""


@pytest.fixture
def with_pages(write, tmp_path):
    (tmp_path / "502.html").write_bytes(b"<h1>Soon</h1>")
    return write(HTTP.replace("FOLDER", str(tmp_path)).encode())


def test_error_pages_are_read_with_the_config(with_pages, tmp_path):
    (tmp_path / "503.html").write_bytes(b"x" * (64 << 10))
    config = pickle.loads(pickle.dumps(config_file.read(with_pages)))
    assert config.listeners[0].pages == {502: b"<h1>Soon</h1>", 503: b"x" * (64 << 10)}
    assert config_file.read_hashed(with_pages)[0] == config


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda page: None, "is not there; write the absolute path of an HTML file, or leave the status out"),
        (lambda page: page.mkdir(), "is not a file; write the absolute path of an HTML file"),
        (os.mkfifo, "is not a file; write the absolute path of an HTML file"),
        (lambda page: page.touch(), "is empty; write something into it, or leave the status out"),
        (lambda page: page.symlink_to(page), "cannot be read: Too many levels of symbolic links"),
        (
            lambda page: page.write_bytes(b"x" * (64 << 10 | 1)),
            "is larger than 64 KiB; put pictures and scripts on a server",
        ),
    ],
    ids=["missing", "a folder", "a pipe", "empty", "a circle", "too large"],
)
def test_a_page_that_cannot_be_read_is_a_mistake_where_it_is_named(with_pages, tmp_path, make, complaint):
    page = tmp_path / "503.html"
    make(page)
    column = HTTP.replace("FOLDER", str(tmp_path)).splitlines()[3].index(f'"{page}"') + 1
    assert refusal(with_pages) == f"{with_pages}:4:{column}: listener[0].error_pages.503: {page} {complaint}"


@pytest.mark.skipif(os.getuid() == 0, reason="root may read every file")
def test_so_is_one_that_may_not_be_read(with_pages, tmp_path):
    (tmp_path / "503.html").write_bytes(b"x")
    (tmp_path / "503.html").chmod(0)
    assert "503.html may not be read by this user; see the mode" in refusal(with_pages)


TLS = """[shield]
deny = { file = "FOLDER/deny.txt" }
[[listener]]
bind = "0.0.0.0:443"
protocol = "https"
certificates = [{ cert = "FOLDER/a.pem", key = "FOLDER/a.key" }, { directory = "FOLDER" }]
tls.client_ca = "FOLDER/ca.pem"
shield.allow = ["10.0.0.0/8", { file = "FOLDER/allow.txt" }]
[[listener]]
bind = "0.0.0.0:444"
protocol = "http"
[[target_group]]
name = "web"
protocol = "https"
target_tls = { ca = "FOLDER/ca.pem" }
"""


@pytest.fixture
def with_tls(write, tmp_path):
    authority = trustme.CA()
    server = authority.issue_cert("www.example.com")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server.cert_chain_pems[0].write_to_path(tmp_path / "a.pem")
    server.private_key_pem.write_to_path(tmp_path / "a.key")
    (tmp_path / "deny.txt").write_text("192.0.2.1\n")
    (tmp_path / "allow.txt").write_text("192.0.2.0/24\n")
    return write(TLS.replace("FOLDER", str(tmp_path)).encode())


def test_files_of_networks_are_read_with_the_config(with_tls):
    config = pickle.loads(pickle.dumps(config_file.read(with_tls)))
    denied = listing(files=(content("192.0.2.1/32"),))
    assert config.shield.denied == denied
    encrypted, plain = config.listeners
    assert encrypted.shield.denied == plain.shield.denied == denied
    assert encrypted.shield.allowed == listing("10.0.0.0/8", files=(content("192.0.2.0/24"),))
    assert plain.shield.allowed is None
    assert "shield" not in plain.model_fields_set


def test_what_is_missing_is_told_where_it_is_named(with_tls, tmp_path):
    for path in tmp_path.iterdir():
        if path != with_tls:
            path.unlink()
    told = [line.split(": ")[1] for line in refusal(with_tls).splitlines()]
    assert told == [
        "shield.deny",
        "listener[0].certificates[0].cert",
        "listener[0].certificates[0].key",
        "listener[0].tls.client_ca",
        "listener[0].shield.allow[1].file",
        "target_group.web.target_tls.ca",
    ]


@pytest.mark.parametrize("seed", range(4))
def test_any_damage_to_the_bytes_is_survived(write, seed):
    rng = random.Random(seed)
    for _ in range(50):
        content = bytearray((ROOT / "conf/nlb.toml").read_bytes())
        for _ in range(rng.choice([1, 2, 20])):
            at = rng.randrange(len(content))
            content[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        path = write(bytes(content))
        try:
            config_file.read(path)
        except ConfigError as error:
            assert str(error).startswith(f"{path}:")  # noqa: PT017
