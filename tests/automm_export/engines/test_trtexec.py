"""The command of NVIDIA's tool says all that our builder is asked."""

import shlex

from automm_export.engines.trtexec import trtexec_command
from automm_serve.engines import Profile, Range
from automm_serve.tensors import BATCH, Axis, TensorSpec
from tests.automm_export.engines.test_messages import job

INPUTS = (
    TensorSpec("pixels", "uint8", (BATCH, 8, 8, 3)),
    TensorSpec("ids", "int32", (BATCH, Axis("text_length", (16, 48)))),
    TensorSpec("fixed", "int32", (4,)),
)
SHORT = Profile({"batch": Range(1, 8, 32), "text_length": Range(16, 16, 16)})
LONG = Profile({"batch": Range(1, 8, 32), "text_length": Range(16, 48, 48)})


def words(**changes: object) -> list[str]:
    return shlex.split(trtexec_command(job(inputs=INPUTS, **changes)))


def test_one_profile_of_an_engine_ahead_of_time():
    assert words(profiles=(LONG,), capabilities=("8.6", "12.0")) == [
        "tensorrt_rtx",
        "--onnx=model.fp16.onnx",
        "--saveEngine=model.fp16.rtx",
        "--computeCapabilities=86,120",
        "--minShapes=pixels:1x8x8x3,ids:1x16",
        "--optShapes=pixels:8x8x8x3,ids:8x48",
        "--maxShapes=pixels:32x8x8x3,ids:32x48",
        "--skipInference",
    ]


def test_a_plan_is_strongly_typed_and_names_its_cache_and_scratch_memory():
    found = words(
        builder="tensorrt", engine="/b/model.fp32.sm86.plan", precision="fp32",
        profiles=(SHORT, LONG), workspace_mb=512, timing_cache="/my cache/t",
    )  # fmt: skip
    assert found[0] == "trtexec"
    assert {"--stronglyTyped", "--noTF32", "--memPoolSize=workspace:512",
            "--timingCacheFile=/my cache/t"} <= set(found)  # fmt: skip
    assert found.index("--profile=0") < found.index("--profile=1")
    assert not any(word.startswith("--computeCapabilities") for word in found)
