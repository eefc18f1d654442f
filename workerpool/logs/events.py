"""Owns the catalogue of events: every name that a process of the daemon may log, with its meaning.

Names are dotted and in the past tense; ids are fields of the event, never part of its name.
Invariant: with WORKERPOOL_STRICT_EVENTS=1 (tests set it) an event that is not listed raises.
"""

from typing import Final

EVENTS: Final[dict[str, str]] = {
    # manager
    "manager.started": "the manager has its home and begins to start children",
    "manager.ready": "the first good claim round is done",
    "manager.stopping": "a graceful or quick stop began",
    "manager.stopped": "every child is gone; the last line of a run",
    "manager.failed": "the manager ends because of an unexpected error",
    "manager.dumped": "children, timers and stacks, as asked with USR2",
    "manager.notified": "the service manager was told our state",
    "manager.emptied": "nothing is pending or processing, and --until-empty asked to stop then",
    "signal.received": "a signal was seen by the main loop",
    "workers.healthy": "the health line: every slot with the age of its process",
    "workers.resized": "the number of slots was changed",
    # children of the manager
    "child.started": "a process was spawned",
    "child.ready": "a process said that it is up",
    "child.late": "a process did not say that it is up within its time",
    "child.asked": "a process was asked to end",
    "child.killed": "a process was killed by the manager",
    "child.exited": "a process ended: code or signal, and whether anybody asked for it",
    "child.restarted": "a process was started again after a crash",
    "child.delayed": "a restart waits for its back-off",
    "child.recycled": "a worker was replaced as planned: memory, number of revisions, reload",
    "child.printed": "a line that a child wrote to its standard output or error",
    "slot.gave_up": "more restarts than allowed within the period: the slot stays empty",
    "orphans.killed": "processes that a dead child or run had left were killed",
    # configuration
    "config.reloaded": "HUP: the new settings are good and are being taken over",
    "config.refused": "HUP: the new settings are bad; the old ones stay",
    "config.warned": "a name looks like a setting and is none",
    # database
    "database.waited": "the database is not there yet; trying on",
    "database.lost": "the connection to the database broke",
    "database.regained": "the connection to the database is back",
    "database.failed_over": "the database is another server than before: what the old one had not passed on is lost",
    "database.outdated": "a primary answers that another one has replaced, as this pool knows: it is left alone",
    "database.exposed": "the connection to a database on another host is not encrypted",
    "database.pooled": "a pooler stands before the database: polling, nothing prepared, settings of a transaction only",
    "database.unreachable": "the database was not there within the start timeout",
    "schema.migrated": "the schema was brought to this program's version",
    "schema.refused": "the schema is newer than this program",
    "postgres.initialised": "the embedded database was created",
    "postgres.started": "the embedded database accepts connections",
    "postgres.stopped": "the embedded database was shut down",
    "postgres.recovered": "files that a dead embedded database had left were cleaned up",
    "prepare.finished": "database reachable, schema current, rows of dead managers released",
    # keeper
    "keeper.connected": "the keeper listens",
    "keeper.elected": "this keeper does the work that one host does for all",
    "keeper.woke": "idle workers were woken",
    "keeper.gauged": "counts of the queue, at an interval",
    "lease.renewed": "leases of living workers were lengthened",
    "lease.lost": "a living worker's lease could not be renewed: its attempt is no longer its own",
    "cancel.ignored": "a job succeeded although it was asked to stop",
    "tokens.expired": "work tokens were not renewed: their holders died, stopped or lost the database",
    "task.failed": "a step of a program's background loop raised; the loop goes on",
    "callback.failed": "a callback of a job or of a token raised; the others were run",
    "pause.changed": "another version of the pause is in force",
    "pause.lifted": "pauses whose time was over were taken away",
    "schedule.fired": "a recurring schedule was due: its revisions were enqueued, missed times counted",
    "schedule.broken": "a schedule's cron expression or time zone cannot be read; told once",
    "cancel.relayed": "a worker was told to cancel its revision",
    "heal.unparked": "revisions that were parked with no reason were freed: a bug healed",
    "heal.failed": "a healing round failed; the next one tries again",
    "queue.pruned": "old finished revisions and logs were deleted",
    "artifacts.pruned": "files of revisions that exist no more were deleted from the home",
    "duty.failed": "one of the keeper's rounds failed; it is tried again",
    # workers
    "worker.started": "a worker has its brief",
    "worker.ready": "a worker is connected, registered, and has its handlers",
    "worker.idled": "a worker found nothing to claim",
    "worker.woke": "a worker was woken",
    "worker.stopping": "a worker will end after what it runs now",
    "worker.stopped": "a worker ends",
    "worker.failed": "a worker ends because of an unexpected error",
    "worker.replaced": "a worker learned that its lease was given away",
    "worker.dirtied": "a handler changed the state of its process; the worker is recycled",
    "handlers.loaded": "handler modules were imported",
    "handlers.failed": "a handler module cannot be loaded: its traceback",
    # the API
    "api.listening": "the API answers at an address",
    "api.unbound": "the API's address cannot be had; it is tried again, and the pool works without",
    "api.missing": "packages of the API are not installed: it is off",
    "api.stopped": "the API answers no more",
    "statsd.failed": "figures could not be sent to StatsD; told once an hour for each cause, and tried again",
    "request.answered": "a request was answered",
    "request.failed": "a request failed unexpectedly: its traceback",
    # remote workers
    "server.lost": "the server of a remote worker does not answer, or not yet; trying on",
    "server.regained": "the server of a remote worker answers again",
    # revisions
    "revision.claimed": "an attempt began to be ours",
    "revision.started": "the handler was called",
    "revision.completed": "the attempt's result was stored",
    "revision.failed": "the revision ended failed",
    "revision.retried": "the attempt failed; the revision is pending again",
    "revision.snoozed": "the handler asked for a later time; the attempt is not counted",
    "revision.held": "a running revision stays at a checkpoint for a pause; told once a version",
    "revision.resumed": "a held revision goes on, or was cancelled",
    "revision.cancelled": "the revision ended cancelled",
    "revision.released": "the revision was given back unharmed; its attempt is not counted",
    "revision.crashed": "the attempt's process died",
    "revision.poisoned": "the revision crashed its worker too often and ended failed",
    "revision.rescued": "the lease ran out and the revision was taken back",
    "revision.timed_out": "the attempt took longer than its limit",
    "revision.limited": "the attempt used more memory or printed more than it may, and its worker was killed",
    "revision.unhandled": "no living worker has the revision's handler",
    "turn.refused": "the database refused a settle-and-claim; the outcomes are settled alone",
    "settlement.refused": "the database refused a batch of outcomes; they are settled one by one",
    "revision.fenced": "a write of a former owner was refused",
    "revision.lost": "a failover lost ends that this worker had written: the revisions are performed again",
    "revision.logged": "a line that a handler logged",
    "command.started": "a command handler started its program",
    "command.exited": "a command handler's program ended",
    "command.killed": "a command handler's program and its descendants were killed",
    # the log itself, and others' code
    "log.dropped": "lines could not be written and are lost: how many",
    "log.reopened": "the log file was opened again",
    "log.refused": "the log file could not be opened again; the old one stays",
    "library.logged": "a library logged or warned through Python's logging",
}


class UnknownEvent(LookupError):
    """An event that the catalogue does not list."""

    def __init__(self, event: str) -> None:
        self.event = event
        super().__init__(
            f"the event {event!r} is not in the catalogue, workerpool/logs/events.py: add it with its meaning"
        )
