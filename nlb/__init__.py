"""nlb, a load balancer for Linux: Python decides, the kernel moves the bytes.

A tour, in import order. A module imports only from packages above its own in this list:

errors   the exceptions that operators see, and the one list of outcomes with which sessions end
model    what the operator asked for: the schema with its defaults, and the parser that reports every mistake at once
balance  who gets it: targets, health, groups, policies; pure, so the same code runs in tests, control and workers
shield   who may: sets of networks; pure
http1    bytes and facts: heads, where bodies end, rules, what is added and answered; pure
net      file descriptors: the loop, sockets, the channel between control and workers
observe  what happened: counters in shared memory, their Prometheus form, access lines and events
proxy    the user-space plane: a worker process, its listeners and sessions, and the pipes that move bytes
control  who decides: probes, names, the controller, the supervisor of the workers
admin    the operator's door: the table of commands, the admin socket, the web pages
cli      the commands: serve, check, ctl, demo

A connection's way through it: `proxy/listener.py` accepts, `balance/group.py` picks, `proxy/seeker.py` connects,
`proxy/pipe.py` moves the bytes, `proxy/tcp.py` closes. A request's: `proxy/http.py` reads its head, `http1/routes.py`
finds its rule, `proxy/exchange.py` has it answered by a target or by us. A target's way: `control/probe.py` asks,
`balance/health.py` judges, `control/controller.py` tells every worker.
"""

__version__ = "0.1.0"
