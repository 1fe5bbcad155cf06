"""The default places of the daemon's files: the daemon's first choice, and all that a client tries."""

from __future__ import annotations

import pytest

from nlb.model.places import admin_sockets, state_dir

ROOTS = "/run/nlb/nlb.sock"


@pytest.mark.parametrize(
    ("env", "uid", "places"),
    [
        ({}, 0, [ROOTS]),
        ({"RUNTIME_DIRECTORY": "/run/nlb"}, 0, [ROOTS]),
        ({"RUNTIME_DIRECTORY": "/run/edge:/run/other"}, 0, ["/run/edge/nlb.sock", ROOTS]),
        ({"XDG_RUNTIME_DIR": "/run/user/0"}, 0, [ROOTS]),
        ({}, 1000, ["/tmp/nlb-1000/nlb.sock", ROOTS]),
        (
            {"XDG_RUNTIME_DIR": "/run/user/1000/"},
            1000,
            ["/run/user/1000/nlb/nlb.sock", "/tmp/nlb-1000/nlb.sock", ROOTS],
        ),
        ({"XDG_RUNTIME_DIR": "relative", "RUNTIME_DIRECTORY": ""}, 1000, ["/tmp/nlb-1000/nlb.sock", ROOTS]),
        ({"RUNTIME_DIRECTORY": "/run/nlb"}, 999, [ROOTS, "/tmp/nlb-999/nlb.sock"]),
    ],
)
def test_the_admin_socket_is_looked_for_in_this_order(env, uid, places):
    assert admin_sockets(env, uid, "/tmp") == places


@pytest.mark.parametrize(
    ("env", "uid", "folder"),
    [
        ({}, 0, "/var/lib/nlb"),
        ({"STATE_DIRECTORY": "/var/lib/edge"}, 0, "/var/lib/edge"),
        ({"STATE_DIRECTORY": "/var/lib/nlb:/var/lib/b"}, 999, "/var/lib/nlb"),
        ({}, 1000, "/home/eve/.local/state/nlb"),
        ({"XDG_STATE_HOME": "/home/eve/state"}, 1000, "/home/eve/state/nlb"),
        ({"XDG_STATE_HOME": "state"}, 1000, "/home/eve/.local/state/nlb"),
    ],
)
def test_state_is_kept_here(env, uid, folder):
    assert state_dir(env, uid, "/home/eve") == folder
