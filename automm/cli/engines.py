"""What ``automm export`` and ``automm compile`` share: the options of engines, and their print."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from automm.cli.console import print_table, remark

if TYPE_CHECKING:
    from automm_export.engines.build import Build
    from automm_export.engines.options import EngineOptions
    from automm_serve.engines import Engine

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--builder",
        type=click.Choice(["auto", "tensorrt", "tensorrt_rtx"]),
        default="auto",
        show_default=True,
        help="tensorrt builds for the GPU of this machine, tensorrt_rtx ahead for RTX cards.",
    ),
    click.option(
        "--capability",
        "capabilities",
        multiple=True,
        metavar="X.Y",
        help="A compute capability to build for ahead of time; repeat it or use commas.  "
        "[default: 8.6, 8.9, 12.0]",
    ),
    click.option("--min-batch", type=int, default=1, show_default=True, help="Fewest rows a run."),
    click.option("--opt-batch", type=int, help="Rows that the engine is tuned for.  [default: 8]"),
    click.option("--max-batch", type=int, default=32, show_default=True, help="Most rows a run."),
    click.option("--max-length", type=int, help="Most tokens of a text.  [default: the model's]"),
    click.option(
        "--profiles",
        type=int,
        default=1,
        show_default=True,
        help="2 tunes for short texts apart from long ones.",
    ),
    click.option("--workspace-mb", type=int, help="Scratch memory that the builder may use."),
    click.option(
        "--timing-cache",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File of TensorRT's timings.  [default: one under AUTOMM_CACHE]",
    ),
)
NAMES = ("builder", "capabilities", "min_batch", "opt_batch", "max_batch", "max_length",
         "profiles", "workspace_mb", "timing_cache")  # fmt: skip
"""Of the arguments that ``engine_options`` adds to a command."""


def engine_options(command: F) -> F:
    """Add the options that say how engines are built; they arrive as ``NAMES``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def to_options(
    arguments: dict[str, Any], precisions: Sequence[str] = (), target: str = ""
) -> EngineOptions:
    """Return the options of engines out of the arguments of a command."""
    from automm_export.engines.options import CAPABILITIES, EngineOptions

    chosen = {name: arguments[name] for name in NAMES}
    chosen["capabilities"] = split(arguments["capabilities"]) or CAPABILITIES
    return EngineOptions(**chosen, precisions=tuple(precisions), target=target)


def split(values: Sequence[str]) -> tuple[str, ...]:
    """Return what was given by repeating an option or by commas, each once, in this order."""
    parts = (part.strip() for value in values for part in value.split(","))
    return tuple(dict.fromkeys(filter(None, parts)))


@contextmanager
def watching(first: str) -> Iterator[tuple[Callable[[str], None], Callable[[str, float], None]]]:
    """Show on stderr what is under way, where stderr is a terminal.

    Yields:
        What is told of each stage, and what is told how far an engine is.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        bar.add_task(first, total=None)  # None: a bar that only moves

        def stage(name: str) -> None:
            bar.remove_task(bar.task_ids[-1])
            bar.add_task(name, total=None)

        def engine(file: str, share: float) -> None:
            task = bar.task_ids[-1]
            bar.update(task, description=f"build {file}", total=1.0, completed=share)

        yield stage, engine


def print_engines(
    engines: Sequence[Engine],
    builds: Sequence[Build],
    missing: Sequence[str],
    not_run: Sequence[str],
) -> None:
    """Print what was built, where it runs, what is missing, and NVIDIA's command for the same."""
    from automm_export.engines.capabilities import describe_cards, where_not
    from automm_export.engines.profiles import describe_profile

    by_file = {engine.path.rsplit("/", 1)[-1]: engine for engine in engines}
    rows = []
    for build in builds:
        engine = by_file[build.file]
        cards = engine.device or describe_cards(engine.capabilities)
        rows.append(
            (
                f"{build.graph}: {build.file}",
                f"{build.size_bytes / 1e6:.1f}",
                f"{build.seconds:.1f}",
                f"{cards} ({', '.join(engine.capabilities)})",
                "\n".join(map(describe_profile, engine.profiles)),
            )
        )
    if rows:
        print_table("engines", ("engine", "MB", "seconds", "runs on", "takes"), rows)
        if any(build.file.endswith(".rtx") for build in builds):
            click.echo(f"Engines *.rtx run on these cards alone, {where_not()}.")
    for line in not_run:
        remark(f"note: {line}")
    for line in missing:
        remark(f"missing: {line}")
    if builds:
        click.echo("\nThe same by NVIDIA's own tool, in the folder of the graph:")
        for build in builds:
            click.echo(f"    {build.command}")
