"""Deliveries of webhooks: signatures (FAULTS S1 to S4), the file of sources, and what a body becomes."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from workerpool.api.pointer import BadPointer, NotFound, parse
from workerpool.api.webhooks import signatures, sources
from workerpool.api.webhooks.signatures import BadSecret, NotSigned, verify

NOW = 1_700_000_000.0
SECRET = "whsec_" + base64.b64encode(b"s" * 24).decode()
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()
BODY = b'{"type": "page.changed", "data": {"id": 7}}'


def headers(body: bytes = BODY, secret: str = SECRET, at: float = NOW, name: str = "msg_1") -> dict[str, str]:
    """The headers of a delivery, as a sender's library makes them."""
    signature = Webhook(secret).sign(name, datetime.fromtimestamp(at, UTC), body.decode())
    return {"webhook-id": name, "webhook-timestamp": str(int(at)), "webhook-signature": signature}


def test_a_delivery_signed_by_a_sender_s_library_is_let_in() -> None:
    """Good, within five minutes to both sides, by either of two live secrets, with one good signature of several."""
    assert verify("standard", [SECRET], headers(), BODY, NOW) == signatures.Delivery("msg_1", int(NOW))
    for late in (-300, 300):
        verify("standard", [SECRET], headers(), BODY, NOW + late)
    for secret in (SECRET, OTHER):
        verify("standard", [OTHER, SECRET], headers(secret=secret), BODY, NOW)
    several = headers() | {"webhook-signature": f"v1,AAAA v1a,BBBB {headers()['webhook-signature']}"}
    verify("standard", [SECRET], several, BODY, NOW)


def without(name: str) -> Callable[[dict[str, str]], dict[str, str]]:
    """Take a header away."""
    return lambda given: {key: value for key, value in given.items() if key != name}


def with_(**more: str) -> Callable[[dict[str, str]], dict[str, str]]:
    """Give a header another value."""
    return lambda given: given | {f"webhook-{name}": value for name, value in more.items()}


@pytest.mark.parametrize(
    "change",
    [
        *(without(f"webhook-{name}") for name in ("id", "timestamp", "signature")),
        *(with_(timestamp=value) for value in ("", "NaN", "1e30", "-5", "17000000.5", "9" * 13, "1700000001", "1 700")),
        *(with_(id=value) for value in ("", "msg.1", "msg 1", "x" * 256, "msg_2")),
        *(
            with_(signature=value)
            for value in ("", "v1", "v1,", "v1,é", "v1a,AAAA", "AAAA", "v2,AAAA", ",", "v1,A" * 2000)
        ),
        lambda given: given | {"webhook-signature": " ".join([*["v1,AAAA"] * 16, given["webhook-signature"]])},
        lambda given: given | {"webhook-signature": given["webhook-signature"].replace("v1,", "v1a,")},
    ],
)
def test_whatever_is_wrong_with_a_signature_the_answer_is_the_same(change: Any) -> None:
    """A missing, malformed or other header: one sentence, which does not tell which part was wrong."""
    with pytest.raises(NotSigned, match="not signed as it must be"):
        verify("standard", [SECRET], change(headers()), BODY, NOW)


@pytest.mark.parametrize("late", [-301, 301, 10**9])
def test_what_is_too_old_or_too_early_is_refused(late: float) -> None:
    """A delivery is worth something for five minutes, to both sides."""
    with pytest.raises(NotSigned):
        verify("standard", [SECRET], headers(), BODY, NOW + late)


@given(place=st.integers(0, len(BODY) - 1), bit=st.integers(0, 7))
def test_one_bit_of_the_body_is_enough(place: int, bit: int) -> None:
    """The raw body is signed: one bit, or the same JSON written otherwise, is another."""
    changed = bytearray(BODY)
    changed[place] ^= 1 << bit
    for body in (bytes(changed), BODY.replace(b": ", b":")):
        with pytest.raises(NotSigned):
            verify("standard", [SECRET], headers(), body, NOW)


def test_github_s_form() -> None:
    """HMAC of the raw body in hexadecimal; the delivery's own id; another secret, digest or prefix is refused."""
    secret = secrets.token_hex(16)
    digest = hmac.new(secret.encode(), BODY, hashlib.sha256).hexdigest()
    good = {"x-github-delivery": "72d3162e-cc78", "x-hub-signature-256": f"sha256={digest}"}
    assert verify("github", ["x" * 16, secret], good, BODY, NOW).id == "72d3162e-cc78"
    for bad in ({"x-hub-signature-256": digest}, {"x-hub-signature-256": f"sha1={digest}"}, {"x-github-delivery": ""}):
        with pytest.raises(NotSigned):
            verify("github", [secret], good | bad, BODY, NOW)
    with pytest.raises(NotSigned):
        verify("github", [secret], good, BODY + b" ", NOW)


@pytest.mark.parametrize(
    ("form", "secret"),
    [
        ("standard", ""),
        ("standard", "whsec_!!!"),
        ("standard", base64.b64encode(b"x" * 23).decode()),
        ("standard", base64.b64encode(b"x" * 65).decode()),
        ("github", "short"),
    ],
)
def test_a_secret_that_could_be_guessed_is_refused(form: str, secret: str) -> None:
    """Of its form and length; the sentence does not hold it."""
    with pytest.raises(BadSecret) as refused:
        signatures.check_secret(form, secret)
    assert not secret or secret not in str(refused.value)


RFC = {"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, 'k"l': 6, " ": 7, "m~n": 8}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", RFC),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ],
)
def test_pointers_are_those_of_rfc_6901(text: str, value: object) -> None:
    """Its own examples."""
    assert parse(text).find(RFC) == value


