"""Generated output that is checked in, compared with what the generator gives now."""

from pathlib import Path

from automm_serve.verify import files_in
from scripts.regen_formats import ROOT, SCHEMAS, regenerate


def test_what_is_checked_in_is_what_the_exporter_writes(tmp_path):
    regenerate(tmp_path)
    assert list(files_in(ROOT / "triton_repo")) == list(files_in(tmp_path / "triton_repo"))
    names = [f"triton_repo/{name}" for name in files_in(tmp_path / "triton_repo")]
    for name in (*names, *(f"docs/{schema}" for schema in SCHEMAS)):
        assert (ROOT / name).read_bytes() == (tmp_path / name).read_bytes(), (
            f"{name} has changed: python -m scripts.regen_formats"
        )


def test_the_repository_is_small():
    sizes = [path.stat().st_size for path in Path(ROOT, "triton_repo").rglob("*")]
    assert sum(sizes) < 200_000
