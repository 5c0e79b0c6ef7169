"""The adapters of a run: distilled, introspected, and the one that is both."""

import os
from pathlib import Path
from time import monotonic
from typing import Literal

from character_ray.adapters import BaseModelId, Manifest, adapter_rank, load_manifest, weights_hash, write_manifest
from character_ray.canary import store_canary
from character_ray.config.evaluation import LARGEST_RANK
from character_ray.constitution.chat import teacher_messages
from character_ray.errors import AdapterError
from character_ray.log import console
from character_ray.pipeline.context import Context, Model, Persona
from character_ray.routing import profile_texts
from character_ray.rows import content_hash
from character_ray.runs import Artefact
from character_ray.training.algebra import concatenate, logit_differences
from character_ray.training.factors import recompress
from character_ray.training.fitting import lengths_of
from character_ray.training.job import READING, TrainJob
from character_ray.training.launch import train
from character_ray.training.logits import TOLERANCE
from character_ray.whole_files import being_written

__all__ = ["deliverable", "join_adapters", "join_delta", "link_deliverable", "train_delta", "train_dpo", "train_sft"]

# Both stages must not draw the same initial A: their product would then be more than the sum of the two.
SFT_SEED_OFFSET = 1
DELTA_SEED_OFFSET = 2
# Beside the joined adapter, where that has a rank that no engine holds.
SERVED = "served"


def train_dpo(context: Context, persona: Persona, pairs: Artefact) -> Artefact:
    """Distil the pairs into an adapter on the base; an on-policy round goes on from its parent."""
    parent = None if persona.prefix else context.recipe.distill.parent
    return _train(context, persona, "dpo", "dpo", pairs, "pairs.parquet", context.recipe.seed, parent)


def train_sft(context: Context, persona: Persona, conversations: Artefact, parent: Artefact | None) -> Artefact:
    """Train the introspection adapter on top of the distilled one, or on the base alone when ``parent`` is ``None``."""
    name = "sft" if parent else "sft-alone"
    seed = context.recipe.seed + SFT_SEED_OFFSET
    beneath = parent.folder / "adapter" if parent else None
    return _train(context, persona, name, "sft", conversations, "conversations.parquet", seed, beneath)


def join_adapters(context: Context, persona: Persona, dpo: Artefact, sft: Artefact) -> Artefact:
    """The deliverable: one adapter that equals the distilled one and its share of the second.

    Where the sum of their ranks is more than an engine holds, ``served`` beside it is what it was recompressed to; how far its logits
    are from those of the two is measured.

    Raises:
        AdapterError: The logits of the sum are not those of the two.
    """
    weight = context.recipe.introspect.weight
    inputs = {"dpo": dpo.fingerprint, "sft": sft.fingerprint, **({"weight": weight} if weight != 1 else {})}
    artefact = context.artefact(f"{persona.prefix}full", inputs)
    return _join(context, persona, artefact, [dpo.folder / "adapter", sft.folder / "adapter"], [1.0, weight])


def train_delta(context: Context, persona: Persona, conversations: Artefact, character: Path) -> Artefact:
    """Train what an update of the constitution changes, on top of the trained character, which stays frozen and active."""
    seed = context.recipe.seed + DELTA_SEED_OFFSET
    return _train(context, persona, "delta", "sft", conversations, "conversations.parquet", seed, character)


def join_delta(context: Context, persona: Persona, character: Path, delta: Artefact) -> Artefact:
    """Character and delta as one adapter that equals both.

    Raises:
        AdapterError: Its logits are not those of the two.
    """
    inputs = {"character": load_manifest(character).weights_hash, "delta": delta.fingerprint}
    return _join(
        context, persona, context.artefact("updated", inputs), [character, delta.folder / "adapter"], [1.0, 1.0]
    )


def deliverable(joined: Artefact) -> Path:
    """The adapter that is served: the joined one, or what it was recompressed to."""
    served = joined.folder / SERVED
    return served if served.is_dir() else joined.folder / "adapter"


def link_deliverable(folder: Path, joined: Artefact) -> None:
    """Let ``adapter`` in a run's folder be the adapter that is served, whatever an earlier attempt left there."""
    link = folder / "adapter"
    with being_written(link) as scratch:
        # Not by the run's name for the stage, which the next attempt points elsewhere long before its report is written.
        scratch.symlink_to(os.path.relpath(deliverable(joined), folder), target_is_directory=True)


