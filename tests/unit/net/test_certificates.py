"""Certificates in files: found, read, and every fault said in a sentence."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nlb.net.certificate import Certificate, Pair
from nlb.net.certificates import Folder, Found, find, renewed, state
from tests.authority import DAY, NOW, Made, key_pem, write

NOW_S = NOW.timestamp()
FULL = Made("shop.example", "*.shop.example")


@pytest.fixture(scope="module")
def chain() -> tuple[Made, Made, Made]:
    """A root, an intermediate, and a server's."""
    root = Made(subject="root")
    between = Made(subject="between", by=root)
    return root, between, Made("shop.example", by=between, says_where_its_issuer_is=True)


def found_in(folder: Path, policy: str = "intermediate") -> Found:
    return find([Folder(str(folder))], NOW_S, policy)


def texts(found: Found, folder: Path) -> list[str]:
    return [fault.text.replace(f"{folder}/", "") for fault in found.faults]


def one(folder: Path) -> Certificate:
    (certificate,) = found_in(folder).certificates
    return certificate


def test_what_is_read_of_a_pair(tmp_path: Path) -> None:
    write(tmp_path, a_pem=FULL.cert, a_key=FULL.secret)
    found = find([Pair(f"{tmp_path}/a.pem", f"{tmp_path}/a.key")], NOW_S)
    assert found.faults == found.ignored == ()
    (read,) = found.certificates
    assert read.file == f"{tmp_path}/a.pem"
    assert read.names == ("shop.example", "*.shop.example")
    assert (read.kind, read.bits, read.chain) == ("ecdsa", 256, 0)
    assert read.subject == read.issuer == "CN=made"
    assert (read.not_before, read.not_after) == ((NOW - DAY).timestamp(), (NOW + 90 * DAY).timestamp())
    assert len(read.fingerprint) == 64
    assert read.serial == f"{FULL.certificate.serial_number:X}"
    assert read.pem == FULL.cert + FULL.secret
    assert b"PRIVATE" not in repr(read).encode()


@pytest.mark.parametrize(
    ("kind", "read"), [("rsa", ("rsa", 2048)), ("ed25519", ("ed25519", 256)), ("ed448", ("ed448", 456))]
)
def test_other_kinds_of_keys(tmp_path: Path, kind: str, read: tuple[str, int]) -> None:
    made = Made("a.example", kind=kind)
    write(tmp_path, a_pem=made.cert + made.secret)
    assert (one(tmp_path).kind, one(tmp_path).bits) == read


def test_only_certificates_and_the_key_are_taken_from_a_file_with_words_in_it(tmp_path: Path) -> None:
    write(tmp_path, a_crt=b"subject=/CN=made\n" + FULL.cert.replace(b"\n", b"\r\n") + b"\nkey:\n" + FULL.secret)
    assert one(tmp_path).names == FULL_NAMES


FULL_NAMES = ("shop.example", "*.shop.example")


def test_what_a_directory_holds(tmp_path: Path) -> None:
    other = Made("b.example")
    write(
        tmp_path,
        b_pem=other.cert + other.secret,
        a_crt=FULL.cert,
        a_key=FULL.secret,
        again_pem=FULL.cert + FULL.secret,
        lonely_pem=other.cert,
        orphan_key=other.secret,
        notes_txt="hello",
    )
    (tmp_path / ".hidden.pem").write_text("hidden")
    (tmp_path / "more.pem").mkdir()
    found = found_in(tmp_path)
    assert [certificate.names[0] for certificate in found.certificates] == ["shop.example", "b.example"]
    assert found.faults == ()
    assert [line.replace(f"{tmp_path}/", "") for line in found.ignored] == [
        "again.pem: the same certificate as a.crt",
        "lonely.pem: no key, neither in it nor in lonely.key beside it",
        "more.pem: a directory without fullchain.pem and privkey.pem",
        "notes.txt: not a .pem or .crt file",
        "orphan.key: a key without a certificate of its name beside it",
    ]


def lineage(folder: Path, name: str, made: Made, number: int = 1) -> None:
    """As certbot keeps a certificate: links in `live/NAME`, to the latest of all that it ever was in `archive/NAME`."""
    archive, live = folder / "archive" / name, folder / "live" / name
    for directory in (archive, live):
        directory.mkdir(parents=True, exist_ok=True)
    files = {"cert": made.cert, "chain": b"", "fullchain": made.cert, "privkey": made.secret}
    for kind, body in files.items():
        (archive / f"{kind}{number}.pem").write_bytes(body)
        (live / f"{kind}.new").symlink_to(f"../../archive/{name}/{kind}{number}.pem")
        (live / f"{kind}.new").rename(live / f"{kind}.pem")
    (live / "README").write_text("This directory contains your keys and certificates.")


