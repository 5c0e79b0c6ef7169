"""``character-ray adapter``: look at adapters, compare them, and make one of several."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from character_ray.adapters import Manifest, load_manifest
from character_ray.config import ModelConfig
from character_ray.errors import AdapterError
from character_ray.hub import upload
from character_ray.log import console

if TYPE_CHECKING:
    from character_ray.training.combine import Method

__all__ = ["adapter"]

adapter = typer.Typer(no_args_is_help=True, help="Look at adapters, compare them, and make one of several.")

AdapterPath = Annotated[Path, typer.Argument(help="PEFT folder with its manifest, such as runs/demo/adapter.")]
BaseName = Annotated[str | None, typer.Option(help="Base model; by default the one that the manifest names.")]


@adapter.command()
def inspect(folder: AdapterPath) -> None:
    """Where an adapter comes from, and for every layer how large its update is and how many directions it uses."""
    from character_ray.training.factors import describe, load_updates

    manifest = load_manifest(folder)
    _print_manifest(folder, manifest)
    layers = describe(load_updates(folder))
    table = Table("layer", "norm", f"rank used of {manifest.rank}")
    for layer, summary in layers.items():
        table.add_row(layer, f"{summary.norm:.4f}", str(summary.used_rank))
    console.print(table)
    total = sum(summary.norm**2 for summary in layers.values()) ** 0.5
    widest = max(summary.used_rank for summary in layers.values())
    console.print(f"{len(layers)} layers, norm {total:.3f}; 99 % of every layer's energy fits in rank {widest}.")


@adapter.command()
def push(
    folder: AdapterPath,
    name: Annotated[str, typer.Argument(help="Model on the hub, owner/name.")],
    public: Annotated[bool, typer.Option(help="Make a new model of the hub public.")] = False,
) -> None:
    """Upload an adapter with its manifest and model card to the hub, once its files are checked."""
    load_manifest(folder)
    console.print(f"[green]{upload(folder, name, 'model', private=not public)}[/]")


@adapter.command()
def diff(first: AdapterPath, second: AdapterPath) -> None:
    """How far two adapters are apart, layer by layer."""
    from character_ray.training.factors import compare, load_updates

    table = Table("layer", "apart", "cosine")
    apart = compare(load_updates(first), load_updates(second))
    for layer, (distance, cosine) in apart.items():
        table.add_row(layer, f"{distance:.3f}", f"{cosine:+.3f}")
    console.print(table)
    mean = sum(cosine for _, cosine in apart.values()) / len(apart)
    console.print(
        f"mean cosine {mean:+.3f} over {len(apart)} layers; apart is the difference's norm over the larger update's norm."
    )


@adapter.command()
def combine(
    adapters: Annotated[list[Path], typer.Argument(help="Adapters of one base model.")],
    output: Annotated[Path, typer.Option(help="New folder.")],
    weight: Annotated[list[float] | None, typer.Option(help="One per adapter, in their order; 1 by default.")] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="Recompress to this rank by SVD.")] = None,
    legacy_linear: Annotated[
        bool, typer.Option(help="PEFT's linear, with its cross terms, as in published merges.")
    ] = False,
    base: BaseName = None,
) -> None:
    """Make one adapter of several, and compare its logits with those of the folded model."""
    from character_ray.config.evaluation import LARGEST_RANK
    from character_ray.training.combine import combine as combine_adapters

    _quieten()
    weights = weight or [1.0] * len(adapters)
    method: Method = "legacy_linear" if legacy_linear else "exact"
    made = combine_adapters(adapters, weights, _base(adapters[0], base), output, method=method, rank=rank)
    kept = "with PEFT's cross terms" if made.energy is None else f"{made.energy:.4%} of the energy"
    console.print(f"[green]{output}[/]: rank {made.rank}, {kept}")
    if rank is not None and rank > made.rank:
        console.print(f"--rank {rank} is more than these adapters have together, so nothing was recompressed.")
    console.print(
        f"logits differ by at most {made.logit_difference:.2e} (float32) from the folded model's, whose largest is "
        f"{made.largest_logit:.1f}"
    )
    if made.rank > LARGEST_RANK:
        console.print(
            f"[yellow]Engines hold ranks up to {LARGEST_RANK}: serving refuses this adapter of rank {made.rank}.[/] Combine again with "
            f"--rank {LARGEST_RANK}, or fold it into the base (character-ray adapter fold)."
        )


@adapter.command()
def fold(
    folder: AdapterPath,
    output: Annotated[Path, typer.Option(help="New model folder.")],
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "bfloat16",
    base: BaseName = None,
) -> None:
    """Write a copy of the base model with the adapter added, summed in float32 and rounded once, and compare their logits."""
    from character_ray.training.folding import fold_and_compare

    _quieten()
    made = fold_and_compare(_base(folder, base), folder, output, dtype)
    console.print(f"[green]{output}[/]")
    console.print(
        f"logits differ by at most {made.before_rounding:.2e} (float32) from those of base and adapter, whose largest is "
        f"{made.largest_logit:.1f}; as written, in {dtype}, by at most {made.written:.2e}"
    )


def _quieten() -> None:
    """A model that loads in a second needs no progress bar."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def _base(folder: Path, name: str | None) -> Path:
    """The base model's folder, once it is sure that the adapter was trained on it."""
    from character_ray.models import model_hash, resolve_model

    manifest = load_manifest(folder)
    model = resolve_model(
        ModelConfig(name=name)
        if name
        else ModelConfig(name=manifest.base_model.name, revision=manifest.base_model.revision)
    )
    found = model_hash(model)
    if found != manifest.base_model.hash:
        raise AdapterError(
            f"{folder} was trained on {manifest.base_model.name} with hash {manifest.base_model.hash}, but {model} has {found}. "
            "Give the right --base."
        )
    return model


def _print_manifest(folder: Path, manifest: Manifest) -> None:
    console.print(
        f"[bold]{folder}[/]: {manifest.persona}, stage {manifest.stage}, rank {manifest.rank}, hash {manifest.weights_hash}"
    )
    console.print(
        f"base {manifest.base_model.name} ({manifest.base_model.hash}), constitution {manifest.constitution_hash}, seed {manifest.seed}"
    )
    if manifest.parents:
        console.print(f"made from {', '.join(manifest.parents)}")
