"""Completing requests at an OpenAI-compatible endpoint: within its rate limit, with retries, and never beyond a budget."""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from character_ray.chat_answers import excerpt_of, fault_in, speaks_the_api, tokens_used
from character_ray.config import EndpointConfig
from character_ray.errors import CharacterRayError, GenerationError
from character_ray.inference.chat_body import chat_body
from character_ray.inference.passes import Deliver, Generation, run_pass
from character_ray.inference.refusals import REFUSED_AFTER, Refusals
from character_ray.inference.retries import may_be_charged, wait_before_retry
from character_ray.inference.spending import Ledger
from character_ray.log import StageProgress
from character_ray.rows import Completion, Request

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["Reader", "Sections", "generate_remotely", "text_of"]

Reader = Callable[[Any, Request], str]
Further = Callable[[Request], dict[str, Any]]

# Answers are paid for, so few of them wait to be written.
WRITTEN_TOGETHER = 16
LIMITED_ROUNDS = 3  # in which a rate limit let nobody through, retries included
SILENT_AFTER = 3  # requests in a row that found nobody, retries included
FOREIGN_AFTER = 3  # answers in a row that are none of the API


@dataclass(frozen=True)
class Sections:
    """Where the user wrote what an error is about."""

    model: str = "teacher.name"
    endpoint: str = "teacher_endpoint"


def text_of(answer: Any, request: Request) -> str:
    """The text of an answer."""
    return (answer.choices[0].message.content or "").strip()


def nothing_further(request: Request) -> dict[str, Any]:
    """No field beyond those of every request."""
    return {}


def generate_remotely(
    label: str,
    generations: Sequence[Generation],
    model: str,
    endpoint: EndpointConfig,
    spending: Path,
    *,
    read: Reader = text_of,
    further: Further = nothing_further,
    sections: Sections = Sections(),  # frozen
) -> None:
    """Complete every unfinished generation at an endpoint.

    Args:
        label: Name on the progress line.
        generations: What is wanted.
        model: Name of the model there.
        endpoint: Address, limits, prices and budget.
        spending: The ledger that its answers are booked in.
        read: What is kept of an answer to a request.
        further: Fields of a request's body that only some servers know.
        sections: Where the user wrote model and endpoint.

    Raises:
        GenerationError: The endpoint refuses key or model, or all requests alike, or does not speak the API; the budget is used up; or
            too many rows failed. What was answered is kept.
    """

    def complete(requests: Sequence[Request], deliver: Deliver, progress: StageProgress) -> None:
        progress.note(f"asking {model} at {endpoint.url}")
        ledger = Ledger(spending, endpoint)
        asyncio.run(_Pass(model, endpoint, ledger, deliver, read, further, sections).answer(requests))

    run_pass(label, generations, endpoint.max_failed_share, complete)


