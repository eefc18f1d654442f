"""What a proposed page must be before anybody sees it: the findings, as sentences that a model and a person understand.

Owns: the rules. Pure. Does not own: what happens with the findings (`page_edit_handlers`).

Invariant: an edit is judged by what it changed: markup that was broken before is nobody's fault now. Anything that
runs or leaves the page (scripts, endpoints, links) must outlive an edit.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import StringIO
from xml.etree.ElementTree import Element

from tinyhtml5.parser import HTMLParser

LONGEST_PAGE = 200_000  # characters
MOST_TAGS = 10_000  # tags that nest without an end make any parser slow
MOST_FINDINGS = 12

#: What the HTML standard calls a parse error, in words for whoever wrote the page.
BROKEN = {
    "duplicate-attribute": "a tag has the same attribute twice.",
    "end-tag-too-early": "</{name}> does not fit: no <{name}> is open, or something inside of it still is.",
    "expected-closing-tag-but-got-eof": "the page ends while elements are still open.",
    "expected-doctype-but-got-chars": "text stands before <!DOCTYPE html>; the page must begin with that.",
    "expected-doctype-but-got-eof": "there is no page.",
    "expected-doctype-but-got-start-tag": "<!DOCTYPE html> is missing at the beginning.",
    "expected-eof-but-got-char": "text stands after </html>.",
    "expected-named-closing-tag-but-got-eof": "<{name}> is never closed.",
    "expected-named-entity": "an & begins no character that HTML knows; write &amp;.",
    "expected-one-end-tag-but-got-another": "<{expectedName}> is not closed before </{gotName}>.",
    "non-void-element-with-trailing-solidus": "<{name}/> opens <{name}> and does not close it; write </{name}>.",
    "unexpected-char-after-body": "text stands after </body>.",
    "unexpected-end-tag": "</{name}> closes nothing that is open.",
    "unexpected-end-tag-implies-table-voodoo": "</{name}> stands in a table, but in none of its cells.",
    "unexpected-start-tag": "<{name}> cannot stand here.",
    "unexpected-start-tag-implies-end-tag": "<{startName}> begins before the <{endName}> above it was closed.",
    "unexpected-start-tag-implies-table-voodoo": "<{name}> stands in a table, but in none of its cells.",
}
_CALLS = re.compile(
    r"\b(?:fetch|EventSource|WebSocket|sendBeacon|\.open)\s*\(\s*(?:(['\"])[A-Za-z]+\1\s*,\s*)?(['\"`])(?P<to>[^'\"`]+)\2"
)
_IMPORTS = re.compile(r"\b(?:import|importScripts|from)\b\s*\(?\s*(['\"`])(?P<of>[^'\"`]+)\1")
_WIDTH = re.compile(r"\bwidth\s*=\s*device-width\b")


@dataclass(slots=True)
class Page:
    """What of a page the rules look at; scripts by their text with all white space as one space."""

    errors: list[tuple[int, str, dict[str, str]]] = field(default_factory=list)
    title: str = ""
    viewport: bool = False
    base: str | None = None
    scripts: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    endpoints: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)


def findings(before: str, after: str) -> list[str]:
    """Return what is wrong with *after*, a page that is to replace *before*; empty: it may be deployed."""
    if len(after) > LONGEST_PAGE:
        return [f"The page has {len(after):,} characters; at most {LONGEST_PAGE:,} are allowed."]
    if (tags := after.count("<")) > MOST_TAGS:
        return [f"The page has {tags:,} tags; at most {MOST_TAGS:,} are allowed."]
    if not after.strip():
        return ["The answer is empty; the whole page is wanted."]
    old, new = read(before), read(after)
    found = [*_broken(old, new), *_incomplete(old, new), *_foreign(old, new), *_lost(old, new)]
    if len(found) > MOST_FINDINGS:
        found[MOST_FINDINGS - 1 :] = [f"There are {len(found) - MOST_FINDINGS + 1} findings more."]
    return found


def read(html: str) -> Page:
    """Return what the rules look at."""
    parser = HTMLParser(namespace_html_elements=False)
    # (as a file: the parser takes a short text that is the name of a file for that file)
    root = parser.parse(StringIO(html))
    page = Page([(line, code, data) for (line, _), code, data in parser.errors])
    for element in root.iter():
        if isinstance(element.tag, str):
            _note(page, element.tag.rpartition("}")[2].lower(), element)
    for script in page.scripts:
        page.endpoints += [found["to"] for found in _CALLS.finditer(script)]
        page.sources += [found["of"] for found in _IMPORTS.finditer(script)]
    return page


def _note(page: Page, tag: str, element: Element) -> None:
    held = {name.rpartition("}")[2].lower(): value for name, value in element.attrib.items()}
    if "id" in held:
        page.ids.append(held["id"])
    if to := held.get("formaction"):
        page.endpoints.append(to)
    match tag:
        case "title":
            page.title = page.title or _squeezed("".join(element.itertext()))
        case "base":
            page.base = page.base or held.get("href")
        case "meta" if held.get("name", "").lower() == "viewport":
            page.viewport = bool(_WIDTH.search(held.get("content", "").lower()))
        case "script":
            text = _squeezed("".join(element.itertext()))
            page.sources += [held[name] for name in ("src", "href") if name in held]
            page.scripts += [text] if text else []
        case "form" if "action" in held:
            page.endpoints.append(held["action"])
        case "link" if {"preload", "modulepreload"} & set(held.get("rel", "").lower().split()):
            page.sources += [held["href"]] if held.get("as", "script") == "script" and "href" in held else []
        case "a" | "area" | "link" if "href" in held:
            page.links.append(held["href"])
        case _:
            pass


def _broken(old: Page, new: Page) -> Iterator[str]:
    known = Counter((code, tuple(data.items())) for _, code, data in old.errors)
    for line, code, data in new.errors:
        if known[code, tuple(data.items())] > 0:
            known[code, tuple(data.items())] -= 1
            continue
        told = BROKEN.get(code, f"the HTML is broken ({code.replace('-', ' ')}).")
        try:
            yield f"Line {line}: {told.format_map(data)}"
        except KeyError:
            yield f"Line {line}: the HTML is broken ({code.replace('-', ' ')})."


def _incomplete(old: Page, new: Page) -> Iterator[str]:
    if not new.title:
        yield "The page has no title; it needs a <title> with a text in its head."
    if not new.viewport:
        wanted = '<meta name="viewport" content="width=device-width, initial-scale=1">'
        yield f"The viewport is missing, so the page would be tiny on a phone; its head needs {wanted}."
    if new.base != old.base:
        yield f"<base> would send every link of the page elsewhere; it must stay {_shown(old.base or 'away')}."


def _foreign(old: Page, new: Page) -> Iterator[str]:
    for source in dict.fromkeys(new.sources):
        if source not in old.sources:
            yield f"A script would be loaded from {_shown(source)}; only scripts written into the page are allowed."


def _lost(old: Page, new: Page) -> Iterator[str]:
    yield from _lost_scripts(old, new)
    for source in _gone(old.sources, new.sources):
        yield f"The script {_shown(source)} is gone; every script of the page must stay."
    for endpoint in _gone(old.endpoints, new.endpoints):
        yield f"Nothing sends to {_shown(endpoint)} any more; every form and endpoint of the page must stay."
    for link in _gone(old.links, new.links):
        yield f"The link to {_shown(link)} is gone; every link of the page must stay."
    code = " ".join(new.scripts)
    for name in _gone(old.ids, new.ids):
        if re.search(rf"['\"`#]{re.escape(name)}['\"`]", code):
            yield f"The element with the id {_shown(name)} is gone, and a script looks for it."


def _lost_scripts(old: Page, new: Page) -> Iterator[str]:
    """Tell of scripts that are gone, or of which little is left; one that was changed as asked is none of these."""
    missing = list((Counter(old.scripts) - Counter(new.scripts)).elements())
    changed = list((Counter(new.scripts) - Counter(old.scripts)).elements())
    for script in missing:
        if not changed:
            yield f"The script that begins with {_shown(script)} is gone; every script of the page must stay."
            continue
        heir = max(changed, key=lambda other: _likeness(script, other))
        changed.remove(heir)
        if len(heir) < len(script) / 2:
            sizes = f"{len(heir):,} of {len(script):,} characters"
            yield f"Of the script that begins with {_shown(script)} only {sizes} are left; write all of it."


def _likeness(one: str, other: str) -> float:
    words, others = set(re.findall(r"\w+", one)), set(re.findall(r"\w+", other))
    return len(words & others) / max(len(words | others), 1)


def _gone(old: list[str], new: list[str]) -> list[str]:
    return [each for each in dict.fromkeys(old) if each not in new]


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _shown(text: str) -> str:
    return f"“{text}”" if len(text) <= 60 else f"“{text[:59]}…”"
