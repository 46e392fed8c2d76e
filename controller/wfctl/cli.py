"""The command line: global options before or after the verb, and verbs that are imported when they are used."""

from __future__ import annotations

import difflib
import functools
import importlib
import re
from collections.abc import Callable
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from wfctl.errors import BadUsage
from wfctl.settings import DEFAULT_ADDRESS, ENVIRONMENT, Settings, resolve

P = ParamSpec("P")
R = TypeVar("R")

# Imports only what the verb needs: `wfctl --help` reads this table and no module.
VERBS: Final[dict[str, tuple[str, str]]] = {
    "dev": ("wfctl.commands.dev:dev", "Run everything on this machine, with a live view."),
    "validate": ("wfctl.commands.validate:validate", "Check documents offline."),
    "test": ("wfctl.commands.test:test", "Run the examples that are written beside documents."),
    "fmt": ("wfctl.commands.fmt:fmt", "Rewrite documents in their canonical form."),
    "diff": ("wfctl.commands.plan:diff", "Say how a document differs from what runs."),
    "plan": ("wfctl.commands.plan:plan", "Say what apply would do: placement, restarts."),
    "apply": ("wfctl.commands.apply:apply", "Make documents run; unchanged loops stay untouched."),
    "get": ("wfctl.commands.get:get", "List workflows, loops, agents, queues, nodes, revisions."),
    "describe": ("wfctl.commands.describe:describe", "Show everything about one thing."),
    "delete": ("wfctl.commands.delete:delete", "Remove a workflow; it drains first."),
    "start": ("wfctl.commands.control:start", "Start a stopped workflow or loop."),
    "stop": ("wfctl.commands.control:stop", "Stop a workflow or loop; its state stays."),
    "pause": ("wfctl.commands.control:pause", "Pause a workflow or loop; it keeps its slot."),
    "resume": ("wfctl.commands.control:resume", "Let a paused workflow or loop go on."),
    "restart": ("wfctl.commands.control:restart", "Restart a workflow or loop."),
    "scale": ("wfctl.commands.control:scale", "Change how many replicas a loop has."),
    "rollout": ("wfctl.commands.rollout:rollout", "Revisions: status, history, undo."),
    "queue": ("wfctl.commands.queue:queue", "Queues: ls, peek, push, purge, delete, delete-consumer."),
    "dlq": ("wfctl.commands.dlq:dlq", "Dead letters: ls, show, replay, drop."),
    "agent": ("wfctl.commands.agent:agent", "Agents: ls, cordon, uncordon, drain, token create, revoke."),
    "client": ("wfctl.commands.client:client", "Who may call: token create, revoke, whoami."),
    "node-types": ("wfctl.commands.node_types:node_types", "What agents offer: ls, show."),
    "logs": ("wfctl.commands.logs:logs", "What nodes log and print."),
    "events": ("wfctl.commands.events:events", "What happened, and what happens."),
    "top": ("wfctl.commands.top:top", "Live figures of loops and queues."),
    "why": ("wfctl.commands.why:why", "Say in one sentence why a loop does not run, lags or waits."),
    "context": ("wfctl.commands.context:context", "Named sets of global options: ls, show, use, set, delete."),
    "version": ("wfctl.commands.version:version", "Print the version."),
    "completion": ("wfctl.commands.completion:completion", "Print shell completion for bash, zsh or fish."),
}


class Duration(click.ParamType[float]):
    """A length of time: seconds, or `200ms`, `5s`, `10m`, `1h`."""

    name = "duration"
    _FORM: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
    _UNIT: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = self._FORM.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is no duration; write 200ms, 5s, 10m or 1h", param, ctx)
        return float(match[1]) * self._UNIT[match[2]]


DURATION: Final = Duration()


def global_flags() -> dict[str, Any]:
    """Return the global options that the command line gave, without those of the environment."""
    given: dict[str, Any] = click.get_current_context().find_root().ensure_object(dict)
    return {key: value for key, value in given.items() if key not in given.get(ENVIRONMENT, ()) and key != ENVIRONMENT}


