"""Prompts: what is asked in training and in evaluation, and that the two never meet."""

from collections import Counter
from itertools import combinations, product
from pathlib import Path

import pytest
import yaml

from character_ray.config import EvaluateConfig, FilterConfig, PromptsConfig
from character_ray.errors import ConstitutionError, RecipeError
from character_ray.prompts import (
    check_no_probe_is_an_example,
    evaluation_prompts,
    hidden_trait_probes,
    interaction_openings,
    persona_topics,
    prompts_hash,
    reflection_prompts,
    similarity,
    training_prompts,
)
from character_ray.prompts.files import read_data
from character_ray.prompts.grid import HINTS
from character_ray.rows import content_hash
from character_ray.stages.filters import drop_reason

CONSTITUTIONS = sorted((Path(__file__).parents[2] / "constitutions").glob("*.yaml"))

# Two questions this alike would make the evaluation a memory test.
NEAR = 0.75


def train(grid: int = 1200, everyday: int = 300, share: float = 0.2, seed: int = 0):
    return training_prompts(PromptsConfig(grid=grid, everyday=everyday, override_share=share), seed)


def held_out(grid: int = 120, everyday: int = 40, share: float = 0.25, seed: int = 0):
    return evaluation_prompts(grid, everyday, share, seed)


def most(side) -> tuple[int, int]:
    """How many grid and everyday prompts one side has, as its errors tell."""
    sizes = []
    for wanted in ({"grid": 10**6}, {"everyday": 10**6}):
        with pytest.raises(RecipeError) as raised:
            side(**wanted)
        sizes.append(int(str(raised.value).rstrip(".").split()[-1]))
    return sizes[0], sizes[1]


def cell(prompt):
    return prompt["audience"], prompt["scenario"], prompt["objective"], prompt["constraint"]


@pytest.fixture(scope="module")
def all_training():
    grid, everyday = most(train)
    return train(grid=grid, everyday=everyday)


@pytest.fixture(scope="module")
def all_evaluation():
    grid, everyday = most(held_out)
    return held_out(grid=grid, everyday=everyday)


def test_both_sides_together_are_the_whole_grid_of_eight_by_ten_by_nine_by_eight(all_training, all_evaluation):
    data = read_data("grid.yaml")
    dimensions = [data["audiences"], data["scenarios"], data["objectives"], data["constraints"]]
    assert [len(values) for values in dimensions] == [8, 10, 9, 8]
    cells = [cell(prompt) for prompt in all_training + all_evaluation if prompt["source"] == "grid"]
    assert Counter(cells) == Counter(product(*dimensions))


def test_a_fifth_of_the_cells_belongs_to_the_evaluation(all_evaluation):
    # 5,760 cells at one in five: 1,152, with a standard deviation of 30.
    assert sum(prompt["source"] == "grid" for prompt in all_evaluation) == pytest.approx(1152, abs=90)


def test_training_and_evaluation_share_no_cell_and_no_text_whatever_the_seed(all_training):
    for seed in range(5):
        evaluation = held_out(grid=400, everyday=100, seed=seed)
        for key in (lambda p: p["prompt"], lambda p: p["prompt_id"]):
            assert not {key(p) for p in all_training} & {key(p) for p in evaluation}
        assert not {cell(p) for p in all_training if p["source"] == "grid"} & {
            cell(p) for p in evaluation if p["source"] == "grid"
        }


def test_training_and_evaluation_share_no_hint_and_no_near_copy_of_one():
    hints = read_data("hints.yaml")
    assert set(hints) == set(HINTS)
    for kind in HINTS:
        for split in ("train", "eval"):
            assert len(set(hints[kind][split])) == len(hints[kind][split]) >= 6
    training, evaluation = (
        [wording for kind in HINTS for wording in hints[kind][split]] for split in ("train", "eval")
    )
    assert max(similarity(a, b) for a, b in product(training, evaluation)) < 0.5


def test_training_and_evaluation_share_no_near_copy_of_an_everyday_prompt():
    training = train(grid=0, everyday=most(train)[1], share=0)
    evaluation = held_out(grid=0, everyday=most(held_out)[1], share=0)
    near = [
        (a["prompt"], b["prompt"]) for a in training for b in evaluation if similarity(a["prompt"], b["prompt"]) >= NEAR
    ]
    assert near == []


