"""The file of sources: it tells no secret, no two sources share one, and the example is one that works."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from workerpool.api.webhooks import sources
from workerpool.api.webhooks.sources import BadSource, NotForUs

EXAMPLE = Path(__file__).parents[2] / "examples" / "webhooks"
SECRET, OTHER = ("whsec_" + base64.b64encode(text * 24).decode() for text in (b"s", b"o"))
HEX = "b1946ac92492d2347c6235b4d2611184ffffffff"
KNOWN = {"A_SECRET": SECRET, "B_SECRET": OTHER}


def load(folder: Path, text: str) -> dict[str, sources.Source]:
    """Read a file of sources with this text."""
    path = folder / "sources.toml"
    path.write_text(text)
    return sources.load(path, KNOWN)


@pytest.mark.parametrize("secret", [SECRET, SECRET.removeprefix("whsec_"), HEX, HEX.upper() + "!"])
@pytest.mark.parametrize("line", ['secrets = ["{}"]', 'secrets = "{}"', 'secrets = ["A", "B", "{}"]', 'secret = "{}"'])
def test_a_secret_that_stands_in_the_file_is_not_told(tmp_path: Path, secret: str, line: str) -> None:
    """Somebody writes the secret where its name belongs: the refusal goes to a log, and holds its beginning at most."""
    with pytest.raises(BadSource, match="allowed: ") as refused:
        load(tmp_path, f'[sources.a]\nitem = "=x"\n{line.format(secret)}')
    assert secret[5:] not in str(refused.value)
    assert "[sources.a] secret" in str(refused.value)


def test_a_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    """What is a variable's name beyond doubt is told whole: somebody has to set it."""
    with pytest.raises(BadSource, match="the variable THE_SECRET_OF_THE_CONTENT_SYSTEM_OF_THE_SHOP is not set"):
        load(tmp_path, '[sources.a]\nitem = "=x"\nsecrets = ["THE_SECRET_OF_THE_CONTENT_SYSTEM_OF_THE_SHOP"]')


@pytest.mark.parametrize("second", ['["A_SECRET"]', '["B_SECRET", "./same"]'])
def test_no_two_sources_have_a_secret_in_common(tmp_path: Path, second: str) -> None:
    """Else what was sent to one could be sent on to the other; with or without its prefix it is the same secret."""
    (tmp_path / "same").write_text(SECRET.removeprefix("whsec_") + "\n")
    text = '[sources.{}]\nitem = "=x"\nsecrets = {}\n'
    with pytest.raises(BadSource, match=r"\[sources.b\] secrets: source a has the same secret") as refused:
        load(tmp_path, text.format("a", '["A_SECRET"]') + text.format("b", second))
    assert SECRET.removeprefix("whsec_") not in str(refused.value)
    assert set(load(tmp_path, text.format("a", '["A_SECRET"]') + text.format("b", '["B_SECRET"]'))) == {"a", "b"}


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (r'secrets = ["./a\u0000b"]', "secrets: the file"),
        ('secrets = [""]', "secrets: the variable"),
        ('secrets = ["A_SECRET"]\nitem = "="', "item: it has 0 characters"),
        (f'secrets = ["A_SECRET"]\nitem = ["={"x" * 300}", "={"y" * 300}"]', "item: it has 601 characters"),
        ('secrets = ["A_SECRET"]\nitem = []', "item: it is empty"),
        (r'secrets = ["A_SECRET"]' + "\n" + r'item = "=a\u0000"', "item: '=a\\x00' is no place"),
        ('secrets = ["A_SECRET"]\nform = ["github"]', "form: ['github'] is none"),
        ('secrets = ["A_SECRET"]\npayload = { a = 1 }', "payload.a: 1 is no place"),
        ('secrets = ["A_SECRET"]\npayload = "=fixed"', "payload: '=fixed' is a fixed text"),
        ('secrets = ["A_SECRET"]\npriority = true', "priority: True is none"),
        ('secrets = ["A_SECRET"]\nhandler = ""', "handler: '' is not usable"),
    ],
)
def test_a_mistake_is_refused_before_the_first_delivery(tmp_path: Path, lines: str, told: str) -> None:
    """What would make every delivery fail, or the start fall over, is one sentence with its place."""
    item = "" if "item" in lines else '\nitem = "=x"'
    with pytest.raises(BadSource, match="allowed: ") as refused:
        load(tmp_path, f"[sources.a]\n{lines}{item}")
    assert f"[sources.a] {told}" in str(refused.value)


def test_what_stands_in_no_body_is_said_and_what_is_null_is_no_item(tmp_path: Path) -> None:
    """A place may hold null, which is a payload's value and no item's name."""
    found = load(tmp_path, '[sources.a]\nsecrets = ["A_SECRET"]\nitem = "/page"\npayload = { text = "/text" }')["a"]
    assert found.new_revision({"page": "home", "text": None}, "1").payload == {"text": None}
    for body in ({"page": None, "text": ""}, {"page": 1.5, "text": ""}, {"text": ""}, "page", None):
        with pytest.raises(NotForUs, match=r"^item: "):
            found.new_revision(body, "1")


def test_the_example_is_taken_and_does_what_it_says() -> None:
    """Its two sources, with the bodies that its README sends."""
    known = {"CMS_SECRET": SECRET, "GITHUB_WEBHOOK_SECRET": HEX}
    assert sources.secret_names(EXAMPLE / "sources.toml") == set(known)
    found = sources.load(EXAMPLE / "sources.toml", known)
    change = {"site": "shop", "page": "home", "text": "blue", "change": 17}
    new = found["cms"].new_revision({"type": "page.changed", "data": change}, "msg_1")
    assert (new.item, new.dedupe_key, new.priority) == ("pages/shop/home", "17", 5)
    assert new.payload == {"text": "blue", "kind": "page.changed", "origin": "cms"}
    push = {"ref": "refs/heads/main", "repository": {"full_name": "octo/cat"}}
    new = found["github"].new_revision(push, "1")
    assert (new.item, new.payload) == ("repositories/octo/cat", push)
    assert [found["github"].ignores(event) for event in ("push", "ping")] == [False, True]
    readme = (EXAMPLE / "README.md").read_text()
    assert all(name in readme for name in (*known, '"change": 17', '"octo/cat"'))
