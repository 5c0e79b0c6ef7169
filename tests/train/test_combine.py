"""Several adapters made into one: exact where it says exact, and honest where it is not."""

from pathlib import Path

import pytest
import torch

from character_ray.adapters import load_manifest
from character_ray.config import Recipe
from character_ray.constitution import load_constitution
from character_ray.errors import AdapterError
from character_ray.pipeline import adapters
from character_ray.pipeline.context import Context, Model, Persona
from character_ray.pipeline.report_parts import adapter_part
from character_ray.runs import Run, Store
from character_ray.training import combine as combination
from character_ray.training.combine import combine
from character_ray.training.factors import compare, describe, load_updates, truncate
from character_ray.training.logits import TOLERANCE
from tests.sealed import seal

ROOT = Path(__file__).parents[2]


@pytest.fixture
def adapter(tiny_base: Path, tmp_path: Path, random_adapter):
    def make(name: str, rank: int, alpha: int, seed: int, base_hash: str = "") -> Path:
        return seal(random_adapter(tmp_path / name, rank, alpha, seed), tiny_base, rank, base_hash)

    return make


def dense(update) -> torch.Tensor:
    return update.b @ update.a


def test_a_weighted_combination_equals_the_folded_model_and_names_its_parents(tiny_base, tmp_path, adapter):
    parts = [adapter("a", 4, 8, 1), adapter("b", 8, 4, 2), adapter("c", 2, 2, 3)]
    made = combine(parts, [1.0, 0.25, -0.5], tiny_base, tmp_path / "all")
    assert (made.rank, made.energy) == (14, 1.0)
    assert made.logit_difference < TOLERANCE < made.largest_logit
    manifest = load_manifest(tmp_path / "all")
    assert manifest.stage == "combined"
    assert manifest.parents == [load_manifest(part).weights_hash for part in parts]


def test_fewer_directions_keep_the_stated_energy_and_enough_of_them_keep_all(tiny_base, tmp_path, adapter):
    parts = [adapter("a", 4, 8, 1), adapter("b", 4, 8, 2)]
    made = [combine(parts, [1, 1], tiny_base, tmp_path / f"r{rank}", rank=rank) for rank in (2, 4, 8)]
    assert [each.rank for each in made] == [2, 4, 8]
    assert made[0].energy < made[1].energy < made[2].energy == 1.0
    assert made[0].logit_difference > made[1].logit_difference > made[2].logit_difference
    assert load_manifest(tmp_path / "r2").rank == 2
    whole, small = load_updates(tmp_path / "r8"), load_updates(tmp_path / "r2")
    kept = sum(float(dense(update).square().sum()) for update in small.values())
    everything = sum(float(dense(update).square().sum()) for update in whole.values())
    assert made[0].energy == pytest.approx(kept / everything, rel=1e-4)


def test_truncation_is_the_best_of_its_rank():
    from character_ray.training.factors import LayerUpdate

    torch.manual_seed(0)
    update = LayerUpdate(torch.randn(12, 5), torch.randn(5, 9))
    small, _ = truncate({"layer": update}, 2)
    u, s, vh = torch.linalg.svd(dense(update))
    best = (u[:, :2] * s[:2]) @ vh[:2]
    assert torch.allclose(dense(small["layer"]), best, atol=1e-4)