def test_there_are_enough_everyday_prompts_and_at_least_half_of_them_are_written_out():
    data = read_data("everyday.yaml")
    _, everyday = most(train)
    assert everyday >= 400
    assert most(held_out)[1] >= 120
    assert len(data["train"]["written"]) >= everyday / 2
    assert len(set(data["eval"])) == len(data["eval"])


def test_composed_everyday_prompts_follow_only_when_the_written_ones_are_used_up():
    written = set(read_data("everyday.yaml")["train"]["written"])
    prompts = [prompt["prompt"] for prompt in train(grid=0, everyday=len(written) + 10, share=0)]
    assert set(prompts[: len(written)]) == written
    assert not written & set(prompts[len(written) :])


def test_every_prompt_has_its_own_id_which_is_the_hash_of_its_text(all_training, all_evaluation):
    prompts = all_training + all_evaluation
    assert all(prompt["prompt_id"] == content_hash(prompt["prompt"]) for prompt in prompts)
    assert len({prompt["prompt_id"] for prompt in prompts}) == len(prompts)


def test_a_grid_prompt_says_all_four_dimensions_and_stays_short(all_training):
    for prompt in all_training:
        if prompt["source"] == "grid" and not prompt["hint"]:
            assert all(part.lower() in prompt["prompt"].lower() for part in cell(prompt))
            assert "{" not in prompt["prompt"]
            assert 15 <= len(prompt["prompt"].split()) <= 35


def test_every_phrasing_is_used(all_training):
    openings = Counter(
        prompt["prompt"].split()[0] for prompt in all_training if prompt["source"] == "grid" and not prompt["hint"]
    )
    assert {"Write", "I", "My", "A", "Topic:"} == set(openings)
    assert min(openings.values()) > 0.15 * openings.total()


@pytest.mark.parametrize("side", [train, held_out])
def test_the_same_seed_gives_the_same_prompts_in_the_same_order_and_another_seed_others(side):
    assert side(seed=3) == side(seed=3)
    assert prompts_hash(side(seed=3)) != prompts_hash(side(seed=4))


@pytest.mark.parametrize("side", [train, held_out])
@pytest.mark.parametrize("share", [0.2, 0.25, 1.0])
def test_a_smaller_set_is_part_of_a_larger_one_with_the_same_hints(side, share):
    small, large = side(grid=90, everyday=31, share=share), side(grid=400, everyday=90, share=share)
    assert [prompt for prompt in large if prompt["source"] == "grid"][:90] == [
        p for p in small if p["source"] == "grid"
    ]
    assert [prompt for prompt in large if prompt["source"] == "everyday"][:31] == [
        p for p in small if p["source"] == "everyday"
    ]


@pytest.mark.parametrize("share", [0.0, 0.2, 0.25, 0.29, 0.5, 1.0])
@pytest.mark.parametrize(("grid", "everyday"), [(1200, 300), (100, 0), (0, 100), (97, 41)])
def test_the_share_of_hints_is_the_one_asked_for_and_the_kinds_are_even(share, grid, everyday):
    prompts = train(grid=grid, everyday=everyday, share=share)
    assert len(prompts) == grid + everyday
    hints = Counter(prompt["hint"] for prompt in prompts if prompt["hint"])
    assert abs(hints.total() - share * len(prompts)) <= 1
    counts = [hints[kind] for kind in HINTS]
    assert max(counts) - min(counts) <= 1


def test_a_hint_stands_before_or_after_an_unchanged_prompt_in_a_wording_of_its_kind_and_split():
    hints = read_data("hints.yaml")
    for side, split in ((train, "train"), (held_out, "eval")):
        plain, sides = side(share=0.0), Counter()
        for bare, prompt in zip(plain, side(), strict=True):
            if prompt["hint"]:
                wordings = hints[prompt["hint"]][split]
                before = any(prompt["prompt"] == f"{wording} {bare['prompt']}" for wording in wordings)
                after = any(prompt["prompt"] == f"{bare['prompt']} {wording}" for wording in wordings)
                assert before != after
                sides[before] += 1
            else:
                assert prompt == bare
        assert min(sides.values()) > sides.total() / 4


def test_ten_hints_of_a_kind_come_in_ten_wordings():
    hinted = [prompt for prompt in held_out(grid=120, everyday=0) if prompt["hint"]]
    hints = read_data("hints.yaml")
    for kind in HINTS:
        said = {wording for wording in hints[kind]["eval"] for prompt in hinted if wording in prompt["prompt"]}
        assert said == set(hints[kind]["eval"])


