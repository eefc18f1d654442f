"""What operators do to revisions and items from the command line: each verb, what it says, and its exit code."""

import json
import subprocess
from pathlib import Path

import psycopg

from tests.acceptance.calling import Run, read, until


def status(run: Run, revision: int) -> str:
    """The status of a revision."""
    return str(read(run("show", str(revision), "--json"))["status"])


def test_cancel_ends_what_waits_and_says_what_became_of_each(run: Run, connection: psycopg.Connection) -> None:
    """One line for each id, the exit code of the worst, and the reason in the record."""
    run("enqueue", "page")
    run("enqueue", "page")
    assert run("cancel", "1", "--reason", "not wanted").stdout == "revision 1 of page is cancelled\n"
    done = run("cancel", "2", "9", code=3)
    assert "revision 2 of page is cancelled" in done.stdout
    assert "there is no revision 9" in done.stderr
    assert "has ended: it is cancelled" in run("cancel", "1", code=4).stderr
    shown = read(run("show", "1", "--json"))
    assert shown["error_kind"] == "cancelled"
    assert "not wanted" in shown["error_message"]
    row = connection.execute(
        "SELECT action, reason, target FROM workerpool.control_events ORDER BY id LIMIT 1"
    ).fetchone()
    assert row == ("cancel", "not wanted", "1")


def test_a_filter_shows_what_it_would_do_and_does_it_with_yes(run: Run) -> None:
    """Without --yes nothing is done; the filter means what it says."""
    for item in ("a1", "a2", "b1"):
        run("enqueue", item)
    told = run("cancel", "--where", "item=a*").stdout
    assert "cancel would concern 2 revisions; nothing was done, --yes does it" in told
    assert "b1" not in told
    assert status(run, 1) == "pending"
    assert run("cancel", "--where", "item=a*", "--yes").stdout == "2 cancelled\n"
    assert [status(run, each) for each in (1, 2, 3)] == ["cancelled", "cancelled", "pending"]
    preview = read(run("retry", "--where", "status=cancelled", "--where", "newer=1h", "--json"))
    assert preview["would_retry"] == 2
    done = read(run("retry", "--where", "status=cancelled", "--yes", "--json"))
    assert done == {"answers": {"retried": 2}, "refused": []}
    assert status(run, 1) == "pending"


def test_bad_filters_say_what_is_allowed(run: Run) -> None:
    """A mistyped key, value or mixture is a usage error."""
    for words, said in (
        (("--where", "statsu=failed"), "status= one of"),
        (("--where", "status=completed"), "Allowed: draft, scheduled, pending, processing"),
        (("--where", "kind=eror"), "Allowed: error, timeout, crash"),
        (("--where", "older=soon"), "a duration such as"),
        (("1", "--where", "item=a"), "not both"),
        ((), "Either ids or --where"),
        (("1", "--yes"), "--yes is for --where"),
        (("one",), "'one' is not a valid integer"),
    ):
        assert said in run("cancel", *words, code=2).stderr


def test_retry_in_place_refused_or_appended(pool: subprocess.Popen[bytes], run: Run) -> None:
    """A failed head runs again; one whose successors ran is refused with the command that does."""
    run("enqueue", "page", "--handler", "bad", "--wait", code=1)
    assert run("retry", "1").stdout == "revision 1 of page is pending again\n"
    until(lambda: status(run, 1) == "failed")
    run("enqueue", "page", "--handler", "good", "--wait")
    refused = run("retry", "1", code=4).stderr
    assert "later revisions of its item have run" in refused
    assert "`workerpool retry 1 --append`" in refused
    assert run("retry", "1", "--append").stdout == "revision 3 of page was added, a copy of 1\n"
    assert "is completed" in run("retry", "2", code=4).stderr
    assert "retry 1 --append" in run("explain", "1").stdout


def test_a_running_revision_is_cancelled_and_the_wait_says_so(pool: subprocess.Popen[bytes], run: Run) -> None:
    """Asked, then ended; where it completed first, that is what is told."""
    run("enqueue", "page", "--handler", "slow")
    until(lambda: status(run, 1) == "processing")
    assert "was asked to stop, and is killed if it runs on for 10s" in run("cancel", "1").stdout
    until(lambda: status(run, 1) == "cancelled")
    run("enqueue", "page", "--handler", "slow")
    until(lambda: status(run, 2) == "processing")
    assert run("cancel", "2", "--wait").stdout == "revision 2 of page is cancelled\n"
    run("enqueue", "page", "--handler", "good", "--wait")
    assert "has ended: it is completed" in run("cancel", "3", "--wait", code=4).stderr


def test_drafts_are_queued_and_what_waits_is_edited(run: Run) -> None:
    """queue and edit, and what they refuse."""
    run("enqueue", "page", "--draft", "--payload", '{"n": 1}')
    assert "edited" in run("edit", "1", "--payload", '{"n": 2}', "--priority", "7").stdout
    shown = read(run("show", "1", "--json"))
    assert (shown["payload"], shown["priority"], shown["status"]) == ({"n": 2}, 7, "draft")
    assert "queued" in run("queue", "1").stdout
    assert status(run, 1) == "pending"
    assert "not a draft" in run("queue", "1", code=4).stderr
    run("edit", "1", "--run-at", "+1h")
    assert status(run, 1) == "scheduled"
    run("edit", "1", "--run-at", "now")
    assert status(run, 1) == "pending"
    run("cancel", "1")
    assert "has ended" in run("edit", "1", "--priority", "1", code=4).stderr
    assert "--payload, --priority or --run-at" in run("edit", "1", code=2).stderr
    assert "priority is 99999; allowed" in run("edit", "1", "--priority", "99999", code=2).stderr


