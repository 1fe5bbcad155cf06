"""nlb beside HAProxy, nginx and Caddy, in one run and as ratios: `python -m loadtests.peers --help`.

cases       what is measured, and what nlb should reach
candidates  who is measured: programs, their tuned configs (in configs/), what each cannot do and why
bench       the targets behind them, in a network of our own (room) so that ports do not run out
starting    a candidate set up, started, and asked whether it really does its job
loads       who puts the load on them: wrk, and clients of our own (client) for what wrk cannot measure
measuring   rounds that alternate between the candidates
figures     samples -> medians and ratios; nothing here measures
report      the same as a table and as JSON, against an earlier run; page: as HTML with charts
hotspots    where the time of a case goes (with profiled, which stands in for Python)
"""
