"""Which certificate is for which name, when there are several."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nlb.net.certificate import Certificate
from nlb.net.certificate_names import serve

NOW = 1000.0


def certificate(file: str, *names: str, kind: str = "ecdsa", start: float = 0, end: float = 5000) -> Certificate:
    return Certificate(
        file=file,
        names=names,
        addresses=(),
        kind=kind,
        bits=256,
        fingerprint=file,
        serial="1",
        subject="",
        issuer="",
        not_before=start,
        not_after=end,
        chain=0,
        doubts=(),
        pem=file.encode(),
    )


A = certificate("a", "shop.example", "www.shop.example")
A_RSA = certificate("a-rsa", "shop.example", kind="rsa")
B = certificate("b", "b.example", "*.b.example")


@pytest.mark.parametrize(
    ("given", "names", "default", "ignored"),
    [
        pytest.param([A, B], {"a": A.names, "b": B.names}, ["a"], [], id="each its own"),
        pytest.param([A, A_RSA], {"a": A.names, "a-rsa": A_RSA.names}, ["a", "a-rsa"], [], id="side by side"),
        pytest.param(
            [A, certificate("new", *A.names, end=6000)],
            {"new": A.names},
            ["new"],
            ["a: not served: new is for shop.example too, and ends later"],
            id="a new one beside the old",
        ),
        pytest.param(
            [A, certificate("early", *A.names, start=2000, end=9000)],
            {"a": A.names},
            ["a"],
            ["early: not served: a is for shop.example too, and ends later"],
            id="one that is not valid yet",
        ),
        pytest.param(
            [A, certificate("part", "shop.example", end=6000)],
            {"a": ("www.shop.example",), "part": ("shop.example",)},
            ["part"],
            [],
            id="for one of the names",
        ),
        pytest.param(
            [certificate("none"), A, certificate("none too")],
            {"none": (), "a": A.names},
            ["none"],
            ["none too: not served: it is for no name, and not the first"],
            id="without names",
        ),
    ],
)
def test_who_is_served(
    given: list[Certificate], names: dict[str, tuple[str, ...]], default: list[str], ignored: list[str]
) -> None:
    served = serve(given, NOW)
    assert {one.file: mine for one, mine in zip(served.certificates, served.names, strict=True)} == names
    assert [served.certificates[number].file for number in served.default] == default
    assert list(served.ignored) == ignored


def test_what_workers_get() -> None:
    assert serve([B, A_RSA], NOW).spec == {
        "certificates": [
            {"names": ["b.example", "*.b.example"], "pem": "b"},
            {"names": ["shop.example"], "pem": "a-rsa"},
        ],
        "default": [0],
    }


@pytest.mark.parametrize("module", ["proxy.worker", "net.certificates", "control.trust"])
def test_who_only_imports_this_pays_nothing_for_cryptography(module: str) -> None:
    """Workers need none of it, and control not before the first certificate."""
    code = f"import sys, nlb.{module}; print('cryptography' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
