"""Python whose nlb runs every worker under cProfile: `python loadtests/peers/profiled.py FOLDER -m nlb serve ...`.

A worker's figures are in FOLDER/PID.prof once it has ended. nlb starts its workers with `sys.executable`, so that is
what is exchanged; nlb itself knows nothing of it. Nothing of loadtests is imported here: this runs in nlb's place.
"""

from __future__ import annotations

import cProfile
import importlib
import os
import runpy
import sys
from pathlib import Path

WORKER = "nlb.proxy.worker"


def main() -> None:
    folder, python, arguments = Path(sys.argv[1]), sys.executable, sys.argv[2:]
    sys.path[0] = os.getcwd()
    if arguments[:2] == ["-m", WORKER]:
        sys.argv = arguments[1:]
        module = importlib.import_module(WORKER)
        profile = cProfile.Profile()
        try:
            profile.runcall(module.main)
        finally:
            profile.dump_stats(folder / f"{os.getpid()}.prof")
    elif arguments[:3] == ["-m", "nlb", "serve"]:
        wrapper = folder / "python"
        wrapper.write_text(f'#!/bin/sh\nexec "{python}" "{Path(__file__).resolve()}" "{folder}" "$@"\n')
        wrapper.chmod(0o755)
        sys.executable = str(wrapper)
        sys.argv = arguments[1:]
        runpy.run_module("nlb", run_name="__main__", alter_sys=True)
    else:
        os.execv(python, [python, *arguments])


if __name__ == "__main__":
    main()
