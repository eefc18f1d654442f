"""The secrets that sign webhooks, checked before a process is given them: a bad one would refuse each request.

Owns: reading them for the process that shows. Does not own: what a secret may be (``api.webhooks``).
"""

from __future__ import annotations

import os

from workerpool import config
from workerpool.cli.errors import EXIT_CONFIG, Refused


def webhook_secret(settings: config.Settings) -> str | None:
    """Return what signs a trigger. Raises Refused where it is no secret: each signed request would fail."""
    if settings.webhook_secret is None:
        return None
    from workerpool.api.webhooks.signatures import BadSecret, check_secret

    secret = settings.webhook_secret.get_secret_value()
    try:
        check_secret("standard", secret)
    except BadSecret as error:
        raise Refused(f"WORKERPOOL_WEBHOOK_SECRET cannot be a secret: {error}", EXIT_CONFIG) from None
    return secret


def source_secrets(settings: config.Settings) -> dict[str, str]:
    """Return the secrets of webhook sources. The file is read whole, so that a bad one is refused here.

    Raises Refused.
    """
    if settings.sources is None:
        return {}
    from workerpool.api.webhooks import sources

    known = dict(os.environ)
    if settings.webhook_secret is not None:
        known["WORKERPOOL_WEBHOOK_SECRET"] = settings.webhook_secret.get_secret_value()
    try:
        sources.load(settings.sources, known)
    except sources.BadSource as error:
        raise Refused(str(error), EXIT_CONFIG) from None
    return {name: known[name] for name in sources.secret_names(settings.sources) if name in known}
