"""Runs of the command handler: what a command is given and what its end means. Each command ends by itself at once."""

import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from tests.process.command_job import Job, python, shell
from workerpool.core.errors import Cancelled, Fail
from workerpool.handlers import work_directory as directories
from workerpool.handlers.command import CommandFailed, run_command, run_named_command
from workerpool.handlers.command_config import CommandSpec
from workerpool.handlers.command_environment import locate_program


@pytest.fixture(autouse=True)
def own_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work directories are made where a test can count them."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_row_can_choose_only_an_allowed_command() -> None:
    """A name outside the list fails the payload, with the names that are allowed; other words are data."""
    commands = {"good": shell("cat"), "also": shell("true")}
    for payload, says in [({}, "names no command"), ({"command": "sh"}, "'sh'"), ({"command": ["sh"]}, "['sh']")]:
        with pytest.raises(Fail) as caught:
            run_named_command(commands, Job(payload=payload))
        assert caught.value.kind == "invalid_payload"
        assert says in str(caught.value)
        assert "one of: also, good" in str(caught.value)
    payload = {"command": "good", "text": "; rm -rf $(pwd) `id` \n --help"}
    assert run_named_command(commands, Job(payload=payload)) == payload


def test_payload_and_content_arrive_as_files_and_stdin() -> None:
    """The payload is on stdin and in a file, the content in another, identity in variables, and no fd but 0, 1, 2."""
    code = """
import json, os, sys
fds = sorted(int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}"))
names = ["REVISION_ID", "ITEM_KEY", "ATTEMPT", "FENCE", "IDEMPOTENCY_KEY"]
folder = os.path.dirname(os.environ["WORKERPOOL_PAYLOAD_FILE"])
print(json.dumps({
    "stdin": json.load(sys.stdin), "file": json.load(open(os.environ["WORKERPOOL_PAYLOAD_FILE"])),
    "content": json.load(open(os.environ["WORKERPOOL_CONTENT_FILE"])),
    "identity": [os.environ["WORKERPOOL_" + name] for name in names], "fds": fds, "cwd": os.getcwd(),
    "folder": folder, "mode": os.stat(folder).st_mode & 0o777, "leads": os.getsid(0) == os.getpid() == os.getpgrp(),
}))"""
    payload = {"edit": "größer \u2028 ; $(rm)", "n": [1, 2.5, None]}
    inherited = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        result = run_command(python(code), Job(payload=payload, base={"html": "<p>"}))
    finally:
        os.close(inherited)
    assert result["stdin"] == result["file"] == payload
    assert result["content"] == {"html": "<p>"}
    assert result["identity"] == ["42", "page/1", "2", "77", "42:2"]
    assert result["fds"] == [0, 1, 2]
    assert result["cwd"] == os.getcwd()
    assert result["mode"] == 0o700
    assert result["leads"] is True
    assert not os.path.exists(result["folder"])


def test_directory_of_the_spec_is_where_it_runs(tmp_path: Path) -> None:
    """A command runs in its spec's directory when it has one; a relative program is looked for there."""
    script = tmp_path / "here.sh"
    script.write_text("#!/bin/sh\npwd\n")
    script.chmod(0o755)
    spec = CommandSpec("here", ("./here.sh",), directory=str(tmp_path))
    assert run_command(spec, Job()) == {"output": f"{tmp_path}\n"}


def test_only_allowed_variables_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command sees the usual variables, those its spec names, fixed ones and the marks; no canary secret."""
    monkeypatch.setenv("WORKERPOOL_DATABASE_URL", "postgresql://canary")
    monkeypatch.setenv("WORKERPOOL_API_TOKEN", "canary")
    monkeypatch.setenv("PGPASSWORD", "canary")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "me")
    monkeypatch.setenv("LC_TIME", "C")
    monkeypatch.setenv("WORKERPOOL_RUN", "run-1")
    monkeypatch.setenv("WORKERPOOL_WORKER", "host/1-a/W1.1")
    spec = shell("tr '\\0' '\\n' </proc/self/environ", environment=("GIT_*",), variables=(("MODE", "fast"),))
    text = run_command(spec, Job())["output"]
    assert "canary" not in text
    names = {line.split("=")[0] for line in text.splitlines() if "=" in line}
    assert {"PATH", "GIT_AUTHOR_NAME", "LC_TIME", "MODE", "WORKERPOOL_RUN", "WORKERPOOL_WORKER"} <= names
    assert "WORKERPOOL_REVISION_RUN" in names


def test_bytes_that_are_no_text_are_kept_as_replacements() -> None:
    """Output with NUL or bytes outside UTF-8 gives a result and log lines that PostgreSQL can store."""
    job = Job()
    result = run_command(shell(r"printf 'a\000b\377c\n'"), job)
    assert result == {"output": "a\ufffdb\ufffdc\n"}
    assert job.log.lines("stdout") == ["a\ufffdb\ufffdc"]


def test_exit_status_is_recorded() -> None:
    """Another status than 0 is a failure with status, time and the last lines of stderr, and an entry in the log."""
    job = Job()
    with pytest.raises(CommandFailed) as caught:
        run_command(shell("echo out; echo one >&2; echo the reason >&2; exit 3"), job)
    error = caught.value
    assert (error.exit_status, error.signal, error.last_lines) == (3, None, ["one", "the reason"])
    assert str(error).startswith("command 'probe' exited with status 3 after ")
    assert str(error).endswith("the reason")
    assert job.log.lines("stderr") == ["one", "the reason"]
    level, _, data = job.log.entries[-1]
    assert (level, data["exit_status"], data["signal"]) == ("warning", 3, None)
    assert data["seconds"] >= 0


def test_signal_is_recorded_by_name() -> None:
    """A command that a signal ended is a failure with the signal's name; KILL is guessed to be lack of memory."""
    job = Job()
    with pytest.raises(CommandFailed, match=r"was ended by SIGSEGV after") as caught:
        run_command(shell("kill -SEGV $$"), job)
    assert (caught.value.exit_status, caught.value.signal) == (None, "SIGSEGV")
    assert job.log.entries[-1][2]["signal"] == "SIGSEGV"
    with pytest.raises(CommandFailed, match=r"SIGKILL \(perhaps out of memory\)"):
        run_command(shell("kill -KILL $$"), Job())


