"""The licences of everything that an installation brings: one that nobody has looked at is noticed (S26)."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

DOCUMENT = Path(__file__).parents[2] / "docs" / "dependencies.md"
EXTRAS = ("", "embedded", "web", "mcp", "llm")
#: By SPDX identifier. (LGPL: psycopg, which is imported and not changed. MPL: certifi's list of authorities.)
ALLOWED = {
    *(
        "MIT",
        "MIT-0",
        "ISC",
        "0BSD",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "Apache-2.0",
        "PSF-2.0",
        "Python-2.0",
        "CNRI-Python",
    ),
    *("LGPL-3.0-only", "LGPL-3.0-or-later", "MPL-2.0"),
}
#: How licences are written where no SPDX identifier is: the beginning of the field, or the end of the classifier.
WRITTEN = {
    "MIT License": "MIT",
    "BSD License": "BSD-3-Clause",
    "BSD-derived": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}


def name_of(text: str) -> str:
    """The name of a distribution as it is compared."""
    return re.sub(r"[-_.]+", "-", text).lower()


def installed() -> dict[str, metadata.Distribution]:
    """Every distribution that workerpool with its extras needs, itself aside, by name."""
    found: dict[str, metadata.Distribution] = {}
    waiting, seen = [("workerpool", extra) for extra in EXTRAS], set[tuple[str, str]]()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        found[name] = metadata.distribution(name)
        for text in found[name].requires or ():
            needs = Requirement(text)
            if needs.marker is None or needs.marker.evaluate({"extra": extra}):
                waiting += [(name_of(needs.name), each) for each in ("", *needs.extras)]
    del found["workerpool"]
    return found


def direct() -> set[str]:
    """The names that workerpool itself asks for, for itself and its extras."""
    needs = [Requirement(text) for text in metadata.distribution("workerpool").requires or ()]
    asked = [each for each in needs if each.marker is None or any(each.marker.evaluate({"extra": e}) for e in EXTRAS)]
    return {name_of(each.name) for each in asked} - {"workerpool"}


def licence(distribution: metadata.Distribution) -> str:
    """The licence that a distribution names, as an expression."""
    about = distribution.metadata
    named = about.get("License-Expression") or ""
    if not named:
        text = (about.get("License") or "").strip()
        named = next((spdx for start, spdx in WRITTEN.items() if text.startswith(start)), text.split("\n")[0])
    if not named:
        classifiers = [
            each.rpartition(" :: ")[2] for each in about.get_all("Classifier") or [] if each[:7] == "License"
        ]
        named = " OR ".join(WRITTEN.get(each, each) for each in classifiers)
    return named


def is_allowed(expression: str) -> bool:
    """Tell whether every part that must hold is allowed: of OR one, of AND each."""
    parts = expression.replace("(", " ").replace(")", " ").split(" OR ")
    return any(all(each.strip() in ALLOWED for each in part.split(" AND ")) for part in parts)


def test_every_licence_is_one_that_was_looked_at() -> None:
    """Of all that is installed with workerpool and its extras; a new one has to be added here by a person."""
    found = {name: licence(each) for name, each in installed().items()}
    assert len(found) > 30
    assert {name: each for name, each in found.items() if not is_allowed(each)} == {}


@pytest.mark.parametrize(
    "bad", ["", "GPL-3.0-only", "MIT AND GPL-3.0-only", "Proprietary", "AGPL-3.0-only OR SSPL-1.0"]
)
def test_a_licence_that_is_none_of_them_is_seen(bad: str) -> None:
    """An empty one too; of several that may be chosen one is enough."""
    assert not is_allowed(bad)
    assert is_allowed(f"MIT OR ({bad})")


def test_the_document_names_each_direct_dependency() -> None:
    """docs/dependencies.md says of each why it is there; what is gone from the project is gone from there."""
    rows = re.findall(r"^\| `([a-z0-9.-]+)[^`]*` \|", DOCUMENT.read_text(), re.MULTILINE)
    assert set(rows) == direct()
