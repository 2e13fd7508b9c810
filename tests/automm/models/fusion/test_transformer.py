import pytest

pytest.importorskip("torch")

import torch

from automm.config.schema import Config, FusionTransformerOptions
from automm.models.fusion import FUSIONS, build_fusion, chosen_fusion, fusion_options
from automm.models.fusion.transformer import build
from automm_serve.errors import ConfigError


def config(*names, **changes):
    from automm.config.overrides import override

    return override(Config(), {"model.names": list(names), **changes})


def test_each_encoder_s_features_change_the_fused_ones():
    fusion = build([7, 12, 30], FusionTransformerOptions(attention_num_heads=4)).eval()
    features = [torch.randn(5, width) for width in (7, 12, 30)]
    with torch.no_grad():
        before = fusion(features)
        assert before.shape == (5, fusion.out_dim)
        for number in range(3):
            changed = [x + (i == number) for i, x in enumerate(features)]
            changed[number] = torch.randn_like(changed[number])
            assert (fusion(changed) - before).abs().max() > 1e-3


def test_a_row_alone_is_fused_as_in_company():
    fusion = build([8, 8], FusionTransformerOptions(attention_num_heads=2)).eval()
    features = [torch.randn(4, 8), torch.randn(4, 8)]
    with torch.no_grad():
        together = fusion(features)
        alone = fusion([x[2:3] for x in features])
    torch.testing.assert_close(alone[0], together[2], rtol=1e-4, atol=1e-5)


def test_an_encoder_s_width_is_rounded_up_to_the_heads():
    assert build([30, 7], FusionTransformerOptions(attention_num_heads=8)).out_dim == 32
    chosen = FusionTransformerOptions(attention_num_heads=8, adapt_in_features="min")
    assert build([30, 7], chosen).out_dim == 8
    assert build([30, 7], FusionTransformerOptions(adapt_in_features=64)).out_dim == 64


def test_a_width_that_was_asked_for_is_not_changed():
    with pytest.raises(ConfigError, match=r"adapt_in_features.*30 is no multiple of 8 heads"):
        build([30, 7], FusionTransformerOptions(adapt_in_features=30))


@pytest.mark.parametrize("name", FUSIONS)
def test_the_first_fusion_that_is_named_is_built_with_its_own_settings(name):
    settings = config("hf_text", "ft_transformer", name, **{f"model.{name}.lr_mult": 7.0})
    assert chosen_fusion(settings) == name
    assert fusion_options(settings).lr_mult == 7.0
    fusion = build_fusion([16, 8], settings)
    assert fusion([torch.randn(2, 16), torch.randn(2, 8)]).shape == (2, fusion.out_dim)


def test_where_none_is_named_it_is_the_mlp():
    assert chosen_fusion(config("hf_text", "ft_transformer")) == "fusion_mlp"
