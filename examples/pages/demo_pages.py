"""Writes finished pages as files, and an index that shows each page with the edits that made it.

Owns: the files of one folder. Does not own: where the pages come from; it is given them.

Invariant: every file stays inside the folder, whatever an item is called.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from pathlib import Path

INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Finished pages</title>
<style>
  body {{ margin: 0; padding: 2.5rem; background: #eef0f3; color: #20262e; font: 15px/1.5 system-ui, sans-serif; }}
  h1 {{ margin: 0 0 1.5rem; font-size: 1.7rem; }}
  main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); gap: 1.5rem; }}
  article {{ overflow: hidden; border-radius: 14px; background: #fff; box-shadow: 0 8px 30px #20262e1a; }}
  .view {{ height: 330px; overflow: hidden; border-bottom: 1px solid #e3e6ea; }}
  iframe {{ width: 250%; height: 825px; border: 0; transform: scale(.4); transform-origin: 0 0; pointer-events: none; }}
  h2 {{ margin: 1rem 1.2rem .3rem; font-size: 1.1rem; }}
  a {{ color: #1f5fbf; }}
  ol {{ margin: 0 1.2rem 1.2rem; padding-left: 1.3rem; color: #56606c; }}
</style>
</head>
<body>
<h1>{count} pages, {edits} edits</h1>
<main>
{cards}
</main>
</body>
</html>
"""
CARD = """  <article>
    <div class="view"><iframe src="{file}" title="{name}" tabindex="-1"></iframe></div>
    <h2><a href="{file}">{name}</a></h2>
    <ol>{edits}</ol>
  </article>"""


def write_pages(finished: Mapping[str, Mapping[str, object]], folder: Path) -> list[Path]:
    """Write one HTML file per item and `index.html`; the folder is made if need be.

    `finished` maps an item key to the item's current content: the result of its last edit (`output`, `applied`), or its
    original (`html`) when it has had no edit. Returns the files in the order written, the index last. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    cards: list[str] = []
    total = 0
    for key, content in sorted(finished.items()):
        path = free_path(folder, key, written)
        path.write_text(str(content.get("output") or content.get("html") or ""), encoding="utf-8")
        written.append(path)
        applied = edits_of(content)
        total += len(applied)
        items = "".join(f"<li>{escape(edit)}</li>" for edit in applied)
        cards.append(CARD.format(file=escape(path.name), name=escape(key), edits=items))
    index = folder / "index.html"
    index.write_text(INDEX.format(count=len(written), edits=total, cards="\n".join(cards)), encoding="utf-8")
    return [*written, index]


def edits_of(content: Mapping[str, object]) -> list[str]:
    """Return the requests that made a page, the first one first."""
    applied = content.get("applied")
    return [str(edit) for edit in applied] if isinstance(applied, list) else []


def free_path(folder: Path, key: str, taken: list[Path]) -> Path:
    """Return the path for an item's page: its key in safe letters, and a number when another item took that name."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", key).strip("-")[:80] or "page"
    names = [name, *(f"{name}-{number}" for number in range(2, len(taken) + 3))]
    lower = {"index", *(path.stem.lower() for path in taken)}
    return folder / f"{next(name for name in names if name.lower() not in lower)}.html"
