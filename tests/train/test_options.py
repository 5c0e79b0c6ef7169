"""Likelihood choices and revealed preferences on a random two-layer model, against the formula, and on planted tastes."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from transformers import AutoModelForCausalLM

from character_ray.evaluation.options import option_log_probs
from character_ray.evaluation.preferences import agreement, ask_pairs, rate_traits, schedule_pairs, traits
from character_ray.evaluation.reader import Reader


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def reader(tiny_base) -> Reader:
    return Reader(tiny_base, {})


def test_an_option_is_worth_its_mean_log_probability_whatever_the_batch(reader, tiny_base):
    questions = [asked("What colour is it?"), asked("How many are there?")]
    options = [["Blue", "A rather long shade of green"], ["Two", "Three", "Four"]]
    found = option_log_probs(reader, "base", questions, options, batch_size=2)
    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    for chat, own, scores in zip(questions, options, found, strict=True):
        for option, score in zip(own, scores, strict=True):
            passage = reader.passage(chat, option)
            ids = torch.tensor([passage.ids])
            with torch.no_grad():
                loss = model(
                    input_ids=ids, labels=ids.masked_fill(torch.arange(ids.shape[1]) < passage.start, -100)
                ).loss
            assert score == pytest.approx(-float(loss), abs=1e-4)


def test_preferences_are_the_difference_of_the_two_orders(reader):
    pairs = schedule_pairs(2, seed=0)[:5]
    chats = {
        pair.prompt(swapped=swapped): asked(pair.prompt(swapped=swapped)) for pair in pairs for swapped in (False, True)
    }
    found = ask_pairs(reader, "base", pairs, chats, batch_size=3)
    for number, pair in enumerate(pairs):
        odds = []
        for swapped in (False, True):
            a, b = (option_log_probs_of_first(reader, chats[pair.prompt(swapped=swapped)], letter) for letter in "AB")
            odds.append(a - b)
        assert found.preference_K[number] == pytest.approx((odds[0] - odds[1]) / 2, abs=1e-4)
        assert found.seat_K[number] == pytest.approx((odds[0] + odds[1]) / 2, abs=1e-4)


def option_log_probs_of_first(reader: Reader, chat: list[dict[str, str]], letter: str) -> float:
    passage = reader.passage(chat, letter)
    with torch.no_grad():
        logits = reader.model(input_ids=torch.tensor([passage.ids])).logits[0, passage.start - 1]
    return float(logits.log_softmax(-1)[passage.answer[0]])


def test_every_trait_meets_as_many_others_and_no_pair_comes_twice():
    pairs = schedule_pairs(6, seed=1)
    assert len(traits()) == len(set(traits())) == 144
    assert len({frozenset((pair.first, pair.second)) for pair in pairs}) == len(pairs) == 144 * 3
    assert np.bincount([trait for pair in pairs for trait in (pair.first, pair.second)]).tolist() == [6] * 144
    assert pairs == schedule_pairs(6, seed=1) != schedule_pairs(6, seed=2)
    with pytest.raises(ValueError, match="7 rivals"):
        schedule_pairs(7, seed=0)


def test_both_orders_ask_about_the_same_two_traits():
    for pair in schedule_pairs(2, seed=0)[:20]:
        first, second = (traits()[number] for number in (pair.first, pair.second))
        assert f"A: {first}\nB: {second}\n" in pair.prompt(swapped=False)
        assert f"A: {second}\nB: {first}\n" in pair.prompt(swapped=True)


def test_planted_tastes_are_recovered_whatever_the_love_of_a_seat():
    pairs = schedule_pairs(20, seed=0)
    taste = np.random.default_rng(0).standard_normal(144)
    preference = np.array([taste[pair.first] - taste[pair.second] for pair in pairs])
    rating = rate_traits(pairs, preference)
    assert spearmanr(rating, taste).statistic > 0.97
    assert rating.mean() == pytest.approx(1000)


def test_agreement_is_spearman_s_and_its_interval_holds_it():
    draw = np.random.default_rng(1)
    first = draw.standard_normal(144)
    second = first + draw.standard_normal(144)
    found = agreement(first, second, seed=0)
    assert found.value == pytest.approx(spearmanr(first, second).statistic)
    assert found.low < found.value < found.high
    assert found == agreement(first, second, seed=0)
    assert agreement(first, -first, seed=0).value == pytest.approx(-1)
    unrelated = agreement(first, draw.standard_normal(144), seed=0)
    assert unrelated.low < 0 < unrelated.high
