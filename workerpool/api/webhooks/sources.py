"""The sources of webhooks: a TOML file, one table ``[sources.NAME]`` each.

Owns: the file's form, and how a body becomes a revision. Does not own: signatures (``signatures``). Invariant: a
source is complete and valid before the first delivery; the file holds the names of secrets, never a secret, and no
message holds one either; no two sources have a secret in common.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from workerpool.api import pointer
from workerpool.api.pointer import BadPointer, NotFound, Pointer
from workerpool.api.service.revisions import NewRevision
from workerpool.api.webhooks.signatures import PREFIX, BadSecret, Form, check_secret
from workerpool.store.asked import LONGEST_ITEM

FORMS: tuple[str, ...] = get_args(Form)
KEYS = ("form", "secrets", "item", "separator", "payload", "handler", "priority", "dedupe_key", "events", "id")
FILES = ("/", "./")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
#: What is a variable's name beyond doubt; anything else may be a secret that was written in the name's place.
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,99}")
POINTER = 'a JSON Pointer such as "/repository/full_name", or "=" and a fixed text'


class BadSource(ValueError):
    """The file of sources cannot be used; the program does not start with it."""

    def __init__(self, where: str, problem: str, allowed: str) -> None:
        self.where, self.problem, self.allowed = where, problem, allowed
        super().__init__(f"{where}: {problem}; allowed: {allowed}")


class NotForUs(ValueError):
    """A delivery that lacks what its source must have."""


@dataclass(frozen=True, slots=True)
class Part:
    """A fixed text, or what stands at a place of the body."""

    fixed: str | None
    place: Pointer | None = None

    def of(self, body: object, what: str) -> object:
        """Return its value. Raises NotForUs."""
        if self.place is None:
            return self.fixed
        try:
            return self.place.find(body)
        except NotFound as error:
            raise NotForUs(f"{what}: {error}") from None

    def text_of(self, body: object, what: str) -> str:
        """Return its value, a text or a whole number, as a text. Raises NotForUs."""
        value = self.of(body, what)
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise NotForUs(f"{what}: at {self.place} stands no text and no whole number")
        return str(value)


@dataclass(frozen=True, slots=True)
class Source:
    """Who sends, and what its deliveries become."""

    name: str
    form: str
    item: tuple[Part, ...]
    secrets: tuple[str, ...] = ()
    separator: str = "/"
    payload: Pointer | Mapping[str, Part] | None = None
    handler: str = "default"
    priority: int = 0
    dedupe_key: Part | None = None
    events: tuple[str, ...] | None = None
    id: Part | None = None

    def __repr__(self) -> str:
        return f"Source({self.name!r}, {self.form!r})"  # no secret

    def ignores(self, event: str | None) -> bool:
        """Tell whether deliveries of this kind of event are taken and nothing is done."""
        return self.events is not None and event not in self.events

    def id_of(self, body: object) -> str:
        """Return the name of a delivery that stands in its body. Raises NotForUs."""
        assert self.id is not None, "a source whose form has no id has one in the body"
        name = self.id.text_of(body, "id")
        if not 1 <= len(name) <= 255:
            raise NotForUs("id: it has 1 to 255 characters")
        return name

    def new_revision(self, body: object, delivery: str) -> NewRevision:
        """Return the revision that a delivery becomes. Raises NotForUs."""
        item = self.separator.join(part.text_of(body, "item") for part in self.item)
        key = self.dedupe_key.text_of(body, "dedupe_key") if self.dedupe_key is not None else None
        metadata = {"source": self.name, "delivery": delivery or self.id_of(body)}
        return NewRevision(item, self._payload(body), self.handler, self.priority, dedupe_key=key, metadata=metadata)

    def _payload(self, body: object) -> dict[str, Any]:
        if isinstance(self.payload, Mapping):
            return {name: part.of(body, f"payload.{name}") for name, part in self.payload.items()}
        value = Part(None, self.payload).of(body, "payload") if self.payload is not None else body
        return value if isinstance(value, dict) else {"body": value}


def load(path: Path, environment: Mapping[str, str]) -> dict[str, Source]:
    """Read the file of sources; secrets are looked up in *environment* and in files. Raises BadSource."""
    where = f"WORKERPOOL_SOURCES file {path}"
    try:
        document = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise BadSource(where, f"it cannot be read ({error.strerror})", "a readable TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSource(where, f"it is not TOML ({error})", "TOML in UTF-8, one table [sources.NAME] each") from None
    for key in document:
        if key != "sources":
            raise BadSource(where, f"key {key!r} is not known", "only tables [sources.NAME]")
    tables = document.get("sources")
    if not isinstance(tables, dict) or not tables:
        raise BadSource(where, "it has no sources", "at least one table [sources.NAME]")
    found = {
        name: _source(f"{where}, [sources.{name}]", name, table, path, environment) for name, table in tables.items()
    }
    _refuse_shared(where, found)
    return found


def _refuse_shared(where: str, found: Mapping[str, Source]) -> None:
    # The signature does not say for whom it is: what was sent to one source would be right at the other, too.
    holders: dict[str, str] = {}
    for source in found.values():
        for secret in source.secrets:
            holder = holders.setdefault(secret.removeprefix(PREFIX), source.name)
            if holder != source.name:
                problem = f"source {holder} has the same secret"
                raise BadSource(f"{where}, [sources.{source.name}] secrets", problem, "a secret of its own for each")


def secret_names(path: Path) -> set[str]:
    """Return the variables that the file of sources names, as far as it can be read: nobody else is to see them."""
    try:
        tables = tomllib.loads(path.read_bytes().decode("utf-8")).get("sources", {}).values()
        names = {name for table in tables for name in table.get("secrets", []) if isinstance(name, str)}
    except (OSError, ValueError, AttributeError, TypeError):
        return set()
    return {name for name in names if not name.startswith(FILES)}


def _source(where: str, name: str, table: object, path: Path, environment: Mapping[str, str]) -> Source:
    if not _NAME.fullmatch(name):
        raise BadSource(where, f"the name {name!r} is not usable", "1 to 100 letters, digits, '_' and '-'")
    if not isinstance(table, dict):
        raise BadSource(where, "it is not a table", f"a table with the keys {', '.join(KEYS)}")
    for key in table:
        if key not in KEYS:
            raise BadSource(f"{where} {key}", "the key is not known", ", ".join(KEYS))
    form = table.get("form", "standard")
    if form not in FORMS:
        raise BadSource(f"{where} form", f"{form!r} is none", ", ".join(FORMS))
    found = Source(
        name=name,
        form=form,
        item=_item(where, table),
        secrets=_secrets(where, form, table, path, environment),
        separator=_text(where, table, "separator", "/", least=0, most=20),
        payload=_payload(where, table),
        handler=_text(where, table, "handler", "default", least=1, most=200),
        priority=_priority(where, table),
        dedupe_key=_part(f"{where} dedupe_key", table["dedupe_key"]) if "dedupe_key" in table else None,
        events=_events(where, form, table),
        id=_part(f"{where} id", table["id"]) if "id" in table else None,
    )
    if (found.id is not None) != (form == "token"):
        needed = (
            "its deliveries have no name of their own: say where one stands" if form == "token" else "its form has one"
        )
        raise BadSource(f"{where} id", needed, "for form token, and only there: a JSON Pointer")
    return found


def _item(where: str, table: Mapping[str, Any]) -> tuple[Part, ...]:
    given, where = table.get("item"), f"{where} item"
    if given is None:
        raise BadSource(where, "it is missing", f"{POINTER}, or a list of these")
    several = given if isinstance(given, list) else [given]
    if not several:
        raise BadSource(where, "it is empty", f"{POINTER}, or a list of these")
    parts = tuple(_part(where, each) for each in several)
    if all(part.fixed is not None for part in parts):
        key = _text(where, table, "separator", "/", least=0, most=20).join(part.fixed or "" for part in parts)
        if not 1 <= len(key) <= LONGEST_ITEM:
            raise BadSource(where, f"it has {len(key)} characters", f"1 to {LONGEST_ITEM}")
    return parts


def _part(where: str, value: object) -> Part:
    if not isinstance(value, str) or not value or "\0" in value:
        raise BadSource(where, f"{value!r} is no place", POINTER)
    if value.startswith("="):
        return Part(value[1:])
    try:
        return Part(None, pointer.parse(value))
    except BadPointer as error:
        raise BadSource(where, str(error), POINTER) from None


def _payload(where: str, table: Mapping[str, Any]) -> Pointer | Mapping[str, Part] | None:
    given, where = table.get("payload"), f"{where} payload"
    if given is None:
        return None
    if isinstance(given, dict):
        return {name: _part(f"{where}.{name}", place) for name, place in given.items()}
    part = _part(where, given)
    if part.place is None:
        raise BadSource(where, f"{given!r} is a fixed text", "a JSON Pointer, or a table of names with one each")
    return part.place


def _secrets(
    where: str, form: str, table: Mapping[str, Any], path: Path, environment: Mapping[str, str]
) -> tuple[str, ...]:
    names, where = table.get("secrets", []), f"{where} secrets"
    allowed = "one or two names of environment variables, or paths of files beginning with ./ or /"
    if form == "token":
        if names:
            raise BadSource(where, "form token has none", "`workerpool tokens add --role source` makes the token")
        return ()
    if not isinstance(names, list) or not 1 <= len(names) <= 2 or not all(isinstance(name, str) for name in names):
        raise BadSource(where, "it is no such list", allowed)  # what it is may be a secret
    return tuple(_secret(where, form, name, path, environment) for name in names)


def _secret(where: str, form: str, name: str, path: Path, environment: Mapping[str, str]) -> str:
    if name.startswith(FILES):
        try:
            secret = (path.parent / name).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise BadSource(where, f"the file {name} cannot be read ({error})", "a readable file") from None
    else:
        secret = environment.get(name, "").strip()
        if not secret:
            raise BadSource(
                where, f"the variable {_shown(name)} is not set", "the name of a variable that is set, or a file"
            )
    try:
        check_secret(form, secret)
    except BadSecret as error:
        raise BadSource(where, f"what {name[:40]} holds cannot be a secret: {error}", "a secret of its form") from None
    return secret


def _shown(name: str) -> str:
    """Return what a message may tell of a name that is none: its beginning, where it may be a secret itself."""
    return name if _VARIABLE.fullmatch(name) else f"{name[:4]}…"


def _text(where: str, table: Mapping[str, Any], key: str, usual: str, *, least: int, most: int) -> str:
    value = table.get(key, usual)
    if not isinstance(value, str) or not least <= len(value) <= most or "\0" in value:
        raise BadSource(f"{where} {key}", f"{value!r} is not usable", f"a text of {least} to {most} characters")
    return value


def _priority(where: str, table: Mapping[str, Any]) -> int:
    value = table.get("priority", 0)
    if not isinstance(value, int) or isinstance(value, bool) or not -32768 <= value <= 32767:
        raise BadSource(f"{where} priority", f"{value!r} is none", "a whole number from -32768 to 32767")
    return value


def _events(where: str, form: str, table: Mapping[str, Any]) -> tuple[str, ...] | None:
    given, where = table.get("events"), f"{where} events"
    if given is None:
        return None
    if form != "github":
        raise BadSource(where, f"form {form} has none", "only for form github: a list such as ['push']")
    if not isinstance(given, list) or not given or not all(isinstance(each, str) and each for each in given):
        raise BadSource(where, f"{given!r} is no such list", "a list of GitHub's events, such as ['push']")
    return tuple(given)
