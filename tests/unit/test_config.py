"""Settings are validated whole at start, and a refusal names the variable, the value and what is allowed."""

from datetime import timedelta
from pathlib import Path

import pytest

from workerpool.config import (
    BadSettings,
    Settings,
    as_environment,
    describe,
    known_secrets,
    load,
    mask_url,
)

URL = "postgresql://user:s3cret%40pw@db1:5432,db2:5433/name?sslmode=require"


def settings(flags: dict[str, object] | None = None, **environ: str) -> Settings:
    """Load from these variables alone."""
    return load(flags or {}, environ)


def refusal(flags: dict[str, object] | None = None, **environ: str) -> BadSettings:
    """Load what must be refused."""
    with pytest.raises(BadSettings) as caught:
        load(flags or {}, environ)
    return caught.value


def origin(loaded: Settings, variable: str) -> tuple[str, str, str]:
    """The value, source and written name of a variable, as `workerpool config` shows them."""
    return next((row.value, row.source, row.written) for row in describe(loaded) if row.variable == variable)


def test_defaults_are_those_of_the_contract() -> None:
    """With nothing set, the table of DESIGN.md 4.2 applies."""
    shown = {row.variable.removeprefix("WORKERPOOL_"): row.value for row in describe(settings())}
    assert shown.pop("HOME").endswith("/.workerpool")
    assert {name: value for name, value in shown.items() if value != "unset"} == {
        "SCHEMA": "workerpool", "WORKERS": "2", "POLL_INTERVAL": "5s", "MAX_RESTARTS": "10", "RESTART_PERIOD": "10m",
        "MAX_CRASHES": "3", "SHUTDOWN_GRACE": "30s", "START_TIMEOUT": "1m", "UNHANDLED_AFTER": "10s",
        "CANCEL_GRACE": "10s", "PAUSE_POLL_INTERVAL": "5s", "LEASE": "1m", "HEARTBEAT": "10s", "TIMEOUT": "1h",
        "AFTER_FAILURE": "continue", "HTTP": "127.0.0.1:3031", "LOG_LEVEL": "info", "LOG_FORMAT": "auto",
        "RETENTION": "30d",
    }  # fmt: skip


def test_values_are_typed() -> None:
    """Durations are timedelta, sizes bytes, lists tuples, paths absolute."""
    loaded = settings(
        WORKERPOOL_LEASE="90s", WORKERPOOL_MAX_RSS="512MiB", WORKERPOOL_HANDLERS="a.b, c", WORKERPOOL_HOME="x",
        WORKERPOOL_COMMAND="claude -p", WORKERPOOL_STATSD="stats:8125", WORKERPOOL_HTTP="[::1]:80",
    )  # fmt: skip
    assert loaded.lease == timedelta(seconds=90)
    assert loaded.max_rss == 512 * 1024 * 1024
    assert loaded.handlers == ("a.b", "c")
    assert loaded.home == Path.cwd() / "x"
    assert loaded.command == "claude -p"
    assert (loaded.statsd.host, loaded.statsd.port) == ("stats", 8125) if loaded.statsd else False
    assert str(loaded.http) == "[::1]:80"


def test_flags_win_over_environment_over_file_over_default(tmp_path: Path) -> None:
    """Each value comes from the nearest layer that has it, and `config` says which."""
    file = tmp_path / "env"
    file.write_text(
        "# comment\n\nexport WORKERPOOL_WORKERS=3\nWORKERPOOL_MAX_CRASHES='4'\nWORKERPOOL_LEASE=\"2m\"\nOTHER=x\n"
    )
    environ = {"WORKERPOOL_ENV_FILE": str(file), "WORKERPOOL_WORKERS": "5", "WORKERPOOL_MAX_CRASHES": "6"}
    loaded = load({"workers": 7, "schema": None}, environ)
    assert origin(loaded, "WORKERPOOL_WORKERS") == ("7", "flag", "--workers")
    assert origin(loaded, "WORKERPOOL_MAX_CRASHES") == ("6", "environment", "WORKERPOOL_MAX_CRASHES")
    assert origin(loaded, "WORKERPOOL_LEASE") == ("2m", "file", "WORKERPOOL_LEASE")
    assert origin(loaded, "WORKERPOOL_HEARTBEAT") == ("10s", "default", "")


def test_the_file_is_read_again_by_each_load(tmp_path: Path) -> None:
    """HUP sees what was changed in the file since the start."""
    file = tmp_path / "env"
    file.write_text("WORKERPOOL_WORKERS=3\n")
    assert load({"env_file": file}, {}).workers == 3
    file.write_text("WORKERPOOL_WORKERS=4\n")
    assert load({"env_file": file}, {}).workers == 4


def test_a_bad_line_of_the_file_is_refused_without_showing_it(tmp_path: Path) -> None:
    """The refusal has the file and the line's number, not its text, which may be a secret."""
    file = tmp_path / "env"
    file.write_text("WORKERPOOL_WORKERS=3\nhunter2 is here\n")
    message = str(refusal(WORKERPOOL_ENV_FILE=str(file)))
    assert "line 2" in message
    assert "hunter2" not in message


