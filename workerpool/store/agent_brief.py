"""What a worker reads of an agent, in one row.

Owns: the reading of that row (the statement ``agent_brief``). Does not own: the tables (``agents``).
"""

from __future__ import annotations

import json
from typing import Any

from workerpool.core.agent import AgentBrief, Provider, Spent


def brief_of(row: tuple[Any, ...]) -> AgentBrief:
    """Return the agent that a *row* of the statement ``agent_brief`` is."""
    name, role, backstory, instructions, model, parameters, tools, *rest = row
    provider, kind, base_url, default_model, key_variable, key_file, *spent = rest
    return AgentBrief(
        name=name,
        role=role,
        backstory=backstory,
        instructions=instructions,
        provider=Provider(provider, kind, base_url, default_model, key_variable, key_file) if provider else None,
        model=model,
        model_parameters=json.loads(parameters),
        tools=tuple(tools),
        spent=Spent(*spent),
    )
