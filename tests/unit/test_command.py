"""The command handler's decisions: what may run, what it may see, what is kept of its output. Nothing is started."""

import json
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from workerpool.core.errors import Fail
from workerpool.core.sizes import parse_size
from workerpool.handlers.command import read_result, run_named_command
from workerpool.handlers.command_config import (
    CommandSpec,
    InvalidCommand,
    load_commands,
    parse_command_line,
)
from workerpool.handlers.command_environment import inherited_environment
from workerpool.handlers.command_output import LAST_LINES, MAX_LINE, MAX_LINES, Excerpt, LineLog


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        ("claude -p", ("claude", "-p")),
        ("  sh -c 'echo \"$HOME\"; ls | wc'  ", ("sh", "-c", 'echo "$HOME"; ls | wc')),
        ("cut -d '|' $HOME `id` ;", ("cut", "-d", "|", "$HOME", "`id`", ";")),
    ],
)
def test_command_line_is_split_and_never_expanded(text: str, argv: tuple[str, ...]) -> None:
    """A command line becomes words by a shell's quoting rules, with nothing substituted."""
    assert parse_command_line(text).argv == argv


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        ("'' x", "is empty"),
        ("claude 'p", "cannot be split"),
        ("KEY=secret claude", "assignment KEY="),
        ("a\0b", "NUL"),
    ],
)
def test_bad_command_line_says_what_is_allowed(text: str, says: str) -> None:
    """A command line that cannot work names its setting, the mistake and what is allowed."""
    with pytest.raises(InvalidCommand) as caught:
        parse_command_line(text)
    message = str(caught.value)
    assert message.startswith("WORKERPOOL_COMMAND: ")
    assert says in message
    assert "such as: claude -p" in message
    assert "secret" not in message


