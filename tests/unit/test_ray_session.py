"""What is refused once the cluster is known, before an engine starts."""

from pathlib import Path

import pytest

from character_ray.errors import RecipeError
from character_ray.pipeline.ray_session import check_folder

HERE = Path("/srv/work")
JOB = Path("/tmp/ray/session_1/runtime_resources/working_dir_files/_ray_pkg_0a1b")


@pytest.mark.parametrize("folder", ["runs", "deep/../runs", str(JOB / "runs")])
def test_a_folder_in_the_copy_of_a_jobs_working_directory_is_refused_on_several_nodes(folder):
    with pytest.raises(RecipeError, match=rf"^{folder} lies in the copy .*of the 3 nodes.*output=/shared/runs"):
        check_folder(Path(folder), JOB, 3)


@pytest.mark.parametrize(
    ("folder", "working_directory", "num_nodes"),
    [("runs", JOB, 1), ("/shared/runs", JOB, 3), ("runs", HERE, 3)],
    ids=["one node", "shared storage", "no copy"],
)
def test_any_other_folder_is_the_users_choice(folder, working_directory, num_nodes):
    check_folder(Path(folder), working_directory, num_nodes)


def test_a_link_out_of_the_copy_is_followed(tmp_path):
    copy, shared = tmp_path / "working_dir_files" / "_ray_pkg_0a1b", tmp_path / "shared"
    copy.mkdir(parents=True)
    shared.mkdir()
    (copy / "runs").symlink_to(shared)
    check_folder(Path("runs"), copy, 2)
