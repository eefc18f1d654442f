"""Settings, frozen and validated whole, from flags and environment.

`forms` reads and writes values, `settings` lists the fields, `layers` finds their values, `listing` shows them.
"""

from workerpool.config.forms import Address, mask_url
from workerpool.config.layers import BadSettings, Refused, load
from workerpool.config.listing import Row, as_environment, describe, known_secrets
from workerpool.config.settings import Settings

__all__ = [
    "Address",
    "BadSettings",
    "Refused",
    "Row",
    "Settings",
    "as_environment",
    "describe",
    "known_secrets",
    "load",
    "mask_url",
]
