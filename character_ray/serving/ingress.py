"""The HTTP side: Ray's OpenAI ingress with personas by name, and prompts that cannot command the template."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from fastapi import FastAPI, Request
from ray.exceptions import RayActorError
from ray.serve.llm.ingress import OpenAiIngress
from ray.serve.llm.openai_api_models import ChatCompletionRequest, CompletionRequest
from starlette.responses import JSONResponse, Response, StreamingResponse

from character_ray.chat_safety import neutralize_all
from character_ray.manifest import AUTO
from character_ray.routing import Choice
from character_ray.serving.asked import num_choices, scores
from character_ray.serving.audit import AuditLog
from character_ray.serving.catalogue import Catalogue, auto_card
from character_ray.serving.choosing import PersonaChooser, asked_turns
from character_ray.serving.drift import DriftWatch, heard, said
from character_ray.serving.failing import failed
from character_ray.serving.following import FollowedCatalogue
from character_ray.serving.http_app import error_response, refused
from character_ray.serving.key_watch import KeyWatch
from character_ray.serving.keys import ApiKey, KeyRing, Refusal
from character_ray.serving.limits import PersonaGate
from character_ray.serving.metrics import DriftMetrics, IngressMetrics
from character_ray.serving.source import PersonaSource
from character_ray.serving.spread import warm_replicas
from character_ray.serving.usage import Tokens, ask_usage, counted, tokens_of

__all__ = ["CONFIDENCE_HEADER", "ENDPOINTS", "PERSONA_HEADER", "PersonaIngress"]

# Ray Serve writes what goes to this logger into the replica's log file.
logger = logging.getLogger("ray.serve")

ENDPOINTS = {
    "health": lambda app: _get(app, "/health"),
    "ready": lambda app: _get(app, "/ready"),
    "models": lambda app: _get(app, "/v1/models"),
    "model_data": lambda app: _get(app, "/v1/models/{model:path}"),
    "chat": lambda app: app.post("/v1/chat/completions"),
    "completions": lambda app: app.post("/v1/completions"),
}

# Every field of a request whose text the chat template puts into the prompt.
_PROMPT_FIELDS = ("messages", "tools", "documents", "chat_template_kwargs")
_READY_LIMIT_S = 10
_NO_TOKENS = Tokens()
PERSONA_HEADER = "X-Character-Ray-Persona"
CONFIDENCE_HEADER = "X-Character-Ray-Confidence"


class PersonaIngress(OpenAiIngress):
    """Lists base, personas and judge, and hands each request to the engine under the pinned name of its weights.

    Text in a request never becomes a control token: a ``<|im_start|>system`` that a user types stays text. The catalogue follows the
    registry: a request is resolved once, by the catalogue as it is then, and keeps that version to its end.
    """

    # Ray Serve awaits the constructor of a deployment.
    async def __init__(  # type: ignore[misc]
        self,
        *,
        catalogue: Catalogue,
        source: PersonaSource,
        control_tokens: Mapping[str, Sequence[str]],
        places: Mapping[str, int] | None = None,
        keys: Sequence[ApiKey] = (),
        lasting_keys: Sequence[ApiKey] = (),
        chooser: PersonaChooser | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._keys = KeyRing(tuple(keys))
        watch = KeyWatch(self._keys, source.serve.keys, lasting_keys)
        await asyncio.to_thread(watch.look)  # the keys given are of the day the application was built
        self._revoking = asyncio.create_task(watch.follow())
        self._source = source
        self._control_tokens = {model: tuple(tokens) for model, tokens in control_tokens.items()}
        self._serve = source.serve
        self._metrics = IngressMetrics()
        self._gate = PersonaGate(source.serve.max_persona_requests, places)
        self._chooser = chooser or (PersonaChooser(source.serve.auto) if source.serve.auto else None)
        self._audit = AuditLog(source.serve.audit, source.serve.audit_text)
        self._followed = await FollowedCatalogue.open(catalogue, source, self._warm, self._metrics)
        self._drift = DriftWatch(source.serve.drift, self._read_by_base, DriftMetrics()) if source.serve.drift else None
        self._watching = asyncio.create_task(self._drift.follow()) if self._drift else None
        self._loading = asyncio.create_task(self._followed.load())
        self._following = asyncio.create_task(self._followed.follow())

    async def health(self) -> Response:
        """Whether this process answers."""
        return JSONResponse({"status": "ok"})

    async def ready(self) -> Response:
        """Whether the base's engine answers behind it and what was to be loaded is loaded; of a judge, whether it answers, too."""
        if missing := len(self._followed.to_load):
            return JSONResponse({"status": f"personas still to be loaded: {missing}"}, status_code=503)
        base, *others = await asyncio.gather(*map(self._answers, self._control_tokens))
        if not base:
            return JSONResponse({"status": "the engine does not answer"}, status_code=503)
        # Without the judge the personas answer as ever, so that nobody takes them out of service.
        judge = {"judge": "ready" if all(others) else "does not answer"} if others else {}
        return JSONResponse({"status": "ready", "personas": len(self._followed.now.personas), **judge})

    async def models(self, request: Request) -> Response:  # type: ignore[override]
        """Base, personas and judge, as far as the client may know of them."""
        header = request.headers.get("authorization")
        if refusal := self._keys.refuse(header):
            return refused(refusal)
        listed = self._known_to(header).cards(versions=request.query_params.get("versions") == "true")
        cards = [card for card in listed if self._keys.sees(header, _alias(card))]
        if self._chooser is not None:
            cards.append(auto_card())
        return JSONResponse({"object": "list", "data": cards})

    async def model_data(self, model: str, request: Request) -> Response:  # type: ignore[override]
        """One of them, by any of its names."""
        header = request.headers.get("authorization")
        if refusal := self._keys.refuse(header):
            return refused(refusal)
        if model == AUTO and self._chooser is not None:
            return JSONResponse(auto_card())
        card = self._known_to(header).card(model)
        if card and self._keys.sees(header, _alias(card)):
            return JSONResponse(card)
        return self._unknown(self._followed.now, model, header)

    async def chat(self, body: ChatCompletionRequest, request: Request) -> Response:  # type: ignore[override]
        """A chat completion."""

        async def answer() -> Response:
            for field in _PROMPT_FIELDS:
                setattr(body, field, self._harmless(getattr(body, field), body.model))
            return await super(PersonaIngress, self).chat(body, request)

        return await self._serve_request(body, request, body.messages, answer)

    async def completions(self, body: CompletionRequest, request: Request) -> Response:  # type: ignore[override]
        """A plain continuation of text, without the chat template."""

        async def answer() -> Response:
            prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt or []
            if not prompts or not all(isinstance(prompt, str) for prompt in prompts):
                text = "prompt must be text or a list of texts; token ids are not accepted."
                return error_response(400, text, "prompt", "invalid_value")
            body.prompt = self._harmless(body.prompt, body.model)
            return await super(PersonaIngress, self).completions(body, request)

        return await self._serve_request(body, request, body.prompt, answer)

    def _harmless(self, text: Any, engine_id: str | None) -> Any:
        """Text that holds no control token of the model that reads it."""
        assert engine_id is not None  # every request is resolved before it is answered
        return neutralize_all(text, self._control_tokens[engine_id.partition(":")[0]])

    def _known_to(self, header: str | None) -> Catalogue:
        return self._followed.now.known(candidates=self._serve.candidates or self._keys.may_try(header))

    async def _answers(self, engine_id: str) -> bool:
        """Whether an engine does, of base or judge."""
        try:
            await asyncio.wait_for(self._warm(engine_id), _READY_LIMIT_S)
        except Exception as error:
            logger.warning("%s is not ready: %s", engine_id, error)
            return False
        return True

    async def _warm(self, engine_id: str) -> None:
        """Let engines load what they serve under this name, as many as are to hold it; raises what keeps one from it."""
        warm = self._get_configured_serve_handle(engine_id).options(stream=False).warm
        slug = engine_id.rpartition(":")[2].rpartition("-")[0]
        replicas = warm_replicas(self._serve, self._gate.ongoing[slug]) if ":" in engine_id else 1
        await asyncio.gather(*(warm.remote() for _ in range(replicas)))

    async def _read_by_base(
        self, messages: Sequence[Mapping[str, str]], fields: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """What the engine says of a chat that the base reads."""
        body = ChatCompletionRequest(
            model=self._followed.now.base, messages=list(messages), max_tokens=1, temperature=0.0, **fields
        )
        response = await self._process_llm_request(body, "chat")
        read: Mapping[str, Any] = json.loads(bytes(response.body))
        return read

    async def _serve_request(
        self, body: Any, request: Request, text: Any, answer: Callable[[], Awaitable[Response]]
    ) -> Response:
        """Choose if asked to, resolve, admit, answer, count."""
        header = request.headers.get("authorization")
        start, catalogue = monotonic(), self._known_to(header)
        asked: str | None = body.model
        choice: Choice | None = None
        key = self._keys.find(header)
        persona, card, places = "unknown", None, 0

        def end(status: int, tokens: Tokens = _NO_TOKENS) -> None:
            if places:
                self._gate.leave(persona, places)
                self._metrics.ongoing.set(self._gate.ongoing[persona], tags={"persona": persona})
            seconds = monotonic() - start
            self._metrics.requests.inc(tags={"persona": persona, "status": str(status)})
            self._metrics.duration_s.observe(seconds, tags={"persona": persona})
            self._metrics.count(persona, tokens)
            self._audit.write(
                text=text,
                client=key.name if key else "",
                persona=persona,
                model=body.model if card else "",
                auto=choice is not None,
                status=status,
                seconds=round(seconds, 3),
                tokens=tokens.written,
            )

        if asked == AUTO and self._chooser is not None:
            try:
                found = await self._choose(self._chooser, catalogue, text, header)
            except asyncio.CancelledError:
                end(499)
                raise
            except Exception as error:
                response = failed(AUTO, persona, error, self._metrics)
                end(response.status_code)
                return response
            if isinstance(found, Refusal):
                self._metrics.refusals.inc(tags={"persona": AUTO, "reason": found.code})
                end(found.status)
                return refused(found)
            choice = found
            asked = choice.slug or catalogue.base
        card = catalogue.card(asked)
        persona = _alias(card) if card else "unknown"
        refusal = self._admit(persona if card else None, header, body)
        if refusal is None and card is not None:
            refusal = self._gate.enter(persona, num_choices(body))
            places = 0 if refusal else num_choices(body)
        if refusal is not None:
            self._metrics.refusals.inc(tags={"persona": persona, "reason": refusal.code})
            end(refusal.status)
            return refused(refusal)
        if card is None:
            end(404)
            return self._unknown(catalogue, asked, header)
        self._metrics.ongoing.set(self._gate.ongoing[persona], tags={"persona": persona})
        body.model = catalogue.resolve(asked)
        usage_shown = ask_usage(body)
        watched = self._watched(catalogue, body)
        try:
            response = await self._answered(answer, persona)
        except asyncio.CancelledError:
            end(499)
            raise
        except Exception as error:
            response = failed(body.model, persona, error, self._metrics)
        if choice is not None:
            response.headers[PERSONA_HEADER] = persona
            response.headers[CONFIDENCE_HEADER] = f"{choice.confidence:.3f}"
        if not isinstance(response, StreamingResponse):
            if watched is not None and response.status_code == 200:
                watched(said(bytes(response.body)))
            end(response.status_code, tokens_of(response))
            return response
        if watched is not None:
            response.body_iterator = heard(response.body_iterator, watched)
        self._metrics.first_token_s.observe(monotonic() - start, tags={"persona": persona})
        response.body_iterator = counted(response.body_iterator, usage_shown, end)
        return response

    def _watched(self, catalogue: Catalogue, body: Any) -> Callable[[str], None] | None:
        """What is to be told the text of the answer, if it is to be scored; only a live version's is."""
        drift = self._drift
        persona = next((each for each in catalogue.personas if catalogue.engine_id(each) == body.model), None)
        if drift is None or persona is None or not drift.takes(persona, body):
            return None
        return lambda text: drift.offer(persona, body.messages, self._harmless(text, body.model))

    async def _answered(self, answer: Callable[[], Awaitable[Response]], persona: str) -> Response:
        """The response, asked for again where the replica that worked on it died before its first token.

        A stream that has begun is not repeated: the client has read a part of another draw. It breaks off, and the client is told.
        """
        for retry in range(self._serve.replica_retries):
            try:
                return await answer()
            except RayActorError as error:
                self._metrics.retries.inc(tags={"persona": persona})
                logger.warning("a replica died; retry %d of %d: %s", retry + 1, self._serve.replica_retries, error)
        return await answer()

    async def _choose(
        self, chooser: PersonaChooser, catalogue: Catalogue, text: Any, header: str | None
    ) -> Choice | Refusal:
        """Who answers, among those that the client may ask for."""
        refusal = self._keys.refuse(header) or self._gate.enter(AUTO)
        if refusal is not None:
            return refusal
        start = monotonic()
        try:
            choice = await chooser.choose(
                asked_turns(text), catalogue.personas, lambda slug: self._keys.sees(header, slug)
            )
        finally:
            self._gate.leave(AUTO)
        self._metrics.choice_s.observe(monotonic() - start)
        self._metrics.choices.inc(tags={"persona": choice.slug or "none"})
        return choice

    def _admit(self, persona: str | None, header: str | None, body: Any) -> Refusal | None:
        # Who has no key learns nothing, not even which names exist.
        if refusal := self._keys.refuse(header):
            return refusal
        choices, most = num_choices(body), self._serve.max_choices
        if choices > most:
            text = f"The request asks for {choices:,} answers (n for each prompt); {most} are the most here. Send several requests."
            return Refusal(400, "too_many_choices", text)
        if scores(body) and not self._keys.may_score(header):
            text = "This key may not have given text scored (prompt_logprobs, or echo with logprobs). Ask the operator."
            return Refusal(403, "scoring_not_allowed", text)
        return self._keys.refuse(header, persona, choices)

    def _unknown(self, catalogue: Catalogue, model: str | None, header: str | None) -> Response:
        known = ", ".join(name for name in catalogue.names() if self._keys.sees(header, name))
        text = f"There is no model or persona {model!r} here. Ask for one of: {known}."
        return error_response(404, text, "model", "model_not_found")


def _alias(card: dict[str, Any]) -> str:
    """A model's short name, which key files use."""
    return str(card["metadata"].get("alias", card["id"]))


def _get(app: FastAPI, path: str) -> Any:
    return app.get(path, response_model=None)
