"""Whether a request that failed is tried again, after how long, and whether it may be charged for all the same.

The client of OpenAI could retry by itself, but would neither keep to a rate limit nor tell how many of the tries may be on the bill.
"""

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["may_be_charged", "wait_before_retry"]

# Errors of httpx before a request was sent.
NEVER_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol")
# A gateway gave up waiting; what is behind it may have gone on.
GAVE_UP_WAITING = (408, 504, 524)
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 8.0
# An endpoint that asks for longer is not waited for within one request.
LONGEST_ASKED_FOR_S = 120.0


def may_be_charged(failure: Exception) -> bool:
    """Whether the endpoint may have written an answer that did not arrive, and charge for it."""
    from openai import APIConnectionError

    status = getattr(failure, "status_code", None)
    if status is not None:
        return status < 400 or status in GAVE_UP_WAITING
    return isinstance(failure, APIConnectionError) and type(failure.__cause__).__name__ not in NEVER_SENT


def wait_before_retry(failure: Exception, attempt: int) -> float | None:
    """Seconds to wait before a failed request is sent again, or ``None`` where it would fare no better.

    Args:
        failure: What became of it.
        attempt: How many came before this one.
    """
    from openai import APIConnectionError

    status = getattr(failure, "status_code", None)
    headers: Mapping[str, str] = getattr(getattr(failure, "response", None), "headers", {})
    told = headers.get("x-should-retry")
    retried = isinstance(failure, APIConnectionError) or status in (408, 409, 429) or (status or 0) >= 500
    if told == "false" or (told != "true" and not retried):
        return None
    asked_for = _asked_for(headers)
    if asked_for is not None:
        return asked_for if asked_for <= LONGEST_ASKED_FOR_S else None
    # Spread, so that requests that failed together do not come back together.
    return min(FIRST_WAIT_S * 2.0 ** min(attempt, 10), LONGEST_WAIT_S) * random.uniform(0.75, 1.0)


def _asked_for(headers: Mapping[str, str]) -> float | None:
    """Seconds that the endpoint asks to wait: its Retry-After, in seconds or as a date."""
    for name, per_second in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / per_second
        except ValueError:
            continue
        return seconds if seconds > 0 else None
    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    seconds = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return seconds if seconds > 0 else None
