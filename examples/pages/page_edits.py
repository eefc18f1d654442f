"""What a request may say, and how the page then changes: `RULES`, at the end, is the whole of it.

Owns: the patterns of the requests and one function for each. Does not own: the page's tree and the search in it
(`page_tree`).

Invariant: an edit depends on the tree and the words only, changes the tree that it is given, and returns a sentence on
what it did; when the page has no such thing it raises Fail and says what there is.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass

from bs4 import BeautifulSoup
from bs4.element import NavigableString, Stylesheet, Tag
from page_tree import add_after, find, find_one, set_style, slug, squeeze, visible_strings

from workerpool.core.errors import Fail

Edit = Callable[[BeautifulSoup, re.Match[str]], str]

COLOUR_NAMES = """
    aqua aquamarine azure beige black blue brown chocolate coral cornflowerblue crimson cyan darkblue darkgreen darkred
    deeppink firebrick forestgreen fuchsia gold goldenrod gray green grey hotpink indigo ivory khaki lavender lightblue
    lightgray lightgreen lightyellow lime linen magenta maroon mediumseagreen midnightblue navy olive orange orangered
    orchid palegreen peru pink plum purple red royalblue salmon seagreen sienna silver skyblue slateblue slategray snow
    springgreen steelblue tan teal tomato turquoise violet wheat white yellow yellowgreen
"""
COLOURS = frozenset(COLOUR_NAMES.split())
SHADES = "dark|deep|forest|hot|light|medium|midnight|pale|royal|sky"
PARTS = {
    "THING": r"(?:the )?(?P<thing>.+?)",
    "NEW": r"[\"'](?P<new>.+)[\"']",
    "COLOUR": rf"(?P<colour>#(?:[0-9a-f]{{6}}|[0-9a-f]{{3}})|(?:(?:{SHADES}) )?[a-z]+)",
}
USUAL_SIZES = {"h1": "2em", "h2": "1.5em", "h3": "1.17em", "small": "0.83em"}


def understand(request: str) -> tuple[Rule, re.Match[str]]:
    """Return the first rule that fits, and what the request said. Raises Fail with all that is understood."""
    for rule in RULES:
        if said := rule.pattern.fullmatch(request):
            return rule, said
    raise Fail(f"I do not understand: {request}. I understand requests like: {'; '.join(r.example for r in RULES)}.")


def retitle(page: BeautifulSoup, said: re.Match[str]) -> str:
    """Rename the page: its title, and its heading when that said the same."""
    old = squeeze(page.title.get_text()) if page.title else None
    if page.title is None:
        (page.head or page).append(page.new_tag("title"))
    for tag in page.select("title, h1"):
        if tag.name == "title" or squeeze(tag.get_text()) == old:
            tag.string = said["new"]
    return f'Renamed the page to "{said["new"]}".'


def replace_text(page: BeautifulSoup, said: re.Match[str]) -> str:
    """Change a text wherever a reader sees it, or only in one kind of element."""
    kind = (said["kind"] or "text").lower()
    tags = page.select("body") if kind in ("text", "word", "words") else find(page, kind)
    pattern = re.compile(r"\s+".join(re.escape(word) for word in said["old"].split()))
    places = [text for text in visible_strings(tags) if pattern.search(text)]
    if not places:
        raise Fail(f'The page does not say "{said["old"]}"' + ("." if kind == "text" else f" in any {kind}."))
    for text in places:
        text.replace_with(pattern.sub(lambda _: said["new"], text))
    return f'Changed "{said["old"]}" to "{said["new"]}".'


def reword(page: BeautifulSoup, said: re.Match[str]) -> str:
    """Give one element a new text."""
    tag = find_one(page, said["thing"])
    if tag.find(True):
        raise Fail(f"The {said['thing']} has parts of its own: say which text to change, in quotes.")
    tag.string = said["new"]
    return f'The {said["thing"]} now says "{said["new"]}".'


def add_button(page: BeautifulSoup, said: re.Match[str]) -> str:
    """Add a button behind the page's last one, and in its style."""
    button = page.new_tag("button", attrs={"type": "button"}, string=said["new"])
    place_last(page, button, page.select("body button"))
    return f'Added the button "{said["new"]}".'


def add_paragraph(page: BeautifulSoup, said: re.Match[str]) -> str:
    """Add a paragraph behind the page's last one."""
    place_last(page, page.new_tag("p", string=said["new"]), page.select("main > p") or page.select("body p"))
    return f'Added the paragraph "{said["new"]}".'


def add_item(page: BeautifulSoup, said: re.Match[str]) -> str:
    """Add an item to the page's first list, in the form of the list's last item."""
    items = find(page, "list")[0].find_all("li", recursive=False)
    if not items:
        raise Fail("The list is empty: there is no item whose form a new one could take.")
    item = copy.copy(items[-1])
    for tag in [item, *item.find_all(True)]:
        tag.attrs = {name: value for name, value in tag.attrs.items() if name not in ("id", "checked")}
    for index, text in enumerate(visible_strings([item])):
        text.replace_with(said["new"] if index == 0 else "")
    add_after(items[-1], item)
    return f'Added "{said["new"]}" to the list.'


def place_last(page: BeautifulSoup, new: Tag, alike: list[Tag]) -> None:
    """Put `new` behind the last of the elements `alike`, or at the end of the page when there are none."""
    if alike:
        if new.name == "button" and alike[-1].get("class"):
            new["class"] = alike[-1]["class"]
        add_after(alike[-1], new)
    else:
        (page.select_one("main") or page.body or page).append(new)


