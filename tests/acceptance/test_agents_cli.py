"""`workerpool providers` and `workerpool agents`: the command as people and scripts call it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.calling import Run, environment, read
from workerpool.rehearsal import ModelServer, Reply

KEY = "sk-proj-0123456789abcdefghij"
NO_KEYS = {"OPENAI_API_KEY": "", "DEEPSEEK_API_KEY": ""}


def test_they_are_made_shown_changed_and_removed(run: Run, tmp_path: Path) -> None:
    """Each verb for people and for programs; texts from a file and from standard input; '' takes something away."""
    assert "no providers" in run("providers", "list").stdout
    assert "no agents" in run("agents", "list").stdout
    made = run("providers", "add", "home", "--type", "openai-compatible", "--base-url", "http://127.0.0.1:9/v1")
    assert "provider home is kept; key: none is sent" in made.stdout
    (tmp_path / "story.txt").write_text("Long ago.\nAnd far away.\n")
    words = ["--role", "a writer", "--provider", "home", "--backstory", "@story.txt", "--instructions", "-"]
    words += ["--temperature", "0.2", "--parameter", "topP=0.5", "--parameter", 'stop=["END"]', "--tool", "add"]
    run("agents", "add", "writer", *words, stdin="Be brief.\n")
    shown = read(run("agents", "show", "writer", "--json"))
    assert (shown["backstory"], shown["instructions"], shown["tools"]) == (
        "Long ago.\nAnd far away.",
        "Be brief.",
        ["add"],
    )
    assert shown["model_parameters"] == {"temperature": 0.2, "topP": 0.5, "stop": ["END"]}
    assert "it has no model, and its provider no default" in shown["problem"]
    run("providers", "edit", "home", "--model", "small")
    words = ["--max-tokens", "300", "--parameter", "topP=null", "--backstory", "", "--no-tools"]
    changed = read(run("agents", "edit", "writer", *words, "--json"))
    assert (changed["backstory"], changed["tools"], changed["instructions"]) == ("", [], "Be brief.")
    assert changed["model_parameters"] == {"temperature": 0.2, "maxTokens": 300, "stop": ["END"]}
    line = run("agents", "list").stdout.splitlines()[1]
    assert line.split() == ["writer", "a", "writer", "home"]
    assert [row["agents"] for row in read(run("providers", "list", "--json"))] == [1]
    refused = run("providers", "remove", "home", code=4).stderr
    assert "the provider home is used by writer" in refused
    run("agents", "remove", "writer")
    run("providers", "remove", "home")
    events = read(run("events", "--json"))
    assert [(each["control"], each["action"], each["target"]) for each in events] == [
        ("provider", "add", "home"), ("agent", "add", "writer"), ("provider", "edit", "home"),
        ("agent", "edit", "writer"), ("agent", "remove", "writer"), ("provider", "remove", "home"),
    ]  # fmt: skip


def test_show_says_what_is_used_and_whether_the_key_is_here(run: Run, tmp_path: Path) -> None:
    """Address, variable, model and every parameter with its default; the variable of this command's environment."""
    run("providers", "add", "cloud", "--type", "openai", "--model", "small", **NO_KEYS)
    run("agents", "add", "writer", "--role", "a writer", "--provider", "cloud", "--parameter", "seed=7")
    for of in (("providers", "show", "cloud"), ("agents", "show", "writer")):
        told = run(*of, **NO_KEYS).stdout
        assert "https://api.openai.com/v1" in told
        assert "OPENAI_API_KEY, is not here: it must be where the workers are" in told
        assert "OPENAI_API_KEY, is here\n" in run(*of, OPENAI_API_KEY=KEY).stdout
        assert read(run(*of, "--json", OPENAI_API_KEY=KEY))["key_is_here"] is True
        assert read(run(*of, "--json", **NO_KEYS))["key_is_here"] is False
    lines = [" ".join(line.split()) for line in run("agents", "show", "writer", **NO_KEYS).stdout.splitlines()]
    for line in ("model small (the provider's)", "temperature 0.7 (unless set)", "maxTokens 2000 (unless set)",
                 "timeout 120 (unless set)", "topP the provider's", "stop none", "seed 7"):  # fmt: skip
        assert line in lines
    used = read(run("agents", "show", "writer", "--json", **NO_KEYS))["parameters_used"]
    assert used == {
        "temperature": 0.7, "maxTokens": 2000, "topP": None, "frequencyPenalty": None, "presencePenalty": None,
        "seed": 7, "timeout": 120.0, "stop": [],
    }  # fmt: skip
    (tmp_path / "key").write_text(KEY)
    run("providers", "edit", "cloud", "--key-file", str(tmp_path / "key"))
    assert f"file {tmp_path / 'key'}, is here" in run("providers", "show", "cloud").stdout


