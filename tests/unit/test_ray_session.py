"""What is refused once the cluster is known, before an engine starts."""

from pathlib import Path

import pytest

from character_ray.errors import RecipeError
from character_ray.pipeline.ray_session import check_folder, check_gpus

HERE = Path("/srv/work")
JOB = Path("/tmp/ray/session_1/runtime_resources/working_dir_files/_ray_pkg_0a1b")


def nobody_asks() -> bool:
    """Whether nodes may join, where that decides nothing."""
    pytest.fail("nobody needs to know whether nodes may join")


@pytest.mark.parametrize("folder", ["runs", "deep/../runs", str(JOB / "runs")])
def test_a_folder_in_the_copy_of_a_jobs_working_directory_is_refused_on_several_nodes(folder):
    with pytest.raises(RecipeError, match=rf"^{folder} lies in the copy .*of the 3 nodes.*output=/shared/runs"):
        check_folder(Path(folder), JOB, 3, nobody_asks)


def test_so_is_it_on_one_node_to_which_an_autoscaler_adds_others():
    with pytest.raises(
        RecipeError, match=r"^runs lies in the copy .*the nodes that the cluster's autoscaler adds do not see it"
    ):
        check_folder(Path("runs"), JOB, 1, lambda: True)


def test_on_the_only_node_it_is_lost_after_the_job_which_is_said():
    told = check_folder(Path("runs"), JOB, 1, lambda: False)
    assert told.startswith("runs lies in the copy of the working directory")
    assert "lost after the job" in told
    assert "output=/data/runs" in told


@pytest.mark.parametrize(
    ("folder", "working_directory", "num_nodes"),
    [("/data/runs", JOB, 1), ("/shared/runs", JOB, 3), ("runs", HERE, 3)],
    ids=["one node's disk", "shared storage", "no copy"],
)
def test_any_other_folder_is_the_users_choice(folder, working_directory, num_nodes):
    assert check_folder(Path(folder), working_directory, num_nodes, nobody_asks) == ""


def test_a_link_out_of_the_copy_is_followed(tmp_path):
    copy, shared = tmp_path / "working_dir_files" / "_ray_pkg_0a1b", tmp_path / "shared"
    copy.mkdir(parents=True)
    shared.mkdir()
    (copy / "runs").symlink_to(shared)
    check_folder(Path("runs"), copy, 2, nobody_asks)


SECTIONS = {"student_engine": 1.0, "train": 8.0}


def test_what_the_nodes_have_is_not_asked_about():
    assert check_gpus(SECTIONS, 0, 8, nobody_asks) == ""


def test_a_cluster_that_nobody_adds_nodes_to_is_refused_at_once():
    with pytest.raises(RecipeError, match=r"^train needs 8 GPUs, but this Ray cluster has 0\. Set train\.device=cpu"):
        check_gpus(SECTIONS, 0, 0, lambda: False)
    with pytest.raises(RecipeError, match=r"8 GPUs \(0\.5 of them kept by engines and judges"):
        check_gpus(SECTIONS, 0.5, 7, lambda: False)


def test_a_cluster_that_is_scaled_down_is_waited_for_and_says_so():
    awaited = check_gpus(SECTIONS, 0, 0, lambda: True)
    assert awaited.startswith("train needs 8 GPUs, and this Ray cluster has 0 so far. Its autoscaler is waited for")
    assert "wait_for_nodes_s" in awaited
