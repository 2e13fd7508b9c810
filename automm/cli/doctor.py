"""``automm doctor``: what this machine can run, and the command that adds what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from automm.cli.console import print_json, print_table, remark

if TYPE_CHECKING:
    from automm.report.machine import MachineReport, Part


@click.command(epilog="\b\nExample:\n  automm doctor --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Say what this machine can run, and what is missing."""
    from automm.report.machine import describe_machine

    found = describe_machine()
    print_json(found) if as_json else _print(found)


def _print(found: MachineReport) -> None:
    title = (
        f"automm {found.version}, Python {found.python}, {found.system}, {found.threads} threads, "
        + (", ".join(found.devices) or "no GPU")
    )
    rows = [(part.name, _has(part), part.command) for part in found.parts]
    print_table(title, ("part", "found", "to add what is missing"), rows)
    for problem in found.problems:
        remark(f"problem: {problem}")


def _has(part: Part) -> str:
    return "\n".join(f"{name} {version or 'missing'}" for name, version in part.has.items())