def test_an_item_is_halted_and_goes_on(run: Run) -> None:
    """halt and unhalt, with explain naming the one for the other."""
    run("enqueue", "my page")
    assert "`workerpool unhalt 'my page'`" in run("halt", "my page", "--reason", "broken").stdout
    assert "halted already: broken" in run("halt", "my page", code=4).stderr
    assert "next: workerpool unhalt 'my page'" in run("explain", "1").stdout
    assert run("unhalt", "my page").stdout == "my page goes on\n"
    assert "is not halted" in run("unhalt", "my page", code=4).stderr
    assert "nothing is known" in run("unhalt", "mypage", code=3).stderr


def test_history_revert_and_export_of_an_item(pool: subprocess.Popen[bytes], run: Run, tmp_path: Path) -> None:
    """Numbers, who, differences; a revert is a revision of its own whose result is that of the number."""
    line = {"item_key": "page", "html_content": "<p>zero</p>", "handler": "good"}
    run("import", "-", "--format", "lines", stdin=json.dumps(line))
    until(lambda: status(run, 1) == "completed")
    run("enqueue", "page", "--handler", "good", "--payload", '{"n": 2}', "--wait")
    first, second = read(run("history", "page", "--json"))
    assert (first["number"], second["number"], second["handler"]) == (1, 2, "good")
    assert "@" in second["who"]
    assert '+    "n": 2' in run("history", "page", "--diff").stdout
    assert "revision 3 of page will revert it to 1" in run("revert", "page", "--to", "1").stdout
    until(lambda: status(run, 3) == "completed")
    assert read(run("show", "3", "--json"))["result"] == first["result"]
    run("revert", "page", "--to", "0")
    until(lambda: status(run, 4) == "completed")
    assert read(run("show", "4", "--json"))["result"] == {"html": "<p>zero</p>"}
    assert "its history goes to 4" in run("revert", "page", "--to", "5", code=3).stderr
    assert "nothing is known" in run("revert", "pgae", "--to", "1", code=3).stderr
    assert "revert to 1" in run("history", "page").stdout
    assert run("history", "page", "--limit", "1", "--json").stdout.count('"number"') == 1
    assert "nothing is known" in run("history", "pgae", code=3).stderr
    lines = [json.loads(line) for line in run("export", "page").stdout.splitlines()]
    assert lines[0]["original"] == {"html": "<p>zero</p>"}
    assert [line["revision_number"] for line in lines[1:]] == [1, 2, 3, 4]
    assert any("said by the handler" in entry["message"] for entry in lines[2]["log"])
    assert "4 revisions" in run("export", "page", "--output", str(tmp_path / "page.jsonl")).stdout
    assert (tmp_path / "page.jsonl").read_text().count("\n") == 5


def test_a_pruned_number_cannot_be_reverted_to(
    pool: subprocess.Popen[bytes], run: Run, connection: psycopg.Connection
) -> None:
    """Refused when asked for, and failed with the reason where it is pruned in between."""
    for _ in range(2):
        run("enqueue", "page", "--handler", "good", "--wait")
    run("halt", "page")
    run("revert", "page", "--to", "1")
    connection.execute("DELETE FROM workerpool.revisions WHERE id = 1")
    assert "it was pruned" in run("revert", "page", "--to", "1", code=4).stderr
    run("unhalt", "page")
    until(lambda: status(run, 3) == "failed")
    assert "has no number 1 in its history" in read(run("show", "3", "--json"))["error_message"]
    assert "no original" in run("revert", "page", "--to", "0", code=4).stderr


def test_purge_deletes_an_item_whole(pool: subprocess.Popen[bytes], run: Run, connection: psycopg.Connection) -> None:
    """Not without --yes, and not while one of it runs."""
    run("enqueue", "page", "--handler", "slow")
    until(lambda: status(run, 1) == "processing")
    assert "1 revision of page would be deleted" in run("purge", "page").stdout
    assert "processing: nothing was deleted" in run("purge", "page", "--yes", code=4).stderr
    run("cancel", "1", "--wait")
    assert "1 revision of page deleted" in run("purge", "page", "--yes").stdout
    assert connection.execute("SELECT count(*) FROM workerpool.revisions").fetchone() == (0,)
    assert "nothing is known" in run("purge", "page", code=3).stderr


def test_schedules_are_added_listed_shown_and_removed(run: Run) -> None:
    """What is said of each, and what is refused."""
    words = ("nightly", "page", "--cron", "30 4 * * mon-fri", "--timezone", "Europe/Berlin", "--payload", '{"n": 1}')
    assert "(Europe/Berlin), first 20" in run("schedule", "add", *words).stdout
    assert "there is a schedule nightly already" in run("schedule", "add", *words, code=4).stderr
    run("schedule", "add", *words, "--priority", "3", "--replace")
    (row,) = read(run("schedule", "list", "--json"))
    assert (row["name"], row["cron"], row["priority"], row["payload"]) == ("nightly", "30 4 * * mon-fri", 3, {"n": 1})
    shown = read(run("schedule", "show", "nightly", "--json"))
    assert len(shown["upcoming"]) == 5
    assert all("T04:30:00+0" in each for each in shown["upcoming"])
    assert "upcoming" in run("schedule", "show", "nightly").stdout
    for option, value, said in (
        ("--cron", "61 * * * *", "five fields"),
        ("--timezone", "Europe/Belin", "Europe/Berlin"),
    ):
        wrong = [value if before == option else word for before, word in zip(("", *words), words, strict=False)]
        assert said in run("schedule", "add", *wrong, code=2).stderr
    assert run("schedule", "remove", "nightly").stdout == "schedule nightly is removed\n"
    assert "there is no schedule nightly" in run("schedule", "remove", "nightly", code=3).stderr
    assert "no schedules" in run("schedule", "list").stdout
