"""Certificates as a config names them: what is read, what is a mistake and what a doubt, and that keys stay secret."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from time import time

import pytest
import trustme

from nlb.control import certificates, config_file
from nlb.control.certificates import Identity, tls_spec
from nlb.control.reading import read_aside, unpacked
from nlb.errors import ConfigError
from nlb.model.config import Config
from nlb.net.tls import ServerContext
from tests.pairs import Pairs, now
from tests.pairs import certificates as listed

GROUP = '[[target_group]]\nname = "web"\nprotocol = "http"\ntargets = ["10.0.0.1:80"]\n'


@pytest.fixture
def pairs(tmp_path: Path) -> Pairs:
    return Pairs(tmp_path)


def written(pairs: Pairs, keys: str, more: str = "") -> Path:
    path = pairs.folder / "nlb.toml"
    listener = f'[[listener]]\nname = "secure"\nbind = "127.0.0.1:443"\nprotocol = "https"\n{keys}\n'
    path.write_text(listener + GROUP + more)
    return path


def read(pairs: Pairs, keys: str, more: str = "") -> Config:
    return config_file.read(written(pairs, keys, more))


def identity(pairs: Pairs, keys: str) -> Identity:
    found = read(pairs, keys).listeners[0].identity
    assert isinstance(found, Identity)
    return found


def wrong(pairs: Pairs, keys: str, more: str = "") -> list[str]:
    """What is wrong with a config, without where it is."""
    with pytest.raises(ConfigError) as caught:
        read(pairs, keys, more)
    return [f"{mistake.path}: {mistake.message}".replace(f"{pairs.folder}/", "") for mistake in caught.value.mistakes]


def test_certificates_are_told_to_workers_with_all_that_a_context_needs(pairs: Pairs) -> None:
    paths = pairs.write("a", "a.test", "*.a.test"), pairs.write("b", "b.test", key_type=trustme.KeyType.RSA)
    tls = f'tls = {{ client_ca = "{pairs.ca}", client_auth = "optional", strict_sni = true, policy = "modern" }}'
    config = read(pairs, f"{listed(*paths)}\n{tls}")
    spec = tls_spec(config.listeners[0], config.listeners[0].identity)
    assert [one["names"] for one in spec["certificates"]] == [["a.test", "*.a.test"], ["b.test"]]
    assert spec["default"] == [0]
    assert spec["client_ca"] == pairs.ca.read_text()
    rest = {"policy": "modern", "alpn": ["http/1.1"], "client_auth": "optional", "strict_sni": True}
    assert {key: spec[key] for key in rest} == rest
    ServerContext(json.loads(json.dumps(spec)))


def test_a_folder_is_as_good_as_a_list(pairs: Pairs) -> None:
    folder = pairs.folder / "certs"
    folder.mkdir()
    inner = Pairs(folder)
    inner.ca.unlink()
    inner.write("b", "b.test")
    inner.write("a", "a.test")
    found = identity(pairs, f'certificates = {{ directory = "{folder}" }}')
    assert [one.names for one in found.certificates] == [("a.test",), ("b.test",)]


@pytest.mark.parametrize("link", ["file", "folder"])
def test_links_are_followed_as_renewing_tools_make_them(pairs: Pairs, link: str) -> None:
    live = pairs.folder / "live"
    archive = pairs.folder / "archive1"
    archive.mkdir()
    Pairs(archive).write("www", "www.test")
    if link == "folder":
        live.symlink_to(archive)
    else:
        live.mkdir()
        for name in ("www.pem", "www.key"):
            (live / name).symlink_to(archive / name)
    before = identity(pairs, listed(f"{live}/www"))
    listener = read(pairs, listed(f"{live}/www")).listeners[0]
    assert certificates.seen(listener) == before.seen
    second = pairs.folder / "archive2"
    second.mkdir()
    Pairs(second).write("www", "www.test")
    (pairs.folder / "next").symlink_to(second if link == "folder" else second / "www.pem")
    (pairs.folder / "next").rename(live if link == "folder" else live / "www.pem")
    assert certificates.seen(listener) != before.seen


def test_a_key_of_another_certificate_is_a_mistake_at_its_place(pairs: Pairs) -> None:
    path = pairs.write("a", "a.test")
    pairs.put("a", pairs.authority.issue_cert("a.test"), key=pairs.authority.issue_cert("a.test"))
    (told,) = wrong(pairs, listed(path))
    assert told == "listener.secure.certificates[0].cert: a.pem: the key in a.key is not this certificate's"


def test_what_is_no_certificate_at_all_is_told_once(pairs: Pairs) -> None:
    path = pairs.write("a", "a.test")
    Path(f"{path}.pem").write_text("hello")
    (told,) = wrong(pairs, listed(path))
    assert told.startswith("listener.secure.certificates[0].cert: a.pem holds no certificate in PEM form")


def test_a_damaged_key_is_told_where_the_key_is_named(pairs: Pairs) -> None:
    path = pairs.write("a", "a.test")
    key = Path(f"{path}.key")
    lines = key.read_text().splitlines()
    key.write_text("\n".join([lines[0], *(line[::-1] for line in lines[1:-1]), lines[-1]]))
    (told,) = wrong(pairs, listed(path))
    assert told.startswith("listener.secure.certificates[0].key: a.key: OpenSSL cannot use it")


def test_a_bad_pair_in_a_folder_is_told_at_the_folder(pairs: Pairs) -> None:
    folder = pairs.folder / "certs"
    folder.mkdir()
    Pairs(folder).write("a", "a.test")
    (folder / "a.key").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    (told, *_) = wrong(pairs, f'certificates = [{{ directory = "{folder}" }}]')
    assert told.startswith("listener.secure.certificates[0].directory: certs/a.key: OpenSSL cannot use it")


def test_a_bad_pair_in_a_folder_of_the_folder_is_told_there_too(pairs: Pairs) -> None:
    inner = pairs.folder / "live" / "a.test"
    inner.mkdir(parents=True)
    Pairs(inner).write("fullchain", "a.test")
    (inner / "privkey.pem").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    keys = f'certificates = [{{ cert = "{pairs.write("b", "b.test")}.pem", key = "{pairs.folder}/b.key" }}'
    (told, *_) = wrong(pairs, f'{keys}, {{ directory = "{pairs.folder}/live" }}]')
    assert told.startswith("listener.secure.certificates[1].directory: live/a.test/privkey.pem: OpenSSL cannot use it")


def test_a_folder_without_a_certificate_leaves_nothing_to_show(pairs: Pairs) -> None:
    (pairs.folder / "empty").mkdir()
    (told,) = wrong(pairs, f'certificates = {{ directory = "{pairs.folder}/empty" }}')
    assert told.startswith("listener.secure.certificates: there is no certificate in these folders; put NAME.pem")


def test_an_expired_certificate_alone_is_a_mistake(pairs: Pairs) -> None:
    (told,) = wrong(pairs, listed(pairs.write("a", "a.test", begins=-9, days=-1)))
    assert told.startswith("listener.secure.certificates[0].cert: a.pem: it ended on 20")


def test_an_expired_one_beside_one_that_holds_is_a_warning(pairs: Pairs) -> None:
    config = read(pairs, listed(pairs.write("a", "a.test", begins=-9, days=-1), pairs.write("b", "b.test")))
    (told,) = certificates.warnings(config)
    assert told.startswith(f"listener.secure.certificates: {pairs.folder}/a.pem: it ended on 20")


@pytest.mark.parametrize(
    ("begins", "days", "told"),
    [(-1, 20.5, ", in 20 days"), (1, 90, "it begins on 20"), (-1, 22, None)],
    ids=["soon over", "not yet", "good"],
)
def test_time_is_warned_of(pairs: Pairs, begins: float, days: float, told: str | None) -> None:
    found = list(certificates.warnings(read(pairs, listed(pairs.write("a", "a.test", begins=begins, days=days)))))
    assert [told in text for text in found] == [True] * (told is not None)  # type: ignore[operator]


def test_a_certificate_for_no_name_is_a_mistake(pairs: Pairs) -> None:
    issued = pairs.authority.issue_cert(common_name="a.test")
    pairs.put("a", issued)
    (told,) = wrong(pairs, listed(str(pairs.folder / "a")))
    assert told.startswith("listener.secure.certificates[0].cert: a.pem: it is for no name")


@pytest.mark.parametrize("where", ["client_ca", "ca"])
def test_authorities_that_cannot_be_read_are_a_mistake(pairs: Pairs, where: str) -> None:
    bad = pairs.folder / "bad.pem"
    bad.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    keys = listed(pairs.write("a", "a.test"))
    more = f'[[target_group]]\nname = "in"\nprotocol = "https"\ntarget_tls = {{ ca = "{bad}" }}\n'
    if where == "client_ca":
        keys, more = f'{keys}\ntls = {{ client_ca = "{bad}" }}', ""
    keys += '\ntarget_group = "web"'
    (told,) = wrong(pairs, keys, more)
    assert told.endswith("bad.pem holds no certificate that can be read; is the file damaged?")


def test_authorities_may_have_words_in_any_language_between_them(pairs: Pairs) -> None:
    file = pairs.folder / "bundle.pem"
    file.write_text(f"# Főtanúsítvány\n{pairs.ca.read_text()}\n# Ende\n", encoding="utf-8")
    assert certificates.authorities(str(file)) == pairs.ca.read_text()


def test_a_groups_authorities_are_told_to_workers(pairs: Pairs) -> None:
    more = f'[[target_group]]\nname = "in"\nprotocol = "https"\ntarget_tls = {{ ca = "{pairs.ca}" }}\n'
    config = read(pairs, listed(pairs.write("a", "a.test")) + '\ntarget_group = "web"', more)
    spec = certificates.target_tls_spec(config.groups[1])
    assert spec == {"verify": True, "ca": pairs.ca.read_text(), "server_name": "", "alpn": ["http/1.1"]}


# --- renewal


def test_a_renewed_certificate_takes_the_place_of_the_old_one(pairs: Pairs) -> None:
    keys = listed(pairs.write("a", "a.test", days=30))
    before = identity(pairs, keys)
    pairs.write("a", "a.test", days=90)
    after = identity(pairs, keys).after(before, time())
    assert after.fingerprints.isdisjoint(before.fingerprints)


@pytest.mark.parametrize("bad", ["another's key", "garbage", "gone", "expired", "not yet", "no name"])
def test_a_bad_one_leaves_the_old_one(pairs: Pairs, bad: str) -> None:
    config = read(pairs, listed(pairs.write("a", "a.test", days=30)))
    listener, before = config.listeners[0], config.listeners[0].identity
    if bad == "another's key":
        pairs.put("a", pairs.authority.issue_cert("a.test"), key=pairs.authority.issue_cert("a.test"))
    elif bad == "garbage":
        (pairs.folder / "a.pem").write_text("hello")
    elif bad == "gone":
        (pairs.folder / "a.pem").unlink()
    elif bad == "no name":
        pairs.put("a", pairs.authority.issue_cert(common_name="a.test", not_after=now().replace(year=2900)))
    else:
        pairs.write("a", "a.test", begins=-9 if bad == "expired" else 1, days=-1 if bad == "expired" else 90)
    found = certificates.read(listener, time())
    after = found.after(before, time())
    assert after.fingerprints == before.fingerprints
    assert after.served == before.served
    assert after.faults


def test_one_that_is_not_valid_yet_is_shown_once_it_is(pairs: Pairs) -> None:
    config = read(pairs, listed(pairs.write("a", "a.test", days=30)))
    pairs.write("a", "a.test", begins=1, days=90)
    later = certificates.read(config.listeners[0], time()).after(config.listeners[0].identity, time() + 2 * 86400)
    assert later.fingerprints.isdisjoint(config.listeners[0].identity.fingerprints)


def test_authorities_that_are_damaged_leave_the_old_ones(pairs: Pairs) -> None:
    config = read(pairs, listed(pairs.write("a", "a.test")) + f'\ntls = {{ client_ca = "{pairs.ca}" }}')
    before = config.listeners[0].identity
    pairs.ca.write_text("hello")
    after = certificates.read(config.listeners[0], time()).after(before, time())
    assert after.client_ca == before.client_ca != ""
    assert [fault.word for fault in after.faults] == ["authorities"]


# --- secrets


def test_keys_are_in_nothing_that_is_shown(pairs: Pairs) -> None:
    config = read(pairs, listed(pairs.write("a", "a.test"), pairs.write("b", "b.test")))
    listener = config.listeners[0]
    facts = list(certificates.facts("secure", listener.identity, time()))
    shown = f"{config!r}{listener!r}{listener.identity!r}{config.model_dump_json()}{facts}"
    assert len(list(pairs.secrets())) == 2
    assert not any(key in shown for key in pairs.secrets())
    assert [fact["names"] for fact in facts] == [["a.test"], ["b.test"]]
    assert facts[0]["state"] == "ok"


def test_renewed_certificates_make_no_other_config(pairs: Pairs) -> None:
    keys = listed(pairs.write("a", "a.test"))
    before = read(pairs, keys)
    pairs.write("a", "a.test")
    assert read(pairs, keys) == before


def test_a_process_beside_hands_them_over(pairs: Pairs) -> None:
    path = written(pairs, listed(pairs.write("a", "a.test")))
    config, _ = unpacked(read_aside(str(path)))
    assert config.listeners[0].identity.certificates == config_file.read(path).listeners[0].identity.certificates
    assert pickle.loads(pickle.dumps(config)) == config
