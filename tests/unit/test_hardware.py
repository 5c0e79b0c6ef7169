"""What a report says it was measured on."""

import sys
from types import SimpleNamespace

import pytest

from character_ray.pipeline import hardware as told
from character_ray.pipeline.hardware import hardware, larger, nodes_now

HEAD = {"CPU": 4.0, "memory": 3e10}
H200 = {"CPU": 64.0, "GPU": 8.0, "accelerator_type:H200": 1.0}


def test_a_cluster_is_its_nodes_with_gpus_and_not_the_head_that_drives_them():
    found = hardware([HEAD, H200, H200])
    assert {name: found[name] for name in ("nodes", "cpu_cores", "gpus")} == {
        "nodes": 2,
        "cpu_cores": 128,
        "gpus": ["H200"] * 16,
    }
    assert hardware([HEAD, {"CPU": 8.0, "GPU": 1.0}])["gpus"] == ["GPU"]


def test_a_cluster_without_gpus_is_all_of_its_nodes():
    found = hardware([HEAD, HEAD, HEAD])
    assert (found["nodes"], found["cpu_cores"], found["gpus"]) == (3, 12, [])


@pytest.mark.parametrize("nodes", [[], [{"CPU": 4.0}]])
def test_one_node_is_this_machine(nodes, monkeypatch):
    monkeypatch.setattr(told.os, "cpu_count", lambda: 2)
    assert hardware(nodes)["cpu_cores"] == 2, "Ray of our own claims more cores than a small machine has"


def test_nodes_that_an_autoscaler_took_away_again_have_worked():
    seen: told.Nodes = ()
    for now in ([HEAD], [HEAD, H200], [HEAD, H200, H200], [HEAD]):
        seen = larger(seen, now)
    assert len(hardware(seen)["gpus"]) == 16


def test_nodes_are_those_of_the_cluster_that_is_connected(monkeypatch):
    nodes = [{"Alive": True, "Resources": HEAD}, {"Alive": False}]
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: True, nodes=lambda: nodes))
    assert nodes_now() == [HEAD]
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False))
    assert nodes_now() == []
