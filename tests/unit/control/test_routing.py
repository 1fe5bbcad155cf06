"""From a listener of a config to what workers compile."""

from __future__ import annotations

import json

from nlb.control.routing import hello_specs, rule_specs
from nlb.http1.routes import FIXED_RESPONSE, REDIRECT, Routes
from nlb.model.parse import parse

CONFIG = parse(
    """
[[listener]]
name = "edge"
bind = "0.0.0.0:80"
protocol = "http"
target_group = "web"

  [[listener.rule]]
  priority = 20
  path = "/old/*"
  redirect = { status = 301, path = "/new/#{path}", protocol = "https" }

  [[listener.rule]]
  priority = 10
  name = "api-v1"
  host = ["api.example.com", "*.api.example.com"]
  path = "/v1/*"
  path_regex = "^/v[0-9]"
  method = ["GET", "POST"]
  header = { "X-Canary" = ["1", "yes*"] }
  query = { version = "2" }
  source = ["192.0.2.0/24"]
  port = [80]
  forward = [{ target_group = "api", weight = 9 }, { target_group = "web", weight = 1 }]

  [[listener.rule]]
  priority = 30
  host = "closed.example.com"
  fixed_response = { status = 503, content_type = "text/html", body = "back at noon" }

[[target_group]]
name = "web"
protocol = "http"

[[target_group]]
name = "api"
protocol = "http"
""",
    "nlb.toml",
)

NUMBERS = {("api-v1", "api"): 7, ("api-v1", "web"): 8, ("2", ""): 9, ("3", ""): 10, ("default", "web"): 11}


def test_a_listener_in_plain_data() -> None:
    spec = rule_specs(CONFIG.listeners[0], {"web": 1, "api": 2}.__getitem__, lambda *route: NUMBERS[route])
    assert json.loads(json.dumps(spec)) == spec
    assert spec["default"] == {"label": "default", "number": 11, "forward": [[1, 1, 11]]}
    api, old, closed = spec["rules"]
    assert api == {
        "label": "api-v1",
        "number": 7,
        "host": ["api.example.com", "*.api.example.com"],
        "path": ["/v1/*"],
        "path_regex": ["^/v[0-9]"],
        "method": ["GET", "POST"],
        "header": {"X-Canary": ["1", "yes*"]},
        "query": {"version": ["2"]},
        "source": ["192.0.2.0/24"],
        "port": [80],
        "forward": [[2, 9, 7], [1, 1, 8]],
    }
    assert (old["label"], old["number"], old["path"]) == ("2", 9, ["/old/*"])
    assert closed["fixed_response"] == {"status": 503, "content_type": "text/html", "body": "back at noon"}


def test_it_compiles() -> None:
    spec = rule_specs(CONFIG.listeners[0], str, lambda *route: NUMBERS[route])
    routes = Routes(spec["rules"], spec["default"])
    found = {rule.label: rule for rule, _ in routes._rules}
    assert found["api-v1"].numbers == {"api": 7, "web": 8}
    assert (found["2"].kind, found["3"].kind) == (REDIRECT, FIXED_RESPONSE)
    assert routes.default.numbers == {"web": 11}


def test_rules_of_tcp_ask_what_clients_say_before_they_encrypt() -> None:
    text = """
[[listener]]
bind = "0.0.0.0:443"
target_group = "web"

  [[listener.rule]]
  sni = ["*.example.com", "example.com"]
  alpn = "h2"
  forward = [{ target_group = "api", weight = 9 }, { target_group = "web", weight = 1 }]

  [[listener.rule]]
  priority = 1
  sni = "mail.example.com"
  forward = "mail"
"""
    config = parse(
        text + "".join(f'[[target_group]]\nname = "{name}"\n' for name in ("web", "api", "mail")), "nlb.toml"
    )
    numbers = {"web": 0, "api": 1, "mail": 2}
    specs = hello_specs(config.listeners[0], numbers.__getitem__)
    assert json.loads(json.dumps(specs)) == [
        {"sni": ["mail.example.com"], "alpn": [], "forward": [[2, 1]]},
        {"sni": ["*.example.com", "example.com"], "alpn": ["h2"], "forward": [[1, 9], [0, 1]]},
    ]
