"""What the state directory gives back after everything that can happen to it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nlb.control.state import KEPT, LARGEST, VERSION, StateDir

OLD, NEW = {"answer": 41}, {"answer": 42}


def document(data: object, version: object = VERSION) -> str:
    return json.dumps({"version": version, "data": data})


def has_answer(data: dict[str, object]) -> None:
    if not isinstance(data.get("answer"), int):
        raise ValueError("it has no answer")


class Told:
    """Collects events; each as `level: text`."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def __call__(self, level: str, kind: str, text: str) -> None:
        assert kind == "nlb"
        self.events.append(f"{level}: {text}")


@contextmanager
def opened(folder: Path) -> Iterator[tuple[StateDir, Told]]:
    told = Told()
    state = StateDir(str(folder), told)
    try:
        yield state, told
    finally:
        state.close()


def loaded(folder: Path) -> tuple[dict[str, object] | None, list[str]]:
    """What a new process finds, and what it tells."""
    with opened(folder) as (state, told):
        return state.load("doc", has_answer), told.events


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def damaged(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if ".damaged-" in path.name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lib" / "nlb"


def test_what_is_saved_is_there_after_a_restart(folder: Path) -> None:
    with opened(folder) as (state, told):
        assert state.load("doc") is None
        assert state.save("doc", OLD)
        assert state.save("doc", NEW)
        assert state.writable
        assert not told.events
    assert loaded(folder) == (NEW, [])


def test_documents_do_not_touch_each_other(folder: Path) -> None:
    with opened(folder) as (state, _):
        state.save("doc", OLD)
        state.save("ids", NEW)
        assert (state.load("doc"), state.load("ids")) == (OLD, NEW)


def test_only_its_user_may_look(folder: Path) -> None:
    before = os.umask(0)
    try:
        with opened(folder) as (state, _):
            state.save("doc", OLD)
            state.save("doc", NEW)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {
        "doc.json": 0o600,
        "doc.json.1": 0o600,
    }


@pytest.mark.parametrize(
    ("left", "found"),
    [
        pytest.param({}, None, id="nothing was ever saved"),
        pytest.param({"doc.json.new": ""}, None, id="killed in the first save"),
        pytest.param({"doc.json": document(OLD), "doc.json.new": document(NEW)[:20]}, OLD, id="killed while writing"),
        pytest.param({"doc.json": document(OLD), "doc.json.new": document(NEW)}, OLD, id="killed when all was written"),
        pytest.param(
            {"doc.json": document(OLD), "doc.json.1": document(OLD), "doc.json.new": document(NEW)},
            OLD,
            id="killed when the old one was kept",
        ),
        pytest.param({"doc.json": document(NEW), "doc.json.1": document(OLD)}, NEW, id="killed at the end"),
    ],
)
def test_a_kill_leaves_the_old_or_the_new(folder: Path, left: dict[str, str], found: object) -> None:
    folder.mkdir(parents=True)
    for name, text in left.items():
        (folder / name).write_text(text)
    assert loaded(folder) == (found, [])
    with opened(folder) as (state, _):
        assert state.save("doc", {"answer": 43})
    assert loaded(folder) == ({"answer": 43}, [])
    assert not files(folder) - {"doc.json", "doc.json.1"}


BAD = [
    pytest.param("", "it is not JSON: Expecting value", id="empty"),
    pytest.param(document(NEW)[:-3], "it is not JSON: Expecting ',' delimiter", id="truncated"),
    pytest.param("\0" * 100, "it is not JSON", id="zeros, as after a power cut"),
    pytest.param(b"\xff\xfe\xfd", "it is not JSON: 'utf", id="not text"),
    pytest.param("[" * 100_000, "too much is nested in one another", id="nested without end"),
    pytest.param("9" * 5000, "it is not JSON: Exceeds the limit", id="a number without end"),
    pytest.param("[1, 2]", "it is not a document of nlb's", id="not an object"),
    pytest.param(json.dumps(NEW), "it is not a document of nlb's", id="somebody else's object"),
    pytest.param(document(NEW, 2), "it is of version 2, and this nlb reads version 1", id="a newer nlb's"),
    pytest.param(document(NEW, "x" * 1000), f"it is of version {'x' * 20},", id="a strange version"),
    pytest.param(document([NEW]), "its data is not an object", id="data of the wrong type"),
    pytest.param(document({}), "it has no answer", id="data of the wrong shape"),
]


def write(path: Path, content: str | bytes) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.mark.parametrize(("content", "why"), BAD)
def test_a_damaged_document_is_set_aside_and_the_one_before_is_used(
    folder: Path, content: str | bytes, why: str
) -> None:
    with opened(folder) as (state, _):
        state.save("doc", OLD)
        state.save("doc", NEW)
    write(folder / "doc.json", content)
    found, events = loaded(folder)
    assert found == OLD
    (event,) = events
    (aside,) = damaged(folder)
    assert event.startswith(f"warning: {folder}/doc.json is damaged: {why}")
    assert f"it was set aside as {aside}; the one before it is used, of 20" in event
    assert (folder / aside).read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert loaded(folder) == (OLD, []), "it is told once"
    with opened(folder) as (state, _):
        assert state.save("doc", {"answer": 43})
    assert loaded(folder) == ({"answer": 43}, [])


def test_what_cannot_be_read_is_set_aside_too(folder: Path) -> None:
    (folder / "doc.json").mkdir(parents=True)
    write(folder / "doc.json.1", document(OLD))
    found, events = loaded(folder)
    assert found == OLD
    assert "doc.json is damaged: cannot be read: Is a directory; it was set aside as" in events[0]


def test_what_is_far_too_large_is_not_read_to_its_end(folder: Path) -> None:
    folder.mkdir(parents=True)
    with open(folder / "doc.json", "wb") as file:
        file.truncate(LARGEST * 1000)  # a hole: takes no room
    found, events = loaded(folder)
    assert found is None
    assert f"is damaged: larger than {LARGEST >> 20} MiB" in events[0]


def test_a_damaged_document_without_one_before_it_is_an_error(folder: Path) -> None:
    folder.mkdir(parents=True)
    write(folder / "doc.json", "{")
    found, events = loaded(folder)
    assert found is None
    assert events[0].startswith("error: ")
    assert events[0].endswith("; there is none before it, so what it kept is lost")
    assert loaded(folder) == (None, [])


def test_when_both_are_damaged_both_are_set_aside(folder: Path) -> None:
    folder.mkdir(parents=True)
    write(folder / "doc.json", "{")
    write(folder / "doc.json.1", document({}))
    found, (event,) = loaded(folder)
    assert found is None
    assert event.startswith(f"error: {folder}/doc.json is damaged: it is not JSON")
    assert "doc.json.1 is damaged too: it has no answer; it was set aside as doc.json.1.damaged-" in event
    assert len(damaged(folder)) == 2
    assert loaded(folder) == (None, [])


def test_a_document_that_somebody_removed_comes_back(folder: Path) -> None:
    with opened(folder) as (state, _):
        state.save("doc", OLD)
        state.save("doc", NEW)
    (folder / "doc.json").unlink()
    found, (event,) = loaded(folder)
    assert found == OLD
    assert event.startswith(f"warning: {folder}/doc.json is missing; the one before it is used, of 20")
    assert loaded(folder) == (OLD, [])


def test_of_the_damaged_the_latest_are_kept(folder: Path) -> None:
    folder.mkdir(parents=True)
    for day in range(1, 9):
        write(folder / f"doc.json{'.1' * (day % 2)}.damaged-2026010{day}T000000Z", "{")
    write(folder / "ids.json.damaged-20250101T000000Z", "{")
    write(folder / "doc.json", "{")
    loaded(folder)
    left = damaged(folder)
    assert "ids.json.damaged-20250101T000000Z" in left, "another document's"
    days = [name.rpartition("-")[2][:8] for name in left if name.startswith("doc")]
    assert len(days) == KEPT
    assert sorted(days)[: KEPT - 1] == ["20260106", "20260107", "20260108"]


def test_a_folder_that_cannot_be_made_is_told_once_and_nlb_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with opened(tmp_path / "file" / "state") as (state, told):
        assert state.load("doc") is None
        assert not state.save("doc", OLD)
        assert not state.save("doc", NEW)
        assert not state.writable
    assert told.events == [
        f"warning: the state directory {tmp_path}/file/state cannot be written: Not a directory; "
        "what operators change will not survive a restart"
    ]


def test_a_save_that_fails_is_told_when_it_begins_and_when_it_ends(folder: Path) -> None:
    with opened(folder) as (state, told):
        state.save("doc", OLD)
        (folder / "doc.json.new").mkdir()  # in the way
        assert not state.save("doc", NEW)
        assert not state.save("doc", NEW)
        assert (state.writable, state.load("doc")) == (False, OLD)
        (folder / "doc.json.new").rmdir()
        assert state.save("doc", NEW)
        assert (state.writable, state.load("doc")) == (True, NEW)
    assert told.events == [
        f"warning: the state directory {folder} cannot be written: Is a directory; "
        "what operators change will not survive a restart",
        f"info: the state directory {folder} can be written again; all overrides are kept",
    ]


def test_where_a_hard_link_cannot_be_made_the_old_one_is_moved(folder: Path) -> None:
    (folder / "doc.json").mkdir(parents=True)  # a folder has no hard links, on any file system
    with opened(folder) as (state, told):
        assert state.save("doc", NEW)
        assert (state.load("doc"), told.events) == (NEW, [])
    assert (folder / "doc.json.1").is_dir()


def test_a_failed_save_leaves_nothing_that_fills_the_disk(folder: Path) -> None:
    with opened(folder) as (state, _):
        state.save("doc", OLD)
        (folder / "doc.json.1").mkdir()  # in the way of the one before
        assert not state.save("doc", NEW)
    assert files(folder) == {"doc.json", "doc.json.1"}
    assert loaded(folder)[0] == OLD


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_only_be_read_is_read(folder: Path) -> None:
    with opened(folder) as (state, _):
        state.save("doc", OLD)
    folder.chmod(0o500)
    try:
        found, (event,) = loaded(folder)
        assert found == OLD
        assert event.startswith(f"warning: the state directory {folder} cannot be written: this user may not write")
    finally:
        folder.chmod(0o700)


def test_a_second_nlb_in_the_same_folder_keeps_out(folder: Path) -> None:
    with opened(folder) as (first, told_first):
        first.save("doc", OLD)
        with opened(folder) as (second, told_second):
            assert second.load("doc") is None
            assert not second.save("doc", NEW)
        assert "another nlb uses it; give this one its own in [admin] state_dir" in told_second.events[0]
        assert first.load("doc") == OLD
        assert first.save("doc", NEW)
        assert not told_first.events
    assert loaded(folder) == (NEW, []), "free again once the first has ended"
