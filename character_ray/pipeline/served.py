"""Contestants that answer now: the runs' prompts, to models of a running application.

    {prompt_id: prompt} -> requests as the arm base of a run would get -> {prompt_id: (prompt, completion)}

Sampling and seeds are the run's, so a served persona answers as its arm did, up to the noise of the engines. Answers lie in the store by
the version that gave them: a tournament that was stopped asks the rest, and one after another version was published asks anew.
"""

from collections.abc import Mapping

from character_ray.config import Recipe, ServedConfig
from character_ray.inference.find_model import FoundModel
from character_ray.inference.passes import Generation
from character_ray.inference.remote import Sections, generate_remotely
from character_ray.rows import Message, content_hash
from character_ray.runs import Run, Store
from character_ray.stages.requests import build_request

__all__ = ["ask_served", "sections_of"]


def sections_of(number: int) -> Sections:
    """Where the user wrote the contestant of this number."""
    return Sections(f"contestants.{number}.served.model", f"contestants.{number}.served")


def ask_served(
    store: Store,
    run: Run,
    number: int,
    served: ServedConfig,
    found: FoundModel,
    prompts: Mapping[str, str],
    recipe: Recipe,
) -> dict[str, tuple[str, str]]:
    """Prompts and answers by prompt; failed and empty ones are left out. Resumable.

    Args:
        store: Where answers are kept.
        run: The tournament's folder.
        number: The contestant's place in the recipe.
        served: Where it is.
        found: The version that answers.
        prompts: What is asked, by id.
        recipe: Whose sampling and seed are used.

    Raises:
        GenerationError: The endpoint refuses, its budget is used up, or too many rows failed. What was answered is kept.
    """
    sampling = recipe.evaluate.sampling
    requests = [
        build_request("answer", prompt_id, [Message(role="user", content=text)], sampling, seed=recipe.seed)
        for prompt_id, text in prompts.items()
    ]
    inputs = {
        "model": found.name,
        "weights": found.weights_hash,
        "url": served.url,
        "further": served.asked_beside,
        "sampling": sampling.model_dump(),
        "seed": recipe.seed,
        "prompts": content_hash(sorted(prompts.items())),
    }
    artefact = store.artefact(f"answers-served-{number}", inputs)
    generation = Generation(artefact, requests)
    spending = run.folder / f"spending-served-{number}.jsonl"
    generate_remotely(
        f"answers of {served.label or served.model}",
        [generation],
        found.name,
        served,
        spending,
        sections=sections_of(number),
    )
    run.link(artefact)
    return {
        row["prompt_id"]: (prompts[row["prompt_id"]], row["completion"])
        for row in generation.spoken()
        if not row["error"] and row["completion"].strip()
    }
