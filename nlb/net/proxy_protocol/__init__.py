"""The PROXY protocol: who a connection is made for, in a header before its first byte. Versions 1 and 2, read and
written. Sections in comments are those of the specification, haproxy's doc/proxy-protocol.txt.
"""
