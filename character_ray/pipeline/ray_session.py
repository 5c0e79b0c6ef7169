"""Connecting to Ray: the cluster a job was submitted to, or one of our own on this machine."""

import logging
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from character_ray.cluster_room import alive_nodes, nodes_may_join
from character_ray.config import Recipe
from character_ray.errors import CharacterRayError, RecipeError
from character_ray.log import console
from character_ray.pipeline.orphans import no_orphans
from character_ray.pipeline.stage_room import Booking, Work, bookings_of, check_bookings, whole_run

__all__ = ["check_folder", "check_gpus", "check_side_by_side", "ray_for", "ray_session"]

# Ray unpacks the working directory of a job into a folder of this name, on every node that runs a part of it.
UNPACKED = "working_dir_files"


def ray_session(
    recipe: Recipe, folder: Path | None = None, *, does: Collection[Work] | None = None
) -> AbstractContextManager[None]:
    """Ray for the length of a ``with`` block, on what a recipe needs; see :func:`ray_for`.

    Args:
        recipe: The recipe.
        folder: What every node reads and writes; the recipe's ``output`` by default.
        does: What is done with it, by default all that a run does; for the rest no room is asked.
    """
    does = whole_run(recipe) if does is None else does
    needed = recipe.gpus_by_section | {
        "train": recipe.train.needed_gpus + recipe.kept_gpus if "train" in does else 0.0,
    }
    if "classify" not in does:
        del needed["evaluate.classifier.fine_tune"]
    return ray_for(
        needed,
        kept=recipe.kept_gpus,
        folder=recipe.output if folder is None else folder,
        bookings=bookings_of(recipe, does),
    )


def check_folder(folder: Path, working_directory: Path, num_nodes: int, may_grow: Callable[[], bool]) -> str:
    """Refuse a folder in one node's own copy of a job's working directory, where other nodes are to read and write it.

    Args:
        folder: As the user named it; a relative one starts at the working directory.
        working_directory: Of this process, absolute.
        num_nodes: Nodes of the cluster that are alive.
        may_grow: Finds out whether an autoscaler may add nodes.

    Returns:
        What becomes of it on the only node, as a sentence; empty where it is no such folder.

    Raises:
        RecipeError: There are several nodes, or may be, and the folder lies in what Ray unpacked for the job.
    """
    place = (working_directory / folder).resolve()
    if UNPACKED not in place.parts:
        return ""
    where = f"{folder} lies in the copy of the working directory that Ray unpacked on this node for the job ({place})"
    if num_nodes > 1 or may_grow():
        others = (
            f"of the {num_nodes} nodes of the cluster the others do not see it"
            if num_nodes > 1
            else "the nodes that the cluster's autoscaler adds do not see it"
        )
        raise RecipeError(
            f"{where}, so {others}, and it is lost after the job. Name an absolute path on storage that every node sees, such as "
            "output=/shared/runs."
        )
    return (
        f"{where}, so it is lost after the job, which would start anew when submitted again. Name an absolute path, such as "
        "output=/data/runs."
    )


def check_side_by_side(recipe: Recipe, at_once: int) -> None:
    """Refuse runs side by side on one Ray that would wait for the GPUs that others keep, and so for ever.

    Raises:
        RecipeError: Several run at once and keep GPUs.
    """
    kept = recipe.kept_gpus
    if at_once > 1 and kept:
        raise RecipeError(
            f"{at_once} runs side by side would each keep {kept:g} GPUs from stage to stage, which the others may wait for. Set "
            "student_engine.keep=false, student_engine.gpu_share=1 and judge.keep=false, or run one after the other."
        )


def check_gpus(sections: Mapping[str, float], kept: float, available: float, may_grow: Callable[[], bool]) -> str:
    """Refuse what a cluster can never hold.

    Args:
        sections: GPUs that each section of the recipe needs; they run one after the other.
        kept: How many of them engines and judges keep meanwhile.
        available: GPUs of the nodes that are alive.
        may_grow: Finds out whether an autoscaler may add nodes.

    Returns:
        What is to be waited for, as a sentence; empty where everything is there.

    Raises:
        RecipeError: A section needs more GPUs than there are, and no nodes join by themselves.
    """
    section, needed = max(sections.items(), key=lambda item: item[1])
    if needed <= available:
        return ""
    wanted = f"{section} needs {needed:g} GPU{'s' if needed > 1 else ''}" + (
        f" ({kept:g} of them kept by engines and judges; leave out keep or lower gpu_share)" if kept else ""
    )
    if may_grow():
        return (
            f"{wanted}, and this Ray cluster has {available:g} so far. Its autoscaler is waited for when they are needed, as long as "
            "wait_for_nodes_s says."
        )
    raise RecipeError(
        f"{wanted}, but this Ray cluster has {available:g}. Set {section}.device=cpu for the embedded model, lower its replicas or "
        "workers, or submit to a cluster with more GPUs."
    )


@contextmanager
def ray_for(
    gpus: Mapping[str, float], kept: float = 0.0, folder: Path | None = None, bookings: Iterable[Booking] = ()
) -> Iterator[None]:
    """Ray for the length of the block.

    Inside a submitted job, or with ``RAY_ADDRESS`` set, that cluster is used and left running. Otherwise Ray starts on this
    machine, with token authentication as Ray does by default, and stops at the end.

    Args:
        gpus: GPUs that each section of the recipe needs, with those that others keep meanwhile; sections run one after the other.
        kept: GPUs that are kept from section to section.
        folder: What every node reads and writes.
        bookings: What each stage needs on which nodes; not looked at inside a session, whose nodes may be lost for a while.

    Raises:
        RecipeError: A section needs more GPUs than the cluster has, or places that none of its nodes have, and nobody adds nodes to it;
            or only this node sees the folder.
    """
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    was_running, own = ray.is_initialized(), "RAY_ADDRESS" not in os.environ
    # A cluster's nodes clean up behind the workers of a driver that died; a Ray of our own dies with its driver.
    with no_orphans() if own and not was_running else nullcontext():
        if not was_running:
            options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
            if own:
                # Engines and data operators are scheduled side by side; on a small machine they share its cores.
                options |= {"address": "local", "num_cpus": max(os.cpu_count() or 1, 4), "include_dashboard": False}
            ray.init(**options)
        _quieten()
        try:
            if folder is not None and (lost := check_folder(folder, Path.cwd(), len(alive_nodes()), nodes_may_join)):
                console.print(f"[yellow]warning[/]: {lost}")
            available = ray.cluster_resources().get("GPU", 0)
            awaited = check_gpus(gpus, kept, available, nodes_may_join)
            if not awaited and not was_running:
                awaited = check_bookings(bookings, alive_nodes(), nodes_may_join)
            if awaited:
                console.print(f"[yellow]warning[/]: {awaited}")
            yield
        finally:
            if not was_running:
                ray.shutdown()


def _quieten() -> None:
    """Progress is shown by our own line; Ray Data's log file keeps the rest."""
    import ray.data
    import ray.data.llm  # configures its own loggers when imported, so they are quietened after that
    from transformers.utils import logging as transformers_logging

    ray.data.DataContext.get_current().enable_progress_bars = False
    transformers_logging.disable_progress_bar()
    for name in list(logging.root.manager.loggerDict):
        if name == "ray" or name.startswith("ray."):
            logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("ray.data.exceptions").addFilter(_is_a_fault)


def _is_a_fault(record: logging.LogRecord) -> bool:
    """Whether what Ray Data reports as a fault of its own is one: an error of ours, raised on purpose, is shown by us."""
    return not isinstance(sys.exc_info()[1], CharacterRayError)
