"""`nlb check`: all mistakes on stderr and exit 2, or a summary and exit 0; the same in JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from nlb.cli.check import Box, check, summary, too_many
from nlb.cli.series import series
from nlb.model import places
from nlb.model.parse import parse

ROOT = Path(__file__).resolve().parents[3]
BOX = Box(cores=2, soft=1024, descriptors=10_500, socket="/run/nlb/nlb.sock", state_dir="/var/lib/nlb")


@pytest.fixture
def run(tmp_path):
    def run(text, *options):
        path = tmp_path / "nlb.toml"
        path.write_text(text)
        return CliRunner().invoke(check, ["-c", str(path), *options]), str(path)

    return run


LISTENER = '[[listener]]\nname = "front"\nbind = "0.0.0.0:80"\n'
GROUP = '[[target_group]]\nname = "web"\ntargets = ["web01=10.0.0.11:3000", "10.0.0.12:3000"]\n'


def lines(text):
    return list(summary(parse(text, "nlb.toml"), BOX))


def test_mistakes_go_to_stderr_with_their_places_and_exit_2(run):
    result, path = run('[[listener]]\nbind = "0.0.0.0:99999"\nnmae = "web"\n')
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"{path}:1:1: no target_group, so there is nobody to forward to; write [[target_group]] and below it "
        'name = "web" and targets = ["10.0.0.11:3000"]',
        f"{path}:2:8: listener[0].bind: port 99999 is outside 1-65535",
        f"{path}:3:1: listener[0].nmae: unknown key (did you mean name?)",
    ]


def test_tls_proxy_headers_and_the_shield_are_summed_up():
    text = (
        "[shield]\nmax_connections_per_source = 50\n"
        + LISTENER
        + 'protocol = "https"\ntarget_group = "app"\ncertificates = [{ cert = "/a" }, { directory = "/b" }]\n'
        + 'tls.client_ca = "/ca"\n'
        + '[[listener]]\nname = "mail"\nbind = "0.0.0.0:993"\nprotocol = "tls"\ntarget_group = "imap"\n'
        + 'certificates = { directory = "/b" }\nproxy_protocol = "accept"\ntrusted_proxies = "10.0.0.0/8"\n'
        + "[listener.shield]\nmax_connections = 9\n"
        + '[[target_group]]\nname = "app"\nprotocol = "https"\ntargets = ["app.test:443"]\n'
        + '[[target_group]]\nname = "imap"\nprotocol = "tls"\nproxy_protocol = "v2"\ntarget_tls = { verify = false }\n'
    )
    told = lines(text)
    assert [line for line in told if "TLS" in line or "hield" in line or line.startswith("group")] == [
        "listener front on 0.0.0.0:80 -> group app (https, at most 5000 sessions, idle ones end after 1m, "
        "intermediate TLS with 1 certificate and 1 folder, needs clients' certificates, desync defensive, "
        "trusts no proxy)",
        "listener mail on 0.0.0.0:993 -> group imap (tls, at most 9 sessions, idle ones end after 5m 50s, "
        "intermediate TLS with 1 folder, PROXY headers needed, trusts the proxies in 1 network)",
        "  shield 9 connections of a listener, 50 of a source",
        "group app: https, 1 target, round_robin, health check tcp connect every 2s, certificates verified",
        "group imap: tls, 0 targets, round_robin, health check tcp connect every 2s, certificates NOT verified, "
        "PROXY v2",
        "shield   50 of a source",
    ]


def test_a_missing_file_is_exit_2(tmp_path):
    result = CliRunner().invoke(check, ["--config", str(tmp_path / "absent.toml")])
    assert result.exit_code == 2
    assert "there is no such file" in result.stderr


def test_without_a_path_it_checks_what_serve_would_run():
    (option,) = [param for param in check.params if param.name == "path"]
    assert option.default == places.CONFIG == "/etc/nlb/nlb.toml"


def test_a_good_file_is_summed_up_with_exit_0(run):
    result, path = run(LISTENER + GROUP)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{path}: good\n")
    assert result.stderr == ""


def test_doubts_are_warnings_and_stop_nothing(run):
    result, _ = run(LISTENER + '[[target_group]]\nname = "web"\n')
    assert result.exit_code == 0
    assert result.stderr == ("warning: target_group.web: has no targets; every session will end as pick/no_target\n")


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (
            'protocol = "exec"\ncommand = ["{folder}/absent"]',
            "command: {folder}/absent cannot be run here; without it no target is asked",
        ),
        ('protocol = "exec"\ncommand = ["/bin/sh"]', ""),
        (
            'protocol = "tls"\ntls_ca = "{folder}/absent"',
            "tls_ca: {folder}/absent cannot be read here; without it no target is asked",
        ),
        ('protocol = "tls"\ntls_ca = "{folder}/nlb.toml"', ""),
    ],
)
def test_what_a_health_check_needs_and_is_not_here_is_a_warning(run, tmp_path, keys, told):
    result, _ = run(LISTENER + GROUP + "[target_group.health_check]\n" + keys.replace("{folder}", str(tmp_path)))
    assert result.exit_code == 0
    told = told.replace("{folder}", str(tmp_path))
    assert result.stderr == (f"warning: target_group.web.health_check.{told}\n" if told else "")


def test_the_summary_goes_from_listeners_to_targets():
    text = (
        'workers = 3\n[admin]\nweb = false\nsocket = "/run/edge.sock"\nstate_dir = "/srv/edge"\n'
        + LISTENER
        + 'target_group = "web"\nmax_connections = 10\n'
        + '[[listener]]\nbind = "[::]:81"\ntarget_group = "keyed"\nidle_timeout = 60\n'
        + GROUP
        + 'health_check = { protocol = "http", path = "/up", port = 8080, matcher = "200" }\n'
        + '[[target_group]]\nname = "keyed"\npolicy = "maglev"\nhealth_check = { protocol = "none" }\n'
        + 'targets = [{ name = "a", address = "10.0.0.1:1", weight = 5 }, "bcd=10.0.0.2:1"]\n'
    )
    assert lines(text) == [
        "3 workers; sessions have 10s at shutdown",
        "admin socket  /run/edge.sock",
        "state         /srv/edge",
        "status page   off",
        "",
        "listener front on 0.0.0.0:80 -> group web (tcp, at most 10 sessions, idle ones end after 5m 50s)",
        "listener [::]:81 -> group keyed (tcp, at most 7500 sessions, idle ones end after 1m)",
        "",
        "group web: 2 targets, round_robin, health check http /up for 200 on port 8080 every 2s",
        "  web01           10.0.0.11:3000",
        "  10.0.0.12:3000",
        "",
        "group keyed: 2 targets, maglev by flow, no health check: targets count as healthy",
        "  a    10.0.0.1:1  weight 5",
        "  bcd  10.0.0.2:1",
        "",
        "limits   10500 descriptors per worker (the soft limit of 1024 is raised at the start): room for 7500 sessions",
        "metrics  up to about 370 series",
    ]


HTTP = """
[[listener]]
name = "edge"
bind = "0.0.0.0:80"
protocol = "http"
trusted_proxies = ["10.0.0.0/8"]
  [[listener.rule]]
  path = "/old/*"
  redirect = { protocol = "https" }
  [[listener.rule]]
  name = "api-v1"
  priority = 1
  host = ["api.test", "*.api.test"]
  forward = "web"