class _Pass:
    """The requests of one pass: a fixed number of workers take them in order."""

    def __init__(
        self,
        model: str,
        endpoint: EndpointConfig,
        ledger: Ledger,
        deliver: Deliver,
        read: Reader,
        further: Further,
        sections: Sections,
    ) -> None:
        self._model, self._endpoint, self._ledger, self._deliver = model, endpoint, ledger, deliver
        self._read, self._further, self._sections = read, further, sections
        self._waiting: list[Request] = []
        self._unanswered = 0
        self._written: list[Completion] = []
        self._next_start = 0.0
        self._booked = asyncio.Condition()
        self._over = asyncio.Event()
        self._failure: GenerationError | None = None
        self._under_way = 0
        self._unreachable = 0
        self._limited = 0
        self._foreign = 0
        self._refusals = Refusals(0, 0.0)

    async def answer(self, requests: Sequence[Request]) -> None:
        from openai import AsyncOpenAI

        self._waiting, self._unanswered = list(reversed(requests)), len(requests)
        endpoint = self._endpoint
        self._refusals = Refusals(len(requests), endpoint.max_failed_share)
        client = AsyncOpenAI(
            base_url=endpoint.url,
            # A server of one's own asks for no key, but the client wants one.
            api_key=os.environ.get(endpoint.key_variable, "none"),
            max_retries=0,  # each try is paced and booked by itself
            timeout=endpoint.timeout_s,
        )
        try:
            async with client, asyncio.TaskGroup() as workers:
                for _ in range(min(endpoint.max_concurrent, len(requests))):
                    workers.create_task(self._work(client))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            self._write()
        if self._failure is not None:
            raise self._failure

    async def _work(self, client: "AsyncOpenAI") -> None:
        while self._waiting:
            request = self._waiting.pop()
            try:
                completion = await self._complete(client, request)
                if completion is None:
                    self._waiting.insert(0, request)
                    continue
                self._unanswered -= 1
                self._written.append(completion)
                if len(self._written) >= WRITTEN_TOGETHER:
                    self._write()
            except GenerationError as failure:
                # The others end when their requests under way are answered, since those are paid for.
                self._failure = self._failure or failure
                self._over.set()
                return

    async def _complete(self, client: "AsyncOpenAI", request: Request) -> Completion | None:
        """The answer, or what kept it away each time; ``None`` where a rate limit did, so that it is asked again."""
        for attempt in count():
            answer = await self._attempt(client, request)
            if not isinstance(answer, Exception):
                break
            wait_s = wait_before_retry(answer, attempt)
            if wait_s is None or attempt == self._endpoint.retries:
                await self._check_refused(answer)
                return self._give_up(request, answer)
            await self._rest(wait_s)
        self._unreachable = 0
        self._limited = 0
        return self._to_completion(request, answer)

    async def _attempt(self, client: "AsyncOpenAI", request: Request) -> Any:
        """What the endpoint answers to one more try, or the error; paced, and booked where it may be charged for."""
        reserved = await self._reserve(request)
        try:
            await self._pace()
            return await self._ask(client, request, reserved)
        finally:
            async with self._booked:
                self._under_way -= 1
                self._booked.notify_all()

    async def _reserve(self, request: Request) -> float:
        """Set the most it can cost aside; wait for requests under way to cost less than was set aside for them."""
        async with self._booked:
            while (reserved := self._ledger.reserve(request)) is None:
                if not self._under_way:
                    raise GenerationError(
                        f"{self._model} at {self._endpoint.url}: {self._ledger.spent:.4f} USD are spent, and the next request could "
                        f"exceed budget_usd={self._endpoint.budget_usd}. {self._unanswered:,} requests are not sent; what was answered is "
                        f"kept. Raise {self._sections.endpoint}.budget_usd and run again to continue, or ask for fewer rows."
                    )
                await self._booked.wait()
            self._under_way += 1
            return reserved

    async def _pace(self) -> None:
        """Start no more requests a minute than the endpoint allows, evenly spaced."""
        limit, now = self._endpoint.requests_per_minute, monotonic()
        start = max(now, self._next_start)
        self._next_start = start + (60.0 / limit if limit else 0.0)
        await self._rest(start - now)

    async def _rest(self, seconds: float) -> None:
        """Wait.

        Raises:
            GenerationError: The pass has ended meanwhile.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)
        if self._failure is not None:
            raise self._failure

    async def _ask(self, client: "AsyncOpenAI", request: Request, reserved: float) -> Any:
        from openai import AuthenticationError, NotFoundError, OpenAIError, PermissionDeniedError

        body = chat_body(request, self._endpoint, self._further(request))
        try:
            answer: Any = await client.chat.completions.create(model=self._model, **body)
        except (AuthenticationError, NotFoundError, PermissionDeniedError) as cause:
            self._ledger.release(reserved)
            raise GenerationError(
                f"{self._endpoint.url} refuses the model {self._model!r}: {cause}. No other request would fare better. Check "
                f"{self._sections.model}, {self._sections.endpoint}.url and {self._endpoint.key_variable}."
            ) from cause
        except OpenAIError as cause:
            if may_be_charged(cause):
                self._ledger.book(request["row_id"], reserved, None)
            else:
                self._ledger.release(reserved)
            return cause
        except ValueError as cause:  # what is declared as JSON is none
            answer = getattr(cause, "doc", str(cause))
        except asyncio.CancelledError:  # the run was stopped, but what was sent is answered
            self._ledger.book(request["row_id"], reserved, None)
            raise
        self._ledger.book(request["row_id"], reserved, tokens_used(answer))
        self._refusals.forget()
        return answer

    async def _check_refused(self, failure: Exception) -> None:
        """Wait, once several requests were refused alike, for what is under way.

        Raises:
            GenerationError: None of it was answered either.
        """
        self._refusals.count(failure)
        async with self._booked:
            await self._booked.wait_for(lambda: not (self._under_way and self._refusals.are_all(failure)))
        if self._refusals.are_all(failure):
            section = self._sections.endpoint
            raise GenerationError(
                f"{self._endpoint.url} refused {REFUSED_AFTER} requests or more alike and answered none between: {failure}. No other would "
                f"fare better. Where it refuses a field, name the one it wants for max_tokens in {section}.max_tokens_field, list those "
                f"it does not take in {section}.leave_out, or change {section}.extra_body. What was answered is kept."
            ) from failure

    def _give_up(self, request: Request, failure: Exception) -> Completion | None:
        """The row of a request that failed as often as it may; ``None`` where a rate limit let others pass.

        Raises:
            GenerationError: Several requests in a row found nobody.
        """
        from openai import APIConnectionError, RateLimitError

        # It has waited as long as Retry-After says; others took the place.
        self._limited += isinstance(failure, RateLimitError)
        if isinstance(failure, RateLimitError) and self._limited <= LIMITED_ROUNDS * self._endpoint.max_concurrent:
            return None
        self._unreachable += isinstance(failure, APIConnectionError)
        if self._unreachable >= SILENT_AFTER:
            raise GenerationError(
                f"{self._endpoint.url} could not be reached {SILENT_AFTER} times in a row, each with {self._endpoint.retries} "
                f"retries: {failure}. Check {self._sections.endpoint}.url and the network; what was answered is kept."
            ) from failure
        return _completion(request, error=f"{type(failure).__name__}: {failure}")

    def _to_completion(self, request: Request, answer: Any) -> Completion:
        """The answer as a row; one that cannot be read costs its row alone.

        Raises:
            GenerationError: Several answers in a row are none of the API.
        """
        if not speaks_the_api(answer):
            self._foreign += 1
            what = f"{self._endpoint.url} answered with {excerpt_of(answer)}, which is no answer of the OpenAI API"
            if self._foreign >= FOREIGN_AFTER:
                raise GenerationError(
                    f"{what}, {FOREIGN_AFTER} times in a row. Check {self._sections.endpoint}.url: a base URL mostly ends in /v1. "
                    "What was answered is kept."
                )
            return _completion(request, error=f"{what}; a base URL mostly ends in /v1")
        self._foreign = 0
        if fault := fault_in(answer):
            return _completion(request, error=fault)
        try:
            text = self._read(answer, request)
        except CharacterRayError:
            raise
        except Exception as cause:
            return _completion(
                request, error=f"unreadable answer ({type(cause).__name__}: {cause}): {excerpt_of(answer)}"
            )
        used = tokens_used(answer)
        return _completion(
            request,
            text=text,
            num_tokens=used[1] if used else 0,
            finish_reason="length" if answer.choices[0].finish_reason == "length" else "stop",
        )

    def _write(self) -> None:
        if self._written:
            written, self._written = self._written, []
            self._deliver(written)


def _completion(
    request: Request, *, text: str = "", num_tokens: int = 0, finish_reason: str = "error", error: str = ""
) -> Completion:
    return Completion(
        row_id=request["row_id"],
        prompt_id=request["prompt_id"],
        sample=request["sample"],
        completion=text,
        num_tokens=num_tokens,
        finish_reason=finish_reason,
        error=error,
    )
