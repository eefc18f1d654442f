"""Junk at every way in: each bad input gets the error that its reader promises, and nothing else.

The inputs are the same in each run (hypothesis, derandomized) unless pytest is given ``--hypothesis-seed``. CI throws
about a thousand bad inputs, ``--long`` more than ten thousand; ``-s`` shows how many of which kind were refused.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workerpool import config
from workerpool.api import edits, pointer, strict_json
from workerpool.api.webhooks import signatures, sources
from workerpool.cli import VERBS, cli, main
from workerpool.config.instants import parse_instant
from workerpool.config.settings import VARIABLES
from workerpool.core import cron
from workerpool.core.durations import parse_duration
from workerpool.core.sizes import parse_size
from workerpool.store.asked import CannotEnqueue, problems

#: Of each kind: how many bad inputs were refused as promised, and how many inputs turned out to be good ones.
REFUSED: Counter[str] = Counter()
TAKEN: Counter[str] = Counter()
#: Examples of a test in CI, at most.
CI = 200
NASTY = [
    *("", " ", "\n", "-", "--", "-1", "--help", "+", "+-3", "0", "00", "1e400", "1e-400", "NaN", "nan", "Infinity"),
    *("٣", "²", "½", "1_000", "0x10", "9" * 30, "9" * 5000, "-" + "9" * 30, "1.", ".5", "5ſ", "5 s", "1h1m"),
    *("../../etc/passwd", "/", "/dev/null", "~", "~nobody-has-this-name/x", "~\udcff", "\udcff", "\ud800", "\u202e"),
    *("\ufeff", "\x1b[2J", "'", '"', "%", "%s", "%(x)s", "{", "{}", "{0}", "[]", "[" * 2000, '{"a":' * 2000, "\\"),
    *("';drop table revisions;--", "$(id)", "`id`", "|id", "<img onerror=x>", "x" * 5000, "null", "true", '"\\ud800"'),
    *('{"a": "\\u0000"}', '{"a": 1, "a": 2}', '{"a": NaN}', '{"a": 1e400}', "@", "@nowhere", "@/dev", "=", "a=b", "a="),
    *(
        "status=x",
        "older=x",
        "kind=",
        "@reboot",
        "* * * * *",
        "60 * * * *",
        "*/0 * * * *",
        "0 0 31 2 *",
        "L",
        "1-0 * * * *",
    ),
    *(
        "0 0 * * 8#9",
        "Europe",
        "Europe/Nowhere",
        "../UTC",
        "UTC\n",
        "+99999999999999999d",
        "+",
        "0001-01-01",
        "9999-12-31",
    ),
    *(
        "9999-12-31T23:59:59-23:59",
        "2026-02-30",
        "a\tb",
        "a,b",
        "a;b",
        "a:b",
        "[::1",
        "[::1]:0",
        "host:99999",
        ":",
        "off:1",
    ),
    *(
        "postgresql://",
        "postgresql://[",
        "host=",
        "=x",
        "x" * 64,
        "pg_x",
        'a"";drop',
        "a\x85b",
        "a\u2028b",
        "module:",
        ":f",
    ),
]
VALID = ["5s", "512MiB", "*/5 * * * *", "2026-01-31T09:00", "Europe/Berlin", "127.0.0.1:3031", '{"a": [1, 2.5, null]}']
#: Any text at all, a text that was seen to hurt somebody, or a good one with something wrong in it.
texts = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.characters(codec=None), max_size=40),
    st.tuples(st.sampled_from(VALID), st.integers(0, 20), st.text(max_size=3)).map(
        lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] :]
    ),
)
#: What can stand in a command line or a variable: bytes without NUL.
arguments = texts.map(
    lambda text: text.replace("\0", "").encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts), lambda inner: st.lists(inner, max_size=3)
)


def rounds(few: int, many: int) -> pytest.MarkDecorator:
    """Run a test with so many examples in CI, and with so many where `--long` was asked for."""
    return pytest.mark.parametrize("examples", [few, pytest.param(many, marks=pytest.mark.long)])


def throw(
    request: pytest.FixtureRequest, examples: int, check: Callable[..., None], **junk: st.SearchStrategy[Any]
) -> None:
    """Call *check* with so many examples of *junk*."""
    seeded = request.config.getoption("--hypothesis-seed") is not None
    checks = list(HealthCheck)
    how = settings(
        max_examples=examples, deadline=None, database=None, derandomize=not seeded, suppress_health_check=checks
    )
    how(given(**junk)(check))()


def expect(
    kind: str, errors: type[BaseException] | tuple[type[BaseException], ...], call: Callable[[], object]
) -> None:
    """Call it: an error of the promised type that says something, or none."""
    told = None
    try:
        call()
    except errors as error:
        told = str(error)
    assert told is None or told.strip()
    (TAKEN if told is None else REFUSED)[kind] += 1


# -- the command line ----------------------------------------------------------------------------------------------

#: They take over the process or the terminal, begin a pool, or run what they are given: only their flags are tried.
LONG_RUNNING = ("start", "top", "web", "mcp", "demo", "bench", "safely", "backup", "restore", "stop", "doctor")
WAITS = ("wait", "follow", "timeout")
#: DESIGN 4.3.
CODES = {0, 1, 2, 3, 4, 69, 75, 78}


def verbs() -> list[tuple[tuple[str, ...], click.Command]]:
    """Every verb, with the words that call it."""
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name in VERBS:
        if name == "psql":  # everything behind it is another program's
            continue
        verb = cli.get_command(click.Context(cli), name)
        assert verb is not None
        if isinstance(verb, click.Group):
            found += [((name, inner), command) for inner, command in verb.commands.items()]
        else:
            found.append(((name,), verb))
    return found


@st.composite
def command_lines(draw: st.DrawFn, known: list[tuple[tuple[str, ...], click.Command]]) -> list[str]:
    """A verb of *known* with junk for some of its options and arguments."""
    words, verb = draw(st.sampled_from(known))
    if words[0] in LONG_RUNNING or words == ("agents", "test"):
        return [*words, f"--no-such-flag={draw(arguments)}", draw(arguments)]
    line = list(words)
    operands = []
    for each in verb.params:
        if isinstance(each, click.Argument):
            operands += [draw(arguments) for _ in range(draw(st.integers(0, 2)) if each.nargs < 0 else 1)]
        elif each.name in (*WAITS, "help", "database_url", "output") or not draw(st.booleans()):
            continue
        elif getattr(each, "is_flag", False):
            line.append(each.opts[0])
        else:
            line.append(
                f"{each.opts[0]}={draw(arguments)}"
                if each.opts[0].startswith("--")
                else f"{each.opts[0]}{draw(arguments)}"
            )
    return [*line, *draw(st.sampled_from([["--"], []])), *operands]


def run(line: list[str], stdin: bytes = b"") -> tuple[int, str]:
    """Run the command line in this process; an error that it does not explain is raised."""
    told = io.StringIO()
    before = sys.argv, sys.stdin
    sys.argv, sys.stdin = ["workerpool", *line], io.TextIOWrapper(io.BytesIO(stdin))
    code: object = 0
    try:
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            main()
    except SystemExit as left:
        code = left.code or 0
    finally:
        sys.argv, sys.stdin = before
    assert isinstance(code, int), code
    return code, told.getvalue()


@rounds(150, 3000)
def test_any_command_line_ends_with_a_code_and_a_sentence(
    request: pytest.FixtureRequest, examples: int, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every verb, every option, every argument: an exit code of the contract, and never a traceback."""
    monkeypatch.setenv("WORKERPOOL_DATABASE_URL", database)
    monkeypatch.setenv("WORKERPOOL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def check(line: list[str], stdin: bytes) -> None:
        code, told = run(line, stdin)
        assert code in CODES, (line, code, told)
        assert "Traceback" not in told
        assert code == 0 or told.strip(), line
        (REFUSED if code else TAKEN)["command lines"] += 1

    throw(request, examples, check, line=command_lines(verbs()), stdin=st.binary(max_size=20))


@rounds(150, 2500)
def test_any_setting_is_read_or_refused_by_its_name(
    request: pytest.FixtureRequest, examples: int, tmp_path: Path
) -> None:
    """Every variable with junk: the settings, or a refusal that names the variable."""
    names = [*VARIABLES.values(), "WORKERPOOL_API_TOKEN_FILE", "EDIT_AGENT_WORKERS", "WORKER_POLL_INTERVAL"]

    def check(name: str, value: str) -> None:
        refused: tuple[config.Refused, ...] = ()
        try:
            config.load({}, {name: value})
        except config.BadSettings as error:
            refused = error.refused
        assert all(each.variable == name and each.allowed for each in refused), refused
        (REFUSED if refused else TAKEN)["settings"] += 1

    throw(request, examples, check, name=st.sampled_from(names), value=arguments)
    for value in NASTY[:: 1 if examples > CI else 10]:
        for name in names:
            check(name, value)


# -- webhooks ------------------------------------------------------------------------------------------------------

SECRET = "whsec_" + "b" * 43 + "="
bodies = st.one_of(
    st.binary(max_size=60),
    texts.map(lambda text: text.encode("utf-8", "surrogatepass")),
    values.map(lambda v: json.dumps(v).encode()),
)


@rounds(200, 2500)
def test_any_body_is_a_revision_or_a_sentence(request: pytest.FixtureRequest, examples: int, tmp_path: Path) -> None:
    """Strict JSON, then the places of a source, then what a revision may be: one of the three says no, or none."""
    path = tmp_path / "sources.toml"
    path.write_text(
        '[sources.a]\nsecrets = ["S"]\nitem = ["/page", "/n"]\nseparator = "/"\ndedupe_key = "/n"\npayload = {t = "/t"}'
    )
    source = sources.load(path, {"S": SECRET})["a"]

    def check(body: bytes, page: object, n: object) -> None:
        def take(raw: bytes) -> None:
            new = source.new_revision(strict_json.read(raw), "delivery")
            if wrong := tuple(problems(new)):
                raise CannotEnqueue(wrong)

        promised = (strict_json.BadJson, sources.NotForUs, CannotEnqueue)
        expect("webhook bodies", promised, lambda: take(body))
        near = json.dumps({"page": page, "n": n, "t": 1}).encode()
        expect("webhook bodies", promised, lambda: take(near))

    throw(request, examples, check, body=bodies, page=values, n=values)


@rounds(50, 700)
def test_any_pointer_signature_or_file_of_sources_is_refused_as_promised(
    request: pytest.FixtureRequest, examples: int, tmp_path: Path
) -> None:
    """BadPointer or NotFound, NotSigned, BadSource: nothing else comes out of them."""
    path = tmp_path / "sources.toml"

    def check(text: str, value: object, headers: dict[str, str], body: bytes, key: str) -> None:
        expect("pointers", (pointer.BadPointer, pointer.NotFound), lambda: pointer.parse(text).find(value))
        expect("signatures", signatures.NotSigned, lambda: signatures.verify("standard", [SECRET], headers, body, 1e9))
        expect("signatures", signatures.NotSigned, lambda: signatures.verify("github", [SECRET], headers, body, 1e9))
        line = f"{key} = {json.dumps(text)}" if key else text
        path.write_bytes(f'[sources.a]\nsecrets = ["S"]\n{line}'.encode("utf-8", "surrogatepass"))
        expect("files of sources", sources.BadSource, lambda: sources.load(path, {"S": SECRET}))

    header = st.sampled_from(
        ["webhook-id", "webhook-timestamp", "webhook-signature", "x-github-delivery", "x-hub-signature-256"]
    )
    throw(
        request,
        examples,
        check,
        text=texts,
        value=values,
        headers=st.dictionaries(header, texts, min_size=2),
        body=st.binary(max_size=30),
        key=st.sampled_from(["", *sources.KEYS]),
    )


# -- files, schedules, lengths -------------------------------------------------------------------------------------

fields = st.sampled_from(["item_key", "app_slug", *edits.COLUMNS, "payload", "html_content", "other", ""])


@rounds(150, 1500)
def test_any_imported_file_is_entries_or_complaints(request: pytest.FixtureRequest, examples: int) -> None:
    """An array, lines or CSV: entries, complaints that name their place, or NotReadable."""

    def read(text: str, form: str) -> None:
        entries, complaints = edits.read(text, form)
        assert all(each.where and each.problem for each in complaints)
        if complaints:
            raise edits.NotReadable("; ".join(map(str, complaints)))
        for each in entries:
            assert not tuple(problems(each.new))

    def check(text: str, form: str, objects: list[dict[str, object]], cells: list[list[str]]) -> None:
        expect("imported files", edits.NotReadable, lambda: read(text, form))
        expect("imported files", edits.NotReadable, lambda: read(json.dumps(objects), "array"))
        expect("imported files", edits.NotReadable, lambda: read("\n".join(map(json.dumps, objects)), "lines"))
        rows = "\n".join(",".join(row) for row in [["item_key", "priority", "run_at", "payload"], *cells])
        expect("imported files", edits.NotReadable, lambda: read(rows, "csv"))

    throw(
        request,
        examples,
        check,
        text=texts,
        form=st.sampled_from(["auto", "array", "lines", "csv"]),
        objects=st.lists(st.dictionaries(fields, values, min_size=1, max_size=4), min_size=1, max_size=3),
        cells=st.lists(st.lists(texts, min_size=1, max_size=5), min_size=1, max_size=3),
    )


@rounds(150, 1500)
def test_any_schedule_length_size_or_instant_is_read_or_refused(request: pytest.FixtureRequest, examples: int) -> None:
    """BadCron or BadTimezone, BadDuration, ValueError: nothing else."""
    part = st.one_of(
        st.sampled_from(["*", "*/5", "1-5", "1,2", "L", "MON", "60", "-1", "*/0", "5-1", "²", "٣", "1/x"]), texts
    )
    lines = st.one_of(texts, st.lists(part, min_size=4, max_size=7).map(" ".join))

    def check(line: str, zone: str, text: str) -> None:
        expect("cron lines", (cron.BadCron, cron.BadTimezone), lambda: cron.parse(line, "UTC"))
        expect("time zones", cron.BadTimezone, lambda: cron.parse("0 0 * * *", zone))
        expect("durations", ValueError, lambda: parse_duration(text))
        expect("sizes", ValueError, lambda: parse_size(text))
        expect("instants", ValueError, lambda: parse_instant(text))

    throw(request, examples, check, line=lines, zone=texts, text=texts)


# -- plain SQL -----------------------------------------------------------------------------------------------------


@rounds(150, 1500)
def test_any_row_is_taken_or_refused_by_the_table(request: pytest.FixtureRequest, examples: int, database: str) -> None:
    """Rows as anybody may insert them: PostgreSQL takes it, or says why it does not (class 22, 23 or 54)."""
    names = ["handler", "priority", "run_at", "status", "dedupe_key", "max_attempts", "timeout_seconds", "metadata"]
    # (the driver itself refuses a text that UTF-8 cannot write, or with NUL in it)
    promised = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.StatementTooComplex, UnicodeEncodeError)

    with psycopg.connect(database, autocommit=True) as connection:

        def insert(item: str, payload: str, column: str, value: str) -> None:
            connection.execute(
                f"INSERT INTO workerpool.revisions (item_key, payload, {column}) VALUES (%s, %s, %s)",
                (item, payload, value),
            )

        def check(item: str, payload: str, column: str, value: str) -> None:
            expect("rows by SQL", promised, lambda: insert(item, payload, column, value))
            assert connection.execute("SELECT 1").fetchone() == (1,)

        throw(request, examples, check, item=texts, payload=texts, column=st.sampled_from(names), value=texts)
        bad = "status NOT IN ('draft', 'scheduled', 'pending') OR length(item_key) NOT BETWEEN 1 AND 512"
        assert connection.execute(f"SELECT count(*) FROM workerpool.revisions WHERE {bad}").fetchone() == (0,)


@pytest.mark.parametrize("least", [1000, pytest.param(10_000, marks=pytest.mark.long)])
def test_so_many_bad_inputs_were_refused(request: pytest.FixtureRequest, least: int) -> None:
    """All of the above together; where only a part of this file ran there is nothing to say."""
    if len(REFUSED) < 13:
        pytest.skip("only a part of this file was run")
    print("\nrefused:", dict(REFUSED), "=", REFUSED.total(), "\nturned out to be good:", dict(TAKEN))
    assert REFUSED.total() >= least
