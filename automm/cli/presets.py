"""``automm presets``: what each preset trains, and what it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from automm.cli.console import print_json, print_table

if TYPE_CHECKING:
    from automm.report.presets import ModelFacts, PresetFacts


@click.command(epilog="\b\nExample:\n  automm presets\n  automm presets --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """List the presets: their models, how large these are, and what each needs.

    A checkpoint that is missing comes from a hub at the first fit, or by the command beside it.
    """
    from automm.report.presets import describe_presets

    found = describe_presets()
    if as_json:
        print_json(found)
        return
    fixed = [one for one in found if not one.searches]
    print_table(
        "presets",
        ("preset", "for", "model", "size", "weights", "GPU"),
        [row for one in fixed for row in _rows(one)],
    )
    missing = {model.checkpoint: model for one in fixed for model in one.models if model.command}
    if missing:
        print_table(
            "to get what is missing",
            ("weights", "command"),
            [(name, model.command) for name, model in missing.items()],
        )
    searching = [one for one in found if one.searches]
    shared = set.intersection(*(set(one.searches.items()) for one in searching))
    rows = [("all of them", key, over) for key, over in searching[0].searches.items()]
    rows = [row for row in rows if row[1:] in shared]
    for one in searching:
        own = [item for item in one.searches.items() if item not in shared]
        rows += [(one.name, key, over) for key, over in own or [("nothing more", "")]]
    print_table(
        "presets that search: bayes, ASHA, at most 512 trials (pip install 'automm-edge[hpo]')",
        ("preset", "setting", "over"),
        rows,
    )
    others = ", ".join(fixed[0].others)
    click.echo(f"every preset is for {', '.join(fixed[0].problem_types)}, and also has {others}")


def _rows(preset: PresetFacts) -> list[tuple[str, ...]]:
    name = f"{preset.name} (default)" if preset.default else preset.name
    gpu = "advised" if preset.gpu else "not needed"
    rows = [(model.checkpoint, _size(model), model.source) for model in preset.models]
    first, *rest = rows
    return [(name, preset.summary, *first, gpu), *(("", "", *row, "") for row in rest)]


def _size(model: ModelFacts) -> str:
    if model.parameters is None or model.megabytes is None:
        return "unknown"
    return f"{model.parameters / 1e6:.1f} M, {model.megabytes:.0f} MB"
