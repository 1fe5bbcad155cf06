"""Children that do not outlive their parent, even when it is killed: the kernel signals them (PR_SET_PDEATHSIG)."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

# Loaded here, so that nothing is left to be loaded between fork and exec.
_prctl = ctypes.CDLL(None).prctl
_prctl.argtypes = [ctypes.c_int, ctypes.c_ulong]


def die_with_parent(number: signal.Signals) -> Callable[[], None]:
    """A `preexec_fn` for subprocess: the child gets signal `number` when the thread that started it ends.

    The promise holds over exec. Only for a parent without further threads, as every `preexec_fn`.
    """
    parent = os.getpid()

    def promise() -> None:
        if number != signal.SIGKILL:
            # A handler inherited from the parent would swallow the signal if it came just before the exec.
            signal.signal(number, signal.SIG_DFL)
        _prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died before the promise was made, so nobody will keep it
            os._exit(1)

    return promise
