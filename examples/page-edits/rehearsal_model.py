"""A model on this machine that edits pages by the ten rules of `examples/pages`: for trying the service without a key.

Owns: the answers. Does not own: the protocol (`workerpool.rehearsal`). It prints its URL and runs until a signal.

Invariant: the answer depends on what was asked and on nothing else, as edits must add up in any order: so it is no list
of fixed answers. Two words let it misbehave: "carelessly" loses the page's script until it is told of that,
"hopelessly" loses it always.
"""

from __future__ import annotations

import re
import signal
import sys
import threading
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "pages"))

from page_edits import RULES, understand  # of examples/pages
from page_tree import parse, render

from workerpool import Fail
from workerpool.rehearsal import Asked, ModelServer, Reply

PACE = 0.015  # seconds between two words: an answer takes some seconds, as one of a model does
MOODS = ("carelessly", "hopelessly")


def answer(asked: Asked) -> Reply:
    """Return the page of a request, edited; what is not understood is refused with what is."""
    page, request = _between("content", asked.last_user), _between("input", asked.last_user).split("\n\n", 1)[0]
    mood = next((word for word in MOODS if request.lower().startswith(word)), "")
    wanted = request[len(mood) :].strip().rstrip(".!").removeprefix("Please ").removeprefix("please ")
    try:
        rule, said = understand(wanted)
        tree = parse(page)
        rule.apply(tree, said)
    except Fail as error:
        return Reply(status=400, error={"message": str(error), "type": "invalid_request_error"})
    edited = render(tree)
    if mood == "hopelessly" or (mood and "was refused" not in asked.system):
        edited = re.sub(r"<script>.*?</script>\n?", "", edited, flags=re.DOTALL)
    return Reply(text=edited, chunk_delay=PACE)


def _between(tag: str, text: str) -> str:
    found = re.search(rf"<{tag}>\n(.*)\n</{tag}>", text, re.DOTALL)
    return found[1] if found else ""


def main() -> None:
    """Serve until a signal ends it."""
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    with ModelServer(answer) as model:
        print(model.url, flush=True)
        print(f"It understands: {'; '.join(rule.example for rule in RULES)}.", file=sys.stderr, flush=True)
        over.wait()


if __name__ == "__main__":
    main()
