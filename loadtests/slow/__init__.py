"""Slow attacks beside normal clients: `python -m loadtests.slow --help`.

attacks    what slowhttptest does, and it at work
visitors   the normal clients, in a process of their own
sentinel   when the box itself stood still
held       how many connections a port has, and what a balancer uses meanwhile
verdict    samples -> figures, and what is good; nothing here measures
"""
