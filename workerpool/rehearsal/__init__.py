"""A model that answers by script: a server on this machine that speaks the OpenAI chat completions protocol.

Owns: the script, the protocol's form, and the server. Does not own: who asks. Invariant: it listens on loopback only,
imports nothing of the other rooms, and leaves no thread behind. For the demo, for tests, and for writing handlers
without a key::

    with ModelServer(lambda asked: Reply(text="Hello.")) as model:
        ...  # model.url is the base URL of a provider of type openai-compatible
"""

from workerpool.rehearsal.script import Asked, BadRules, Reply, Script, rules
from workerpool.rehearsal.server import ModelServer

__all__ = ["Asked", "BadRules", "ModelServer", "Reply", "Script", "rules"]
