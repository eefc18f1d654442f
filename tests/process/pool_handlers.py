"""The handlers of the daemon under test: each does one thing that a handler may do, and notes in a journal that it
began and that it ended.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from workerpool import Job, handler
from workerpool.core.errors import Fail


def note(word: str, job: Job, *more: object) -> None:
    """Append one line to the journal, whole."""
    text = " ".join(map(str, (word, job.id, job.attempt, os.getpid(), time.monotonic(), *more)))
    descriptor = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, text.encode() + b"\n")
    os.close(descriptor)


@handler("work", max_attempts=5)
def work(job: Job) -> dict[str, Any]:
    """Take payload.seconds, cooperatively."""
    note("begin", job)
    deadline = time.monotonic() + job.payload.get("seconds", 0)
    while time.monotonic() < deadline:
        job.checkpoint()
        time.sleep(0.01)
    note("end", job)
    return {"attempt": job.attempt}


@handler("steps", max_attempts=5)
def steps(job: Job) -> dict[str, Any]:
    """Take payload.steps steps of payload.seconds each, with a checkpoint after each.

    The last one waits for the file payload.until, where one is named.
    """
    note("begin", job)
    for number in range(job.payload["steps"]):
        while number == job.payload["steps"] - 1 and not Path(job.payload.get("until", "/")).exists():
            job.checkpoint()
            time.sleep(0.005)
        job.progress(100 * number / job.payload["steps"], f"step {number}")
        time.sleep(job.payload.get("seconds", 0))
        note("step", job, number)
        job.checkpoint()
    note("end", job)
    return {"attempt": job.attempt}


@handler("stubborn")
def stubborn(job: Job) -> None:
    """Ignore everything that can be ignored."""
    note("begin", job)
    deadline = time.monotonic() + job.payload.get("seconds", 1000)
    while time.monotonic() < deadline:
        time.sleep(0.05)
    note("end", job)


@handler("greedy")
def greedy(job: Job) -> dict[str, Any]:
    """Hold the interpreter lock for payload.seconds, or for ever, inside one call of C."""
    note("begin", job)
    if "seconds" in job.payload:
        ctypes.PyDLL(None).usleep(int(job.payload["seconds"] * 1_000_000))
    else:
        re.match(r"(a+)+$", "a" * 60 + "b")
    note("end", job)
    return {"attempt": job.attempt}


@handler("segfault")
def segfault(job: Job) -> None:
    """Crash the process."""
    note("begin", job)
    ctypes.string_at(0)


@handler("exit")
def leave(job: Job) -> None:
    """End the process without a word."""
    note("begin", job)
    os._exit(job.payload["status"])


@handler("abort")
def abort(job: Job) -> None:
    """End the process by SIGABRT."""
    note("begin", job)
    os.abort()


@handler("family")
def family(job: Job) -> None:
    """Have children: one plain, one in a session of its own whose parent is gone."""
    plain = subprocess.Popen(["sleep", "1000"])
    script = "import subprocess; print(subprocess.Popen(['sleep', '1000'], start_new_session=True, stdout=2).pid)"
    far = subprocess.run([sys.executable, "-S", "-c", script], stdout=subprocess.PIPE, check=True, text=True)
    note("family", job, plain.pid, far.stdout.strip())
    note("begin", job)
    deadline = time.monotonic() + job.payload.get("seconds", 1000)
    while time.monotonic() < deadline:
        time.sleep(0.05)


class Unspeakable(Exception):
    """An error that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


def _deep(depth: int) -> int:
    return _deep(depth + 1) + 1


def _raise(name: str) -> None:
    match name:
        case "SystemExit":
            raise SystemExit(0)
        case "KeyboardInterrupt":
            raise KeyboardInterrupt
        case "GeneratorExit":
            raise GeneratorExit
        case "CancelledError":
            raise asyncio.CancelledError
        case "RecursionError":
            _deep(0)
        case "MemoryError":
            raise MemoryError
        case "Unspeakable":
            raise Unspeakable
        case "long":
            raise ValueError("x" * 10_000_000)
        case "surrogate":
            raise ValueError("nul \x00 and surrogate \ud800 here")
        case "BaseException":
            raise BaseException("at the root")
        case "Fail":
            raise Fail("no hope for this one")
        case _:
            raise ValueError("an ordinary error")


@handler("raise", max_attempts=1)
def raiser(job: Job) -> None:
    """Raise what payload.error names."""
    note("begin", job)
    _raise(job.payload["error"])


@handler("raise async", max_attempts=1)
async def raiser_async(job: Job) -> None:
    """Raise what payload.error names, from a coroutine."""
    await asyncio.sleep(0)
    _raise(job.payload["error"])


def _loop() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


ANSWERS: dict[str, Any] = {
    "object": lambda: object(),
    "nan": lambda: {"value": float("nan")},
    "bytes": lambda: b"\x00",
    "nul": lambda: {"text": "a\x00b"},
    "surrogate": lambda: {"text": "a\ud800b"},
    "circle": _loop,
    "key": lambda: {(1, 2): 3},
    "none": lambda: None,
    "text": lambda: "zażółć 🎈",
    "number": lambda: 7,
    "escape": lambda: {"text": "a\\u0000b"},
}


@handler("answer", max_attempts=1)
def answer(job: Job) -> object:
    """Return what payload.kind names."""
    return ANSWERS[job.payload["kind"]]()


