"""The entry of the process that shows: ``python -m workerpool.api``, started by the manager only.

Invariant: whatever happens here, revisions are performed; this process holds nothing that they need.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from pathlib import Path

import setproctitle

from workerpool import logs
from workerpool.api.server import Server
from workerpool.core.briefs import ApiBrief, from_message
from workerpool.link.channel import Channel


def main() -> int:
    """Show until the manager says stop, or is gone; returns the exit code."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        # The manager speaks over the channel; the end of the channel is its death.
        signal.signal(number, signal.SIG_IGN)
    channel = Channel.inherited()
    message = channel.brief()
    if message is None:
        return 0
    brief = from_message(ApiBrief, message)
    secrets = [each for each in (brief.token, brief.webhook_secret, *brief.source_secrets.values()) if each]
    file = Path(brief.log_file) if brief.log_file else None
    logs.configure(brief.log_level, brief.log_format, file=file, secrets=secrets)  # type: ignore[arg-type]
    setproctitle.setproctitle("workerpool: api")
    server = Server(brief)
    threading.Thread(target=_listen, args=(channel, server), name="channel", daemon=True).start()
    channel.send("ready")
    server.run()
    return 0


def _listen(channel: Channel, server: Server) -> None:
    while not channel.closed:
        select.select([channel.fileno()], [], [])
        for message in channel.receive():
            if message["kind"] == "stop":
                server.stop()
            elif message["kind"] == "reopen":
                logs.reopen()
    server.stop()


if __name__ == "__main__":
    code = main()
    logs.flush()
    os._exit(code)
