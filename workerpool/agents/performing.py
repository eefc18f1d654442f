"""The handler ``agent``: a revision that one agent performs, in five steps.

Owns: the steps and the result. Does not own: asking (``asking``). Invariant: the result counts what every attempt of
the revision spent.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from workerpool.agents.asking import asked, found, metrics
from workerpool.agents.following import Following
from workerpool.agents.model import line_to, output_type
from workerpool.agents.prompts import content_of, task_of, user_prompt
from workerpool.core.wording import shorten
from workerpool.job.job import Job
from workerpool.job.result import TaskResult

STEPS = ("Configure provider", "Prepare context", "Execute", "Process results", "Finalise")
#: Characters of a summary.
SUMMARY = 200


async def perform(job: Job) -> TaskResult:
    """Let an agent perform a revision.

    Its payload is ``{agent, title, description, instructions, input, outputSchema}``; the item's content is shown too.
    """
    began = time.monotonic()
    job.progress(0, "Initialise", total_steps=len(STEPS))
    job.log.info("Initialise")
    name, task, ignored = task_of(job.payload, None)
    if ignored:
        job.log.warning(f"the payload has keys that mean nothing to an agent: {', '.join(ignored)}")
    brief = found(job.read_agent(name), name)
    _begin(job, 1)
    line = line_to(brief)
    _begin(job, 2, agent=brief.name, provider=line.provider.name, model=line.model)
    task = replace(task, content=content_of(job.base))
    output_type(task.output_schema)
    user_prompt(task)
    _begin(job, 3)
    between = (_percent(3), _percent(4))
    answer = await asked(job, brief, line, task, Following(job, between, line.parameters.max_tokens, STEPS[2]))
    _begin(job, 4)
    spent = brief.spent + replace(answer.spent, seconds=time.monotonic() - began)
    result = TaskResult(
        summary=_summary(task.goal, answer.output),
        output=answer.output,
        artifacts=[],
        metrics=metrics(spent),  # type: ignore[typeddict-item]
    )
    _begin(job, 5)
    return result


def _begin(job: Job, number: int, **data: Any) -> None:
    job.checkpoint()
    job.progress(_percent(number), STEPS[number - 1])
    job.log.info(f"Step {number} of {len(STEPS)}: {STEPS[number - 1]}", **data)


def _percent(number: int) -> float:
    return 100 * number / len(STEPS)


def _summary(goal: str, output: Any) -> str:
    if goal:
        return shorten(goal, SUMMARY)
    lines = output.strip().splitlines() if isinstance(output, str) else []
    return shorten(lines[0], SUMMARY) if lines else "done"