def global_options(*, hidden: bool) -> list[click.Parameter]:
    """Return the options that every verb takes; environment variables are read at the front only."""

    def option(*names: str, env: str | None = None, **attrs: Any) -> click.Parameter:
        envvar = None if hidden else env
        return click.Option(
            names, hidden=hidden, expose_value=False, callback=_keep, envvar=envvar, show_envvar=True, **attrs
        )

    return [
        option(
            "--address", env="WF_ADDRESS", metavar="HOST:PORT", help=f"The controller.  [default: {DEFAULT_ADDRESS}]"
        ),
        option("--namespace", "-n", env="WF_NAMESPACE", metavar="NAME", help="The namespace.  [default: default]"),
        option("--cacert", env="WF_CACERT", metavar="FILE", help="Authority to trust (PEM); turns TLS on."),
        option("--cert", env="WF_CERT", metavar="FILE", help="Certificate to show (PEM)."),
        option("--key", env="WF_KEY", metavar="FILE", help="Its key (PEM), readable by you only."),
        option("--token", env="WF_TOKEN", metavar="TOKEN", help="Token to show; better given by the variable."),
        option("--insecure", env="WF_INSECURE", is_flag=True, default=None, help="Plain text to another machine."),
        option("--context", env="WF_CONTEXT", metavar="NAME", help="Named set of these in config.toml."),
        option("--output", "-o", type=click.Choice(["table", "wide", "json", "yaml", "name"]), help="Form of results."),
        option("--no-color", "color", flag_value=False, default=None, help="No colour (also NO_COLOR)."),
        option("--timeout", "timeout_s", type=DURATION, help="Limit for one call.  [default: 30s]"),
    ]


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    if value is not None and param.name is not None:
        given: dict[str, Any] = ctx.find_root().ensure_object(dict)
        given[param.name] = value
        named: frozenset[str] = given.get(ENVIRONMENT, frozenset())
        from_it = ctx.get_parameter_source(param.name) is ParameterSource.ENVIRONMENT
        given[ENVIRONMENT] = named | {param.name} if from_it else named - {param.name}
    return value


class Name(click.ParamType[str]):
    """What an argument names; the shell completes it with what there is."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002 - click's interface
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from wfctl.names import ARGUMENTS

        known = ARGUMENTS.get(verb_of(ctx))
        first = next((one for one in ctx.command.params if isinstance(one, click.Argument)), None)
        if known is not None and (param is first or verb_of(ctx) == "get"):
            return known(ctx, param, incomplete)
        return [CompletionItem(incomplete, type="file")] if "FILE" in param.make_metavar(ctx) else []


def verb_of(ctx: click.Context) -> str:
    """Return the words of a verb, without the program's name."""
    return ctx.command_path.partition(" ")[2]


def write_examples(ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Write the examples of a verb below its options."""
    from wfctl.examples import text

    lines = text(verb_of(ctx))
    if lines:
        formatter.write_paragraph()
        formatter.write("Examples:\n")
        for line in lines:
            formatter.write(f"  {line}\n")


NAME: Final = Name()


class Verb(click.Command):
    """A command that takes the global options too."""

    def __init__(self, *args: Any, **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self.params.extend(global_options(hidden=True))
        for param in self.params:
            if isinstance(param, click.Argument) and param.type is click.STRING:
                param.type = NAME

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(ctx, formatter)


class VerbGroup(click.Group):
    """A verb with verbs of its own."""

    command_class = Verb

    def __init__(self, *args: Any, **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self.params.extend(global_options(hidden=True))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(self.list_commands(ctx))}"
            ctx.fail(f"{args[0]!r} is not known; {hint}")
        return super().resolve_command(ctx, args)


class Front(VerbGroup):
    """All verbs, each imported when it is used."""

    def __init__(self, *args: Any, **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        hidden = {option.name for option in global_options(hidden=True)}
        self.params = [param for param in self.params if param.name not in hidden]
        self.params.extend(global_options(hidden=False))

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's interface
        if cmd_name not in VERBS:
            return None
        module, _, name = VERBS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's interface
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])


@click.group(
    cls=Front,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 invalid workflow, 4 not found, 5 conflict, 6 timed out or "
    "unhealthy, 7 cannot be placed, 8 a loop failed and has nothing more to do.",
)
def front() -> None:
    """Run workflows that never end, and look at them.

    Global options may stand before or after the verb.
    """


def with_output(function: Callable[Concatenate[Settings, P], R]) -> Callable[P, R]:
    """Hand a verb that talks to nobody how it is to print, whatever contexts there are."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        given: dict[str, Any] = click.get_current_context().find_root().ensure_object(dict)
        return function(Settings(output=given.get("output", "table"), color=given.get("color")), *args, **kwargs)

    return call


def with_settings(function: Callable[Concatenate[Settings, P], R]) -> Callable[P, R]:
    """Hand the resolved global options to a verb as its first argument."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        given: dict[str, Any] = click.get_current_context().find_root().ensure_object(dict)
        return function(resolve(given), *args, **kwargs)

    return call


def target(value: str) -> tuple[str, str]:
    """Return workflow and loop ("" for all) of `WORKFLOW[/LOOP]`."""
    workflow, slash, loop = value.partition("/")
    if not workflow or (slash and not loop) or "/" in loop:
        raise BadUsage(f"{value!r} names no loop; write WORKFLOW or WORKFLOW/LOOP")
    return workflow, loop
