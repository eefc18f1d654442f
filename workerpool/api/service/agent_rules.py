"""What may be kept of providers and agents, and in which words the rest is refused.

Owns: the rules beside those of ``core.agent``. Does not own: the verbs (``agents``). Invariant: what looks like a key
is refused wherever it stands, before anything else is said of it, and is not repeated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from workerpool.api.service.refusals import NotValid
from workerpool.core.agent import PARAMETERS, SUPPORTED, Provider, parameters, wrong_with

#: Characters of an agent's texts.
MOST_TEXT = 100_000
PROVIDER = ("type", "base_url", "default_model", "key_variable", "key_file")
AGENT = ("role", "backstory", "instructions", "provider", "model", "model_parameters", "tools")
#: How keys begin that say what they are.
_MARKS = ("sk-", "sk_", "pk-", "rk-", "gsk_", "csk-", "xai-", "nvapi-", "pplx-", "hf_", "r8_", "ghp_", "wp_", "AIza")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{20,}")
_MIXED = re.compile(r"(?=[a-z]*[0-9])(?=[0-9]*[a-z])[a-z0-9]{10,}", re.IGNORECASE)
_BARE = re.compile(r"[A-Za-z0-9]{24,}={0,2}")
#: Changes between letters and digits: random texts have many, names few.
_CHANGES = 4
_TOOL = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
#: Other spellings that people use of a parameter.
_SPELLINGS = {re.sub("(?=[A-Z])", "_", name).lower(): name for name in PARAMETERS if not name.islower()}


def looks_like_a_key(text: str) -> bool:
    """Tell whether *text* holds a key of a known form, or is a random text as a whole."""
    marked = (token for token in _TOKEN.findall(text) if token.startswith(_MARKS))
    if any(_MIXED.fullmatch(part) for token in marked for part in re.split("[-_]", token)):
        return True
    bare = text.strip()
    changes = sum(one.isdigit() != other.isdigit() for one, other in pairwise(bare))
    return _BARE.fullmatch(bare) is not None and changes >= _CHANGES


def is_text(value: object) -> bool:
    """Tell whether the database can hold *value* as a text: no NUL, no half of a character."""
    return isinstance(value, str) and "\0" not in value and not re.search("[\ud800-\udfff]", value)


def spelled(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters under the names that the table has, whichever spelling was given."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        name = _SPELLINGS.get(key, key)
        if value is not None or name not in found:
            found[name] = value
    return found


def spelled_anew(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return changes of parameters as ``spelled``, which take back what SQL may have kept under the other spelling."""
    found = spelled(given)
    return {other: None for other, name in _SPELLINGS.items() if name in found} | found


def one_key(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return *changes* in which a variable takes the place of a file, and a file that of a variable."""
    changes = dict(changes)
    for given, other in (("key_variable", "key_file"), ("key_file", "key_variable")):
        if changes.get(given) is not None and other not in changes:
            changes[other] = None
    return changes


def check_columns(changes: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
    """Refuse to change what is no column."""
    for name in changes:
        if name not in allowed:
            raise NotValid(f"there is no {name} to change; allowed: {', '.join(allowed)}")


def check_name(what: str, name: str) -> None:
    """Refuse a name that people could not see or type, or that is none."""
    if looks_like_a_key(name):
        raise NotValid(f"the name of the {what} looks like a key; a key stands in a variable or a file, never here")
    if not 1 <= len(name) <= 200 or not name.isprintable() or name != name.strip():
        raise NotValid(f"the name of the {what} is {name[:100]!r}; allowed: 1 to 200 characters, none of them unseen")


def check_provider(row: Mapping[str, Any]) -> None:
    """Refuse a provider, whole, that cannot be used."""
    check_provider_columns(row)
    wrong = wrong_with(Provider(row["name"], **{name: row[name] for name in PROVIDER}))
    if wrong is not None:
        raise NotValid(f"the provider {row['name']} cannot be used so: {wrong}")


def check_provider_columns(given: Mapping[str, Any]) -> None:
    """Refuse columns that hold a key, or what is no text; those that are not there are not looked at."""
    if "type" in given and given["type"] is None:
        raise NotValid(f"a provider has a type; allowed: {', '.join(SUPPORTED)}")
    for name in PROVIDER:
        value = given.get(name)
        if value is None:
            continue
        if not is_text(value) or not 1 <= len(value) <= 1000:
            raise NotValid(f"the {name} of a provider is a text of 1 to 1000 characters, without NUL")
        if looks_like_a_key(value):
            # (not repeated: it may well be one)
            raise NotValid(f"{name} looks like a key; here stands only the name of what holds it, never the key itself")
    if given.get("base_url") is not None and _has_secrets(given["base_url"]):
        raise NotValid(
            "the base_url has a password or a key in it; it stands in a variable (--key-variable) or a file "
            "(--key-file), never here"
        )


def _has_secrets(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return "@" in parts.netloc or any(looks_like_a_key(value) for _, value in parse_qsl(parts.query))


def check_agent(given: Mapping[str, Any]) -> None:
    """Refuse columns of an agent that cannot be; those that are not there are not looked at."""
    if "role" in given and not (given["role"] or "").strip():
        raise NotValid("an agent has a role, such as: an editor of web pages")
    for name in ("role", "backstory", "instructions"):
        if name in given and (not is_text(given[name]) or len(given[name]) > MOST_TEXT):
            raise NotValid(f"the {name} of an agent is a text of at most {MOST_TEXT} characters, without NUL")
    for name in ("role", "backstory", "instructions", "provider", "model"):
        if looks_like_a_key(given.get(name) or ""):
            raise NotValid(f"what looks like a key stands in the {name}; keys are never kept here")
    model = given.get("model")
    if model is not None and (not is_text(model) or not 1 <= len(model) <= 200):
        raise NotValid("the model of an agent has 1 to 200 characters, without NUL")
    for name in given.get("tools", ()):
        if not isinstance(name, str) or not _TOOL.fullmatch(name):
            told = "that is given" if looks_like_a_key(str(name)) else repr(name)
            raise NotValid(f"the tool {told} is no name of a function of WORKERPOOL_AGENT_TOOLS")
    _check_parameters(given.get("model_parameters") or {})


def _check_parameters(given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        texts = [name, *(value if isinstance(value, (list, tuple)) else [value])]
        for text in texts:
            if isinstance(text, str) and (not is_text(text) or looks_like_a_key(text)):
                raise NotValid(
                    "what looks like a key, or is no text, stands in a model parameter; keys are never kept here"
                )
    try:
        parameters(given)
    except ValueError as error:
        raise NotValid(str(error)) from None