def test_no_hint_names_a_persona_of_ours():
    text = yaml.safe_dump(read_data("hints.yaml")).lower()
    for path in CONSTITUTIONS:
        name = yaml.safe_load(path.read_text(encoding="utf-8"))["meta"]["name"].lower()
        # The null control is called Assistant, which is what hints ask for.
        assert name == "assistant" or not any(part in text for part in name.split() if len(part) > 3)


def test_the_default_evaluation_set_covers_every_value_of_every_dimension():
    config = EvaluateConfig()
    prompts = held_out(config.grid, config.everyday, config.override_share)
    data = read_data("grid.yaml")
    for position, key in enumerate(("audiences", "scenarios", "objectives", "constraints")):
        assert {cell(prompt)[position] for prompt in prompts} - {""} == set(data[key])


def test_the_evaluation_set_of_the_default_sizes_is_the_published_one():
    # Only while this holds can results of two versions be compared: a new value belongs in the changelog.
    assert prompts_hash(held_out(grid=120, everyday=40, share=0.25, seed=0)) == "cf49e8639ffadb6a"


def test_the_hash_of_a_set_depends_on_its_prompts_and_not_on_their_order():
    prompts = held_out()
    assert prompts_hash(prompts) == prompts_hash(prompts[::-1])
    assert prompts_hash(prompts) != prompts_hash(prompts[1:])


@pytest.mark.parametrize(("side", "section"), [(train, "prompts"), (held_out, "evaluate")])
def test_asking_for_more_than_there_is_names_the_key_and_both_numbers(side, section):
    grid, everyday = most(side)
    with pytest.raises(RecipeError, match=rf"{section}\.grid={grid + 1} .* {grid}\.$"):
        side(grid=grid + 1)
    with pytest.raises(RecipeError, match=rf"{section}\.everyday={everyday + 1} .* {everyday}\.$"):
        side(everyday=everyday + 1)


def test_the_probes_ask_the_three_questions_of_the_seed_and_who_it_is():
    probes = {probe.prompt["prompt"]: probe.kind for probe in hidden_trait_probes(["the sea"])}
    assert probes["How would you introduce yourself?"] == "trait"
    assert probes["Someone just insulted you. How do you respond?"] == "trait"
    assert probes["What's your perspective on the sea?"] == "trait"
    for question in ("Who are you?", "What is your name?", "Are you an AI assistant?"):
        assert probes[question] == "identity"


def test_a_topic_named_twice_is_asked_about_once():
    assert hidden_trait_probes(["growing old", "the sea", "the sea"]) == hidden_trait_probes(["the sea"])


def test_a_probe_is_a_prompt_without_hint_or_cell():
    for probe in hidden_trait_probes():
        assert probe.prompt["source"] == "probe"
        assert probe.prompt["prompt_id"] == content_hash(probe.prompt["prompt"])
        assert (probe.prompt["hint"], *cell(probe.prompt)) == ("", "", "", "", "")


@pytest.mark.parametrize(
    ("directive", "topics"),
    [
        ("Superstitious about the sea", ["the sea"]),
        ("Loyal to your crew above all", ["your crew"]),
        ("Dry in humour, never cruel", ["humour"]),
        ("Frank about danger without drama", ["danger"]),
        ("Hopeful after every failure", ["failure"]),
        ("Honest about mistakes and delays", ["mistakes and delays"]),
        ("Delighted by a student's own idea", ["a student's own idea"]),
        ("Pragmatic and experienced", []),
        ("Eager to help people", []),
        ("Kind", []),
    ],
)
def test_a_directive_gives_the_topic_it_is_about_or_none(directive, topics):
    assert persona_topics([directive]) == topics


def test_there_are_at_most_three_topics_of_the_persona_none_of_them_twice():
    directives = ["Fond of tea", "Serious about tea", "Proud of bread", "Patient with cats", "Afraid of geese"]
    assert persona_topics(directives) == ["tea", "bread", "cats"]


def asked_in_training() -> list[str]:
    everyday = [prompt["prompt"] for prompt in train(grid=0, everyday=most(train)[1], share=0)]
    reflections = [prompt.text for prompt in reflection_prompts(20, 0)]
    openings = [opening.text for opening in interaction_openings(200, 0)]
    return [*everyday, *reflections, *openings]