[[target_group]]
name = "web"
protocol = "http"
stickiness = { type = "app_cookie", name = "SESSIONID", duration = "2h" }
"""


def test_rules_are_told_in_the_order_in_which_they_are_tried():
    assert lines(HTTP)[5:10] == [
        "listener edge on 0.0.0.0:80 -> group web (http, at most 5000 sessions, idle ones end after 1m, "
        "desync defensive, trusts the proxies in 1 network)",
        "  rule api-v1  host api.test or *.api.test -> group web",
        "  rule 2       path /old/* -> redirect 302 to https://#{host}/#{path}",
        "",
        "group web: http, 0 targets, round_robin, health check tcp connect every 2s, "
        "sticky by app_cookie SESSIONID for 2h",
    ]


def test_many_rules_are_cut_short_and_so_are_long_ones():
    rules = '[[listener.rule]]\nquery = { a = "XXX" }\nforward = "web"\n'.replace("XXX", "x" * 1000) * 30
    told = lines(HTTP.replace("  [[listener.rule]]\n  path", rules + "  [[listener.rule]]\n  path"))
    assert "  and 12 more" in told
    assert max(len(line) for line in told if line.startswith("  rule")) < 400


def test_defaults_are_filled_in_from_the_box():
    told = lines(LISTENER + GROUP)
    assert told[0] == "2 workers (one per usable core); sessions have 10s at shutdown"
    assert told[1:3] == ["admin socket  /run/nlb/nlb.sock", "state         /var/lib/nlb"]
    assert "status page   http://127.0.0.1:9191/ (and /metrics, /healthz, /ready)" in told
    assert any("at most 5000 sessions" in line for line in told)


def test_many_targets_are_cut_short():
    targets = ", ".join(f'"10.0.0.{n}:80"' for n in range(1, 101))
    told = lines(LISTENER + f'[[target_group]]\nname = "web"\ntargets = [{targets}]\n')
    assert "  and 80 more" in told
    assert len([line for line in told if line.startswith("  10.0.0.")]) == 20


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (5000, []),
        (
            5001,
            [
                "listener.front.max_connections: 5001 is more than the 5000 sessions that 10500 descriptors per worker "
                "allow; LimitNOFILE (ulimit -Hn) would have to be 10504"
            ],
        ),
    ],
)
def test_more_connections_than_descriptors_allow_are_told(wanted, told):
    config = parse(LISTENER + f"max_connections = {wanted}\n" + GROUP, "nlb.toml")
    assert list(too_many(config, BOX)) == told
    assert list(too_many(config, replace(BOX, descriptors=10_504))) == []


def test_json_has_the_config_with_its_defaults_and_what_it_comes_to(run):
    result, path = run(LISTENER + GROUP, "--json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert (told["ok"], told["file"], told["warnings"]) == (True, path, [])
    assert told["config"]["listener"][0]["target_group"] == "web"
    assert told["config"]["target_group"][0]["targets"][0]["address"] == "10.0.0.11:3000"
    assert told["limits"]["sessions"] == told["limits"]["sessions_per_worker"] * told["workers"]
    assert told["limits"]["series"] == series(parse(LISTENER + GROUP, path), told["workers"])


def test_json_has_the_mistakes_too(run, tmp_path):
    result, path = run("[[listener]]\nbind = 80\n" + GROUP, "--json")
    assert result.exit_code == 2
    assert result.stderr == ""
    mistake = {
        "line": 2,
        "column": 8,
        "path": "listener[0].bind",
        "message": "must be text in quotes; this is a number",
    }
    assert json.loads(result.stdout) == {"ok": False, "file": path, "errors": [mistake]}
    absent = json.loads(CliRunner().invoke(check, ["-c", str(tmp_path / "absent"), "--json"]).stdout)
    assert "no such file" in absent["errors"][0]["message"]


def test_targets_that_are_looked_up_are_told_as_such():
    names = '["app=app.test:80", { address = "_app._tcp.test", srv = true }, "web01=10.0.0.11:80"]'
    told = lines(LISTENER + f'[[target_group]]\nname = "web"\ntargets = {names}\n')
    assert [line for line in told if "test" in line or "web01" in line] == [
        "  app             app.test:80  looked up, each address is a target",
        "  _app._tcp.test  looked up (SRV), each address is a target",
        "  web01           10.0.0.11:80",
    ]
