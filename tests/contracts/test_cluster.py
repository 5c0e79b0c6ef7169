"""The files of cluster/ fit the recipes, the image and each other."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from character_ray.config import load_recipe
from character_ray.plan import estimate_recipe, plan_recipe

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster"
KUBERAY = sorted((CLUSTER / "kuberay").glob("*.yaml"))
PODS = [path for path in KUBERAY if path.stem != "storage"]


def ray_cluster(path: Path) -> dict[str, Any]:
    """The cluster's spec, wherever the kind keeps it."""
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]
    return spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec


def pods(path: Path) -> list[dict[str, Any]]:
    cluster = ray_cluster(path)
    return [group["template"]["spec"] for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]]


@pytest.mark.parametrize("path", sorted(CLUSTER.rglob("*.y*ml")), ids=lambda path: path.name)
def test_every_file_is_yaml(path: Path):
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


@pytest.mark.parametrize("path", PODS, ids=lambda path: path.stem)
def test_every_pod_mounts_the_shared_runs_and_asks_for_what_it_may_use(path: Path):
    claim = yaml.safe_load((CLUSTER / "kuberay" / "storage.yaml").read_text(encoding="utf-8"))["metadata"]["name"]
    for pod in pods(path):
        claims = {v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v}
        assert claims == {claim}
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert mounts["/runs"] == "runs"
            assert set(mounts.values()) <= volumes
            # Where every pod finds it, and may write to it.
            settings = {each["name"]: each.get("value") for each in container["env"]}
            assert settings["CHARACTER_RAY_CACHE"] == "/runs/cache"
            (of_cache,) = [m for m in container["volumeMounts"] if m["mountPath"] == "/runs/cache"] or [
                {"name": "runs"}
            ]
            whole = next(mount for mount in container["volumeMounts"] if mount["mountPath"] == "/runs")
            assert not of_cache.get("readOnly")
            assert of_cache.get("subPath") == ("cache" if whole.get("readOnly") else None)
            assert container["resources"]["requests"] == container["resources"]["limits"]
            assert container["image"] == "character-ray:gpu"


@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
def test_the_workers_hold_the_largest_stage_of_the_recipe(name: str):
    largest = max(step.gpus for step in plan_recipe(load_recipe(ROOT / "jobs" / "recipes" / "cluster-235b.yaml")))
    (group,) = ray_cluster(CLUSTER / "kuberay" / f"{name}.yaml")["workerGroupSpecs"]
    each = int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"])
    assert group["maxReplicas"] * each >= largest


@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
def test_the_head_holds_what_the_recipes_driver_joins(name: str):
    planned = estimate_recipe(load_recipe(ROOT / "jobs" / "recipes" / "cluster-235b.yaml"))
    head = ray_cluster(CLUSTER / "kuberay" / f"{name}.yaml")["headGroupSpec"]["template"]["spec"]["containers"][0]
    limit = head["resources"]["limits"]["memory"]
    assert limit.endswith("Gi")
    # Half of it is left to Ray's own processes and its object store.
    assert sum(planned.driver.values()) <= int(limit.removesuffix("Gi")) / 2


@pytest.mark.parametrize("path", PODS, ids=lambda path: path.stem)
def test_rays_version_is_that_of_the_image(path: Path):
    lock = (ROOT / "requirements" / "gpu.lock").read_text(encoding="utf-8")
    (pinned,) = re.findall(r"^ray==(.+)$", lock, re.MULTILINE)
    assert ray_cluster(path)["rayVersion"] == pinned


