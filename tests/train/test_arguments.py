"""Further arguments of TRL's trainers: each goes to the stages that know it, and what none knows is told before anything starts."""

from pathlib import Path

import pytest
from trl import DPOConfig as TRLDPOConfig
from trl import SFTConfig as TRLSFTConfig

from character_ray.config import ClusterTrainConfig, DPOConfig, Recipe, SFTConfig
from character_ray.errors import RecipeError
from character_ray.training.arguments import check_further_arguments, trainer_arguments
from character_ray.training.job import TrainJob


def recipe(dpo: dict | None = None, **trainer) -> Recipe:
    return Recipe(
        name="demo",
        constitution=Path("constitutions/captain-blackwood.yaml"),
        student={"name": "demo"},
        teacher={"name": "demo"},
        train={"device": "cpu", "precision": "float32", "zero_stage": 0, "in_process": True, "trainer": trainer},
        dpo=dpo or {},
    )


def made(stage, config, tmp_path, **trainer):
    cluster = ClusterTrainConfig(
        device="cpu", precision="float32", zero_stage=0, in_process=True, report_to=(), trainer=trainer
    )
    arguments = trainer_arguments(TrainJob(stage, tmp_path, tmp_path, tmp_path, config, cluster, seed=0))
    return (TRLDPOConfig if stage == "dpo" else TRLSFTConfig)(**arguments)


def test_what_one_trainer_alone_knows_goes_to_that_one_and_what_both_know_to_both(tmp_path):
    given = {"discopop_tau": 0.1, "packing": True, "weight_decay": 0.25}
    check_further_arguments(recipe(**given))
    dpo, sft = made("dpo", DPOConfig(), tmp_path, **given), made("sft", SFTConfig(), tmp_path, **given)
    assert (dpo.discopop_tau, dpo.weight_decay) == (0.1, 0.25)
    assert (sft.packing, sft.weight_decay) == (True, 0.25)
    assert not hasattr(dpo, "packing")


@pytest.mark.parametrize(
    ("dpo", "given", "message"),
    [
        (
            {},
            {"weigth_decay": 0.1, "bogus": 1},
            r"sets weigth_decay, bogus, but .* of neither .* did you mean 'weight_decay'",
        ),
        ({}, {"learning_rate": 0.1}, "sets learning_rate, which the recipe decides elsewhere"),
        ({}, {"label_smoothing": 0.1}, "sets label_smoothing, which the recipe decides elsewhere"),
        ({"algorithm": "on_policy"}, {"discopop_tau": 0.1}, "sets discopop_tau, but the trainer of neither stage"),
        ({"algorithm": "on_policy"}, {"temperature": 0.1}, "sets temperature, which the recipe decides elsewhere"),
    ],
)
def test_what_no_trainer_knows_or_the_recipe_decides_is_refused_before_anything_starts(dpo, given, message):
    with pytest.raises(RecipeError, match=message):
        check_further_arguments(recipe(dpo, **given))


def test_experts_that_are_not_trained_have_no_loss_of_their_own_unless_it_is_asked_for(tmp_path):
    for stage, config in (("dpo", DPOConfig()), ("sft", SFTConfig())):
        assert made(stage, config, tmp_path).router_aux_loss_coef == 0.0
        assert made(stage, config, tmp_path, router_aux_loss_coef=0.1).router_aux_loss_coef == 0.1


@pytest.mark.parametrize(("loss", "label_smoothing"), [("sigmoid", 0.0), ("robust", 0.1), ("exo_pair", 1e-3)])
def test_label_smoothing_reaches_the_trainer(tmp_path, loss, label_smoothing):
    found = made("dpo", DPOConfig(loss=loss, label_smoothing=label_smoothing), tmp_path)
    assert (found.loss_type, found.label_smoothing) == ([loss], label_smoothing)
