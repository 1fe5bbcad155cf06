"""What is written down of a session, or of an exchange, that has ended: a value for each field of its access line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nlb.balance.target import Target
from nlb.http1.desync import CLASS_OF

if TYPE_CHECKING:
    from nlb.proxy.exchange import Exchange
    from nlb.proxy.tcp import TcpSession


def of_session(session: TcpSession, target: Target | None) -> list[Any]:
    began, connected_at, answered_at = session.began, session.connected_at, session.answered_at
    return [
        session.outcome,
        session.listener.name,
        session.client_name,
        session.group.balance.name,
        target.name if target else None,
        session.listener.loop.now - began,
        connected_at - began if connected_at else None,
        answered_at - connected_at if answered_at else None,
        session.counted_up,
        session.counted_down,
        len(session.tried) + (target is not None),
        f"{session.id:032x}" if session.id else None,
    ]


def of_exchange(exchange: Exchange, target: Target | None) -> list[Any]:
    session, request, rule = exchange.session, exchange.request, exchange.rule
    is_read = bool(request.method)  # else what came was no request
    picked_at, connected_at, sent_at = exchange.picked_at, exchange.connected_at, exchange.sent_at
    agents = request.get(b"user-agent") if is_read else []
    return [
        exchange.outcome,
        exchange.listener.name,
        exchange.client,
        session.client_name,
        request.method if is_read else None,
        request.target if is_read else None,
        f"HTTP/1.{request.minor}" if is_read else None,
        request.host or None,
        rule.label if rule else None,
        exchange.group.balance.name if exchange.is_routed else None,
        target.name if target else None,
        exchange.status or None,
        exchange.response.status if exchange.response else None,
        exchange.received,
        exchange.sent,
        exchange.queued or None,
        connected_at - picked_at if connected_at > picked_at else None,
        exchange.answered_at - sent_at if exchange.answered_at and sent_at else None,
        exchange.listener.loop.now - exchange.began,
        len(exchange.tried) + (target is not None),
        CLASS_OF.get(exchange.reason),
        exchange.reason or None,
        (session.peer.request_id(request, exchange.id) or None) if exchange.id else None,  # 0: it was told to nobody
        agents[0] if agents else None,
    ]
