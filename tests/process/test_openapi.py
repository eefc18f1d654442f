"""What the API says of itself is true: schemathesis asks it all that its OpenAPI allows, and what that forbids."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.conftest import up
from tests.process.daemon import Daemon

TOKEN = "the operator's token of this test"
#: Refusals of what a schema cannot say: an Idempotency-Key with another body; a name inside of a payload and beside it;
#: a provider whose address and key do not fit its type, and names and texts that look like a key.
CONFIG = """
[[operations]]
include-name = [
    "POST /api/revisions", "POST /webhook/trigger-edit-processing",
    "POST /api/providers", "PATCH /api/providers/{name}", "POST /api/agents", "PATCH /api/agents/{name}",
]
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 409, 422, 429, "5xx"]
"""
#: Streams have no end; NUL is refused everywhere, and JSON's schema has no word for that.
WORDS = ("--exclude-path", "/api/events", "--generation-allow-x00", "false", "--no-color", "--workers", "1")


@pytest.mark.parametrize("examples", [5, pytest.param(50, marks=pytest.mark.long)])
@pytest.mark.parametrize("token", [None, TOKEN])
def test_the_api_is_what_its_openapi_says(
    pool: Callable[..., Daemon], tmp_path: Path, token: str | None, examples: int
) -> None:
    """Every status, media type, schema, method and header, with and without a token: nothing is found."""
    daemon = up(pool(api=True, **({"api_token": token} if token else {})))
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    words = ["--header", f"Authorization: Bearer {token}"] if token else []
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]
    command += ["--config-file", str(tmp_path / "schemathesis.toml"), "run", *WORDS, *words]
    command += ["--max-examples", str(examples), "--seed", "7", f"http://{daemon.settings['http']}/openapi.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert re.search(r"[0-9]{3,} generated", done.stdout)
    assert daemon.events("request.failed") == []
    assert daemon.stop() == 0
