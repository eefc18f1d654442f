"""Work tokens: the right to be active, for code outside of the pool's workers that must not be disturbed.

Owns: a program's side of a token, its renewal, background loops that give way to a pause, and a program's own pauses.
Does not own: who counts as active (rows of ``work_tokens``) nor the tokens of workers, which are derived from their
rows.
Invariant (R15): between ``activate`` and ``release`` there is no safe state, unless the token is `lost`; none is
activated during a pause.
"""

from workerpool.store.line import LineLost
from workerpool.store.pausing import BadPause, Mode, NotSafe, Safety
from workerpool.tokens.standstill import pause_all, resume_all, wait_for_safe_state, wait_until_all_paused
from workerpool.tokens.tasks import PausableTask, PausableTasks, TasksBusy, TaskStatus
from workerpool.tokens.token import Kind, Paused, WorkToken

__all__ = [
    "BadPause",
    "Kind",
    "LineLost",
    "Mode",
    "NotSafe",
    "PausableTask",
    "PausableTasks",
    "Paused",
    "Safety",
    "TaskStatus",
    "TasksBusy",
    "WorkToken",
    "pause_all",
    "resume_all",
    "wait_for_safe_state",
    "wait_until_all_paused",
]