@pytest.mark.parametrize("text", ["foo", "/~", "/~2", "/a~"])
def test_what_is_no_pointer_is_refused(text: str) -> None:
    """A beginning without a slash, and a tilde that stands for nothing."""
    with pytest.raises(BadPointer):
        parse(text)


@pytest.mark.parametrize("text", ["/nothing", "/foo/2", "/foo/-", "/foo/01", "/foo/bar", "/foo/0/x"])
def test_a_place_that_is_not_there_is_said(text: str) -> None:
    """Names, numbers and what is beyond them."""
    with pytest.raises(NotFound, match="there is nothing at"):
        parse(text).find(RFC)


GOOD = """
[sources.cms]
secrets = ["CMS_SECRET", "./old"]
item = ["=site", "/data/page"]
handler = "edit"
priority = 5
payload = { text = "/data/text", kind = "=edit" }
dedupe_key = "/data/key"

[sources.git]
form = "github"
secrets = ["GIT_SECRET"]
item = "/repository/full_name"
events = ["push"]

[sources.shop]
form = "token"
item = "/order/id"
id = "/event"
payload = "/order"
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Write a file of sources."""
    (tmp_path / "old").write_text(OTHER + "\n")

    def to(text: str) -> Path:
        path = tmp_path / "sources.toml"
        path.write_text(text)
        return path

    return to


KNOWN = {"CMS_SECRET": SECRET, "GIT_SECRET": "g" * 20}


def test_a_body_becomes_the_revision_that_its_source_says(write: Callable[[str], Path]) -> None:
    """Item of parts, payload of places or a part or the whole, key, handler, priority, and where it came from."""
    found = sources.load(write(GOOD), KNOWN)
    body = {"data": {"page": "home", "text": "blue", "key": 9}}
    new = found["cms"].new_revision(body, "msg_1")
    assert (new.item, new.handler, new.priority, new.dedupe_key) == ("site/home", "edit", 5, "9")
    assert new.payload == {"text": "blue", "kind": "edit"}
    assert new.metadata == {"source": "cms", "delivery": "msg_1"}
    assert found["cms"].secrets == (SECRET, OTHER)
    push = {"repository": {"full_name": "a/b"}}
    assert found["git"].new_revision(push, "1").payload == push
    assert [found["git"].ignores(event) for event in ("push", "ping", None)] == [False, True, True]
    order = found["shop"].new_revision({"order": {"id": 7}, "event": "e-1"}, "")
    assert (order.item, order.payload, order.metadata) == ("7", {"id": 7}, {"source": "shop", "delivery": "e-1"})
    assert sources.secret_names(write(GOOD)) == {"CMS_SECRET", "GIT_SECRET"}
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "item: there is nothing at /data/page"),
        ({"data": {"page": []}}, "stands no text"),
        ([], "item: there is nothing"),
        ({"data": {"page": True}}, "stands no text"),
        ({"data": {"page": "x", "key": 1}}, "payload.text: there is nothing at /data/text"),
    ],
)
def test_a_body_that_lacks_something_says_what(write: Callable[[str], Path], body: object, told: str) -> None:
    """The field of the source, and the place of the body."""
    with pytest.raises(sources.NotForUs, match=told):
        sources.load(write(GOOD), KNOWN)["cms"].new_revision(body, "msg_1")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it has no sources"),
        ("[sources", "it is not TOML"),
        ("[other]\n", "key 'other' is not known"),
        ('[sources."a b"]\nitem = "=x"', "the name 'a b' is not usable"),
        ('[sources.a]\nitem = "=x"\nsecrets = ["NOT_THERE"]', "the variable NOT_THERE is not set"),
        ('[sources.a]\nitem = "=x"\nsecrets = ["./gone"]', "the file ./gone cannot be read"),
        ('[sources.a]\nitem = "=x"\nsecrets = ["WEAK"]', "what WEAK holds cannot be a secret"),
        ('[sources.a]\nitem = "=x"\nsecrets = ["CMS_SECRET", "CMS_SECRET", "CMS_SECRET"]', "is no such list"),
        ('[sources.a]\nsecrets = ["CMS_SECRET"]', "item: it is missing"),
        ('[sources.a]\nitem = "x"\nsecrets = ["CMS_SECRET"]', "does not begin with a slash"),
        ('[sources.a]\nitem = "=x"\nsecrets = ["CMS_SECRET"]\ncolour = "red"', "colour: the key is not known"),
        ('[sources.a]\nitem = "=x"\nform = "telegram"', "form: 'telegram' is none"),
        ('[sources.a]\nitem = "=x"\nform = "token"', "have no name of their own"),
        ('[sources.a]\nitem = "=x"\nsecrets = ["CMS_SECRET"]\nid = "/id"', "id: its form has one"),
        ('[sources.a]\nitem = "=x"\nsecrets = ["CMS_SECRET"]\nevents = ["push"]', "form standard has none"),
        ('[sources.a]\nitem = "=x"\nsecrets = ["CMS_SECRET"]\npriority = 99999', "priority: 99999 is none"),
    ],
)
def test_a_file_of_sources_is_refused_with_what_where_and_what_is_allowed(
    write: Callable[[str], Path], text: str, told: str
) -> None:
    """Each mistake has its sentence, which never holds a secret."""
    with pytest.raises(sources.BadSource, match="allowed: ") as refused:
        sources.load(write(text), KNOWN | {"WEAK": "c2hvcnQ="})
    assert told in str(refused.value)
    assert SECRET not in str(refused.value)
    assert "c2hvcnQ=" not in str(refused.value)