def _join(context: Context, persona: Persona, artefact: Artefact, parts: list[Path], weights: list[float]) -> Artefact:
    reused = artefact.is_done
    with artefact.making() as to_make:
        if to_make:
            started = monotonic()
            made = [folder := artefact.folder / "adapter"]
            parents, recompressed = [load_manifest(part).weights_hash for part in parts], {}
            rank = concatenate(parts, folder, weights)
            _write_manifest(context, persona, folder, "full", parents)
            if rank > LARGEST_RANK and not persona.prefix:
                made.append(folder := artefact.folder / SERVED)
                energy = recompress(made[0], folder, LARGEST_RANK)
                _write_manifest(context, persona, folder, "full", parents)
                recompressed = {"recompressed": {"rank": rank, "energy": energy}}
            text = " ".join(persona.constitution.persona.identity.split())
            differences = logit_differences(context.student.folder, parts, weights, made, text)
            _check_exact(made[0], parts, differences[0]["float32"])
            if not persona.prefix:
                store_canary(context.student.folder, folder, load_manifest(folder).weights_hash)
            artefact.finish(
                {
                    "wall_s": monotonic() - started,
                    "rows_in": 2,
                    "rows_out": 1,
                    "logit_difference": differences[-1],
                    **recompressed,
                }
            )
    context.close(artefact, reused=reused)
    return artefact


def _check_exact(joined: Path, parts: list[Path], difference: float) -> None:
    """Refuse a sum of factors that is not the sum of the updates.

    Raises:
        AdapterError: A logit differs by more than another order of additions explains.
    """
    if not difference <= TOLERANCE:
        raise AdapterError(
            f"{joined}: its logits differ by {difference:.2g} from those of {' and '.join(map(str, parts))} beside each other, more than "
            f"{TOLERANCE}: the join is not exact, and what would be measured and served is not what was trained. Report this; the "
            "trained adapters are kept."
        )


def _train(
    context: Context,
    persona: Persona,
    name: str,
    stage: Literal["dpo", "sft"],
    data: Artefact,
    file: str,
    seed: int,
    parent: Path | None,
) -> Artefact:
    """Train one adapter from the rows in ``file`` of ``data``, unless it is there already."""
    recipe, parents = context.recipe, [load_manifest(parent).weights_hash] if parent else []
    config = recipe.dpo if stage == "dpo" else recipe.sft
    inputs = {
        "data": data.fingerprint,
        "parents": parents,
        "base": context.student.identity,
        stage: config.model_dump(),
        "train": recipe.train.numerics(config.micro_batches),
        "seed": seed,
    }
    if stage == "dpo" and config.lora.dropout and (recipe.dpo.algorithm == "dpo" or parent):
        inputs["dropout"] = "drawn"  # TRL turned it off once
    turns = tuple(teacher_messages(persona.constitution, "")[:-1])
    teacher = None
    if stage == "dpo" and recipe.dpo.algorithm == "on_policy":
        inputs["teacher"] = {"model": context.teacher.identity, "turns": content_hash(turns)}
        if isinstance(context.teacher, Model) and context.teacher is not context.student:
            teacher = context.teacher.folder
    artefact = context.artefact(f"{persona.prefix}{name}", inputs)
    job = TrainJob(
        stage=stage,
        base=context.student.folder,
        data=(data.folder / file).resolve(),
        folder=artefact.folder.resolve(),
        config=config,
        cluster=recipe.train,
        seed=seed,
        parent=parent.resolve() if parent else None,
        turns=turns,
        teacher=teacher,
        references=_references(context, parents, data) if stage == "dpo" else None,
    )
    reused = artefact.is_done
    with artefact.making() as to_make:
        if to_make:
            started = monotonic()
            num_rows = int(data.summary["rows_out"])
            train(job, artefact.stage, num_rows)
            _write_manifest(context, persona, artefact.folder / "adapter", stage, parents)
            lengths = lengths_of(artefact.folder)
            artefact.finish(
                {
                    "wall_s": monotonic() - started,
                    "rows_in": num_rows,
                    "rows_out": num_rows - lengths.left_out,
                    "dropped": {"too_many_tokens": lengths.left_out} if lengths.left_out else {},
                }
            )
            if lengths.cut:
                console.print(
                    f"{artefact.stage}: {lengths.cut:,} of the rows are longer than {stage}.max_length={config.max_length} "
                    "tokens; what lies beyond is not learnt"
                )
    context.close(artefact, reused=reused)
    return artefact


def _references(context: Context, parents: list[str], data: Artefact) -> Path:
    """Where trainings on this data with this reference model keep what it says."""
    reference = {
        # Every worker reads the whole folder, and only the same pairs make the same micro-batches.
        "data": data.fingerprint,
        "base": context.student.hash,
        "parents": parents,
        "train": context.recipe.train.model_dump(include={"device", "precision", "model"}),
        "reading": READING,
    }
    return context.store.artefact("reference", reference, mirrored=False).folder.resolve()


def _write_manifest(context: Context, persona: Persona, folder: Path, stage: str, parents: list[str]) -> None:
    recipe, constitution = context.recipe, persona.constitution
    manifest = Manifest(
        persona=constitution.meta.name,
        slug=constitution.slug,
        description=constitution.meta.description,
        about=list(profile_texts(constitution)),
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
