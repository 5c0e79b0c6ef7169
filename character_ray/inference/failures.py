"""How many rows of a stage may fail before the run ends."""

from collections import Counter
from collections.abc import Iterable

from character_ray.errors import GenerationError
from character_ray.log import describe_counts

__all__ = ["count_failures"]

LONGEST_REASON = 200  # characters


def count_failures(stage: str, errors: Iterable[str], max_failed_share: float) -> Counter[str]:
    """Failed rows by the first line of their error.

    Args:
        stage: Name of the stage, for the error.
        errors: One per row, empty where the row succeeded.
        max_failed_share: From the engine's section of the recipe.

    Raises:
        GenerationError: A larger share failed; the reasons are listed by count.
    """
    every = list(errors)
    failed = Counter(error.splitlines()[0][:LONGEST_REASON] for error in every if error)
    if failed.total() > max_failed_share * len(every):
        raise GenerationError(
            f"{stage}: {failed.total():,} of {len(every):,} rows failed ({describe_counts(failed)}), more than "
            f"max_failed_share={max_failed_share} of the engine allows. The others are kept; mend the cause and run again."
        )
    return failed
