"""Which target a client was sent to before, by a cookie that only we can write.

The value is base64url of: a token that stands for the target (9 bytes), unix seconds until which it holds (5), and the
first half of an HMAC-SHA256 over both (16). The token is made from the target's name and address with the key, so it
tells nothing, and means the same target after a restart or under another id. Every group signs with a key of its own.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from hmac import compare_digest, digest

from nlb.balance.target import Target
from nlb.http1.facts import Request, Response

LB_COOKIE, APP_COOKIE = TYPES = ("lb_cookie", "app_cookie")

_TOKEN = 9
_EXPIRY = 5
_SIGNED = _TOKEN + _EXPIRY
_SIGNATURE = 16
_LAST_SECOND = (1 << 8 * _EXPIRY) - 1

_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")

# What a cookie's name is made of is that of a token (RFC 6265 section 4.1.1). A group's name may have more.
_NOT_IN_A_TOKEN = re.compile(r"[^A-Za-z0-9!#$%&'*+.^_`|~-]+")

# Attributes by which an application ends its cookie. The date is that of RFC 9110, or with hyphens as of old.
_MAX_AGE = re.compile(rb";[ \t]*max-age=(-?)([0-9]+)(?![^; \t])", re.IGNORECASE)
_EXPIRES = re.compile(
    rb";[ \t]*expires=\"?[a-z]+, ([0-9]{1,2})[ -]([a-z]{3})[ -]([0-9]{4}|[0-9]{2}) ([0-9]{2}):([0-9]{2}):([0-9]{2})",
    re.IGNORECASE,
)
_MONTHS = {month: number for number, month in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}

# More cookies of one name than any browser sends; each one costs a signature.
_MOST_COOKIES = 8


class Sticky:
    """The stickiness of one group.

    `type` is one of TYPES, `name` that of the application's cookie ("app_cookie") or of ours ("lb_cookie", None for
    the default), `duration` in seconds. `targets` maps "name address" to a target.

    With "app_cookie" ours follows the application's: it is written when the application writes its own, counts only
    beside it, goes with the browser's session, and is taken back when the application takes back its own. Of the
    application's cookie only the name matters, as with AWS: applications write new values as they like.
    """

    __slots__ = (
        "_application",
        "_duration",
        "_inner",
        "_lasting",
        "_ours",
        "_outer",
        "_said",
        "_targets",
        "_tokens",
        "cookie",
    )

    def __init__(
        self, type: str, name: str | None, duration: float, key: bytes, group: str, targets: Mapping[str, Target]
    ) -> None:
        own_name = name if name and type == LB_COOKIE else f"nlb-{group}"
        self.cookie = _NOT_IN_A_TOKEN.sub("-", own_name).encode()
        self._duration = duration
        self._ours = re.compile(re.escape(self.cookie) + rb"=([A-Za-z0-9_-]{40})(?![^;\r \t])")
        self._application = b"%b=" % (name or "").encode() if type == APP_COOKIE else b""
        self._said = re.compile(rb"^(?i:set-cookie):[ \t]*%b([^\r\n]*)" % re.escape(self._application), re.MULTILINE)
        self._lasting = b"" if type == APP_COOKIE else b"; Max-Age=%d" % duration
        naming = digest(key, b"nlb sticky target " + group.encode(), "sha256")
        tokens = {target: digest(naming, text.encode(), "sha256")[:_TOKEN] for text, target in targets.items()}
        self._tokens = tokens
        self._targets = {token: target for target, token in tokens.items()}
        # HMAC by hand (RFC 2104), so that the key is worked in once: 0.5 us for a signature, hmac.digest takes 1.3.
        signing = digest(key, b"nlb sticky value " + group.encode(), "sha256").ljust(64, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in signing))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in signing))

    def find(self, request: Request, now: float) -> Target | None:
        """The target to which the client shall go again. None if it has no cookie of ours that holds; who may not be
        used any more is the caller's to see."""
        fields = request.fields
        if self._application and not _has_cookie(self._application, fields):
            return None
        held = self._held(fields, now)
        return held[0] if held else None

    def set(self, request: Request, response: Response, target: Target, now: float, secure: bool = False) -> bytes:
        """The line to add to a response of `target`. Empty if the client has what it needs. `secure`: the client speaks
        https, and is told to show the cookie to nobody else."""
        if self._application:
            said = self._last_word(response.fields, now)
            if said is False:
                return self._line(b"", b"; Max-Age=0", secure) if self._ours.search(request.fields) else b""
            if said is None and not _has_cookie(self._application, request.fields):
                return b""
        token = self._tokens.get(target)
        if token is None:
            return b""
        held = self._held(request.fields, now)
        # Renewed from half of its life on; and if it holds much longer than it would, because `duration` was changed.
        if held and held[0] is target and 0.5 <= (held[1] - now) / self._duration <= 1.5:
            return b""
        signed = token + min(int(now + self._duration), _LAST_SECOND).to_bytes(_EXPIRY, "big")
        value = b2a_base64(signed + self._signature(signed), newline=False).translate(_TO_URL)
        return self._line(value, self._lasting, secure)

    def _line(self, value: bytes, lasting: bytes, secure: bool) -> bytes:
        attributes = b"; Secure" if secure else b""
        return b"Set-Cookie: %b=%b%b; Path=/; HttpOnly; SameSite=Lax%b\r\n" % (self.cookie, value, lasting, attributes)

    def _held(self, fields: bytes, now: float) -> tuple[Target, int] | None:
        """Target and expiry of the first cookie that is ours and holds."""
        # Wherever in the header such a value stands, under whatever longer name: if the signature is ours, so is it.
        for text in self._ours.findall(fields)[:_MOST_COOKIES]:
            value = a2b_base64(text.translate(_FROM_URL))
            signed = value[:_SIGNED]
            if not compare_digest(self._signature(signed), value[_SIGNED:]):
                continue
            expiry = int.from_bytes(signed[_TOKEN:], "big")
            target = self._targets.get(signed[:_TOKEN])
            if target is not None and now < expiry:
                return target, expiry
        return None

    def _last_word(self, fields: bytes, now: float) -> bool | None:
        """What a response says of the application's cookie: it is set, it is ended (False), or nothing."""
        if self._application not in fields:
            return None
        said = self._said.findall(fields)
        return not _is_over(said[-1], now) if said else None

    def _signature(self, signed: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(signed)
        outer.update(inner.digest())
        return outer.digest()[:_SIGNATURE]


def _has_cookie(start: bytes, fields: bytes) -> bool:
    """Does a cookie start so: in a Cookie line, and not in the middle of another one's name?"""
    at = fields.find(start)
    while at >= 0:
        line = fields.rfind(b"\n", 0, at) + 1
        if fields[line : line + 7].lower() == b"cookie:" and fields[at - 1] in b":; \t":
            return True
        at = fields.find(start, at + 1)
    return False


def _is_over(cookie: bytes, now: float) -> bool:
    """Is this cookie, with its attributes, one that the browser throws away? Max-Age comes before Expires."""
    ages = _MAX_AGE.findall(cookie)
    if ages:
        sign, digits = ages[-1]
        return bool(sign) or not digits.strip(b"0")
    dates = _EXPIRES.findall(cookie)
    if not dates:
        return False
    day, month, year, hour, minute, second = dates[-1]
    century = 0 if len(year) == 4 else 1900 if int(year) >= 70 else 2000  # RFC 6265 section 5.1.1
    try:
        numbers = (int(year) + century, _MONTHS[month.lower()], int(day), int(hour), int(minute), int(second))
        return datetime(*numbers, tzinfo=UTC).timestamp() <= now
    except (KeyError, ValueError):
        return False  # no date: browsers keep the cookie for the session
