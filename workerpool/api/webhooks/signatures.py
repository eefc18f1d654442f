"""Whether a delivery comes from who it says: Standard Webhooks, and the form of GitHub.

Owns: what is signed, and how the parts are compared. Invariant: nothing of a body is understood before its signature
was found right;
whatever is wrong, the answer is the same. Sources: the Standard Webhooks specification 1.0; GitHub, "Validating
webhook deliveries".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from standardwebhooks import Webhook

Form = Literal["standard", "github", "token"]
#: Seconds that a delivery may be old, or early.
TOLERANCE = 300
#: Signatures that one delivery may carry; a sender that rotates its secret has two.
MOST_SIGNATURES = 16
LONGEST_HEADER = 4096
PREFIX = "whsec_"
_ID = re.compile(r"[\x21-\x2d\x2f-\x7e]{1,255}")  # visible, and no dot: that joins what is signed
_SECONDS = re.compile(r"[0-9]{1,12}")


class NotSigned(Exception):
    """The signature is missing, wrong, too old or too early; which of these is not told."""

    def __init__(self) -> None:
        super().__init__("the delivery is not signed as it must be: by this source's secret, within five minutes")


class BadSecret(ValueError):
    """A secret that is none of its form; *why* does not hold it."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery whose signature is right: the name that its sender gave it, and when it was sent (None: it
    does not say).
    """

    id: str
    timestamp: int | None = None


def check_secret(form: str, secret: str) -> None:
    """Raise BadSecret unless *secret* is one of its form."""
    if form == "standard":
        try:
            key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise BadSecret("it is not base64, with or without whsec_ before it") from None
        if not 24 <= len(key) <= 64:
            raise BadSecret(f"it holds {len(key)} bytes; allowed: 24 to 64 random bytes")
    elif len(secret) < 16:
        raise BadSecret(f"it has {len(secret)} characters; allowed: 16 or more")


def verify(form: str, secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: float) -> Delivery:
    """Return the delivery that *headers* and *body* are; *now* in seconds since the epoch. Raises NotSigned."""
    return _github(secrets, headers, body) if form == "github" else _standard(secrets, headers, body, now)


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "")
    if not 0 < len(value) <= LONGEST_HEADER:
        raise NotSigned
    return value


def _standard(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: float) -> Delivery:
    name, sent = _header(headers, "webhook-id"), _header(headers, "webhook-timestamp")
    if not _ID.fullmatch(name) or not _SECONDS.fullmatch(sent) or abs(now - int(sent)) > TOLERANCE:
        raise NotSigned
    given = [each.removeprefix("v1,") for each in _header(headers, "webhook-signature").split(" ") if each[:3] == "v1,"]
    if not given or len(given) > MOST_SIGNATURES:
        raise NotSigned
    try:
        data, instant = body.decode("utf-8"), datetime.fromtimestamp(int(sent), UTC)
    except (UnicodeDecodeError, OverflowError, ValueError, OSError):
        raise NotSigned from None
    expected = [Webhook(secret).sign(name, instant, data).removeprefix("v1,").encode() for secret in secrets]
    # Each with each, so that the time says nothing of which was right.
    found = [hmac.compare_digest(ours, theirs.encode("utf-8", "replace")) for ours in expected for theirs in given]
    if not any(found):
        raise NotSigned
    return Delivery(name, int(sent))


def _github(secrets: Sequence[str], headers: Mapping[str, str], body: bytes) -> Delivery:
    name, given = _header(headers, "x-github-delivery"), _header(headers, "x-hub-signature-256")
    if not _ID.fullmatch(name):
        raise NotSigned
    expected = [b"sha256=" + hmac.new(each.encode(), body, hashlib.sha256).hexdigest().encode() for each in secrets]
    found = [hmac.compare_digest(ours, given.encode("utf-8", "replace")) for ours in expected]
    if not any(found):
        raise NotSigned
    return Delivery(name)