def test_success_is_recorded() -> None:
    """Status 0 is logged with status and time, after the lines."""
    job = Job()
    run_command(shell("echo hello"), job)
    assert job.log.entries[0][1] == "hello"
    level, message, data = job.log.entries[-1]
    assert level == "info"
    assert message.startswith("command 'probe' exited with status 0 after ")
    assert data["exit_status"] == 0


def test_missing_program_names_program_and_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is not there fails without another attempt, naming it and the PATH that was searched."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(Fail, match=r"'no-such-thing' was not found in PATH \(/usr/bin:/bin\)"):
        run_command(CommandSpec("probe", ("no-such-thing",)), Job())
    with pytest.raises(Fail, match=r"there is no program '/no/such'"):
        run_command(CommandSpec("probe", ("/no/such",)), Job())


def test_program_that_cannot_be_executed_says_why(tmp_path: Path) -> None:
    """A file without x, without a #! line or with a missing interpreter fails with the reason."""
    script = tmp_path / "script"
    script.write_text("echo hello\n")
    spec = CommandSpec("probe", (str(script),))
    with pytest.raises(Fail, match="is not executable"):
        run_command(spec, Job())
    with pytest.raises(Fail, match="is not executable"):
        locate_program(CommandSpec("probe", ("script",)), {"PATH": str(tmp_path)})
    script.chmod(0o755)
    with pytest.raises(Fail, match="no #! line"):
        run_command(spec, Job())
    script.write_text("#!/no/such/interpreter\n")
    with pytest.raises(Fail, match="cannot be started"):
        run_command(spec, Job())


def test_cancelled_before_the_start_starts_nothing(tmp_path: Path) -> None:
    """A revision that is already cancelled does not start its command."""
    job = Job()
    job.token.reason = "not wanted"
    job.token.event.set()
    with pytest.raises(Cancelled, match="not wanted"):
        run_command(shell(f"touch {tmp_path}/started"), job)
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("script", ["true", "exit 1", 'rm -rf "$(dirname "$WORKERPOOL_PAYLOAD_FILE")"', "mess"])
def test_work_directory_is_removed_however_it_ends(own_temporary_directory: Path, script: str) -> None:
    """No directory is left after success, failure, or a command that removed or filled the directory itself."""
    mess = 'cd "$(dirname "$WORKERPOOL_PAYLOAD_FILE")" && mkdir -p a/b && touch a/b/c && chmod 0 a/b'
    try:
        run_command(shell(mess if script == "mess" else script), Job())
    except CommandFailed:
        assert script == "exit 1"
    assert list(own_temporary_directory.iterdir()) == []


def test_directories_of_killed_workers_are_removed(own_temporary_directory: Path) -> None:
    """A directory whose lock nobody holds is removed once it is old; a locked, a young and a foreign one stay."""
    old = own_temporary_directory / f"{directories.PREFIX}old"
    young = own_temporary_directory / f"{directories.PREFIX}young"
    other = own_temporary_directory / "other"
    for folder in (old, young, other):
        folder.mkdir()
        (folder / "payload.json").touch()
    with directories.work_directory() as held:
        for folder in (old, other, held):
            os.utime(folder, (0, 0))
        assert directories.remove_abandoned(str(own_temporary_directory)) == [str(old)]
        assert stat.S_IMODE(held.stat().st_mode) == 0o700
    shutil.rmtree(young)
    assert [entry.name for entry in own_temporary_directory.iterdir()] == ["other"]


def test_a_command_line_of_a_model_reads_a_prompt() -> None:
    """With ``stdin = "prompt"`` the payload's words are on stdin as text, the content in a file that they name."""
    code = """
import os, re, sys
prompt = sys.stdin.read()
named = re.search("content is in the file (.+)[.]", prompt)[1]
assert named == os.environ["WORKERPOOL_CONTENT_TEXT_FILE"], named
print(open(named).read().replace("green", "blue"), end="")
print(prompt.split(named)[0], file=sys.stderr, end="")
"""
    spec = replace(python(code), stdin="prompt")
    job = Job(payload={"title": "Colour", "instructions": "make the snake blue"}, base={"output": "<p>green</p>"})
    assert run_command(spec, job) == {"output": "<p>blue</p>"}
    said = "\n".join(job.log.lines("stderr"))
    assert said.startswith("Colour\n\nmake the snake blue\n\nThe current content is in the file")
    first = shell("cat")
    assert run_command(replace(first, stdin="prompt"), Job(payload={"prompt": "write a page"})) == {
        "output": "write a page\n"
    }
    for payload, sentence in (({}, "no prompt"), ({"prompt": ["x"]}, "prompt is a list; a text is wanted")):
        with pytest.raises(Fail, match=sentence):
            run_command(replace(first, stdin="prompt"), Job(payload=payload))