def test_a_directory_of_certbots(tmp_path: Path) -> None:
    lineage(tmp_path, "shop.example", FULL)
    lineage(tmp_path, "b.example", Made("b.example"))
    live = tmp_path / "live"
    write(live, flat_pem=(other := Made("flat.example")).cert + other.secret)
    (live / "README").write_text("This directory contains your keys and certificates.")
    (live / "linked").symlink_to(tmp_path / "live" / "shop.example")
    (live / ".hidden").mkdir()
    for name in ("half", "empty"):
        (live / name).mkdir()
    (live / "half" / "fullchain.pem").write_bytes(FULL.cert)
    found = found_in(live)
    assert [one.file.removeprefix(f"{live}/") for one in found.certificates] == [
        "b.example/fullchain.pem",
        "flat.pem",
        "linked/fullchain.pem",
    ]
    assert found.faults == ()
    assert [line.replace(f"{live}/", "") for line in found.ignored] == [
        "empty: a directory without fullchain.pem and privkey.pem",
        "half: a directory without privkey.pem",
        "shop.example/fullchain.pem: the same certificate as linked/fullchain.pem",
    ]


def test_what_is_wrong_in_a_directory_of_a_directory_is_told(tmp_path: Path) -> None:
    lineage(tmp_path, "shop.example", FULL)
    (tmp_path / "live" / "shop.example" / "privkey.pem").unlink()
    (tmp_path / "live" / "shop.example" / "privkey.pem").write_bytes(Made("x").secret)
    (fault,) = found_in(tmp_path / "live").faults
    assert (fault.word, fault.file) == ("key_mismatch", f"{tmp_path}/live/shop.example/fullchain.pem")


def test_a_renewal_by_certbot_is_seen_and_a_lost_directory_loses_nothing(tmp_path: Path) -> None:
    live = tmp_path / "live"
    lineage(tmp_path, "shop.example", FULL)
    before, old = state([Folder(str(live))]), found_in(live).certificates
    lineage(tmp_path, "shop.example", new := Made("shop.example", end=NOW + 120 * DAY), number=2)
    after = state([Folder(str(live))])
    assert after != before
    (shown,) = renewed(old, found_in(live), NOW_S)
    assert shown.pem.startswith(new.cert)
    lineage(tmp_path, "b.example", Made("b.example"))
    assert state([Folder(str(live))]) != after
    live.rename(tmp_path / "elsewhere")
    assert renewed(old, found_in(live), NOW_S) == old


def damaged(body: bytes) -> bytes:
    lines = body.splitlines(keepends=True)
    return b"".join(lines[:1] + lines[2:])


