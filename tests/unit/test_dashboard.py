"""The Grafana dashboard shows metrics that are counted, and all of them."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_dashboard_and_the_code_name_the_same_metrics():
    panels = json.loads((ROOT / "cluster/monitoring/personas.json").read_text(encoding="utf-8"))["panels"]
    shown = {
        re.sub(r"_(total|bucket)$", "", name)
        for panel in panels
        for target in panel["targets"]
        for name in re.findall(r"ray_(character_ray_\w+)", target["expr"])
    }
    code = (ROOT / "character_ray/serving/metrics.py").read_text(encoding="utf-8")
    assert shown == set(re.findall(r'"(character_ray_\w+)"', code))
