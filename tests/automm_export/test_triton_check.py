"""The bundle on the real server, before it is written."""

import pytest

from automm_export.export import ExportOptions, export
from automm_serve.errors import ServerError
from automm_serve.triton.locate import locate
from tests.automm_export.tiny import exportable, rows
from tests.needs import require_or_skip


@pytest.mark.triton
def test_the_certificate_holds_the_figures_of_triton_where_it_was_run(tmp_path):
    try:
        locate(None)
    except ServerError as error:
        require_or_skip("triton", str(error))
    options = ExportOptions(check=rows(40), check_triton=True)
    parity = export(exportable(), tmp_path / "bundle", options).parity
    assert [(c.program, c.column, c.rows) for c in parity.columns if c.where == "triton"] == [
        (program, column, count)
        for count in (12, 40)
        for program, column in (
            ("predict", "kind"),
            ("predict", "probabilities"),
            ("embed", "features"),
        )
    ]
    assert all(column.holds for column in parity.columns)
    assert parity.not_run == ()


def test_without_a_server_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOMM_TRITON_HOME", str(tmp_path / "absent"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerError):
        export(exportable(), tmp_path / "bundle", ExportOptions(check_triton=True))
    assert list(tmp_path.iterdir()) == []
