import pytest

pytest.importorskip("torch")

import torch

from automm.models.encoders.columns import FARTHEST, Numbers
from automm_serve.processors import TabularProcessor
from automm_serve.tensors import Table

CELLS: Table = {"price": [100.0, 300.0, None, 200.0], "far": [0.0, 1.0, 0.0, 1.0]}


@pytest.mark.parametrize("centres", [True, False])
@pytest.mark.parametrize("scales", [True, False])
def test_numbers_are_centred_and_scaled_as_the_processor_says(centres, scales):
    processor = TabularProcessor.fit(
        "t", CELLS, list(CELLS), [], scaler_with_mean=centres, scaler_with_std=scales
    )
    mean, deviation = processor.numbers[0].mean, processor.numbers[0].deviation
    assert mean == 200
    tensor = torch.from_numpy(processor.transform(CELLS)[0]["t_numbers"])
    scaled, gaps = Numbers(processor).scale({"t_numbers": tensor})
    for row, cell in enumerate((100.0, 300.0, 200.0, 200.0)):  # a gap is the mean
        expected = (cell - mean * centres) / (deviation if scales else 1)
        assert float(scaled[row, 0]) == pytest.approx(expected, rel=1e-5, abs=1e-4)
    assert gaps[:, 0].tolist() == [0, 0, 1, 0]


def test_a_number_in_its_own_unit_is_bounded_by_deviations_all_the_same():
    processor = TabularProcessor.fit("t", CELLS, ["price"], [], scaler_with_std=False)
    deviation = processor.numbers[0].deviation
    scaled, _ = Numbers(processor).scale({"t_numbers": torch.tensor([[3e38], [1e6 * deviation]])})
    assert scaled.flatten().tolist() == pytest.approx([FARTHEST * deviation] * 2)
    near, _ = Numbers(processor).scale({"t_numbers": torch.tensor([[50_000.0]])})
    assert float(near) == pytest.approx(49_800)
