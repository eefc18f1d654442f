"""The key of a provider: found when it is wanted, given to the client, and scrubbed from whatever comes back.

Owns: finding and scrubbing. Invariant: a key is in no message, no log and no row, whatever a provider answers.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from workerpool.core.agent import Provider
from workerpool.core.errors import Fail

#: What is sent where a server of one's own wants no key; the protocol has no word for none.
NO_KEY = "none"
#: Characters at either end of a key that some providers repeat with stars between.
_SHOWN = 4
#: Variables that name files with secrets of the pool's own.
_FILES = re.compile(r"WORKERPOOL_\w+_FILE|PGPASSFILE|PGSERVICEFILE|PGSSLKEY")


def key_of(provider: Provider) -> str | None:
    """Return the key of *provider*, or None where it names none and its type needs none.

    Raises Fail with a sentence that names the variable or the file, and how to mend it.
    """
    if provider.key_file is not None:
        return _from_file(provider, provider.key_file)
    if provider.variable is None:
        return None
    key = os.environ.get(provider.variable, "").strip()
    if not key:
        raise Fail(
            f"the key of the provider {provider.name!r} is missing: set {provider.variable} in the environment of the "
            f"workers and restart them, or `workerpool providers edit {provider.name} --key-file PATH`"
        )
    return _sendable(key, provider, provider.variable)


def _from_file(provider: Provider, path: str) -> str:
    mend = f"correct it with `workerpool providers edit {provider.name} --key-file PATH`"
    if _is_ours(path):
        raise Fail(f"the key of the provider {provider.name!r} would be {path}, which is sent to nobody; {mend}")
    try:
        key = _real(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise Fail(f"the key of the provider {provider.name!r} cannot be read from {path}: {why}; {mend}") from None
    if not key:
        raise Fail(f"the key of the provider {provider.name!r} is missing: {path} is empty; {mend}")
    return _sendable(key, provider, path)


def _is_ours(path: str) -> bool:
    """Tell whether a file holds a secret of the pool's own: a provider is a row, and says where its key is sent."""
    named = [value for name, value in os.environ.items() if _FILES.fullmatch(name)]
    file, home = _real(path), os.environ.get("WORKERPOOL_HOME")
    return bool(home and file.is_relative_to(_real(home))) or file in map(_real, (*named, "~/.pgpass"))


def _real(path: str) -> Path:
    # (Path.expanduser raises where a user has no home, as in a container; this leaves the name as it is)
    return Path(os.path.expanduser(path)).resolve()


def _sendable(key: str, provider: Provider, where: str) -> str:
    if not key.isascii() or not key.isprintable() or " " in key:
        raise Fail(f"the key of the provider {provider.name!r} in {where} holds what no header can: write it anew")
    return key


def scrubbed(text: str, key: str | None) -> str:
    """Return *text* without *key*, and without the shortened forms of it that providers put into their messages."""
    if not key or key == NO_KEY:
        return text
    text = text.replace(key, "***")
    if len(key) < 3 * _SHOWN:
        return text
    return " ".join(_star(word, key) for word in text.split(" "))


def _star(word: str, key: str) -> str:
    bare = word.strip(".,;:'\"()")
    shortened = "*" in bare and (bare.startswith(key[:_SHOWN]) or bare.endswith(key[-_SHOWN:]))
    return word.replace(bare, "***") if shortened else word