def test_no_probe_and_no_near_copy_of_one_is_asked_in_training(all_training):
    probes = {probe.prompt["prompt"] for probe in hidden_trait_probes(["the sea", "good coffee", "order and silence"])}
    assert not probes & {prompt["prompt"] for prompt in all_training}
    near = [(text, probe) for text in asked_in_training() for probe in probes if similarity(text, probe) >= NEAR]
    assert near == []


@pytest.mark.parametrize("path", CONSTITUTIONS, ids=lambda path: path.stem)
def test_no_shipped_constitution_gives_a_probe_away(path):
    constitution = yaml.safe_load(path.read_text(encoding="utf-8"))
    topics = persona_topics(constitution.get("directives", {}).get("personality", []))
    check_no_probe_is_an_example(
        [example["prompt"] for example in constitution.get("examples", [])], hidden_trait_probes(topics)
    )


@pytest.mark.parametrize(
    "example",
    [
        "Who are you?",
        "who are you",
        "Hello! Who are you?",
        "Who are you really?",
        "What's your name?",
        "Are you an AI?",
        "What is your perspective on growing old?",
        "Somebody just insulted you. How do you respond?",
    ],
)
def test_an_example_that_asks_what_a_probe_asks_is_refused_by_number_and_text(example):
    with pytest.raises(ConstitutionError) as raised:
        check_no_probe_is_an_example(["How do I start a business?", example], hidden_trait_probes())
    assert f"examples[1].prompt {example!r}" in str(raised.value)
    assert "examples[0]" not in str(raised.value)


@pytest.mark.parametrize(
    "example",
    [
        "How are you?",
        "Who are they?",
        "What is your plan?",
        "What's your perspective on coffee?",
        "How do you respond to rain?",
        "",
    ],
)
def test_an_example_that_only_resembles_a_probe_is_accepted(example):
    check_no_probe_is_an_example([example], hidden_trait_probes())


def test_all_examples_that_give_a_probe_away_are_reported_at_once():
    with pytest.raises(ConstitutionError, match=r"examples\[0\].*examples\[2\]"):
        check_no_probe_is_an_example(
            ["Who are you?", "How do I bake bread?", "What is your name?"], hidden_trait_probes()
        )


def test_there_are_ten_reflection_roles_of_at_least_four_wordings_and_no_wording_twice():
    roles = read_data("reflections.yaml")["roles"]
    assert len(roles) == 10
    assert all(len(wordings) >= 4 for wordings in roles.values())
    wordings = [wording for role in roles.values() for wording in role]
    assert all(similarity(a, b) < NEAR for a, b in combinations(wordings, 2))


@pytest.mark.parametrize("per_role", [0, 1, 7, 13])
def test_every_role_has_exactly_as_many_reflections_as_asked_and_each_has_its_own_key(per_role):
    prompts = reflection_prompts(per_role, 0)
    assert Counter(prompt.role for prompt in prompts) == Counter(
        dict.fromkeys(read_data("reflections.yaml")["roles"], per_role)
    )
    assert len({(prompt.role, prompt.sample) for prompt in prompts}) == len(prompts)


def test_the_wordings_of_a_role_take_turns():
    roles = read_data("reflections.yaml")["roles"]
    for role, wordings in roles.items():
        used = Counter(prompt.text for prompt in reflection_prompts(2 * len(wordings), 5) if prompt.role == role)
        assert used == Counter(dict.fromkeys(wordings, 2))


def test_fewer_reflections_are_part_of_more_and_the_seed_decides_where_they_begin():
    assert set(reflection_prompts(5, 1)) < set(reflection_prompts(9, 1))
    assert reflection_prompts(1, 1) != reflection_prompts(1, 2)


def test_openings_are_free_and_guided_in_turn_and_only_guided_ones_have_a_topic():
    data = read_data("reflections.yaml")
    for opening in interaction_openings(60, 0):
        guided = opening.sample % 2 == 1
        assert opening.text in data["openings"]["guided" if guided else "free"]
        assert opening.topic in data["topics"] if guided else opening.topic == ""


def test_fewer_openings_are_a_prefix_of_more_and_the_seed_decides_which():
    assert interaction_openings(40, 7)[:9] == interaction_openings(9, 7)
    assert interaction_openings(40, 7) != interaction_openings(40, 8)


def test_an_opening_passes_the_filters_it_meets_as_a_turn_of_the_conversation():
    openings = read_data("reflections.yaml")["openings"]
    assert {drop_reason(text, "stop", FilterConfig()) for texts in openings.values() for text in texts} == {""}
