"""What the studio publishes passes the same checks as what the command line does."""

import shutil
from pathlib import Path

from fastapi.testclient import TestClient

from character_ray.canary import check_canary
from character_ray.registry import Registry
from character_ray.studio.app import build_studio
from tests.studio_fixture import studio_settings, write_run


def test_a_run_published_in_the_studio_carries_its_canary(adapters: dict[str, Path], tmp_path: Path):
    settings = studio_settings(tmp_path)
    run = write_run(settings.runs, "demo", finished=True)
    studio = TestClient(build_studio(settings), base_url=settings.url)
    damaged = studio.post("/api/runs/demo/publish", json={"status": "live"})
    assert damaged.status_code == 400
    assert "cannot be applied to" in damaged.json()["error"]
    assert Registry(settings.registry).records() == []

    shutil.rmtree(run / "adapter")
    shutil.copytree(adapters["captain-blackwood"], run / "adapter")
    published = studio.post("/api/runs/demo/publish", json={"status": "live"})
    assert published.status_code == 200, published.text
    live = Registry(settings.registry).record("captain-blackwood").live
    assert live is not None and live.canary is not None
    check_canary(live.canary, live.canary.logprobs, "captain-blackwood")