def test_what_git_leaves_out_does_not_go_into_an_image():
    """But for what Python leaves in any folder, which its pattern with ** finds."""
    left_out = {line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").split()}
    of_images = {line.removeprefix("**/") for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").split()}
    assert {name for name in left_out if "*" not in name} <= of_images


def test_jobs_and_recipes_that_are_named_exist():
    text = "\n".join(path.read_text(encoding="utf-8") for path in CLUSTER.rglob("*") if path.is_file())
    named = set(re.findall(r"\b(?:jobs|cluster|requirements)/[\w./-]+\.(?:py|yaml|lock|sbatch|yml)\b", text))
    assert "jobs/full_pipeline.py" in named
    assert not [name for name in named if not (ROOT / name).is_file()]


def test_the_slurm_script_is_shell_and_says_how_it_is_used(tmp_path: Path):
    script = CLUSTER / "slurm" / "character-ray.sbatch"
    bash = shutil.which("bash")
    assert bash
    assert subprocess.run([bash, "-n", str(script)], capture_output=True, text=True).stderr == ""
    ended = subprocess.run([bash, str(script)], capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 2
    assert "usage: sbatch" in ended.stderr


SIMULATED = {
    "scontrol": "echo node-1",
    "srun": 'echo "$SRUN_CPUS_PER_TASK" >> cores; echo 127.0.0.1',  # the address of the head, and then nodes that are there at once
    "sleep": "exit 0",
    "python": f'case "$1" in -c) exec {sys.executable} "$@" ;; *) exec {sys.executable} run.py ;; esac',
}
RUN = """
import pathlib, sys, time
pathlib.Path("started").touch()
try:
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5)  # what is kept is written
    pathlib.Path("stopped").touch()
    sys.exit(130)
"""


def test_slurms_warning_reaches_the_run_which_stops_by_itself(tmp_path: Path):
    (tmp_path / "bin").mkdir()
    for name, script in SIMULATED.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "bin" / "activate").write_text('PATH="$PWD/bin:$PATH"\n')
    (tmp_path / "run.py").write_text(RUN)
    settings = {"SLURM_JOB_NODELIST": "node-[1-2]", "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2"}
    job = subprocess.Popen(
        ["bash", str(CLUSTER / "slurm" / "character-ray.sbatch"), "recipe.yaml"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "CHARACTER_RAY_VENV": ".", "SLURM_CPUS_PER_TASK": "6", **settings},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "started").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        job.send_signal(signal.SIGINT)  # to the shell alone, as --signal=B:INT does
        assert job.wait(timeout=60) == 130
    finally:
        job.kill()
    assert (tmp_path / "stopped").exists()
    # The step that asks for an address, and the nodes' Rays.
    assert (tmp_path / "cores").read_text().split()[-2:] == ["6", "6"]


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_only_workers_of_the_launcher_have_gpus_and_the_images_user_writes_the_runs(name: str):
    file = yaml.safe_load((CLUSTER / "launcher" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert "GPU" not in file["available_node_types"][file["head_node_type"]]["resources"]
    assert "--gpus=all" not in file["docker"]["run_options"]
    assert file["docker"]["worker_run_options"] == ["--gpus=all"]
    assert "sudo chown 1000:1000 /runs" in file["initialization_commands"][-1]
    assert "--uid 1000 ray" in (CLUSTER / "docker" / "Dockerfile").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["raycluster", "rayjob", "rayservice"])
def test_pods_that_write_runs_ask_for_a_folder_of_the_images_user(name: str):
    assert {pod["securityContext"]["fsGroup"] for pod in pods(CLUSTER / "kuberay" / f"{name}.yaml")} == {1000}


def test_the_images_install_the_locks_and_nothing_else():
    for name, lock in (("Dockerfile", "gpu.lock"), ("Dockerfile.cpu", "cpu.lock")):
        text = (CLUSTER / "docker" / name).read_text(encoding="utf-8")
        installs = re.findall(r"pip install (.+?)(?: && |$)", text.replace("\\\n", ""), re.MULTILINE)
        assert len(installs) == 2
        assert f"-r requirements/{lock}" in installs[0]
        assert all("--no-deps" in line for line in installs), json.dumps(installs)


SCHEMAS = json.loads((ROOT / "tests" / "contracts" / "schemas" / "kuberay.json").read_text(encoding="utf-8"))


def faults(document: dict[str, Any]) -> list[str]:
    """What KubeRay's definition of this kind refuses."""
    schema = {"$ref": f"#/definitions/{document['kind']}", "definitions": SCHEMAS["definitions"]}
    found = jsonschema.Draft202012Validator(schema).iter_errors(document)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in found]


@pytest.mark.parametrize("path", PODS, ids=lambda path: path.stem)
def test_manifests_fit_kuberays_definitions(path: Path):
    assert faults(yaml.safe_load(path.read_text(encoding="utf-8"))) == []


def test_kuberays_definitions_refuse_a_misspelt_field_and_a_wrong_type():
    document = yaml.safe_load((CLUSTER / "kuberay" / "raycluster.yaml").read_text(encoding="utf-8"))
    document["spec"]["workerGroupSpecs"][0]["minReplica"] = 1
    document["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0
    found = "\n".join(faults(document))
    assert "minReplica" in found
    assert "num-cpus: 0 is not of type 'string'" in found


@pytest.mark.parametrize("path", sorted((CLUSTER / "launcher").glob("*.yaml")), ids=lambda path: path.stem)
def test_launcher_files_fit_rays_schema(path: Path):
    folder = Path(importlib.util.find_spec("ray").origin).parent  # type: ignore[union-attr,arg-type]
    schema = json.loads((folder / "autoscaler" / "ray-schema.json").read_text(encoding="utf-8"))
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    jsonschema.validate(document, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "max_worker": 1}, schema)
