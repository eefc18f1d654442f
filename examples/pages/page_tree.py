"""A web page as a tree: reading, writing, checking it, and finding the element that a few words mean.

Owns: how the HTML library is used. Does not own: the edits (`page_edits`).

Invariant: a page that is read and written unchanged comes back letter by letter, so the difference between two
revisions of a page is the edit and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from bs4 import BeautifulSoup
from bs4.dammit import EntitySubstitution
from bs4.element import Doctype, NavigableString, Tag
from bs4.formatter import HTMLFormatter

from workerpool.core.errors import Fail

TAGS = {
    "background": ("body",),
    "page": ("body",),
    "heading": ("h1",),
    "headings": ("h1", "h2", "h3"),
    "subheading": ("h2",),
    "paragraph": ("p",),
    "item": ("li",),
    "list item": ("li",),
    "list": ("ul", "ol"),
    "link": ("a",),
    "picture": ("img",),
}
UNTOUCHABLE = frozenset({"html", "head", "title", "meta", "link", "base", "script", "style"})


class AsWritten(HTMLFormatter):
    """Writes a page as its author did: `<br>` and `checked` stay bare, attributes stay in order."""

    def __init__(self) -> None:
        super().__init__(EntitySubstitution.substitute_xml, void_element_close_prefix="")

    def attributes(self, tag: Tag) -> Iterable[tuple[str, str | None]]:
        return [(name, str(value) if value != "" else None) for name, value in tag.attrs.items()]


def parse(html: str) -> BeautifulSoup:
    """Return the tree of a page, white space included."""
    page = BeautifulSoup(html, "html.parser", preserve_whitespace_tags={"html"}, multi_valued_attributes=None)
    doctype = next((node for node in page.contents if isinstance(node, Doctype)), None)
    if doctype and isinstance(doctype.next_sibling, NavigableString):
        doctype.next_sibling.replace_with(doctype.next_sibling.removeprefix("\n"))  # the library writes one of its own
    return page


def render(page: BeautifulSoup) -> str:
    """Return the HTML of a tree."""
    return page.decode(formatter=AsWritten())


def check(before: BeautifulSoup, after: BeautifulSoup) -> None:
    """Raise Fail when an edit would have cost the page its title, a script, or an element that a script looks for."""
    scripts = [script.get_text() for script in before.select("script")]
    if [script.get_text() for script in after.select("script")] != scripts:
        raise Fail("The edit would have cost the page a script, so it was not made.")
    if before.title and not (after.title and after.title.get_text(strip=True)):
        raise Fail("The edit would have left the page without a title, so it was not made.")
    lost = {str(tag["id"]) for tag in before.select("[id]")} - {str(tag["id"]) for tag in after.select("[id]")}
    for name in sorted(lost):
        if any(re.search(rf"['\"#]{re.escape(name)}['\"]", script) for script in scripts):
            raise Fail(f'A script of the page needs the element "{name}", so it was not removed.')


def find(page: BeautifulSoup, thing: str) -> list[Tag]:
    """Return the elements a request means: `heading`, `#score`, `hint` (id, class or tag), `button "Play"`, `"Play"`.

    Raises Fail when there are none.
    """
    quoted = re.fullmatch(r'(?:(?P<kind>[^"]+?)\s)?"(?P<text>.+)"', thing)
    if quoted:
        kind = quoted["kind"] or "text"
        candidates = innermost(page) if kind.lower() == "text" else of_kind(page, kind)
        found = [tag for tag in candidates if squeeze(tag.get_text()) == squeeze(quoted["text"])]
    else:
        found = of_kind(page, thing)
    if not found:
        ids = ", ".join(str(tag["id"]) for tag in page.select("body [id]")) or "none"
        raise Fail(f"The page has no {thing}. Name a tag, a class, a text in quotes or an id (here: {ids}).")
    return found


def find_one(page: BeautifulSoup, thing: str) -> Tag:
    """Return the one element a request means. Raises Fail when there are none or several."""
    found = find(page, thing)
    if len(found) > 1:
        texts = ", ".join(f'"{squeeze(tag.get_text())}"' for tag in found[:5])
        raise Fail(f'The page has {len(found)} of "{thing}" ({texts}): say which one by its text in quotes.')
    return found[0]


def of_kind(page: BeautifulSoup, kind: str) -> list[Tag]:
    """Return the elements whose id, else class, else tag is `kind`."""
    kind = kind.lower().removeprefix("element ")
    name = slug(kind)
    tags = [tag for tag in page.select("*") if tag.name not in UNTOUCHABLE]
    by_id = [tag for tag in tags if str(tag.get("id", "")).lower() == name]
    by_class = [tag for tag in tags if name in str(tag.get("class", "")).lower().split()]
    names = TAGS.get(kind) or TAGS.get(kind.removesuffix("s")) or (name, name.removesuffix("s"))
    return by_id or by_class or [tag for tag in tags if tag.name in names]


def innermost(page: BeautifulSoup) -> list[Tag]:
    """Return the visible elements that hold no further element."""
    return [tag for tag in page.select("body *") if tag.name not in UNTOUCHABLE and not tag.find(True)]


def visible_strings(tags: Iterable[Tag]) -> list[NavigableString]:
    """Return the texts inside `tags` that a reader sees, each once."""
    strings = {id(text): text for tag in tags for text in tag.find_all(string=True)}
    # Comments, scripts and style sheets are subclasses.
    return [text for text in strings.values() if type(text) is NavigableString and text.strip()]


def slug(words: str) -> str:
    """Return the name that an author would give to `words` in an id, a class or a style property."""
    return re.sub(r"[^a-z0-9_]+", "-", words.lower()).strip("-")


def squeeze(text: str) -> str:
    """Return `text` as a reader sees it: any white space is one space."""
    return " ".join(text.split())


def add_after(place: Tag, new: Tag) -> None:
    """Put `new` behind `place`, on a line of its own if `place` has one."""
    before = place.previous_sibling
    indent = str(before) if isinstance(before, NavigableString) and not before.strip() else ""
    place.insert_after(indent, new)


def set_style(tag: Tag, name: str, value: str) -> None:
    """Set one style property of one element, and keep its others."""
    others = re.sub(rf"(?:^|(?<=;))\s*{name}\s*:[^;]*;?", "", str(tag.get("style", ""))).strip().rstrip(";")
    tag["style"] = f"{others}; {name}: {value}".removeprefix("; ")
