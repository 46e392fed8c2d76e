"""`wfctl context`: named sets of global options."""

from __future__ import annotations

import json
from typing import Any

import click

from wfctl import contexts, tables
from wfctl.cli import Verb, VerbGroup, global_flags, with_output
from wfctl.contexts import Contexts
from wfctl.errors import BadUsage
from wfctl.settings import Settings, check_address
from wfctl.tables import Table
from wfctl.text import clean


@click.group(cls=VerbGroup)
def context() -> None:
    """Keep addresses, namespaces and certificates under names, and say which one is used.

    They are in ~/.config/wfctl/config.toml, which only you can read. Options of the command line come first; then
    what --context names; then the environment (WF_ADDRESS ...); then the context of WF_CONTEXT, or the current one.
    """


@context.command(cls=Verb)
@with_output
def ls(settings: Settings) -> None:
    """List the contexts; a star marks the current one."""
    known = _load()
    if settings.output in {"json", "yaml"}:
        _dump({"current": known.current, "contexts": {name: _shown(known.get(name)) for name in known.named}}, settings)
        return
    table = Table(("CURRENT", "CONTEXT", "ADDRESS", "NAMESPACE", "TLS", "TOKEN"))
    for name in sorted(known.named):
        one = known.get(name)
        marks = ("*" if name == known.current else "", name, one.get("address", ""), one.get("namespace", ""))
        table.add(f"context/{name}", *marks, _tls(one), "yes" if "token" in one else "no")
    tables.show(table, settings)


@context.command(cls=Verb)
@click.argument("name", default="")
@with_output
def show(settings: Settings, name: str) -> None:
    """Show one context, the current one unless another is named. Tokens are not shown."""
    known = _load()
    wanted = name or known.current
    if not wanted:
        raise BadUsage("no context is current; name one, or run: wfctl context use NAME")
    found = _shown(known.get(wanted))
    if settings.output in {"json", "yaml"}:
        _dump({"name": wanted, **found}, settings)
        return
    for key, value in {"context": wanted, **found}.items():
        click.echo(clean(f"{key + ':':<11}{value}"))


@context.command(cls=Verb)
@click.argument("name")
def use(name: str) -> None:
    """Make a context the current one: it is used when no --context is given."""
    known = _load()
    known.get(name)
    known.current = name
    known.save()
    click.echo(clean(f"context {name} is used now"))


@context.command(name="set", cls=Verb)
@click.argument("name")
@click.option("--use", "current", is_flag=True, help="Make it the current one too.")
def set_(name: str, *, current: bool) -> None:
    """Make a context, or change what is given of one: --address, --namespace, --cacert, --cert, --key, --token.

    An empty value takes an option out again. The first context that is made is the current one.
    """
    known = _load()
    contexts.checked_name(name)
    given = {key: str(value) for key, value in global_flags().items() if key in contexts.KEYS}
    if not given and not current:
        raise BadUsage("nothing to set; give some of --address, --namespace, --cacert, --cert, --key, --token")
    if given.get("address"):
        check_address(given["address"])
    before = known.get(name) if name in known.named else {}
    merged = {key: value for key, value in {**before, **given}.items() if value}
    known.named[name] = contexts.absolute(merged)
    if current or not known.current:
        known.current = name
    known.save()
    click.echo(clean(f"context {name} is {'changed' if before else 'made'}" + _now(known, name)))


@context.command(cls=Verb)
@click.argument("name")
def delete(name: str) -> None:
    """Delete a context; certificate files stay where they are."""
    known = _load()
    known.get(name)
    del known.named[name]
    if known.current == name:
        known.current = ""
    known.save()
    click.echo(clean(f"context {name} is deleted"))


def _load() -> Contexts:
    return contexts.load(contexts.default_path())


def _now(known: Contexts, name: str) -> str:
    return ", and is used now" if known.current == name else f"; use it with: wfctl context use {name}"


def _shown(one: dict[str, str]) -> dict[str, str]:
    return {key: "***" if key == "token" else value for key, value in one.items()}


def _tls(one: dict[str, str]) -> str:
    if "cacert" not in one:
        return "no"
    return "with a certificate" if "cert" in one else "yes"


def _dump(found: dict[str, Any], settings: Settings) -> None:
    if settings.output == "yaml":
        import yaml

        click.echo(yaml.safe_dump(found, sort_keys=False).rstrip())
    else:
        click.echo(json.dumps(found, indent=2))