def test_commands_file_is_read_whole(tmp_path: Path) -> None:
    """Every key of a command's table has its effect."""
    file = tmp_path / "commands.toml"
    file.write_text("""
        [commands.render]
        argv = ["python3", "render.py", "{item_key}"]
        environment = ["ANTHROPIC_API_KEY", "GIT_*"]
        variables = { MODE = "fast" }
        timeout = "5m"
        grace = 2
        max_output = "64KiB"
        output_limit = "100MB"
        directory = "."

        [commands.plain]
        argv = ["true"]
    """)
    commands = load_commands(file)
    assert commands["render"] == CommandSpec(
        name="render",
        argv=("python3", "render.py", "{item_key}"),
        environment=("ANTHROPIC_API_KEY", "GIT_*"),
        variables=(("MODE", "fast"),),
        timeout=timedelta(minutes=5),
        grace=timedelta(seconds=2),
        max_output=65536,
        output_limit=100_000_000,
        directory=str(tmp_path),
    )
    assert commands["plain"] == CommandSpec(name="plain", argv=("true",))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no commands"),
        ("commands = 3", "no commands"),
        ("x = [", "not TOML"),
        ("[command.a]\nargv=['true']", "key 'command' is not known"),
        ("[commands]\na = 1", "[commands.a]: it is not a table"),
        ("[commands.'a b']\nargv=['true']", "name 'a b' is not usable"),
        ("[commands.a]\n", "[commands.a] argv: it is missing"),
        ("[commands.a]\nargv='true'", "argv: 'true' is not a command"),
        ("[commands.a]\nargv=[]", "argv: [] is not a command"),
        ("[commands.a]\nargv=['', 'x']", "is not a command"),
        ("[commands.a]\nargv=['x', 1]", "argv: 1 is not a word"),
        ('[commands.a]\nargv=["x\\u0000"]', "is not a word"),
        ("[commands.a]\nargv=['x']\nshell=true", "key 'shell' is not known; allowed: argv, stdin, environment"),
        ("[commands.a]\nargv=['x']\ntimeout='soon'", "timeout: 'soon' is not a duration; allowed: a duration such"),
        ("[commands.a]\nargv=['x']\ntimeout=true", "timeout: True is not a duration"),
        ("[commands.a]\nargv=['x']\ntimeout=0", "timeout: 0 is no time at all"),
        ("[commands.a]\nargv=['x']\ngrace=-1", "grace: -1 is not a duration"),
        ("[commands.a]\nargv=['x']\nmax_output='10 apples'", "max_output: '10 apples' is not a size"),
        ("[commands.a]\nargv=['x']\nmax_output='9 potatoes'", "is not a size"),
        ("[commands.a]\nargv=['x']\nmax_output=12", "max_output: 12 is out of bounds; allowed: 1KiB to 64MiB"),
        ("[commands.a]\nargv=['x']\noutput_limit='lots'", "output_limit: 'lots' is not a size"),
        ("[commands.a]\nargv=['x']\noutput_limit=0", "output_limit: 0 lets it print nothing"),
        ("[commands.a]\nargv=['x']\nenvironment='HOME'", "environment: 'HOME' is not a list"),
        ("[commands.a]\nargv=['x']\nenvironment=['*']", "environment: '*' is not the name"),
        ("[commands.a]\nargv=['x']\nenvironment=['WORKERPOOL_DATABASE_URL']", "is one of the daemon's own"),
        ("[commands.a]\nargv=['x']\nenvironment=['WORKERPOOL_*']", "is one of the daemon's own"),
        ("[commands.a]\nargv=['x']\nvariables=['A=1']", "variables: ['A=1'] is not a table"),
        ("[commands.a]\nargv=['x']\nvariables={A=1}", "the value of A is not a text"),
        ("[commands.a]\nargv=['x']\nvariables={'A B'='1'}", "'A B' is not the name"),
        ("[commands.a]\nargv=['x']\nvariables={WORKERPOOL_RUN='1'}", "is one of the daemon's own"),
        ("[commands.a]\nargv=['x']\nstdin='words'", "stdin: 'words' is nothing to read; allowed: payload or prompt"),
        ("[commands.a]\nargv=['x']\ndirectory='nowhere'", "directory: 'nowhere' is not a directory"),
    ],
)
def test_every_mistake_in_the_file_is_located(tmp_path: Path, text: str, says: str) -> None:
    """A mistake is an error that names the file, the table, the key and what is allowed."""
    file = tmp_path / "commands.toml"
    file.write_text(text)
    with pytest.raises(InvalidCommand) as caught:
        load_commands(file)
    assert str(file) in str(caught.value)
    assert says in str(caught.value)
    assert "; allowed: " in str(caught.value)


def test_missing_commands_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is an error with its path."""
    with pytest.raises(InvalidCommand, match=r"nowhere\.toml: it cannot be read \(No such file or directory\)"):
        load_commands(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("65536", 65536), ("64KiB", 65536), ("1 MiB", 1048576), ("5kB", 5000), ("7b", 7)]
)
def test_sizes(text: str, size: int) -> None:
    """Sizes are bytes or have a unit."""
    assert parse_size(text) == size


def test_no_commands_at_all_names_the_setting() -> None:
    """With no file of commands the failure says which setting is missing."""
    with pytest.raises(Fail, match="WORKERPOOL_COMMANDS"):
        run_named_command({}, SimpleNamespace(payload={"command": "x"}))


def test_pattern_never_reaches_the_daemons_settings() -> None:
    """Even a pattern that fits them does not hand on the daemon's own variables."""
    source = {"WORKERPOOL_API_TOKEN": "x", "WORKER": "y", "PATH": "/bin"}
    spec = CommandSpec("probe", ("true",), environment=("W*", "WORKERPOOL_API_TOKEN"))
    assert inherited_environment(spec, source) == {"WORKER": "y", "PATH": "/bin"}