def test_the_seed_systems_names_work() -> None:
    """EDIT_AGENT_WORKERS, WORKER_POLL_INTERVAL in milliseconds, EDIT_AGENT_WEBHOOK_PORT."""
    loaded = settings(EDIT_AGENT_WORKERS="4", WORKER_POLL_INTERVAL="1500", EDIT_AGENT_WEBHOOK_PORT="3055")
    assert loaded.workers == 4
    assert loaded.poll_interval == timedelta(milliseconds=1500)
    assert str(loaded.http) == "127.0.0.1:3055"
    assert origin(loaded, "WORKERPOOL_WORKERS") == ("4", "seed name", "EDIT_AGENT_WORKERS")


def test_our_name_wins_over_the_seed_systems(tmp_path: Path) -> None:
    """A host that moves over may keep the old names while it sets the new ones, in any layer."""
    file = tmp_path / "env"
    file.write_text("WORKERPOOL_WORKERS=3\n")
    assert settings(EDIT_AGENT_WORKERS="4", WORKERPOOL_ENV_FILE=str(file)).workers == 3


def test_a_refusal_has_the_name_that_was_written() -> None:
    """Who wrote a flag or an old name is told of that, not of a name never seen."""
    assert refusal({"workers": 99}).refused[0].variable == "--workers"
    assert refusal({"schema": "1x"}).refused[0].variable == "--schema"
    assert refusal(EDIT_AGENT_WORKERS="many").refused[0].variable == "EDIT_AGENT_WORKERS"
    poll = refusal(WORKER_POLL_INTERVAL="5s").refused[0]
    assert (poll.variable, poll.value) == ("WORKER_POLL_INTERVAL", "5s")
    assert "milliseconds" in poll.allowed


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("WORKERS", "0", "from 1 to 64"), ("WORKERS", "65", "64"), ("WORKERS", "two", "whole number"),
        ("LEASE", "soon", "500ms"), ("POLL_INTERVAL", "0s", "from 10ms"), ("TIMEOUT", "-1s", "duration"),
        ("SCHEMA", "pg_temp", "pg_"), ("SCHEMA", "x" * 64, "63"), ("SCHEMA", 'a"b', "letters"),
        ("HTTP", "nowhere", "off"), ("HTTP", "127.0.0.1:70000", "65535"), ("MAX_RSS", "lots", "512MiB"),
        ("MAX_RSS", "1MiB", "16MiB"), ("MAX_REVISIONS", "0", "from 1"), ("HANDLERS", "a b", "comma"),
        ("COMMAND", "'open", "command line"), ("COMMANDS", "/nowhere/at/all", "file"), ("SOURCES", "/", "file"),
        ("AFTER_FAILURE", "stop", "continue or halt"), ("LOG_LEVEL", "loud", "debug"), ("LOG_FORMAT", "xml", "json"),
        ("STATSD", "x", "HOST:PORT"), ("DATABASE_URL", "mysql://h/d", "postgresql://"),
        ("ENV_FILE", "/nowhere", "file"),
        ("HOME", "~nobody-has-this-name/pool", "folder"), ("ENV_FILE", "~nobody-has-this-name/env", "file"),
        ("API_TOKEN_FILE", "~nobody-has-this-name/t", "file"), ("SOURCES", "x" * 5000, "file"),
        ("API_TOKEN_FILE", "/nowhere", "file"), ("RETENTION", "forever", "30d"),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_with_name_value_and_what_is_allowed(variable: str, value: str, allowed: str) -> None:
    """Exit 78 explains itself."""
    error = refusal(**{f"WORKERPOOL_{variable}": value})
    assert {(refused.variable, refused.value) for refused in error.refused} == {(f"WORKERPOOL_{variable}", value)}
    assert allowed in error.refused[0].allowed
    assert f"WORKERPOOL_{variable} is {value!r}; allowed: " in str(error)


def test_everything_wrong_is_told_at_once() -> None:
    """Nobody corrects a configuration one start at a time."""
    error = refusal({"workers": 0}, WORKERPOOL_LEASE="x", WORKERPOOL_API_TOKEN_FILE="/nowhere")
    assert [r.variable for r in error.refused] == ["WORKERPOOL_API_TOKEN_FILE", "--workers", "WORKERPOOL_LEASE"]


def test_settings_are_checked_against_each_other() -> None:
    """A lease has room for three heartbeats, and others reach the API only with a token."""
    assert "WORKERPOOL_HEARTBEAT" in refusal(WORKERPOOL_LEASE="29s").refused[0].allowed
    assert "WORKERPOOL_LEASE" in refusal(WORKERPOOL_HEARTBEAT="21s").refused[0].allowed
    assert settings(WORKERPOOL_LEASE="30s").lease == 3 * settings().heartbeat
    for address in ("0.0.0.0:3031", "[::]:1", "example.org:80"):
        assert "WORKERPOOL_API_TOKEN" in refusal(WORKERPOOL_HTTP=address).refused[0].allowed
        assert settings(WORKERPOOL_HTTP=address, WORKERPOOL_API_TOKEN="t").http
    for address in ("127.0.0.2:1", "[::1]:1", "localhost:1"):
        assert settings(WORKERPOOL_HTTP=address).http
    assert settings(WORKERPOOL_HTTP="off").http is None


