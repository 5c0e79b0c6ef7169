"""The adapters of a run: distilled, introspected, and the one that is both."""

from time import monotonic

from character_ray.adapters import BaseModelId, Manifest, adapter_rank, load_manifest, weights_hash, write_manifest
from character_ray.pipeline.context import Context, Persona
from character_ray.runs import Artefact
from character_ray.training.algebra import concatenate, logit_difference
from character_ray.training.job import TrainJob
from character_ray.training.launch import train

__all__ = ["join_adapters", "train_dpo", "train_sft"]

# Both stages must not draw the same initial A: their product would then be more than the sum of the two.
SFT_SEED_OFFSET = 1


def train_dpo(context: Context, persona: Persona, pairs: Artefact) -> Artefact:
    """Distil the pairs into an adapter on the base."""
    recipe = context.recipe
    inputs = {
        "pairs": pairs.fingerprint,
        "base": context.student.identity,
        "dpo": recipe.dpo.model_dump(),
        "train": recipe.train.model_dump(include={"precision", "workers", "zero_stage"}),
        "seed": recipe.seed,
    }
    artefact = context.artefact(f"{persona.prefix}dpo", inputs)
    job = TrainJob(
        stage="dpo",
        base=context.student.folder,
        data=(pairs.folder / "pairs.parquet").resolve(),
        folder=artefact.folder.resolve(),
        config=recipe.dpo,
        cluster=recipe.train,
        seed=recipe.seed,
    )
    return _train(context, persona, artefact, job, pairs, "dpo", [])


def train_sft(context: Context, persona: Persona, conversations: Artefact, parent: Artefact | None) -> Artefact:
    """Train the introspection adapter on top of the distilled one, or on the base alone when ``parent`` is ``None``."""
    recipe = context.recipe
    inputs = {
        "conversations": conversations.fingerprint,
        "parent": parent.fingerprint if parent else "",
        "base": context.student.identity,
        "sft": recipe.sft.model_dump(),
        "train": recipe.train.model_dump(include={"precision", "workers", "zero_stage"}),
        "seed": recipe.seed,
    }
    artefact = context.artefact(f"{persona.prefix}{'sft' if parent else 'sft-alone'}", inputs)
    job = TrainJob(
        stage="sft",
        base=context.student.folder,
        data=(conversations.folder / "conversations.parquet").resolve(),
        folder=artefact.folder.resolve(),
        config=recipe.sft,
        cluster=recipe.train,
        seed=recipe.seed + SFT_SEED_OFFSET,
        parent=(parent.folder / "adapter").resolve() if parent else None,
    )
    parents = [load_manifest(parent.folder / "adapter").weights_hash] if parent else []
    return _train(context, persona, artefact, job, conversations, "sft", parents)


def join_adapters(context: Context, persona: Persona, dpo: Artefact, sft: Artefact) -> Artefact:
    """The deliverable: one adapter that equals both, with the difference of its logits from theirs measured."""
    artefact = context.artefact(f"{persona.prefix}full", {"dpo": dpo.fingerprint, "sft": sft.fingerprint})
    reused = artefact.is_done
    if not reused:
        started = monotonic()
        parts, folder = [dpo.folder / "adapter", sft.folder / "adapter"], artefact.folder / "adapter"
        concatenate(*parts, folder)
        _write_manifest(context, persona, artefact, "full", [load_manifest(part).weights_hash for part in parts])
        text = " ".join(persona.constitution.persona.identity.split())
        differences = {
            dtype: logit_difference(context.student.folder, parts, folder, text, dtype)
            for dtype in ("float32", "bfloat16")
        }
        artefact.finish({"wall_s": monotonic() - started, "rows_in": 2, "rows_out": 1, "logit_difference": differences})
    context.close(artefact, reused=reused)
    return artefact


def _train(
    context: Context,
    persona: Persona,
    artefact: Artefact,
    job: TrainJob,
    data: Artefact,
    stage: str,
    parents: list[str],
) -> Artefact:
    reused = artefact.is_done
    with artefact.claim():
        if not artefact.is_done:
            started = monotonic()
            num_rows = int(data.summary["rows_out"])
            train(job, artefact.stage, num_rows)
            _write_manifest(context, persona, artefact, stage, parents)
            artefact.finish({"wall_s": monotonic() - started, "rows_in": num_rows, "rows_out": num_rows})
    context.close(artefact, reused=reused)
    return artefact


def _write_manifest(context: Context, persona: Persona, artefact: Artefact, stage: str, parents: list[str]) -> None:
    recipe, constitution = context.recipe, persona.constitution
    folder = artefact.folder / "adapter"
    manifest = Manifest(
        persona=constitution.meta.name,
        slug=constitution.slug,
        description=constitution.meta.description,
        stage=stage,
        base_model=BaseModelId(name=recipe.student.name, revision=recipe.student.revision, hash=context.student.hash),
        template_hash=context.student.template,
        constitution_hash=constitution.fingerprint,
        rank=adapter_rank(folder),
        weights_hash=weights_hash(folder),
        parents=parents,
        recipe=recipe.model_dump(mode="json"),
        seed=recipe.seed,
    )
    write_manifest(folder, manifest)