@pytest.mark.parametrize(
    ("output", "result"),
    [
        ('{"a": 1}\n', {"a": 1}),
        ("done\n", {"output": "done\n"}),
        ("", {"output": ""}),
        ("[1, 2]", {"output": "[1, 2]"}),
        ('{"a": NaN}', {"output": '{"a": NaN}'}),
        ('{"a": ' + "[" * 100_000, {"output": '{"a": ' + "[" * 100_000}),
        ('{"a": ' + "9" * 5000 + "}", {"output": '{"a": ' + "9" * 5000 + "}"}),
    ],
)
def test_stdout_becomes_the_result(output: str, result: dict[str, Any]) -> None:
    """A JSON object is the result as it is; any other text stands under `output`."""
    excerpt = Excerpt(1 << 20)
    excerpt.add(output.encode())
    assert read_result(CommandSpec("probe", ("true",)), excerpt) == result


def test_long_text_is_marked_and_half_an_object_is_refused() -> None:
    """Text beyond max_output says that it was cut; an object beyond it fails instead of becoming content."""
    spec = CommandSpec("probe", ("true",), max_output=1024)
    excerpt = Excerpt(1024)
    excerpt.add(b"x" * 5000)
    result = read_result(spec, excerpt)
    assert (result["truncated"], result["output_bytes"]) == (True, 5000)
    assert "[... 3976 bytes left out ...]" in result["output"]
    excerpt = Excerpt(1024)
    excerpt.add(json.dumps({"html": "x" * 5000}).encode())
    with pytest.raises(Fail, match="more than its max_output of 1024"):
        read_result(spec, excerpt)


@pytest.mark.parametrize("step", [1, 7, 100, 10_000])
def test_excerpt_keeps_both_ends_whatever_the_chunks(step: int) -> None:
    """An excerpt is the first and the last half of its limit, and knows what it left out."""
    content = b"".join(b"%06d\n" % number for number in range(2000))
    excerpt = Excerpt(1001)
    for start in range(0, len(content), step):
        excerpt.add(content[start : start + step])
    assert excerpt.size == len(content)
    assert excerpt.left_out == len(content) - 1001
    expected = f"{content[:501].decode()}\n[... {excerpt.left_out} bytes left out ...]\n{content[-500:].decode()}"
    assert excerpt.text() == expected
    assert excerpt.last_lines(2) == ["001998", "001999"]


@pytest.mark.parametrize("step", [1, 7, 100, 10_000])
def test_line_log_is_bounded_and_counts_what_it_leaves_out(step: int) -> None:
    """The first lines come as they are complete, then one line says how many are missing, then the last ones."""
    content = b"".join(b"%06d\n" % number for number in range(2000)) + b"end"
    excerpt, lines = Excerpt(4000), list[str]()
    log = LineLog(lines.append)
    for start in range(0, len(content), step):
        excerpt.add(content[start : start + step])
        log.add(content[start : start + step])
    assert len(lines) == MAX_LINES
    log.close(excerpt)
    missing = 2001 - MAX_LINES - LAST_LINES
    assert lines[:2] == ["000000", "000001"]
    assert lines[MAX_LINES] == f"[... {missing} lines left out of the log ...]"
    assert lines[MAX_LINES + 1 :] == [f"{number:06}" for number in range(2001 - LAST_LINES, 2000)] + ["end"]


def test_line_without_end_is_clipped() -> None:
    """A line longer than the limit is logged once, clipped, with what was left out of it."""
    excerpt, lines = Excerpt(1024), list[str]()
    log = LineLog(lines.append)
    for _ in range(100):
        log.add(b"y" * 65536)
    log.add(b"\r\nnext\r\n")
    log.close(excerpt)
    assert lines == ["y" * MAX_LINE + f" [... {100 * 65536 + 1 - MAX_LINE} bytes left out ...]", "next"]


def test_exactly_the_limit_of_lines_leaves_nothing_out() -> None:
    """MAX_LINES lines are all logged and nothing is said to be missing."""
    excerpt, lines = Excerpt(1024), list[str]()
    log = LineLog(lines.append)
    log.add(b"x\n" * MAX_LINES)
    log.close(excerpt)
    assert lines == ["x"] * MAX_LINES
