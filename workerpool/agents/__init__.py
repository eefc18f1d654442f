"""Language models as the workers' hands: the handler ``agent``, and what handlers of one's own ask agents with.

Owns: asking. Does not own: what an agent is (``core.agent``), where it is kept (``store``), nor the protocol of the
models, which pydantic-ai speaks. Invariant: nothing here is imported before the first agent is asked, and a key goes to
its provider and nowhere else.

``ask(job, "writer", input=...)`` waits for the answer; ``await ask_async(...)`` is for ``async def`` handlers.
"""

from workerpool.agents.asking import Answer, ask, ask_async, trial

__all__ = ["Answer", "ask", "ask_async", "trial"]
