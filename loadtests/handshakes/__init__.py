"""What a TLS handshake costs: see `__main__.py`. A package, because locust imports every module of the folder above
whose name does not begin with an underscore, and under it the selectors that nlb needs are not there."""
