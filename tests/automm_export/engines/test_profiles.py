"""Our own check of shapes: the builders make none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automm_export.engines.options import EngineOptions
from automm_export.engines.profiles import describe_profile, make_profiles, shapes_of
from automm_serve.engines import Profile, Range
from automm_serve.errors import ConfigError, ExportError
from automm_serve.tensors import BATCH, Axis, TensorSpec

SIZES = st.lists(st.integers(1, 512), min_size=1, max_size=6, unique=True).map(
    lambda sizes: tuple(sorted(sizes))
)


def texts(*sizes_of: tuple[int, ...]) -> tuple[TensorSpec, ...]:
    """Ids and mask of each text, and numbers."""
    specs = [TensorSpec("numbers", "float32", (BATCH, 3))]
    for number, sizes in enumerate(sizes_of):
        axis = Axis(f"text{number}_length", sizes)
        specs += [TensorSpec(f"text{number}_{part}", "int32", (BATCH, axis)) for part in ("i", "m")]
    return tuple(specs)


@given(
    st.lists(SIZES, max_size=3),
    st.integers(1, 64),
    st.integers(1, 64),
    st.integers(1, 2),
    st.data(),
)
def test_every_shape_that_a_pipeline_makes_fits_a_profile(sizes_of, best, most, profiles, data):
    best, most = sorted((best, most))
    options = EngineOptions(opt_batch=best, max_batch=most, profiles=profiles)
    inputs = texts(*sizes_of)
    found = make_profiles(inputs, options)
    assert 1 <= len(found) <= profiles
    sizes = {f"text{i}_length": data.draw(st.sampled_from(s)) for i, s in enumerate(sizes_of)}
    sizes[BATCH.name] = data.draw(st.integers(1, most))
    assert any(profile.takes(sizes) for profile in found)
    for name in sizes:  # the control: what is beyond is not taken
        assert not any(p.takes({**sizes, name: max(most, 512) + 1}) for p in found)
    for profile in found:
        for number in range(len(sizes_of)):
            ids, mask = inputs[1 + 2 * number], inputs[2 + 2 * number]
            assert shapes_of(profile, ids) == shapes_of(profile, mask)
            assert shapes_of(profile, ids)[2][1] <= sizes_of[number][-1]


@given(st.integers(-2, 40), st.integers(-2, 40), st.integers(-2, 40))
def test_a_range_that_is_none_is_refused_by_the_name_of_its_option(least, best, most):
    options = EngineOptions(min_batch=least, opt_batch=best, max_batch=most)
    if 1 == least <= best <= most:
        assert make_profiles(texts(), options)[0].axes["batch"] == Range(least, best, most)
    else:
        with pytest.raises(ConfigError, match=r"--(min|opt|max)-batch"):
            make_profiles(texts(), options)


def test_a_minimum_above_the_maximum_says_so():
    with pytest.raises(ConfigError, match="--min-batch: 16 is above --max-batch, which is 8"):
        make_profiles(texts(), EngineOptions(min_batch=16, opt_batch=16, max_batch=8))


def test_the_rows_that_are_tuned_for_follow_a_small_maximum():
    assert EngineOptions(max_batch=4).best_batch == 4
    assert EngineOptions(max_batch=64).best_batch == 8


def test_two_profiles_part_at_the_length_that_the_gpu_pads_to():
    lengths = {"text0_length": (32, 128)}
    inputs = texts((16, 32, 64, 128))
    short, long = make_profiles(inputs, EngineOptions(profiles=2), lengths)
    assert short.axes["text0_length"] == Range(16, 32, 32)
    assert long.axes["text0_length"] == Range(16, 128, 128)
    assert describe_profile(short) == "1 to 32 rows, 16 to 32 text0 tokens"


def test_without_texts_two_profiles_are_one():
    assert len(make_profiles(texts(), EngineOptions(profiles=2))) == 1


def test_other_sizes_on_one_axis_are_a_bug_of_the_graph():
    bad = (*texts((16, 32)), TensorSpec("other", "int32", (BATCH, Axis("text0_length", (16,)))))
    with pytest.raises(ExportError, match="text0_length"):
        make_profiles(bad, EngineOptions())


@pytest.mark.parametrize(
    ("length", "what"),
    [(16, "would refuse some"), (300, "have 128 tokens at most")],
)
def test_a_length_that_is_not_the_limit_is_refused(length, what):
    with pytest.raises(ConfigError, match=what):
        make_profiles(texts((16, 128)), EngineOptions(max_length=length))


def test_the_limit_itself_is_taken_and_a_length_without_texts_is_not():
    assert make_profiles(texts((16, 128)), EngineOptions(max_length=128))
    with pytest.raises(ConfigError, match="reads no text"):
        make_profiles(texts(), EngineOptions(max_length=128))


@pytest.mark.parametrize(
    ("options", "where"),
    [
        (EngineOptions(profiles=3), "--profiles"),
        (EngineOptions(profiles=0), "--profiles"),
        (EngineOptions(workspace_mb=0), "--workspace-mb"),
        (EngineOptions(max_batch=4096), "--max-batch"),
    ],
)
def test_what_no_builder_can_be_asked_is_refused(options, where):
    with pytest.raises(ConfigError, match=where):
        make_profiles(texts(), options)


def test_a_profile_with_an_empty_range_cannot_be_made():
    with pytest.raises(ValueError, match="goes from 2"):
        Profile({"batch": Range(2, 1, 4)})
