"""A file that the config names, off the disk: its bytes, or a sentence about why they cannot be had."""

from __future__ import annotations

import os
import stat


def read(path: str, largest: int) -> bytes:
    """Raises ValueError with what is wrong and what would be right, to be put behind the path. Never waits, as a pipe
    would have it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise ValueError("is not a file; write the absolute path of one")
            if about.st_size > largest:
                raise ValueError(f"is larger than {largest >> 10} KiB; is this the right file?")
            with os.fdopen(os.dup(descriptor), "rb") as file:
                return file.read(largest)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise ValueError("is not there; write the absolute path of a file") from None
    except PermissionError:
        raise ValueError("may not be read by this user; see the mode of the file and of its folders") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {os.strerror(error.errno or 0)}") from None


def look_into(path: str) -> list[str]:
    """The names in a folder, in order. Raises ValueError likewise."""
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        raise ValueError("is not there; write the absolute path of a folder") from None
    except NotADirectoryError:
        raise ValueError("is not a folder; write its absolute path, or a file as cert = ") from None
    except PermissionError:
        raise ValueError("may not be read by this user; see the mode of the folder") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {os.strerror(error.errno or 0)}") from None
