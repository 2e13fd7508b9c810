"""The group of commands; the file of a command is imported when that command is asked for."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any, cast

import click

from automm_serve.errors import AutoMMError
from automm_serve.threads import TOKENIZER_VARIABLE, thread_budget

COMMANDS = {
    "train": "automm.cli.train",
    "predict": "automm.cli.predict",
    "evaluate": "automm.cli.evaluate",
    "calibrate": "automm.cli.calibrate",
    "report": "automm.cli.report",
    "export": "automm.cli.export",
    "compile": "automm.cli.compile",
    "verify": "automm.cli.verify",
    "serve": "automm.cli.serve",
    "info": "automm.cli.info",
    "triton": "automm.cli.triton",
    "presets": "automm.cli.presets",
    "weights": "automm.cli.weights",
    "doctor": "automm.cli.doctor",
}
"""Name -> the module whose ``command`` it is."""

SUMMARIES = {
    "train": "Train a predictor on a table.",
    "predict": "Answer the rows of a table.",
    "evaluate": "Score a model on a table with labels.",
    "calibrate": "Choose the threshold between two classes.",
    "report": "Show what a fit understood, learnt and got wrong.",
    "export": "Write a predictor as an offline bundle.",
    "compile": "Build the TensorRT engines of a bundle.",
    "verify": "Check a bundle: every file, every golden answer.",
    "serve": "Serve a bundle with Triton.",
    "info": "Say what a table, a model or a server holds.",
    "triton": "Install the server.",
    "presets": "List the presets: models, sizes, needs.",
    "weights": "Install pretrained weights.",
    "doctor": "Say what this machine can run, and what is missing.",
}
"""The lines of `automm --help`. They stand here so that it need not import ten files."""


class _Group(click.Group):
    """Prints our own errors without a traceback, exit code 1; a bug keeps its traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = COMMANDS.get(cmd_name)
        return cast(click.Command, import_module(module).command) if module else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            # Before a command imports tokenizers, whose pool would count the cores of the host.
            os.environ.setdefault(TOKENIZER_VARIABLE, str(thread_budget()))
            return super().invoke(ctx)
        except AutoMMError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="automm-edge", prog_name="automm")
def main() -> None:
    """Train multimodal predictors, export them as offline bundles, serve them with Triton.

    \b
    Example:
        automm train rows.csv --label price --out predictor
        automm export predictor --out bundle
        automm predict bundle new.csv
    """  # noqa: D301  # click wants the character


if __name__ == "__main__":
    main()
