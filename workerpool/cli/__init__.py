"""The command line: the only place that wires the rooms together.

Owns: verbs, flags, what people read, and exit codes. Does not own: any decision. Each verb is imported when it is
called, so that
``start`` does not load what only ``demo`` needs. Invariant: an error is one sentence with a hint, never a traceback.
"""

from __future__ import annotations

import importlib
import os
import sys

import click

from workerpool.cli.errors import EXIT_NO_DATABASE, Refused

#: Verb -> the module that holds it, under the verb's name with dashes as underscores.
VERBS = {
    "start": "start",
    "stop": "control",
    "reload": "control",
    "migrate": "schema",
    "config": "settings",
    "doctor": "doctor",
    "psql": "schema",
    "enqueue": "enqueue",
    "import": "importing",
    "queue": "changing",
    "status": "reading",
    "workers": "reading",
    "items": "reading",
    "show": "reading",
    "explain": "explain",
    "edit": "changing",
    "logs": "following",
    "top": "top",
    "cancel": "changing",
    "retry": "changing",
    "history": "item",
    "revert": "item",
    "halt": "item",
    "unhalt": "item",
    "schedule": "schedules",
    "pause": "pausing",
    "resume": "pausing",
    "events": "pausing",
    "safely": "safely",
    "backup": "backup",
    "restore": "backup",
    "prune": "schema",
    "purge": "item",
    "export": "item",
    "providers": "providers",
    "agents": "agents",
    "tokens": "tokens",
    "web": "web",
    "mcp": "mcp",
    "demo": "demo",
    "bench": "bench",
    "completion": "settings",
}


class Verbs(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return every verb, in the order of the contract."""
        return list(VERBS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"workerpool.cli.{VERBS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_") + ("_" if cmd_name == "import" else ""))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each verb with the first sentence of its help, whole."""
        verbs = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Verbs"):
            formatter.write_dl([(name, _first_sentence(verb.help or "")) for name, verb in verbs if verb is not None])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; a mistyped one is answered with the nearest."""
        if args and args[0] not in VERBS and not ctx.resilient_parsing:
            import difflib

            near = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"There is no verb {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


def _first_sentence(text: str) -> str:
    return " ".join(text.split("\n\n")[0].split()).removesuffix(".")


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="workerpool")
def cli() -> None:
    """Process revisions: ordered changes to items, by worker processes, from a PostgreSQL table."""


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        cli.main(prog_name="workerpool", standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else "workerpool"
        click.echo(f"workerpool: {error.format_message()}", err=True)
        click.echo(f"  `{path} --help` shows what is allowed", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except Exception as error:
        known = _known(error)
        if known is None:
            raise
        known.show()
        sys.exit(known.exit_code)


def _known(error: Exception) -> Refused | None:
    """Turn an error of another room into one sentence; None for a defect of this program, whose traceback is wanted."""
    from workerpool.cli import errors

    refused = errors.explain(error)
    return refused if refused is not None else None


__all__ = ["EXIT_NO_DATABASE", "cli", "main"]
