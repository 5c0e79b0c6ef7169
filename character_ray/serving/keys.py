"""API keys: who may talk to which persona, and how often.

A key file is YAML; it holds hashes, so that reading it lets nobody in:

    keys:
      - {name: website, sha256: <64 hex digits>, personas: [captain-blackwood], requests_per_minute: 60}
"""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import yaml
from pydantic import Field, ValidationError, model_validator

from character_ray.config import Config
from character_ray.documents import Document, explain, load_document, read_document
from character_ray.errors import ServingError
from character_ray.manifest import JUDGE
from character_ray.whole_files import being_written

__all__ = ["ApiKey", "KeyFile", "KeyRing", "Refusal", "add_key", "load_keys", "parse_keys"]

PREFIX = "cr-"


class ApiKey(Config):
    """One client."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    """Stands in logs in place of the key."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Hash of the key."""

    personas: tuple[str, ...] = ()
    """Personas, base model and judge that it may ask for, by the names that ``/v1/models`` lists as alias; empty for all, and for the
    judge where it ``scores``."""

    requests_per_minute: float | None = Field(None, gt=0)
    """Limit of each ingress replica; ``None`` for none. Each answer counts that a request asks for: ``n`` for each of its prompts."""

    scores: bool = False
    """Whether it may have text scored that it brings (``prompt_logprobs``, ``echo`` with ``logprobs``), as likelihood judges do. Such a
    request passes the prefix cache by, and takes memory for the probabilities of every token of its prompt."""

    candidates: bool = False
    """Whether it may ask for candidates of the registry, by their pinned names."""

    def opens(self, model: str) -> bool:
        """Whether it may ask for a model, by its short name."""
        if self.personas:
            return model in self.personas
        return model != JUDGE or self.scores


class KeyFile(Config):
    """All clients."""

    keys: tuple[ApiKey, ...] = ()
    """Each with a name and a key of its own."""

    @model_validator(mode="after")
    def _check_distinct(self) -> "KeyFile":
        for field in ("name", "sha256"):
            values = [getattr(key, field) for key in self.keys]
            repeated = sorted({value for value in values if values.count(value) > 1})
            if repeated:
                raise ValueError(f"two keys have the {field} {', '.join(repeated)}. Give each its own.")
        return self


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered, in HTTP's terms."""

    status: int
    code: str
    message: str
    retry_after_s: float = 0.0


class KeyRing:
    """Decides about requests; begun without keys it lets everybody in.

    Args:
        keys: The clients.
        clock: Seconds that only grow.
    """

    def __init__(self, keys: tuple[ApiKey, ...], clock: Callable[[], float] = monotonic) -> None:
        self._open = not keys
        self.replace(keys)
        self._clock = clock
        self._allowance: dict[str, tuple[float, float]] = {}

    def replace(self, keys: tuple[ApiKey, ...]) -> None:
        """Decide by other keys from now on; where all were revoked nobody is let in."""
        self._by_hash = {key.sha256: key for key in keys}

    def find(self, authorization: str | None) -> ApiKey | None:
        """The client behind an ``Authorization`` header."""
        scheme, _, key = (authorization or "").partition(" ")
        return self._by_hash.get(_digest(key.strip())) if scheme.lower() == "bearer" and key else None

    def refuse(self, authorization: str | None, model: str | None = None, answers: int = 1) -> Refusal | None:
        """Why a request may not go on; ``None`` when it may. One that may is counted, by the answers it asks for.

        Args:
            authorization: The header.
            model: The name it asks for, resolved to persona, base or judge; ``None`` for requests about no model, which are not counted.
            answers: How many it asks for.
        """
        if self._open:
            return None
        key = self.find(authorization)
        if key is None:
            return Refusal(401, "invalid_api_key", "A valid API key is needed: Authorization: Bearer <key>.")
        if model is None:
            return None
        if not key.opens(model):
            may = (
                f"only for {', '.join(key.personas)}" if key.personas else "which takes a key that may score (--scores)"
            )
            return Refusal(403, "model_not_allowed", f"This key may not ask for {model!r}, {may}.")
        return self._count(key, answers)

    def sees(self, authorization: str | None, model: str) -> bool:
        """Whether a client that was let in may know of a model."""
        key = self.find(authorization)
        return self._open or key is None or key.opens(model)

    def may_score(self, authorization: str | None) -> bool:
        """Whether a client that was let in may have its own text scored."""
        key = self.find(authorization)
        return self._open or (key is not None and key.scores)

    def may_try(self, authorization: str | None) -> bool:
        """Whether a client has a key that was made for candidates."""
        key = self.find(authorization)
        return key is not None and key.candidates

    def _count(self, key: ApiKey, answers: int) -> Refusal | None:
        """A bucket of one minute's answers, refilled evenly."""
        if key.requests_per_minute is None:
            return None
        size, per_second, now = max(key.requests_per_minute, 1.0), key.requests_per_minute / 60, self._clock()
        if answers > size:
            text = f"The request asks for {answers} answers; this key has {size:g} a minute. Send several requests."
            return Refusal(400, "too_many_choices", text)
        left, since = self._allowance.get(key.name, (size, now))
        left = min(size, left + (now - since) * per_second)
        if left < answers:
            self._allowance[key.name] = (left, now)
            wait = (answers - left) / per_second
            return Refusal(
                429, "rate_limit_exceeded", f"More than {key.requests_per_minute:g} requests a minute.", wait
            )
        self._allowance[key.name] = (left - answers, now)
        return None