@handler("echo")
async def echo(job: Job) -> dict[str, Any]:
    """Return the payload, from a coroutine that waits for others."""
    first, second = await asyncio.gather(asyncio.sleep(0.01, "one"), asyncio.sleep(0.01, "two"))
    return {"payload": job.payload, "gathered": [first, second]}


@handler("vandal")
def vandal(job: Job) -> dict[str, Any]:
    """Damage the process as payload.how says, and return."""
    note("begin", job)
    match job.payload["how"]:
        case "close":
            os.closerange(3, 1024)
        case "chdir":
            os.mkdir(job.payload["folder"])
            os.chdir(job.payload["folder"])
            os.rmdir(job.payload["folder"])
        case "fork":
            os.fork()
        case "threads":
            threading.Thread(target=time.sleep, args=(1000,)).start()
        case "signals":
            for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_IGN)
    return {"how": job.payload["how"]}


@handler("noise")
def noise(job: Job) -> dict[str, Any]:
    """Write by every way there is."""
    print("by print")
    print("by stderr", file=sys.stderr)
    os.write(1, b"by descriptor\n")
    subprocess.run(["sh", "-c", "echo by child; echo by child stderr >&2"], check=True)
    return {}


@handler("flood")
def flood(job: Job) -> dict[str, Any]:
    """Write far too much, by print and by descriptor."""
    line = "x" * 1023 + "\n"
    for _ in range(job.payload["megabytes"]):
        sys.stdout.write(line * 1024)
        data = (line * 1024).encode()
        while data:
            data = data[os.write(1, data) :]
    return {}


@handler("timed", max_attempts=1)
def timed(job: Job) -> None:
    """Check often whether to go on, for ever."""
    note("begin", job)
    while True:
        job.checkpoint()
        time.sleep(0.01)


@handler("base")
def base(job: Job) -> dict[str, Any]:
    """Wait for the file that payload.after names, then read the item's current content."""
    note("begin", job)
    while not os.path.exists(job.payload["after"]):
        time.sleep(0.01)
    before = job.base
    note("end", job)
    return {"base": before}


@handler("ghost", max_attempts=5)
def ghost(job: Job) -> dict[str, Any]:
    """Take payload.seconds, then say a last word."""
    note("begin", job)
    time.sleep(job.payload["seconds"])
    job.log.info(f"attempt {job.attempt} is at its end")
    job.progress(50 + job.attempt)
    note("end", job)
    return {"attempt": job.attempt}


@handler("folder")
def folder(job: Job) -> str:
    """Return the working directory."""
    return os.getcwd()


HOARD: list[bytes] = []


@handler("grow")
def grow(job: Job) -> None:
    """Use more memory, and keep it."""
    HOARD.append(os.urandom(1 << 20) * job.payload["megabytes"])
    time.sleep(0.1)


@handler("whisper")
def whisper(job: Job) -> None:
    """Write one line past Python and be gone at once."""
    os.write(1, f"the words of {job.id}\n".encode())


@handler("await", max_attempts=5)
async def wait_for_ever(job: Job) -> None:
    """Await payload.seconds, in an event loop."""
    note("begin", job)
    await asyncio.sleep(job.payload["seconds"])
    note("end", job)


@handler("ledger", max_attempts=50)
def ledger(job: Job) -> dict[str, Any]:
    """Write a row into a table of the application's own, in the transaction of the outcome."""
    note("begin", job)
    with job.transaction() as connection:
        connection.execute("INSERT INTO public.ledger (revision, attempt) VALUES (%s, %s)", (job.id, job.attempt))
        for _ in range(job.payload.get("statements", 1)):
            with connection.transaction():
                connection.execute("UPDATE public.total SET rows = rows + 1")
        time.sleep(job.payload.get("seconds", 0))
    time.sleep(job.payload.get("after", 0))
    note("end", job)
    return {"attempt": job.attempt}


@handler("misuse", max_attempts=1)
def misuse(job: Job) -> None:
    """Do with a transaction what must not be done."""
    with job.transaction() as connection:
        connection.execute("INSERT INTO public.ledger (revision, attempt) VALUES (%s, 0)", (job.id,))
        match job.payload["how"]:
            case "raise inside":
                raise ValueError("inside")
            case "commit":
                connection.commit()
            case "COMMIT":
                connection.execute("ROLLBACK")
            case "serializable":
                connection.execute("ROLLBACK; BEGIN ISOLATION LEVEL SERIALIZABLE")
            case "swallowed":
                try:
                    connection.execute("SELECT 1 / 0")
                except Exception as error:
                    note("swallowed", job, type(error).__name__)
    match job.payload["how"]:
        case "raise after":
            raise ValueError("after")
        case "twice":
            with job.transaction():
                pass
        case "deferred":
            pass


def _called(job: Job, kind: str) -> None:
    time.sleep(job.payload.get("callback", 0))
    note("callback", job, kind)


@handler("follow", max_attempts=1)
def follow(job: Job) -> None:
    """Say what is to follow, then end as payload.end says."""
    for on in ("completed", "failed", "any"):
        job.then(f"after {on}", "work", {"seconds": 0}, on=on)  # type: ignore[arg-type]
    job.on_complete("note", lambda worker, kind, error: _called(job, kind.value))
    if job.payload.get("end") == "fail":
        raise Fail("as asked")
    if job.payload.get("end") == "crash":
        os.abort()


@handler("environment")
def environment(job: Job) -> dict[str, str]:
    """Show what a handler can see of its process's environment."""
    return dict(os.environ)
