"""What an error of the database means to people: its kind, a sentence, and what to do.

Owns: the mapping. Invariant: no sentence holds a password or a whole connection string.
"""

from __future__ import annotations

import psycopg
from psycopg import errors

from workerpool.store import embedded
from workerpool.store.line import LineLost, StatementRefused
from workerpool.store.roles import MayNotMakeRoles, NoNameLeft
from workerpool.store.versions import MayNotMigrate, SchemaTooNew, SchemaTooOld

_AS_IT_IS = (
    SchemaTooNew,
    NoNameLeft,
    embedded.BinariesMissing,
    embedded.HomeRefused,
    embedded.SocketFolderRefused,
    embedded.Unusable,
)

#: What to do where a server refuses to write.
WRITABLE = "it is a standby, or made read-only: name the server that may be written to in WORKERPOOL_DATABASE_URL"
#: How a server, or a pooler before it, says that it will not have a parameter of the URL; and what to do.
REFUSED = ("unsupported startup parameter", "unrecognized configuration parameter", "invalid value for parameter")
CORRECT = "correct it in `options` of WORKERPOOL_DATABASE_URL or in PGOPTIONS, or leave it out"
_MAKE_ROOM = "make room on it: what was not written is written then"


def describe(error: Exception) -> tuple[str, str, str] | None:
    """Return (kind, sentence, hint) for *error*, kind being unavailable, busy, config, refused or usage.

    None if it is not the database's.
    """
    match error:
        case MayNotMakeRoles() | MayNotMigrate():
            return "config", str(error), error.hint
        case SchemaTooOld():
            return "config", str(error), "`workerpool start` migrates too"
        case LineLost() | embedded.NotReady() | embedded.StartFailed() | embedded.LockTimeout():
            return "unavailable", str(error), "`workerpool doctor` looks for the cause"
        case _ if isinstance(error, _AS_IT_IS):
            return "config", str(error), ""
        case errors.DiskFull() | StatementRefused(full=True):
            return "unavailable", f"the disk of the database is full: {_first(error)}", _MAKE_ROOM
        case errors.LockNotAvailable():
            detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
            return "busy", f"the database is busy: {_first(error)}{detail}", error.diag.message_hint or "try again"
        case errors.InsufficientPrivilege():
            return (
                "config",
                f"the database refuses this role: {_first(error)}",
                "`workerpool doctor` lists what is needed",
            )
        case errors.UndefinedTable() | errors.InvalidSchemaName() | errors.UndefinedFunction():
            return "config", f"the schema is not there or not whole: {_first(error)}", "run `workerpool migrate`"
        case errors.ReadOnlySqlTransaction():
            return "unavailable", f"the database may not be written to: {_first(error)}", WRITABLE
        case psycopg.OperationalError():
            hint = (
                CORRECT if any(words in str(error) for words in REFUSED) else "`workerpool doctor` looks for the cause"
            )
            return "unavailable", f"the database is not reachable: {_first(error)}", hint
        case psycopg.Error():
            return "refused", f"the database refuses it: {_first(error)}", error.diag.message_hint or ""
        case _:
            return None


def _first(error: psycopg.Error | StatementRefused) -> str:
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return (primary or str(error)).strip().splitlines()[0]
