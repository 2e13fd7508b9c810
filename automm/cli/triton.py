"""``automm triton``: the environment that the server runs in."""

from __future__ import annotations

import click


@click.group(name="triton")
def command() -> None:
    r"""Install Triton's pip server, or say which server would be started.

    \b
    Example:
        automm triton install
        automm triton where
    """


@command.command()
@click.option("--python", help="Interpreter to make the environment with, 3.11 or 3.12.")
@click.option("--force", is_flag=True, help="Make it anew where it is there.")
def install(python: str | None, force: bool) -> None:
    r"""Make the managed environment, once a machine (369 MB).

    It lies in the user's cache folder, or where AUTOMM_TRITON_HOME says.

    \b
    Example:
        automm triton install
    """
    from automm_serve.triton.install import install as make

    parts = make(python, replace=force, say=lambda line: click.echo(line, err=True))
    click.echo(str(parts.binary))


@command.command()
@click.option("--server", help="Path of a tritonserver or an environment, instead of looking.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def where(server: str | None, as_json: bool) -> None:
    r"""Say which server `automm serve` would start.

    \b
    Example:
        automm triton where
    """
    from automm_serve.triton.locate import locate

    parts = locate(server)
    release = "{}.{:02}".format(*parts.release) if parts.release else "unknown"
    facts = {
        "found": parts.origin,
        "server": str(parts.binary),
        "release": release,
        "python": f"{parts.python} ({parts.facts.version}, numpy {parts.facts.numpy or 'absent'})",
        "backends": [backend.name for backend in parts.backends],
    }
    if as_json:
        import json

        click.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        click.echo(f"{name:9} {', '.join(value) if isinstance(value, list) else value}")
