"""The constitutions' side of the API: gallery, checks, saving, differences, and previews by the teacher."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from character_ray.constitution import Constitution, diff_constitutions, teacher_messages
from character_ray.errors import StudioError
from character_ray.rows import Message
from character_ray.studio.api import PersonaApi, Sampling
from character_ray.studio.checking import check_text, read_text
from character_ray.studio.gallery import Gallery
from character_ray.studio.seating import draw_sampling_seed
from character_ray.studio.settings import Settings
from character_ray.studio.streams import Pieces, interleave, to_line

__all__ = ["editor_routes"]

MAX_PROMPTS = 4
Prompt = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Text(_Asked):
    text: str


class _Save(_Text):
    seen: str = Field("", max_length=16)


class _Side(_Asked):
    name: str = ""
    version: str = ""
    text: str | None = None
    """What stands in the editor, in place of a file."""


class _Diff(_Asked):
    before: _Side
    after: _Side


class _Preview(_Text):
    model: str
    prompts: list[Prompt] = Field(min_length=1, max_length=MAX_PROMPTS)
    temperature: float = Field(0.7, ge=0, le=2)
    max_tokens: int = Field(160, ge=1, le=2048)


def editor_routes(settings: Settings, api: PersonaApi, gallery: Gallery) -> APIRouter:
    """The routes below ``/api`` that the constitutions' page uses."""
    routes = APIRouter(prefix="/api")

    @routes.get("/constitutions")
    def cards() -> dict[str, Any]:
        return {"folder": str(gallery.folder), "constitutions": gallery.cards()}

    @routes.get("/constitutions/{name}")
    def load(name: str, version: str = "") -> dict[str, Any]:
        saved = gallery.load(name, version)
        return {"name": name, "text": saved.text, "hash": saved.hash, "versions": gallery.versions(name)}

    @routes.put("/constitutions/{name}")
    def save(name: str, asked: _Save) -> dict[str, Any]:
        saved = gallery.save(name, asked.text, asked.seen)
        return {"name": name, "hash": saved.hash, "versions": gallery.versions(name)}

    @routes.post("/check")
    def check(asked: _Text) -> dict[str, Any]:
        return check_text(asked.text)

    @routes.post("/diff")
    def diff(asked: _Diff) -> dict[str, Any]:
        changes = diff_constitutions(_side(asked.before), _side(asked.after))
        shown = [{**vars(change), "pieces": [vars(piece) for piece in change.pieces]} for change in changes]
        return {"changes": shown}

    @routes.post("/preview")
    async def preview(asked: _Preview, x_api_key: str = Header("")) -> StreamingResponse:
        constitution, problems = read_text(asked.text)
        if constitution is None:
            raise StudioError(f"a constitution with problems cannot be tried: {problems[0]}")
        return StreamingResponse(_answers(asked, constitution, x_api_key), media_type="application/x-ndjson")

    async def _answers(asked: _Preview, constitution: Constitution, key: str) -> AsyncIterator[str]:
        sources: dict[str, Pieces] = {}
        for index, prompt in enumerate(asked.prompts):
            # Both sides draw with the same seed, so that the constitution is the only difference.
            sampling = Sampling(asked.temperature, asked.max_tokens, draw_sampling_seed(settings.seed, 0, index))
            plain = [Message(role="user", content=prompt)]
            for side, messages in (("plain", plain), ("told", teacher_messages(constitution, prompt))):
                sources[f"{index} {side}"] = _source(asked.model, messages, sampling, key)
        async for name, piece in interleave(sources):
            index_text, side = name.split()
            where = {"prompt": int(index_text), "side": side}
            if isinstance(piece, Exception):
                yield to_line(**where, error=str(piece) if isinstance(piece, StudioError) else "The answer broke off.")
            elif piece is None:
                yield to_line(**where, end=True)
            else:
                yield to_line(**where, text=piece)

    def _source(model: str, messages: list[Message], sampling: Sampling, key: str) -> Pieces:
        return lambda: api.stream(model, messages, sampling, key)

    def _side(side: _Side) -> Constitution:
        if side.text is None:
            return gallery.constitution(side.name, side.version)
        constitution, problems = read_text(side.text)
        if constitution is None:
            raise StudioError(
                f"the text in the editor cannot be compared before its problems are repaired: {problems[0]}"
            )
        return constitution

    return routes