def load_keys(path: Path, *, may_be_none: bool = False) -> tuple[ApiKey, ...]:
    """The keys of a file.

    Raises:
        ServingError: The file is missing or not valid; or it holds no key, which would shut everybody out or in, and may not.
    """
    keys = _keys_of(load_document(path, ServingError))
    if not keys and not may_be_none:
        raise ServingError(f"{path} holds no key. Add one with character-ray key, or serve without --keys.")
    return keys


def parse_keys(text: str, source: str) -> tuple[ApiKey, ...]:
    """The keys in a text that is written as a key file is.

    Raises:
        ServingError: It is not valid, or holds no key.
    """
    document, problems = read_document(text, source)
    if document is None:
        raise ServingError("\n".join(map(str, problems)))
    keys = _keys_of(document)
    if not keys:
        raise ServingError(f"{source} holds no key. Write what a key file holds into it, or unset it.")
    return keys


def _keys_of(document: Document) -> tuple[ApiKey, ...]:
    try:
        return KeyFile.model_validate(document.data).keys
    except ValidationError as failure:
        raise ServingError("\n".join(map(str, explain(failure, document, KeyFile)))) from None


def add_key(
    path: Path,
    name: str,
    personas: tuple[str, ...] = (),
    requests_per_minute: float | None = None,
    scores: bool = False,
    candidates: bool = False,
) -> str:
    """Make a key, write its hash to the file, and return it; it is stored nowhere else.

    Raises:
        ServingError: The file is not valid, or already has a key of that name.
    """
    there = load_keys(path) if path.is_file() else ()
    if any(key.name == name for key in there):
        raise ServingError(f"{path} already has a key named {name!r}. Choose another name, or remove that key first.")
    secret = PREFIX + secrets.token_urlsafe(32)
    try:
        key = ApiKey(
            name=name,
            sha256=_digest(secret),
            personas=personas,
            requests_per_minute=requests_per_minute,
            scores=scores,
            candidates=candidates,
        )
    except ValidationError as failure:
        error = failure.errors()[0]
        raise ServingError(f"{'.'.join(map(str, error['loc']))}: {error['msg']} (given {error['input']!r}).") from None
    entries = [each.model_dump(mode="json", exclude_defaults=True) for each in (*there, key)]
    with being_written(path) as scratch:
        scratch.touch(mode=0o600)
        scratch.write_text(yaml.safe_dump({"keys": entries}, sort_keys=False), encoding="utf-8")
    return secret


def _digest(key: str) -> str:
    # Keys are 256 random bits: a slow hash would protect nothing and cost on every request.
    return hashlib.sha256(key.encode()).hexdigest()
