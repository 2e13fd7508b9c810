import pytest

pytest.importorskip("torch")

import msgspec
import torch
from torch.nn import functional

from automm.config.schema import ClipImageOptions, ClipTextOptions
from automm.models.encoders import clip_image, clip_text
from automm_serve.errors import ConfigError
from automm_serve.processors.image import ImageColumn, ImageProcessor
from automm_serve.schema import Column
from tests.tiny_models import make_clip_model, make_text_model

PICTURE = ImageProcessor("clip_image", 32, 32, (ImageColumn("a", 1),))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_clip_model(tmp_path_factory.mktemp("checkpoints") / "clip", spread=True)


def texts(folder, table, **settings):
    options = ClipTextOptions(checkpoint_name=str(folder), **settings)
    columns = [Column(name, "text") for name in table]
    processor = clip_text.fit("clip_text", table, columns, options)
    encoder = clip_text.build(processor, options).eval()
    tensors = {k: torch.from_numpy(v) for k, v in processor.transform(table)[0].items()}
    with torch.no_grad():
        return processor, encoder, encoder(tensors)["features"]


def random_pictures(size=32):
    pixels = torch.randint(0, 256, (3, 1, size, size, 3), dtype=torch.uint8)
    return {"clip_image_pixels": pixels, "clip_image_valid": torch.ones(3, 1)}


def test_a_text_has_the_features_of_transformers_own_tower(folder):
    from transformers import AutoTokenizer, CLIPTextModelWithProjection

    words = ["a red cat", "the very old dog and the new house"]
    _, _, features = texts(folder, {"t": words})
    tower = CLIPTextModelWithProjection.from_pretrained(folder).eval()
    inputs = AutoTokenizer.from_pretrained(folder)(words, return_tensors="pt", padding=True)
    with torch.no_grad():
        expected = functional.normalize(
            tower(inputs["input_ids"], inputs["attention_mask"]).text_embeds
        )
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("insert_sep", [True, False])
def test_the_second_column_has_a_say_whatever_stands_between(folder, insert_sep):
    one, other = (
        texts(folder, {"a": ["a cat"], "b": [word]}, insert_sep=insert_sep)[2]
        for word in ("red", "blue")
    )
    assert (one - other).abs().max() > 1e-3


def test_the_limit_is_that_of_the_tower(folder):
    assert texts(folder, {"t": ["a"]}, max_text_len=77)[0].limit == 64


def test_a_picture_has_the_features_of_transformers_own_tower(folder):
    from transformers import CLIPVisionModelWithProjection

    options = ClipImageOptions(checkpoint_name=str(folder))
    assert clip_image.fit("p", {"a": [None]}, [Column("a", "image")], options).height == 32
    encoder = clip_image.build(PICTURE, options).eval()
    feed = random_pictures()
    tower = CLIPVisionModelWithProjection.from_pretrained(folder).eval()
    pixels = feed["clip_image_pixels"][:, 0].permute(0, 3, 1, 2) / 255
    mean = torch.tensor([0.48, 0.46, 0.41]).reshape(1, 3, 1, 1)  # its preprocessor's
    deviation = torch.tensor([0.27, 0.26, 0.28]).reshape(1, 3, 1, 1)
    with torch.no_grad():
        features = encoder(feed)["features"]
        expected = functional.normalize(tower((pixels - mean) / deviation).image_embeds)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


def test_without_a_preprocessor_s_file_pictures_are_normalised_as_clip_does(tmp_path):
    folder = make_clip_model(tmp_path / "clip")
    (folder / "preprocessor_config.json").unlink()
    encoder = clip_image.build(PICTURE, ClipImageOptions(checkpoint_name=str(folder)))
    assert encoder.mean.flatten().tolist() == pytest.approx(
        [122.7709, 116.7460, 104.0937], abs=1e-3
    )
    nested = {"image_processor": {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 1]}}
    (folder / "processor_config.json").write_bytes(msgspec.json.encode(nested))
    encoder = clip_image.build(PICTURE, ClipImageOptions(checkpoint_name=str(folder)))
    assert encoder.mean.flatten().tolist() == pytest.approx([25.5, 51.0, 76.5])


def test_a_folder_with_the_configuration_alone_gives_both_architectures(folder, tmp_path):
    options = ClipImageOptions(checkpoint_name=str(folder), image_size=48)
    processor = clip_image.fit("clip_image", {"a": [None]}, [Column("a", "image")], options)
    encoder = clip_image.build(processor, options).eval()
    text_processor, text, _ = texts(folder, {"t": ["a"]})
    for name, built in (("image", encoder), ("text", text)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_bytes(msgspec.json.encode(built.backbone))
    bare_options = ClipImageOptions(checkpoint_name=str(tmp_path / "image"), pretrained=False)
    bare = clip_image.build(processor, bare_options).eval()
    bare.load_state_dict(encoder.state_dict())
    feed = random_pictures(48)
    with torch.no_grad():
        assert torch.equal(bare(feed)["features"], encoder(feed)["features"])
    bare_text = clip_text.build(
        text_processor, ClipTextOptions(checkpoint_name=str(tmp_path / "text"), pretrained=False)
    )
    bare_text.load_state_dict(text.state_dict())


def test_a_size_that_has_half_a_patch_is_refused(folder):
    options = ClipImageOptions(checkpoint_name=str(folder), image_size=36)
    processor = clip_image.fit("clip_image", {"a": [None]}, [Column("a", "image")], options)
    with pytest.raises(ConfigError, match=r"no multiple of patches of 8\. Take 32"):
        clip_image.build(processor, options)


def test_a_checkpoint_that_is_no_clip_is_refused(tmp_path):
    folder = make_text_model(tmp_path / "bert")
    with pytest.raises(ConfigError, match=r"lacks .* weights of a CLIPTextModelWithProjection"):
        texts(folder, {"t": ["a"]})


def test_freezing_begins_at_the_input(folder):
    encoder = clip_image.build(PICTURE, ClipImageOptions(checkpoint_name=str(folder)))
    encoder.freeze(2)
    trained = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert not any("embeddings" in name or "layers.0" in name for name in trained)
    assert any("layers.1" in name for name in trained)
    assert "model.visual_projection.weight" in trained
