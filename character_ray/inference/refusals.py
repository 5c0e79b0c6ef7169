"""Telling an endpoint that refuses everything alike from one that refuses some texts."""

from collections import Counter

__all__ = ["REFUSED_AFTER", "Refusals"]

REFUSED = (400, 422)
REFUSED_AFTER = 5  # requests that were refused alike, with no answer between
# What providers call refusals that are about one text, and not about how it was asked.
OF_ONE_TEXT = ("content_filter", "content_policy_violation", "context_length_exceeded", "invalid_prompt")


class Refusals:
    """What a pass was refused with since its last answer.

    Once something was answered, texts that one after the other are refused alike may do so as long as their number alone does not end
    the pass.

    Args:
        num_requests: Requests of the pass.
        max_failed_share: Share of them that may fail.
    """

    def __init__(self, num_requests: int, max_failed_share: float) -> None:
        self._tolerated = int(num_requests * max_failed_share)
        self._limit = REFUSED_AFTER
        self._alike: Counter[str] = Counter()

    def forget(self) -> None:
        """Something was answered."""
        self._alike.clear()
        self._limit = max(REFUSED_AFTER, self._tolerated + 1)

    def count(self, failure: Exception) -> None:
        """One more request was refused, or failed otherwise."""
        if (said := _refusal(failure)) is not None:
            self._alike[said] += 1

    def are_all(self, failure: Exception) -> bool:
        """Whether so many were refused like this one that all of them seem to be."""
        said = _refusal(failure)
        return said is not None and self._alike[said] >= self._limit


def _refusal(failure: Exception) -> str | None:
    """What an endpoint says of a request that it takes for a wrong one; ``None`` where the failure is another."""
    body = getattr(failure, "body", None)
    told = body if isinstance(body, dict) else {}
    if getattr(failure, "status_code", None) not in REFUSED or told.get("code") in OF_ONE_TEXT:
        return None
    return str(told.get("message") or failure)
