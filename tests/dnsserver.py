"""A nameserver on loopback, which answers by UDP and TCP what the test wrote into its zone."""

from __future__ import annotations

import os
import select
import socket
import threading
from dataclasses import dataclass
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from nlb.model.address import Address
from tests.waiting import PATIENCE

SERVFAIL, REFUSED = dns.rcode.SERVFAIL, dns.rcode.REFUSED


@dataclass
class Reply:
    """A record is `(type, ttl, data...)` or `(name, type, ttl, data...)`. `garbage` is sent instead; empty: nothing."""

    records: tuple[Any, ...] = ()
    beside: tuple[Any, ...] = ()
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR
    garbage: bytes | None = None


class Nameserver:
    """Answers from `zone`, by (name, type). A name with another type has no such record; other names do not exist."""

    def __init__(self) -> None:
        self.zone: dict[tuple[str, str], Reply] = {}
        self.asked: list[tuple[str, str]] = []
        self.by_tcp = 0
        self._udp, self._tcp = self._bind()
        self.address = Address(*self._udp.getsockname())
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def has(self, name: str, *records: Any, beside: tuple[Any, ...] = ()) -> None:
        """Each record: (type, ttl, data, ...)."""
        for record in records:
            self.zone[name, record[0]] = Reply((record,), beside)

    def fails(self, name: str, kind: str, rcode: dns.rcode.Rcode = SERVFAIL) -> None:
        self.zone[name, kind] = Reply(rcode=rcode)

    def says(self, name: str, kind: str, garbage: bytes) -> None:
        self.zone[name, kind] = Reply(garbage=garbage)

    def forget(self, name: str) -> None:
        """From now on there is no such name."""
        for known in [known for known in self.zone if known[0] == name]:
            del self.zone[known]

    def close(self) -> None:
        os.close(self._stop_write)
        self._thread.join()
        os.close(self._stop_read)
        self._udp.close()
        self._tcp.close()

    @staticmethod
    def _bind() -> tuple[socket.socket, socket.socket]:
        """One port, free for both."""
        while True:
            tcp = socket.create_server(("127.0.0.1", 0))
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                udp.bind(tcp.getsockname())
                return udp, tcp
            except OSError:
                tcp.close()
                udp.close()

    def _serve(self) -> None:
        while True:
            watched: list[Any] = [self._udp, self._tcp, self._stop_read]
            ready, _, _ = select.select(watched, [], [])
            if self._stop_read in ready:
                return
            if self._udp in ready:
                question, client = self._udp.recvfrom(65535)
                if answer := self._answer(question, 512):
                    self._udp.sendto(answer, client)
            if self._tcp in ready:
                self._serve_tcp()

    def _serve_tcp(self) -> None:
        connection, _ = self._tcp.accept()
        with connection, connection.makefile("rb") as stream:
            connection.settimeout(PATIENCE)
            self.by_tcp += 1
            size = int.from_bytes(stream.read(2), "big")
            if answer := self._answer(stream.read(size), 65535):
                connection.sendall(len(answer).to_bytes(2, "big") + answer)

    def _answer(self, wire: bytes, room: int) -> bytes:
        query = dns.message.from_wire(wire)
        [question] = query.question
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        reply = self.zone.get((name, kind)) or self.zone.get((name, "CNAME"))
        if reply and reply.garbage is not None:
            return reply.garbage
        response = dns.message.make_response(query)
        if reply:
            response.set_rcode(reply.rcode)
            response.answer += [records(name, item) for item in reply.records]
            response.additional += [records(name, item) for item in reply.beside]
        elif not any(name == known for known, _ in list(self.zone)):
            response.set_rcode(dns.rcode.NXDOMAIN)
        answer = response.to_wire(max_size=65535)
        if len(answer) <= room:
            return answer
        response.flags |= dns.flags.TC
        response.answer.clear()
        response.additional.clear()
        return response.to_wire()


def records(name: str, item: Any) -> dns.rrset.RRset:
    if isinstance(item[1], str):
        name, *item = item
    kind, ttl, *data = item
    return dns.rrset.from_text_list(dns.name.from_text(name), ttl, "IN", kind, data)
