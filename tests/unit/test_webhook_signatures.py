"""Signatures against vectors that others published, and against whatever a stranger may send (FAULTS S1 to S4)."""

from __future__ import annotations

import ast
import base64
import inspect
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workerpool.api.webhooks import signatures
from workerpool.api.webhooks.signatures import Delivery, NotSigned, verify

#: The example of the Standard Webhooks project.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
NOW = 1_614_265_330.0
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": SIGNATURE,
}
#: The example of GitHub's "Validating webhook deliveries"; the id is not signed.
GITHUB_SECRET, GITHUB_BODY = "It's a Secret to Everybody", b"Hello, World!"
GITHUB = {
    "x-github-delivery": "1",
    "x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
}
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()
HEADER_TEXTS = st.text(st.characters(max_codepoint=255), max_size=40)


def test_the_published_examples_are_let_in() -> None:
    """Whoever signs as the two documents say is understood: these were made by neither this program nor its library."""
    assert verify("standard", [SECRET], HEADERS, BODY, NOW) == Delivery("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330)
    assert verify("standard", [SECRET.removeprefix("whsec_")], HEADERS, BODY, NOW).id == HEADERS["webhook-id"]
    assert verify("github", [GITHUB_SECRET], GITHUB, GITHUB_BODY, NOW) == Delivery("1")


def test_while_a_secret_is_changed_both_are_right_and_then_one() -> None:
    """The old and the new overlap; a secret that was taken away, or was never this source's, opens nothing."""
    for live in ([SECRET], [SECRET, OTHER], [OTHER, SECRET]):
        verify("standard", live, HEADERS, BODY, NOW)
    verify("github", ["x" * 16, GITHUB_SECRET], GITHUB, GITHUB_BODY, NOW)
    for form, headers, body in (("standard", HEADERS, BODY), ("github", GITHUB, GITHUB_BODY)):
        for gone in ([OTHER], []):
            with pytest.raises(NotSigned):
                verify(form, gone, headers, body, NOW)


@pytest.mark.parametrize("late", [-301, -300, 0, 300, 301])
def test_a_replay_is_right_for_five_minutes_and_no_longer(late: int) -> None:
    """Within them it is for whoever notes deliveries to see that it is the same: the id is told each time."""
    if abs(late) <= signatures.TOLERANCE:
        assert verify("standard", [SECRET], HEADERS, BODY, NOW + late).id == HEADERS["webhook-id"]
    else:
        with pytest.raises(NotSigned):
            verify("standard", [SECRET], HEADERS, BODY, NOW + late)


@pytest.mark.parametrize(
    "sent", ["NaN", "nan", "inf", "1e30", "1e3", "-1614265330", "+1614265330", "1_614_265_330", "٣"]
)
def test_a_time_is_digits(sent: str) -> None:
    """Whatever else Python would take for a number is refused, without an error of another kind."""
    with pytest.raises(NotSigned):
        verify("standard", [SECRET], HEADERS | {"webhook-timestamp": sent}, BODY, NOW)


@pytest.mark.parametrize("other", ["v1,AAAA", "v1a,AAAA"])
def test_ten_thousand_signatures_are_not_looked_at(other: str) -> None:
    """A header that is longer than any sender's costs next to nothing, though the right one stands in it."""
    many = HEADERS | {"webhook-signature": " ".join([*[other] * 10_000, SIGNATURE])}
    began = time.process_time()
    for _ in range(100):
        with pytest.raises(NotSigned):
            verify("standard", [SECRET], many, BODY, NOW)
    assert time.process_time() - began < 1


def test_the_cap_leaves_room_for_a_sender_that_changes_its_secret() -> None:
    """The right one is found among as many as are allowed; with one more it is not looked for."""
    full = [*["v1,AAAA"] * (signatures.MOST_SIGNATURES - 1), SIGNATURE]
    verify("standard", [SECRET], HEADERS | {"webhook-signature": " ".join(full)}, BODY, NOW)
    with pytest.raises(NotSigned):
        verify("standard", [SECRET], HEADERS | {"webhook-signature": " ".join(["v1,BBBB", *full])}, BODY, NOW)


@given(st.dictionaries(st.sampled_from([*HEADERS, *GITHUB]), HEADER_TEXTS), st.binary(max_size=60), st.booleans())
def test_whatever_a_stranger_sends_gets_the_one_sentence(headers: dict[str, str], body: bytes, near: bool) -> None:
    """Any headers with any body, or any in place of the right ones: never let in, never another error."""
    for form, right in (("standard", HEADERS), ("github", GITHUB)):
        sent = (right | headers | {next(reversed(right)): "v1,AAAA"}) if near else headers
        with pytest.raises(NotSigned) as refused:
            verify(form, [SECRET], sent, body, NOW)
        assert str(refused.value) == str(NotSigned())


def test_nothing_that_is_secret_is_compared_by_its_first_difference() -> None:
    """== stops where two texts differ, which can be measured: here it compares with what stands in the source only.

    And nothing here can read JSON, so that no body is understood before its signature is right.
    """
    tree = ast.parse(inspect.getsource(signatures))
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq | ast.In) for op in node.ops):
            assert any(isinstance(side, ast.Constant) for side in (node.left, *node.comparators)), ast.unparse(node)
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert "hmac" in imported
    assert "json" not in imported
    assert ast.unparse(tree).count("compare_digest(") == 2, "one for each form"
