"""The operator's error pages off the disk. They are read with the config: a page that cannot be read is a mistake in
it, and not a surprise in the middle of an outage.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from nlb.model.checks import Wrong
from nlb.model.config import Config
from nlb.model.http import LARGEST_PAGE


class Pages:
    """Each file is read once, however many listeners name it."""

    def __init__(self) -> None:
        self._found: dict[str, bytes | ValueError] = {}

    def mistakes(self, config: Config) -> Iterator[Wrong]:
        """Reads all files that a config names, and tells what is wrong with them at the key that names them."""
        for number, listener in enumerate(config.listeners):
            for status, path in listener.error_pages.items():
                if path not in self._found:
                    self._found[path] = _read(path)
                if isinstance(trouble := self._found[path], ValueError):
                    yield Wrong(("listener", number, "error_pages", str(status)), f"{path} {trouble}")

    def into(self, config: Config) -> Config:
        """The config with the bytes of its pages, which have no mistakes."""
        if not self._found:
            return config
        listeners = [
            listener.with_pages({status: self._content(path) for status, path in listener.error_pages.items()})
            for listener in config.listeners
        ]
        return config.model_copy(update={"listeners": tuple(listeners)})

    def _content(self, path: str) -> bytes:
        content = self._found[path]
        assert isinstance(content, bytes)
        return content


def _read(path: str) -> bytes | ValueError:
    try:
        # A pipe that nobody writes to must not hold up a reload.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return ValueError("is not a file; write the absolute path of an HTML file")
            content = os.read(descriptor, LARGEST_PAGE + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return ValueError("is not there; write the absolute path of an HTML file, or leave the status out")
    except PermissionError:
        return ValueError("may not be read by this user; see the mode of the file and of its folders")
    except OSError as error:
        return ValueError(f"cannot be read: {os.strerror(error.errno or 0)}")
    if len(content) > LARGEST_PAGE:
        return ValueError(f"is larger than {LARGEST_PAGE >> 10} KiB; put pictures and scripts on a server")
    if not content:
        return ValueError("is empty; write something into it, or leave the status out")
    return content
