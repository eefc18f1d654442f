"""What was measured on: versions, settings, and the machine.

Owns: reading them. Invariant: every result carries them, since a figure without them says nothing.
"""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from workerpool.bench.ground import SCHEMA, Ground
from workerpool.store.session import Session

SETTINGS = (
    "fsync", "synchronous_commit", "full_page_writes", "wal_level", "wal_sync_method", "wal_compression",
    "shared_buffers", "max_wal_size", "checkpoint_timeout", "max_connections", "autovacuum", "io_method",
)  # fmt: skip


def describe(ground: Ground) -> dict[str, Any]:
    """Return the versions, the server's settings, and the machine."""
    with Session(ground.admin, SCHEMA, "bench") as session:
        names = ", ".join(f"'{name}'" for name in SETTINGS)
        query = f"SELECT name, current_setting(name) FROM pg_settings WHERE name IN ({names}) ORDER BY name"
        settings = {str(name): str(value) for name, value in session.type_in(query).rows}
        server = str(session.type_in("SHOW server_version").rows[0][0])
    return {
        "versions": {
            "workerpool": version("workerpool"),
            "postgresql": server,
            "python": platform.python_version(),
            "psycopg": version("psycopg"),
            "kernel": f"{platform.system()} {platform.release()}",
        },
        "settings": settings,
        "machine": {
            "cpus": len(os.sched_getaffinity(0)),
            "cpu": _model(),
            "memory_bytes": psutil.virtual_memory().total,
            "load": [round(value, 2) for value in os.getloadavg()],
        },
    }


def _model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
