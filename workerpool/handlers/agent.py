"""The built-in handler that performs a revision with a language model.

Invariant: the packages that speak to models are imported when the first agent is asked, not before: a worker that
never does has no use for them.
"""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from workerpool.core.errors import Fail
from workerpool.job.job import Job

#: What performs; by name, so that this process holds it only when it is wanted.
PERFORMING = "workerpool.agents.performing"
NEEDED = ("pydantic_ai", "openai", "jsonschema")
HOW = (
    "agents need the extra llm, which is not installed here ({}): pip install 'workerpool[llm]', then restart the pool"
)


async def agent(job: Job) -> object:
    """Let the agent that the payload names do what the payload says."""
    return await _performing().perform(job)


def _performing() -> ModuleType:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise Fail(HOW.format(", ".join(missing)))
    return importlib.import_module(PERFORMING)
