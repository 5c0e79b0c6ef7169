"""The arena's side of the API: battles, their turns, votes, and the leaderboard.

Until the vote of a blind battle nothing that is sent says who sits where: neither names, nor keys, nor the API's own errors.
"""

from collections.abc import AsyncIterator
from typing import Any, Literal

from fastapi import APIRouter, Header
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from character_ray.errors import StudioError
from character_ray.manifest import AUTO, JUDGE
from character_ray.studio.api import ApiFailure, PersonaApi, Sampling
from character_ray.studio.battles import Battle, BattleStore, Contestant, Seat, Turn, Vote
from character_ray.studio.contestants import Choice, build_contestant
from character_ray.studio.gallery import Gallery
from character_ray.studio.leaderboard import standings
from character_ray.studio.seating import draw_one, draw_pair, draw_sampling_seed, is_swapped
from character_ray.studio.settings import Settings
from character_ray.studio.streams import interleave, to_line

__all__ = ["arena_routes"]

SEATS: tuple[Seat, Seat] = ("A", "B")
RECENT = 12


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Pick(_Asked):
    model: str = Field(max_length=300)
    constitution: str = Field("", max_length=100)
    shown: Literal["prompt", "examples"] = "prompt"


class _NewBattle(_Asked):
    first: _Pick | None = None
    """``None`` lets the draw decide who plays."""
    second: _Pick | None = None
    blind: bool = True


class _NewTurn(_Asked):
    prompt: str = Field(min_length=1, max_length=8000)
    temperature: float = Field(0.7, ge=0, le=2)
    max_tokens: int = Field(256, ge=1, le=4096)


class _NewVote(_Asked):
    vote: Vote


def arena_routes(settings: Settings, api: PersonaApi, store: BattleStore, gallery: Gallery) -> APIRouter:
    """The routes below ``/api`` that the arena uses."""
    routes = APIRouter(prefix="/api")

    @routes.get("/models")
    async def models(x_api_key: str = Header("")) -> dict[str, Any]:
        found = await api.models(x_api_key)
        return {"api": api.url, "models": [{**vars(model), "key": model.key, "label": model.label} for model in found]}

    @routes.post("/battles")
    async def create(asked: _NewBattle, x_api_key: str = Header("")) -> dict[str, Any]:
        models = await api.models(x_api_key)

        def draw(number: int) -> tuple[Contestant, Contestant]:
            first, second = _pair(asked, [model.id for model in models if not model.status], settings.seed, number)
            pair = [
                build_contestant(
                    choice, models, gallery.constitution(choice.constitution) if choice.constitution else None
                )
                for choice in (first, second)
            ]
            if pair[0].key == pair[1].key:
                raise StudioError(f"both sides are {pair[0].label}. Choose two different contestants.")
            return (pair[1], pair[0]) if is_swapped(settings.seed, number) else (pair[0], pair[1])

        battle = await run_in_threadpool(store.create, draw, blind=asked.blind, seed=settings.seed)
        return _shown(battle)

    @routes.get("/battles/{identity}")
    def battle(identity: str) -> dict[str, Any]:
        return _shown(store.load(identity))

    @routes.post("/battles/{identity}/turns")
    async def turn(identity: str, asked: _NewTurn, x_api_key: str = Header("")) -> StreamingResponse:
        battle = await run_in_threadpool(store.load, identity)
        if battle.vote is not None:
            raise StudioError("this battle has its vote already. Start another.")
        return StreamingResponse(_answer(battle, asked, x_api_key), media_type="application/x-ndjson")

    async def _answer(battle: Battle, asked: _NewTurn, key: str) -> AsyncIterator[str]:
        position = len(battle.turns)
        sampling = Sampling(
            asked.temperature, asked.max_tokens, draw_sampling_seed(battle.seed, battle.number, position)
        )

        def ask(seat: Seat) -> AsyncIterator[str]:
            return api.stream(battle.seat(seat).model, battle.messages(seat, asked.prompt), sampling, key)

        answers, failed = {"A": "", "B": ""}, False
        async for seat, piece in interleave({"A": lambda: ask("A"), "B": lambda: ask("B")}):
            if isinstance(piece, Exception):
                failed = True
                yield to_line(seat=seat, error=_told(piece, battle))
            elif piece is None:
                yield to_line(seat=seat, end=True)
            else:
                answers[seat] += piece
                yield to_line(seat=seat, text=piece)
        if failed:
            yield to_line(kept=False)
            return
        try:
            await run_in_threadpool(
                store.add_turn, battle.id, position, Turn(asked.prompt, answers["A"].strip(), answers["B"].strip())
            )
        except StudioError as error:
            yield to_line(kept=False, error=str(error))
            return
        yield to_line(kept=True)

    @routes.post("/battles/{identity}/vote")
    def vote(identity: str, asked: _NewVote) -> dict[str, Any]:
        return _shown(store.cast(identity, asked.vote))

    @routes.get("/leaderboard")
    def leaderboard(blind_only: bool = False) -> dict[str, Any]:
        voted = [battle for battle in store.voted() if battle.blind or not blind_only]
        recent = sorted(voted, key=lambda battle: battle.voted_at, reverse=True)[:RECENT]
        return {
            "votes": len(voted),
            "standings": [vars(standing) for standing in standings(voted, seed=settings.seed)],
            "recent": [vars(battle) for battle in recent],
        }

    return routes


def _pair(asked: _NewBattle, names: list[str], seed: int, number: int) -> tuple[Choice, Choice]:
    """Who plays, in the order named; whoever was not named is drawn from the models as they are.

    ``auto`` is not drawn, which answers as one of the others, nor ``judge``, which is another model.
    """
    first, second = (Choice(**pick.model_dump()) if pick else None for pick in (asked.first, asked.second))
    if first and second:
        return first, second
    given = first or second
    drawn_from = [name for name in names if name not in (AUTO, JUDGE)]
    others = [name for name in drawn_from if given is None or given.constitution or name != given.model]
    if len(others) < (1 if given else 2):
        raise StudioError(f"the API has {len(names)} model(s), too few to draw from. Choose both sides yourself.")
    if given is None:
        drawn = draw_pair(others, seed, number)
        return Choice(drawn[0]), Choice(drawn[1])
    return given, Choice(draw_one(others, seed, number))


def _shown(battle: Battle) -> dict[str, Any]:
    """What a page may know of a battle."""
    hidden = battle.blind and battle.vote is None
    seats = {
        seat: None if hidden else {"key": battle.seat(seat).key, "label": battle.seat(seat).label} for seat in SEATS
    }
    return {
        "id": battle.id,
        "number": battle.number,
        "blind": battle.blind,
        "seats": seats,
        "vote": battle.vote,
        "turns": [vars(turn) for turn in battle.turns],
    }


def _told(error: Exception, battle: Battle) -> str:
    """An error as a voter may see it; the API's own words could name the model."""
    if battle.blind:
        status = error.status if isinstance(error, ApiFailure) else 502
        if status == 401:
            return "The API wants a key that may ask for this. Enter yours under Settings."
        return f"No answer came (status {status})."
    return str(error) if isinstance(error, StudioError) else "The answer broke off."