def test_an_empty_variable_is_an_unset_one() -> None:
    """Container tools set what nobody filled in."""
    assert settings(WORKERPOOL_WORKERS="", WORKERPOOL_COMMAND="", WORKERPOOL_HTTP="").workers == 2


def test_secrets_come_from_files_too(tmp_path: Path) -> None:
    """A _FILE variable is how systemd and Kubernetes hand over credentials."""
    (tmp_path / "url").write_text(URL + "\n")
    (tmp_path / "token").write_text("t0ken\n")
    loaded = settings(
        WORKERPOOL_DATABASE_URL_FILE=str(tmp_path / "url"), WORKERPOOL_API_TOKEN_FILE=str(tmp_path / "token")
    )
    assert loaded.database_url
    assert loaded.database_url.get_secret_value() == URL
    assert loaded.api_token
    assert loaded.api_token.get_secret_value() == "t0ken"
    assert origin(loaded, "WORKERPOOL_API_TOKEN") == ("***", "environment", "WORKERPOOL_API_TOKEN_FILE")


def test_no_secret_is_shown() -> None:
    """Neither repr, nor `config`, nor a refusal has a password or a token."""
    loaded = settings(WORKERPOOL_DATABASE_URL=URL, WORKERPOOL_API_TOKEN="t0ken", WORKERPOOL_WEBHOOK_SECRET="whsec")
    shown = repr(loaded) + str(loaded) + repr(describe(loaded))
    shown += str(refusal(WORKERPOOL_DATABASE_URL="mysql://u:s3cret@h/d"))
    shown += str(refusal(WORKERPOOL_DATABASE_URL="user:s3cret@h/d"))
    assert not [secret for secret in ("s3cret", "t0ken", "whsec") if secret in shown]
    assert "postgresql://user:***@db1:5432,db2:5433/name" in shown
    assert set(known_secrets(loaded)) == {"s3cret%40pw", "s3cret@pw", "t0ken", "whsec"}


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:PW@h/d", "postgres://u:P/W:P@W@h/d", "postgresql://u@x:PW@h", "postgresql://:PW@/d",
        "host=h password=PW dbname=d", "password = 'P W\\' W' host=h", "postgresql:///d?password=PW&host=/run",
        "postgresql://h/d?sslpassword=PW", "u:PW@h/d",
    ],
)  # fmt: skip
def test_no_form_of_address_shows_its_password(text: str) -> None:
    """Every place where libpq takes a password is masked, and wrongly written addresses are too."""
    masked = mask_url(text)
    assert "W" not in masked
    assert "***" in masked


def test_an_address_without_password_stays_as_it_is() -> None:
    """Masking hides passwords and nothing else."""
    for text in ("postgresql://u@h1:5432,h2:5433/d?sslmode=require", "host=/run/x dbname=d", "postgresql:///d"):
        assert mask_url(text) == text


def test_children_get_equal_settings() -> None:
    """What a channel carries to a child loads as the same settings."""
    loaded = settings(
        WORKERPOOL_DATABASE_URL=URL, WORKERPOOL_HTTP="off", WORKERPOOL_HANDLERS="a,b.c", WORKERPOOL_POLL_INTERVAL="0.5",
        WORKERPOOL_MAX_RSS="1GiB", WORKERPOOL_API_TOKEN="t", WORKERPOOL_COMMAND="x 'y z'", WORKERPOOL_STATSD="h:1",
    )  # fmt: skip
    assert load({}, as_environment(loaded)).model_dump() == loaded.model_dump()


def test_a_mistyped_name_is_warned_about() -> None:
    """A name that looks like a setting and is none gets a hint; names of ours that are no settings do not."""
    loaded = settings(
        WORKERPOOL_WOKERS="3", WORKERPOOL_RUN="x", WORKERPOOL_WORKER="x", WORKERPOOL_VENV="x", WORKERPOOL_TEST_ID="x",
        WORKERPOOL_FAILPOINT="x", WORKERPOOL_STRICT_EVENTS="1", OTHER="x",
    )  # fmt: skip
    assert loaded.warnings == ("WORKERPOOL_WOKERS is no setting; did you mean WORKERPOOL_WORKERS?",)


def test_settings_cannot_be_changed() -> None:
    """Settings are frozen: a reload makes new ones."""
    with pytest.raises(ValueError, match="frozen"):
        settings().workers = 3


def test_a_flag_of_no_setting_is_our_own_mistake() -> None:
    """The command line offers flags of settings only."""
    with pytest.raises(KeyError):
        load({"wokers": 3}, {})