def remove(page: BeautifulSoup, said: re.Match[str]) -> str:
    """Remove one element, with the line it stood on."""
    tag = find_one(page, said["thing"])
    if tag.name == "body":
        raise Fail("Removing the whole page is not an edit.")
    if isinstance(tag.previous_sibling, NavigableString) and not tag.previous_sibling.strip():
        tag.previous_sibling.extract()
    tag.decompose()
    return f"Removed the {said['thing']}."


def resize(page: BeautifulSoup, said: re.Match[str]) -> str:
    """Make the text of elements a quarter bigger or smaller than it is now, so that two requests add up."""
    for tag in find(page, said["thing"]):
        set_style(tag, "font-size", scaled(font_size(page, tag), 0.8 if said["change"] == "smaller" else 1.25))
    return f"Made the {said['thing']} {said['change']}."


def set_size(page: BeautifulSoup, said: re.Match[str]) -> str:
    """Set the font size of elements."""
    for tag in find(page, said["thing"]):
        set_style(tag, "font-size", said["size"].replace(" ", "").lower())
    return f"Set the size of the {said['thing']} to {said['size']}."


def font_size(page: BeautifulSoup, tag: Tag) -> str:
    """Return the font size an element has from its own style, a simple rule of the style sheet, or its tag."""
    rules = [str(tag.get("style", ""))]
    for selector in (f"#{tag.get('id')}", *(f".{name}" for name in str(tag.get("class", "")).split()), tag.name):
        rule = rf"(?:^|[}}\n])\s*{re.escape(selector)}\s*\{{([^}}]*)\}}"
        rules += [found for style in page.select("style") for found in re.findall(rule, style.get_text())]
    sizes = [size[1].strip() for rule in rules if (size := re.search(r"font-size\s*:([^;]+)", rule))]
    return sizes[0] if sizes else USUAL_SIZES.get(tag.name, "1em")


def scaled(size: str, factor: float) -> str:
    """Return a CSS size times `factor`."""
    number = re.fullmatch(r"(\d*\.?\d+)([a-z%]+)", size)
    return f"{round(float(number[1]) * factor, 3):g}{number[2]}" if number else f"calc({size} * {factor:g})"


def recolour(page: BeautifulSoup, said: re.Match[str]) -> str:
    """Set a colour: of the style property with that name (`--snake`), else of the elements."""
    colour = css_colour(said["colour"])
    thing = re.sub(r"^(?:page |page's )?background(?: of the page)?$|^page$", "background", said["thing"], flags=re.I)
    if not set_property(page, slug(thing), colour):
        back = re.fullmatch(r"background of (?:the )?(.+)|(.+?)(?:'s)? background", thing, re.I)
        for tag in find(page, (back[1] or back[2]) if back else thing):
            set_style(tag, "background" if back or tag.name in ("body", "button") else "color", colour)
    return f"Made the {thing} {said['colour']}."


def css_colour(words: str) -> str:
    """Return the CSS colour that `words` name. Raises Fail with the colours there are."""
    colour = words.lower().replace(" ", "")
    if not colour.startswith("#") and colour not in COLOURS:
        raise Fail(f'"{words}" is not a colour I know. Use #rrggbb or one of: {", ".join(sorted(COLOURS))}.')
    return colour


def set_property(page: BeautifulSoup, name: str, value: str) -> bool:
    """Set the style property `--name` wherever the page's style sheets declare it; return whether one does."""
    found = False
    for style in page.select("style"):
        css, count = re.subn(rf"(--{re.escape(name)}\s*:)[^;}}]*", rf"\g<1> {value}", style.get_text())
        if count:
            style.clear()
            style.append(Stylesheet(css))
            found = True
    return found


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing a request can say: a sentence as an example, its pattern, and what it does to the page."""

    example: str
    pattern: re.Pattern[str]
    apply: Edit


def rule(example: str, pattern: str, apply: Edit) -> Rule:
    """Return a rule; the words of PARTS stand for their patterns in `pattern`."""
    for word, part in PARTS.items():
        pattern = pattern.replace(word, part)
    return Rule(example, re.compile(pattern, re.IGNORECASE), apply)


RULES = (
    rule(
        'rename the title to "Snake Deluxe"',
        r"(?:rename|change|set) the (?:page )?title to NEW",
        retitle,
    ),
    rule(
        'change the text "Score" to "Points"; rename the button "Start" to "Play"',
        r"(?:rename|change|replace) (?:the )?(?:(?P<kind>[^\"']+?) )?[\"'](?P<old>.+?)[\"'] (?:to|with|by|into) NEW",
        replace_text,
    ),
    rule(
        'set the heading to "Welcome"',
        r"(?:rename|change|set) (?:the text of )?THING to NEW",
        reword,
    ),
    rule(
        'add a button labelled "Play again"',
        r"add (?:an?|another) button (?:(?:label+ed|called|named|saying|that says) )?NEW",
        add_button,
    ),
    rule(
        'add a paragraph saying "Closed on Monday"',
        r"add (?:an?|another) paragraph (?:(?:saying|that says) )?NEW",
        add_paragraph,
    ),
    rule(
        'add a list item "Water the plants"',
        r"add (?:(?:an?|another) )?(?:list )?item (?:(?:saying|that says) )?NEW",
        add_item,
    ),
    rule(
        'remove the item "Buy stamps"',
        r"(?:remove|delete) THING",
        remove,
    ),
    rule(
        "make the heading bigger (or smaller)",
        r"make THING (?P<change>bigger|larger|smaller)",
        resize,
    ),
    rule(
        "set the font size of the heading to 40px",
        r"(?:set|change) the (?:font )?size of THING to (?P<size>\d+(?:\.\d+)? ?(?:px|rem|em|pt|%))",
        set_size,
    ),
    rule(
        "make the snake blue; set the background to #102030",
        r"(?:make|set|paint|turn|change|colou?r) (?:the colou?r of )?THING (?:to )?COLOUR",
        recolour,
    ),
)