def test_what_cannot_be_is_refused_with_what_can(run: Run) -> None:
    """2: not valid, 3: not there, with what is near, 4: there already; each in a sentence."""
    run("providers", "add", "home", "--type", "openai", **NO_KEYS)
    run("agents", "add", "writer", "--role", "a writer", "--provider", "home")
    for words, code, told in (
        (("providers", "show", "hom"), 3, "there is no provider hom (is it home?)"),
        (("agents", "show", "writre"), 3, "there is no agent writre (is it writer?)"),
        (("agents", "remove", "nobody"), 3, "there is no agent nobody;"),
        (("agents", "edit", "writer", "--provider", "hme"), 3, "(is it home?)"),
        (("providers", "add", "home", "--type", "deepseek"), 4, "there is a provider home already"),
        (("agents", "add", "writer", "--role", "r"), 4, "there is an agent writer already"),
        (("providers", "add", "x", "--type", "openai-compatible"), 2, "needs a base URL"),
        (("providers", "add", "x", "--type", "openai", "--base-url", "ftp://x"), 2, "its base URL is 'ftp://x'"),
        (("providers", "edit", "home", "--key-file", "/a", "--key-variable", "B"), 2, "both a variable and a file"),
        (("providers", "edit", "home", "--key-variable", "A-B"), 2, "is named by letters, digits and underscores"),
        (("providers", "edit", "home", "--base-url", "ftp://x"), 2, "its base URL is 'ftp://x'"),
        (("providers", "edit", "home"), 2, "Nothing is given to change"),
        (("agents", "edit", "writer", "--temperature", "3"), 2, "a number from 0 to 2"),
        (("agents", "edit", "writer", "--parameter", "heat=3"), 2, "there is no model parameter 'heat'; allowed:"),
        (("agents", "edit", "writer", "--parameter", "heat"), 2, "KEY=JSON is wanted"),
        (("agents", "edit", "writer", "--role", ""), 2, "an agent has a role"),
        (("agents", "add", "x", "--role", "@nothing"), 2, "nothing cannot be read"),
        (("agents", "add", "x", "--role", "half \udcff"), 2, "is a text of at most"),
    ):
        assert told in run(*words, code=code).stderr, words


def test_a_key_is_refused_and_not_repeated(run: Run) -> None:
    """Where a variable's name is wanted, and wherever else somebody pastes it."""
    for words in (
        ("providers", "add", "x", "--type", "openai", "--key-variable", KEY),
        ("providers", "add", "x", "--type", "openai", "--key-file", KEY),
        ("providers", "add", "x", "--type", "openai", "--base-url", f"https://me:{KEY}@127.0.0.1/v1"),
        ("agents", "add", "x", "--role", "r", "--instructions", f"log in with {KEY}"),
        ("agents", "add", "x", "--role", "r", "--parameter", KEY),
    ):
        done = run(*words, code=2)
        assert "key" in done.stderr.lower()
        assert KEY not in done.stdout + done.stderr
    assert KEY not in run("providers", "show", KEY, code=3).stderr
    assert read(run("providers", "list", "--json")) == []


@pytest.fixture
def model() -> ModelServer:
    """A model that answers, or refuses, by what it is asked."""
    replies = {
        "break": Reply(text="one two three", cut_after=2),
        "refuse": Reply(status=401, error={"message": f"Incorrect API key provided: {KEY}"}),
    }
    return ModelServer(lambda asked: next((r for w, r in replies.items() if w in asked.last_user), Reply(text="I am.")))


def test_an_agent_is_tried_from_here(run: Run, model: ModelServer) -> None:
    """The answer on standard output, what it took beside it; else a sentence and exit 1, and never the key."""
    with model:
        words = ("--type", "openai-compatible", "--base-url", model.url, "--model", "m", "--key-variable", "HOME_KEY")
        run("providers", "add", "home", *words)
        run("agents", "add", "writer", "--role", "a writer", "--provider", "home")
        assert "set HOME_KEY in the environment" in run("agents", "test", "writer", code=1).stderr
        done = run("agents", "test", "writer", "--prompt", "Who are you?", HOME_KEY=KEY)
        assert done.stdout == "I am.\n"
        assert "tokens in 1 request" in done.stderr
        assert "Who are you?" in model.asked[-1].last_user
        broken = run("agents", "test", "writer", "--prompt", "break", HOME_KEY=KEY, code=1)
        assert broken.stdout.startswith("one ")
        assert broken.stdout.endswith("\n")
        refused = run("agents", "test", "writer", "--prompt", "refuse", HOME_KEY=KEY, code=1)
        assert "refused the key" in refused.stderr
        assert len(broken.stderr.splitlines()) == len(refused.stderr.splitlines()) == 1
        assert KEY not in str((done.stdout, done.stderr, broken.stderr, refused.stderr))
    assert "there is no agent nobody" in run("agents", "test", "nobody", code=3).stderr
    assert read(run("events", "--json"))[-1]["action"] == "add", "a trial changes nothing"


def test_who_administers_loads_no_model(tmp_path: Path) -> None:
    """The client of language models is imported by `agents test` alone."""
    loaded = (
        "import sys; import workerpool.cli.agents, workerpool.cli.providers, workerpool.api.service.agents; "
        "sys.exit(' '.join({'pydantic_ai', 'openai', 'fastapi', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", loaded], env=environment(), cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stderr.strip() == ""