def test_legacy_linear_is_pefts_and_is_not_the_sum(tiny_base, tmp_path, adapter):
    parts = [adapter("a", 4, 8, 1), adapter("b", 4, 8, 2)]
    made = combine(parts, [1.0, 0.25], tiny_base, tmp_path / "linear", method="legacy_linear")
    assert made.rank == 4
    assert made.logit_difference > TOLERANCE


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        ([1.0], {}, "2 adapters but 1 weights"),
        ([1.0, 1.0], {"method": "legacy_linear"}, "equal rank"),
    ],
)
def test_what_cannot_be_combined_is_refused_in_words(tiny_base, tmp_path, adapter, weights, options, message):
    parts = [adapter("a", 4, 8, 1), adapter("b", 2, 8, 2)]
    with pytest.raises(AdapterError, match=message):
        combine(parts, weights, tiny_base, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_combination_that_fails_leaves_nothing_and_can_be_tried_again(tiny_base, tmp_path, adapter, monkeypatch):
    parts = [adapter("a", 4, 8, 1), adapter("b", 4, 8, 2)]
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(OSError):
        combine(parts, [1, 1], tmp_path / "no-such-base", tmp_path / "all")
    monkeypatch.setattr(combination, "TOLERANCE", -1.0)
    with pytest.raises(AdapterError, match="the combination is not exact, so it was not kept"):
        combine(parts, [1, 1], tiny_base, tmp_path / "all")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    monkeypatch.undo()
    assert combine(parts, [1, 1], tiny_base, tmp_path / "all").rank == 8


def test_adapters_of_two_bases_do_not_add_up_and_nothing_is_overwritten(tiny_base, tmp_path, adapter):
    mine, other = adapter("a", 4, 8, 1), adapter("b", 4, 8, 2, base_hash="somebody else's")
    with pytest.raises(AdapterError, match="different base model"):
        combine([mine, other], [1, 1], tiny_base, tmp_path / "out")
    with pytest.raises(AdapterError, match="nothing is overwritten"):
        combine([mine, mine], [1, 1], tiny_base, other)


def test_norm_rank_and_distance_are_those_of_the_dense_updates(tmp_path, random_adapter):
    first, second = (load_updates(random_adapter(tmp_path / name, 4, 8, seed)) for name, seed in (("a", 1), ("b", 2)))
    distances = compare(first, second)
    for layer, summary in describe(first).items():
        one, two = dense(first[layer]), dense(second[layer])
        assert summary.norm == pytest.approx(float(one.norm()), rel=1e-4)
        energy = torch.linalg.svdvals(one).square().cumsum(0) / one.square().sum()
        assert summary.used_rank == int((energy < 0.99).sum()) + 1
        apart, cosine = distances[layer]
        assert apart == pytest.approx(float((one - two).norm() / max(one.norm(), two.norm())), rel=1e-3)
        assert cosine == pytest.approx(float((one * two).sum() / (one.norm() * two.norm())), abs=1e-4)
    assert all(apart == pytest.approx(0, abs=1e-3) for apart, _ in compare(first, first).values())


@pytest.fixture
def trained(tiny_base, tmp_path, adapter):
    """A run whose two trainings are finished, of ranks 4 and 8."""
    recipe = Recipe(name="large", constitution=ROOT / "constitutions" / "captain-blackwood.yaml", output=tmp_path)
    model, store = Model("tiny", tiny_base), Store(tmp_path / "store")
    context = Context(recipe, model, model, store, Run(recipe.folder, recipe.model_dump(mode="json")))
    stages = []
    for name, rank in (("dpo", 4), ("sft", 8)):
        stages.append(store.artefact(name, {}))
        with stages[-1].making():
            adapter(stages[-1].folder / "adapter", rank, rank, seed=rank)
            stages[-1].finish({})
    return context, stages


@pytest.mark.parametrize("largest", [12, 8])
def test_a_join_that_is_not_exact_ends_the_run_and_is_made_again(trained, monkeypatch, largest):
    context, stages = trained
    persona, exact = Persona(load_constitution(context.recipe.constitution)), adapters.concatenate
    monkeypatch.setattr(adapters, "LARGEST_RANK", largest)
    monkeypatch.setattr(adapters, "concatenate", lambda parts, folder, _: exact(parts, folder, [1.0, 0.5]))
    with pytest.raises(
        AdapterError, match=r"full-\w+/adapter: its logits differ by .* from those of .*dpo-.* and .*sft-"
    ):
        adapters.join_adapters(context, persona, *stages)
    monkeypatch.setattr(adapters, "concatenate", exact)
    full = adapters.join_adapters(context, persona, *stages)
    assert full.is_done
    assert (adapter_part(full)["logit_difference_float32"] < TOLERANCE) == (largest == 12)


@pytest.mark.parametrize(("prefix", "served_rank"), [("", 8), ("control-", 12)])
def test_a_sum_of_ranks_that_no_engine_holds_is_kept_whole_and_served_recompressed(
    trained, monkeypatch, prefix, served_rank
):
    monkeypatch.setattr(adapters, "LARGEST_RANK", 8)
    context, stages = trained
    persona = Persona(load_constitution(context.recipe.constitution), prefix=prefix)
    full = adapters.join_adapters(context, persona, *stages)
    whole, served = load_updates(full.folder / "adapter"), load_updates(adapters.deliverable(full))
    assert load_manifest(full.folder / "adapter").rank == 12
    report = adapter_part(full)
    assert (report["rank"], report["hash"]) == (served_rank, load_manifest(adapters.deliverable(full)).weights_hash)
    if prefix:
        assert report["recompressed"] is None
        return
    kept = sum(float(dense(update).square().sum()) for update in served.values())
    everything = sum(float(dense(update).square().sum()) for update in whole.values())
    assert report["recompressed"] == {"rank": 12, "energy": pytest.approx(kept / everything, rel=1e-4)}
    assert 0.5 < kept / everything < 0.999
    assert report["logit_difference_float32"] > TOLERANCE
