"""The page-edit service as a process, beside a pool: started, asked, and ended.

Owns: the process. Does not own: the pool (`daemon`), nor the model that answers.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path

import httpx

from tests.process.conftest import free_port
from tests.process.daemon import MARK, Daemon, until
from workerpool.rehearsal import Asked, ModelServer, Reply

EXAMPLE = Path(__file__).parents[2] / "examples" / "page-edits"


@contextmanager
def service(url: str, folder: Path, mark: str = "", **settings: object) -> Iterator[str]:
    """Run the service on the database *url* and yield its address; settings without their `PAGE_EDITS_`."""
    address = f"127.0.0.1:{free_port()}"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("WORKERPOOL_", "PG"))}
    given = {f"PAGE_EDITS_{name.upper()}": str(value) for name, value in {"cool_down": 0, **settings}.items()}
    given |= {"PAGE_EDITS_HTTP": address, "WORKERPOOL_DATABASE_URL": url, MARK: mark}
    with (folder / "service.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLE / "page_service.py")],
            env=clean | given,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
        )
    try:
        until(lambda: _answers(process, address, folder / "service.log"), what="the service")
        yield f"http://{address}"
    finally:
        process.terminate()
        assert process.wait(15) in (0, -15), (folder / "service.log").read_text()


def _answers(process: subprocess.Popen[bytes], address: str, log: Path) -> bool:
    assert process.poll() is None, f"the service ended with {process.returncode}:\n{log.read_text()}"
    try:
        return httpx.get(f"http://{address}/static/live.js").status_code == 200
    except httpx.TransportError:
        return False


def add_editor(daemon: Daemon, model: ModelServer) -> None:
    """Let the agent of the example ask *model*."""
    daemon.sql(
        "INSERT INTO llm_providers (name, type, base_url, default_model) VALUES ('home', 'openai-compatible', %s, 'm')",
        model.url,
    )
    daemon.sql(
        "INSERT INTO agents (name, role, provider, model_parameters) VALUES ('page-editor', 'an editor', 'home', %s)",
        '{"maxTokens": 8000}',
    )


class Editor:
    """A model that writes each request into its page, as a last paragraph.

    "carelessly" loses the page's script until it is told of that, "hopelessly" always; "slowly" takes half a minute
    the first time, "for ever" much longer.
    """

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def __call__(self, asked: Asked) -> Reply:
        """Answer a request."""
        page, wanted = between("content", asked.last_user), between("input", asked.last_user)
        request = wanted.split("\n\n")[0]
        edited = page.replace("</main>", f'<p class="edit">{escape(request)}</p>\n</main>')
        if "hopelessly" in request or ("carelessly" in request and "was refused" not in asked.system):
            edited = re.sub(r"<script>.*</script>\n", "", edited, flags=re.DOTALL)
        pace = 1.0 if "for ever" in request else 0.1 if "slowly" in request and request not in self.seen else 0.0
        self.seen.add(request)
        return Reply(text=edited, chunk_delay=pace)


def between(tag: str, text: str) -> str:
    """Return what stands between two tags of a prompt."""
    found = re.search(rf"<{tag}>\n(.*)\n</{tag}>", text, re.DOTALL)
    assert found is not None, text
    return found[1]
