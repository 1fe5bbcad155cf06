"""Load tests and measurements. Not part of the test suite: they measure, and a measurement needs a quiet box.

Importing a module here has no effect; each is run with `python -m loadtests.NAME`. Only scaleout is locust's, run with
`locust -f loadtests/`; because its targets are slow by design, a short run of it is among the tests.
"""
