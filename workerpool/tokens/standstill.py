"""A program's pauses as functions: each opens a client for its own length.

Owns: nothing but the shape; what they do is that of the methods of `Client`.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from workerpool.client import Client
from workerpool.core.durations import as_length
from workerpool.store import quiet
from workerpool.store.address import reached
from workerpool.store.pausing import Mode, Safety
from workerpool.store.session import Session


def pause_all(
    reason: str,
    mode: Mode = "drain",
    *,
    until: datetime | None = None,
    holder: str | None = None,
    url: str | None = None,
    schema: str | None = None,
) -> int:
    """Pause the pool, and return the version in force: see `Client.pause`. Raises BadPause."""
    with Client(url, schema) as client:
        return client.pause(reason, mode, until=until, holder=holder)


def resume_all(
    reason: str = "",
    *,
    holder: str | None = None,
    everybody: bool = False,
    url: str | None = None,
    schema: str | None = None,
) -> int:
    """Take away this program's pauses, or those of *everybody*, and return how many: see `Client.resume`."""
    with Client(url, schema) as client:
        return client.resume(reason, holder=holder, everybody=everybody)


def wait_until_all_paused(
    timeout: timedelta | float | None = None, *, url: str | None = None, schema: str | None = None
) -> Safety:
    """Wait until the pool is paused, every living worker has seen it, and none runs outside a hold.

    *timeout*: seconds or a timedelta; None: for ever. It does not pause, and waits for no work token. Raises NotSafe.
    """
    with reached(url, schema) as (found, name), Session(found, name, "client") as session:
        session.require()
        return quiet.wait_until_all_paused(session, as_length(timeout))


def wait_for_safe_state(
    timeout: timedelta | float | None = None,
    *,
    reason: str = "",
    mode: Mode = "drain",
    keep: bool = False,
    url: str | None = None,
    schema: str | None = None,
) -> Safety:
    """Pause, wait until nothing runs outside a hold and no token is active, and return the proof.

    The pause stays until `resume_all`. Without a safe state within *timeout* it is taken away again, unless *keep*, and
    NotSafe says what still runs and for how long. A token of this program counts too: release it before.
    """
    with Client(url, schema) as client:
        return client.wait_for_safe_state(timeout, reason=reason, mode=mode, keep=keep)
