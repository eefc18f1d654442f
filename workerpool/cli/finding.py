"""What `doctor` finds: one line each, with what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, and what to do (empty: nothing)."""

    subject: str
    state: Literal["ok", "warning", "problem"]
    told: str
    advice: str = ""


def ok(subject: str, told: str) -> Finding:
    """It is as it should be."""
    return Finding(subject, "ok", told)


def warning(subject: str, told: str, advice: str) -> Finding:
    """The pool works, and something is better changed."""
    return Finding(subject, "warning", told, advice)


def problem(subject: str, told: str, advice: str) -> Finding:
    """The pool does not work so."""
    return Finding(subject, "problem", told, advice)
