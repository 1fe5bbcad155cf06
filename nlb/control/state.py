"""The state directory: small JSON documents that outlive a restart. Whatever kills us, and whenever, a document on
disk is the old one or the new one; trouble with the disk is told as an event and stops nothing.

    overrides.json                                the document
    overrides.json.1                              the one before it
    overrides.json.new                            a save that was cut short; the next one writes over it
    overrides.json.damaged-20261123T100430Z       set aside because it could not be read
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from nlb.observe.lines import timestamp

Data = dict[str, Any]
Say = Callable[[str, str, str], None]  # level, kind, text: as Events.say

# Of all documents together: raised when an older nlb would misread what this one writes.
VERSION = 1

# Bytes. As many overrides as are allowed, each with the longest texts, stay below; what is larger is not ours.
LARGEST = 64 << 20

# Damaged files of one document that are kept for whoever wants to know what happened.
KEPT = 4


def anything(data: Data) -> None:
    """The check of a document that may hold any object."""


class _DamagedError(Exception):
    """Why a file is no document."""


class StateDir:
    """One per control process. A folder that cannot be used is told once; then nothing is loaded and nothing kept.

    `writable` says whether what is saved will be there after a restart, as far as the last try has shown.
    """

    def __init__(self, path: str, say: Say) -> None:
        """Makes the folder (0700) when it is missing."""
        self.path = path
        self.writable = True
        self._say = say
        self._folder = self._open()
        if self._folder is not None and not os.access(path, os.W_OK | os.X_OK):
            self._failed("this user may not write there")

    def close(self) -> None:
        """Let another process have the folder. The end of this one does it too."""
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None

    def load(self, name: str, check: Callable[[Data], None] = anything) -> Data | None:
        """The document that was saved last, or None when there is none.

        `check` raises ValueError with a sentence when the data has not the shape that it should. A damaged document
        is set aside and the one before it takes its place; so it does for a document that somebody removed.
        """
        if self._folder is None:
            return None
        file, before = f"{name}.json", f"{name}.json.1"
        try:
            return self._read(file, check)
        except FileNotFoundError:
            if not os.path.lexists(self._at(before)):
                return None  # the first start
            trouble = f"{self.path}/{file} is missing"
        except _DamagedError as error:
            trouble = f"{self.path}/{file} is damaged: {error}; {self._set_aside(name, file)}"
        try:
            data = self._read(before, check)
        except FileNotFoundError:
            self._say("error", "nlb", f"{trouble}; there is none before it, so what it kept is lost")
            return None
        except _DamagedError as error:
            aside = self._set_aside(name, before)
            self._say("error", "nlb", f"{trouble}; {before} is damaged too: {error}; {aside}; what they kept is lost")
            return None
        self._say("warning", "nlb", f"{trouble}; the one before it is used, of {self._written(before)}")
        with suppress(OSError):  # then it is found in its old place the next time too
            os.replace(self._at(before), self._at(file))
        return data

    def save(self, name: str, data: Data) -> bool:
        """Put a document in the place of the old one. Returns whether it is safe on disk.

        Waits for the disk twice, which takes a millisecond on a good one and tens on a busy one, and control's loop
        waits too: save what changes together together. A failure is told when it begins and when it ends.
        """
        if self._folder is None:
            return False
        content = json.dumps({"version": VERSION, "data": data}, allow_nan=False).encode()
        try:
            self._write(f"{name}.json", content, self._folder)
        except OSError as error:
            self._failed(os.strerror(error.errno or 0))
            return False
        if not self.writable:
            self.writable = True
            self._say("info", "nlb", f"the state directory {self.path} can be written again; all overrides are kept")
        return True

    def _at(self, file: str) -> str:
        return os.path.join(self.path, file)

    def _open(self) -> int | None:
        """The folder, locked: two daemons would write over each other's documents."""
        try:
            os.makedirs(self.path, 0o700, exist_ok=True)
            folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            self._failed(os.strerror(error.errno or 0))
            return None
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(folder)
            self._failed("another nlb uses it; give this one its own in [admin] state_dir")
            return None
        except OSError:
            pass  # a file system without locks
        return folder

    def _failed(self, why: str) -> None:
        """Told once, not with every save."""
        if self.writable:
            self.writable = False
            what = f"the state directory {self.path} cannot be written: {why}"
            self._say("warning", "nlb", f"{what}; what operators change will not survive a restart")

    def _read(self, file: str, check: Callable[[Data], None]) -> Data:
        """Raises FileNotFoundError or _DamagedError."""
        try:
            with open(self._at(file), "rb") as stream:
                content = stream.read(LARGEST + 1)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _DamagedError(f"cannot be read: {os.strerror(error.errno or 0)}") from None
        if len(content) > LARGEST:
            raise _DamagedError(f"larger than {LARGEST >> 20} MiB")
        data = _data(_document(content))
        try:
            check(data)
        except ValueError as error:
            raise _DamagedError(str(error)) from None
        return data

    def _write(self, file: str, content: bytes, folder: int) -> None:
        path, new, before = self._at(file), self._at(f"{file}.new"), self._at(f"{file}.1")
        try:
            with open(new, "wb", opener=_private) as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            with suppress(FileNotFoundError):
                _keep(path, before)
            os.replace(new, path)
            os.fsync(folder)
        except OSError:
            with suppress(OSError):
                os.unlink(new)  # it may fill the disk
            raise

    def _set_aside(self, name: str, file: str) -> str:
        """Returns what became of it, as part of a sentence."""
        aside = f"{file}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        try:
            os.replace(self._at(file), self._at(aside))
        except OSError as error:
            return f"it could not be set aside: {os.strerror(error.errno or 0)}"
        self._forget_damaged(name)
        return f"it was set aside as {aside}"

    def _forget_damaged(self, name: str) -> None:
        """Remove all but the latest of a document's damaged files."""
        with suppress(OSError):
            starts = f"{name}.json.damaged-", f"{name}.json.1.damaged-"
            damaged = [file for file in os.listdir(self.path) if file.startswith(starts)]
            for file in sorted(damaged, key=lambda file: file.rpartition("-")[2])[:-KEPT]:
                os.unlink(self._at(file))

    def _written(self, file: str) -> str:
        try:
            return timestamp(os.stat(self._at(file)).st_mtime)
        except OSError:
            return "an unknown time"


def _document(content: bytes) -> object:
    try:
        return json.loads(content)
    except RecursionError:
        raise _DamagedError("too much is nested in one another") from None
    except ValueError as error:
        raise _DamagedError(f"it is not JSON: {error}") from None


def _data(document: object) -> Data:
    if not isinstance(document, dict) or document.keys() != {"version", "data"}:
        raise _DamagedError("it is not a document of nlb's")
    version, data = document["version"], document["data"]
    if version != VERSION:
        raise _DamagedError(f"it is of version {str(version)[:20]}, and this nlb reads version {VERSION}")
    if not isinstance(data, dict):
        raise _DamagedError("its data is not an object")
    return data


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _keep(path: str, before: str) -> None:
    """Make a document the one before. It stays in its place as well, so that there is one at every moment."""
    with suppress(FileNotFoundError):
        os.unlink(before)
    try:
        os.link(path, before)
    except FileNotFoundError:
        raise
    except OSError:
        # A file system without hard links. Killed right here, the next start finds the one before and says so.
        os.replace(path, before)