CASES: dict[str, tuple[Callable[[], dict[str, bytes]], str, str]] = {
    "another's key": (
        lambda: {"a_pem": FULL.cert, "a_key": Made("x").secret},
        "key_mismatch",
        "a.pem: the key in {folder}/a.key is not this certificate's",
    ),
    "another's key of another kind": (
        lambda: {"a_pem": FULL.cert, "a_key": Made("x", kind="rsa").secret},
        "key_mismatch",
        "a.pem: the key in {folder}/a.key is not this certificate's",
    ),
    "an encrypted key": (
        lambda: {"a_pem": FULL.cert, "a_key": key_pem(FULL.key, b"secret")},
        "encrypted_key",
        "a.key: the key is encrypted, and nobody is there to type a password; "
        "decrypt it: openssl pkey -in OLD -out NEW",
    ),
    "an encrypted key of the old kind": (
        lambda: {
            "a_pem": FULL.cert,
            "a_key": FULL.secret.replace(b"KEY-----\n", b"KEY-----\nProc-Type: 4,ENCRYPTED\n", 1),
        },
        "encrypted_key",
        "a.key: the key is encrypted, and nobody is there to type a password; "
        "decrypt it: openssl pkey -in OLD -out NEW",
    ),
    "no key": (lambda: {"a_pem": FULL.cert, "a_key": FULL.cert}, "no_key", "a.key: it holds no private key"),
    "two keys": (
        lambda: {"a_pem": FULL.cert, "a_key": FULL.secret * 2},
        "no_key",
        "a.key: it holds 2 private keys; put each with its certificate in files of its own",
    ),
    "no certificate": (
        lambda: {"a_pem": FULL.secret, "a_key": FULL.secret},
        "no_certificate",
        "a.pem: it holds no certificate, only: private key",
    ),
    "an empty file": (lambda: {"a_pem": b"\n", "a_key": FULL.secret}, "not_pem", "a.pem: it is empty"),
    "DER": (
        lambda: {"a_pem": b"\x30\x82\x01", "a_key": FULL.secret},
        "not_pem",
        "a.pem: it is in DER; convert it: openssl x509 -inform der -in OLD -out NEW (PKCS #12: openssl pkcs12 -nodes)",
    ),
    "no PEM": (
        lambda: {"a_pem": b"hello", "a_key": FULL.secret},
        "not_pem",
        "a.pem: it is not PEM: no line -----BEGIN CERTIFICATE-----",
    ),
    "cut short": (
        lambda: {"a_pem": FULL.cert[:200], "a_key": FULL.secret},
        "not_pem",
        "a.pem: it is cut short: a block of PEM has no end",
    ),
    "damaged": (
        lambda: {"a_pem": damaged(FULL.cert), "a_key": FULL.secret},
        "bad_certificate",
        "a.pem: the certificate cannot be read: it is damaged, or cut short",
    ),
    "a damaged chain": (
        lambda: {"a_pem": FULL.cert + damaged(FULL.cert), "a_key": FULL.secret},
        "bad_certificate",
        "a.pem: certificate 2 of the chain cannot be read: it is damaged, or cut short",
    ),
    "a damaged key": (
        lambda: {"a_pem": FULL.cert, "a_key": damaged(FULL.secret)},
        "bad_key",
        "a.key: OpenSSL cannot use it (",
    ),
    "a key of OpenSSH": (
        lambda: {"a_pem": FULL.cert, "a_key": FULL.secret.replace(b"PRIVATE", b"OPENSSH PRIVATE")},
        "bad_key",
        "a.key: it is a key of OpenSSH; TLS takes keys in PKCS #8: openssl genpkey",
    ),
    "a short key": (
        lambda: (lambda made: {"a_pem": made.cert, "a_key": made.secret})(Made("x", kind="rsa-1024")),
        "refused",
        "a.pem: the key is too short to be safe; RSA takes 2048 bits or more",
    ),
    "DSA": (
        lambda: (lambda made: {"a_pem": made.cert, "a_key": made.secret})(Made("x", kind="dsa")),
        "bad_key",
        "a.pem: its key is of a kind that TLS servers do not use; ECDSA and RSA are right",
    ),
    "too large": (
        lambda: {"a_pem": FULL.cert + bytes(1 << 20), "a_key": FULL.secret},
        "not_pem",
        "a.pem: it is larger than 1 MiB, which no certificate is",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_served(tmp_path: Path, name: str) -> None:
    files, word, text = CASES[name]
    write(tmp_path, **files())
    found = found_in(tmp_path)
    assert found.certificates == ()
    (fault,) = found.faults
    assert (fault.word, fault.usable, fault.file) == (word, False, f"{tmp_path}/a.pem")
    assert fault.text.startswith(f"{tmp_path}/{text.format(folder=tmp_path)}")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pem")
    (tmp_path / "dir.key").mkdir()
    write(tmp_path, dir_pem=FULL.cert)
    sources = [
        Pair(f"{tmp_path}/gone.pem", f"{tmp_path}/gone.key"),
        Pair(f"{tmp_path}/pipe.pem", f"{tmp_path}/pipe.pem"),
        Folder(f"{tmp_path}/nowhere"),
        Pair(f"{tmp_path}/dir.pem", f"{tmp_path}/dir.key"),
    ]
    found = find(sources, NOW_S)
    assert texts(found, tmp_path) == [
        "gone.pem: no such file or directory",
        "pipe.pem: it is no file",
        "nowhere: no such file or directory",
        "dir.key: is a directory",
    ]
    assert {fault.word for fault in found.faults} == {"unreadable"}


@pytest.mark.parametrize(
    ("made", "word", "text"),
    [
        (Made("a.example", end=NOW), "expired", "it ended on 2026-06-01 00:00 UTC"),
        (Made("a.example", start=NOW + DAY), "not_yet_valid", "it begins on 2026-06-02 00:00 UTC; is the clock right?"),
        (Made("a.example", end=NOW + 20.5 * DAY), "ends_soon", "it ends on 2026-06-21 12:00 UTC, in 20 days"),
        (Made(), "no_names", "it is for no name (no subjectAltName; clients have not looked at the CN since 2017)"),
        (
            Made("a.example", by=Made(subject="between"), says_where_its_issuer_is=True),
            "chain",
            "the intermediate that signed it is not sent along, so many clients refuse it; use the full chain",
        ),
    ],
    ids=["expired", "not yet valid", "ends soon", "no names", "no intermediate"],
)
def test_what_is_served_nevertheless(tmp_path: Path, made: Made, word: str, text: str) -> None:
    write(tmp_path, a_pem=made.cert, a_key=made.secret)
    found = found_in(tmp_path)
    assert len(found.certificates) == 1
    assert [(fault.word, fault.usable) for fault in found.faults] == [(word, True)]
    assert texts(found, tmp_path) == [f"a.pem: {text}"]


def test_a_whole_chain_is_right(tmp_path: Path, chain: tuple[Made, Made, Made]) -> None:
    root, between, leaf = chain
    write(tmp_path, a_pem=leaf.cert + between.cert + root.cert, a_key=leaf.secret)
    assert found_in(tmp_path).faults == ()
    assert one(tmp_path).chain == 2


def test_chains_in_a_wrong_order(tmp_path: Path, chain: tuple[Made, Made, Made]) -> None:
    root, between, leaf = chain
    write(tmp_path, a_pem=leaf.cert + root.cert + between.cert, a_key=leaf.secret)
    write(tmp_path, b_pem=between.cert + leaf.cert, b_key=leaf.secret)
    assert texts(found_in(tmp_path), tmp_path) == [
        "a.pem: certificate 2 in it did not sign certificate 1: wrong order, or another's chain",
        "b.pem: the key is for certificate 2 in it; that must be the first, then the one that signed it",
    ]


# --- renewal


def test_a_new_pair_takes_the_place_of_the_old(tmp_path: Path) -> None:
    write(tmp_path, a_pem=FULL.cert, a_key=FULL.secret)
    old = found_in(tmp_path).certificates
    new = Made("shop.example", end=NOW + 200 * DAY)
    write(tmp_path, a_pem=new.cert, a_key=new.secret)
    (chosen,) = renewed(old, found_in(tmp_path), NOW_S)
    assert chosen.pem == new.cert + new.secret


@pytest.mark.parametrize(
    "files",
    [
        {"a_pem": Made("shop.example").cert},
        {"a_key": b""},
        (lambda made: {"a_pem": made.cert, "a_key": made.secret})(Made("shop.example", end=NOW)),
        (lambda made: {"a_pem": made.cert, "a_key": made.secret})(Made("shop.example", start=NOW + DAY)),
        (lambda made: {"a_pem": made.cert + FULL.cert, "a_key": made.secret})(Made("shop.example")),
    ],
    ids=["the key is not there yet", "an empty key", "expired", "not yet valid", "another's chain"],
)
def test_a_bad_new_pair_leaves_the_old(tmp_path: Path, files: dict[str, bytes]) -> None:
    write(tmp_path, a_pem=FULL.cert, a_key=FULL.secret)
    old = found_in(tmp_path).certificates
    write(tmp_path, **files)
    found = found_in(tmp_path)
    assert found.faults
    assert renewed(old, found, NOW_S) == old


def test_an_old_one_that_is_no_better_goes(tmp_path: Path) -> None:
    write(tmp_path, a_pem=FULL.cert, a_key=FULL.secret)
    old = found_in(tmp_path).certificates
    new = Made("shop.example")
    write(tmp_path, a_pem=new.cert + FULL.cert, a_key=new.secret)
    after = (NOW + 91 * DAY).timestamp()
    assert renewed(old, find([Folder(str(tmp_path))], after), after)[0].pem.startswith(new.cert)


def test_removed_files_are_removed_and_a_lost_directory_is_not(tmp_path: Path) -> None:
    inside = tmp_path / "certs"
    inside.mkdir()
    write(inside, a_pem=FULL.cert, a_key=FULL.secret)
    old = found_in(inside).certificates
    (inside / "a.pem").unlink()
    assert renewed(old, found_in(inside), NOW_S) == ()
    inside.rename(tmp_path / "elsewhere")
    assert renewed(old, found_in(inside), NOW_S) == old


def test_what_changes_is_seen(tmp_path: Path) -> None:
    write(tmp_path, a_pem=FULL.cert, a_key=FULL.secret)
    (tmp_path / "link.pem").symlink_to(tmp_path / "a.pem")
    sources = [Folder(str(tmp_path)), Pair(f"{tmp_path}/link.pem", f"{tmp_path}/gone.key")]
    seen = [state(sources)]

    def changed() -> bool:
        seen.append(state(sources))
        return seen[-1] not in seen[:-1]

    assert not changed()
    write(tmp_path, notes_txt="hello")
    assert not changed()
    write(tmp_path, b_key=FULL.secret)
    assert changed()
    (tmp_path / "new").write_bytes(FULL.cert)
    (tmp_path / "new").rename(tmp_path / "a.pem")
    assert changed()
    write(tmp_path, gone_key=FULL.secret)
    assert changed()
    (tmp_path / "a.pem").unlink()
    assert changed()
