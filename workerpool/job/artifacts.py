"""Files that attempts keep: ``<home>/artifacts/<revision>/<attempt>/<name>``, for as long as the revision exists.

Owns: that folder's layout, copying into it and deleting from it. Does not own: when a revision is deleted (the keeper
looks). Invariant: nothing is written outside of the attempt's own folder, nothing in it is replaced, and a path that
was returned names a whole file that is on the disk.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from pathlib import Path

LONGEST_NAME = 255


class BadArtifact(ValueError):
    """A file cannot be kept; the message says which and why."""


class Shelf:
    """The folder of one attempt."""

    def __init__(self, home: Path, revision_id: int, attempt: int) -> None:
        """Nothing is made before the first file."""
        self._parents = (home / "artifacts", home / "artifacts" / str(revision_id))
        self._folder = self._parents[-1] / str(attempt)
        self._made = False

    def keep(self, path: str | os.PathLike[str], name: str | None = None) -> str:
        """Copy the file *path* under *name* (None: its own), and return the copy's path.

        Raises BadArtifact: the name is none or was used by this attempt, *path* is no file. Raises OSError.
        """
        wanted = Path(path).name if name is None else name
        _require_plain(wanted)
        descriptor = _open(path)
        with os.fdopen(descriptor, "rb") as source:
            if not self._made:
                self._make()
            target = self._folder / wanted
            try:
                kept = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                raise BadArtifact(f"this attempt keeps an artifact {wanted!r} already: give it another name") from None
            try:
                with os.fdopen(kept, "wb") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
                    copy.flush()
                    os.fsync(copy.fileno())
            except BaseException:
                target.unlink(missing_ok=True)
                raise
        return str(target)

    def _make(self) -> None:
        for folder in self._parents:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # An attempt that was given back or snoozed is not counted: what it kept under this number is void.
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._folder)
        self._folder.mkdir(mode=0o700)
        self._made = True


def _require_plain(name: str) -> None:
    if name in ("", ".", "..") or re.search(r"[/\x00]", name):
        raise BadArtifact(f"{name!r} is no name for an artifact: the name of a file is wanted, without a folder")
    try:
        length = len(os.fsencode(name))
    except UnicodeEncodeError:
        raise BadArtifact(f"{name!r} is no name for an artifact: it cannot be encoded") from None
    if length > LONGEST_NAME:
        raise BadArtifact(f"{name[:40]!r}… is no name for an artifact: at most {LONGEST_NAME} bytes are allowed")


def _open(path: str | os.PathLike[str]) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not be waited for
    except FileNotFoundError:
        raise BadArtifact(f"the artifact {os.fspath(path)!r} does not exist") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadArtifact(f"the artifact {os.fspath(path)!r} is no plain file: pack a folder first")
    return descriptor


def revisions(home: Path) -> list[int]:
    """Return the revisions that have a folder here, in order."""
    try:
        return sorted(int(entry.name) for entry in os.scandir(home / "artifacts") if entry.name.isdecimal())
    except FileNotFoundError:
        return []


def discard(home: Path, revision_id: int) -> bool:
    """Delete what a revision kept; False where it cannot be deleted."""
    folder = home / "artifacts" / str(revision_id)
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()
