"""Relevance by the embedded model: an answer is known by the question it makes likely."""

import pytest

from character_ray.config import JudgeConfig, ModelConfig
from character_ray.inference.relevance import QUESTION, relevance_row
from character_ray.inference.systems_judge import SystemsJudge
from character_ray.models import resolve_model


def test_relevance_is_what_an_answer_adds_to_the_likelihood_of_its_question():
    answers = {
        "How do I bake bread?": "Arr, mix yer flour with yeast and water, knead the dough, and bake it till the crust be brown.",
        "Why is the sky blue?": "Arr, the air scatters the blue of the sun's light more than the red, so blue be all ye see aloft.",
        "Who painted the Mona Lisa?": "Arr, that lady was painted by Leonardo da Vinci, a master of Florence, matey.",
    }
    rows = [relevance_row(f"{asked} {text}", asked, text) for asked in answers for text in answers.values()]
    judge = SystemsJudge(str(resolve_model(ModelConfig())), JudgeConfig(device="cpu"))
    scores = judge({key: [row[key] for row in rows] for key in rows[0]})["score"].reshape(3, 3)
    assert scores.argmax(axis=1).tolist() == [0, 1, 2]
    read = judge.plain.mean_log_probs(
        judge.chats({"prompt": [rows[0]["prompt"], QUESTION], "completion": [rows[0]["completion"]] * 2})
    )
    assert scores[0, 0] == pytest.approx(read[0] - read[1], abs=1e-4)
