"""The runs' side of the API: what ran, its reports, and promotion to the registry."""

from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from character_ray.comparison import Bound, parse_bounds, promote_version, publish_run
from character_ray.errors import StudioError
from character_ray.registry import PersonaRecord, Registry
from character_ray.report.trials_page import script_policy, search_script
from character_ray.studio.folders import inside
from character_ray.studio.runs import Runs
from character_ray.studio.settings import Settings

__all__ = ["run_routes"]

# The report page has one script, its search, and one style sheet, inside itself. A report of another version, with another script, is
# shown without its search: what a run folder holds does not decide what runs beside the studio's key.
REPORT_POLICY = (
    f"default-src 'none'; script-src {script_policy(search_script())}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)


class _Gated(BaseModel):
    model_config = ConfigDict(extra="forbid")

    at_least: list[str] = Field(default_factory=list, max_length=20)
    """Bounds such as ``full.persona_rate.low=0.6``."""
    at_most: list[str] = Field(default_factory=list, max_length=20)

    def bounds(self) -> list[Bound]:
        """All of them.

        Raises:
            ReportError: One is not of that form.
        """
        return parse_bounds(self.at_least, self.at_most)


class _Publish(_Gated):
    status: Literal["candidate", "live"]
    canary: bool = True
    """Measure what it answers, so that servers can check themselves, as ``registry publish`` does."""


class _Version(BaseModel):
    model_config = ConfigDict(extra="forbid")

    weights_hash: str = Field(pattern=r"^[0-9a-f]{4,16}$")


class _Promote(_Gated, _Version):
    """A version, and what it has to keep."""


def run_routes(settings: Settings, runs: Runs, registry: Registry) -> APIRouter:
    """The routes of the runs' page."""
    routes = APIRouter()

    @routes.get("/api/runs")
    def cards() -> dict[str, Any]:
        return {"folder": str(runs.folder), "runs": runs.cards(), "unfinished": runs.unfinished()}

    @routes.get("/runs/{name}/report")
    def report(name: str) -> HTMLResponse:
        return HTMLResponse(runs.page(name), headers={"Content-Security-Policy": REPORT_POLICY})

    @routes.get("/runs/{name}/{measured}.html")
    def further(name: str, measured: str) -> HTMLResponse:
        return HTMLResponse(runs.further_page(name, measured), headers={"Content-Security-Policy": REPORT_POLICY})

    @routes.get("/api/registry")
    def published() -> dict[str, Any]:
        personas = [{**record.model_dump(), "before": record.before} for record in registry.records()]
        return {"folder": registry.place, "personas": personas}

    @routes.post("/api/runs/{name}/publish")
    def publish(name: str, asked: _Publish) -> dict[str, Any]:
        folder = runs.path(name)
        if not (folder / "adapter").is_dir():
            raise StudioError(f"{name} has no adapter yet; its last stages make it.")
        return publish_run(folder, registry, asked.status, asked.bounds(), canary=asked.canary).model_dump()

    @routes.post("/api/registry/{slug}/promote")
    def promote(slug: str, asked: _Promote) -> dict[str, Any]:
        _check_known(slug)
        return promote_version(registry, slug, asked.weights_hash, asked.bounds()).model_dump()

    @routes.post("/api/registry/{slug}/rollback")
    def roll_back(slug: str, asked: _Version) -> dict[str, Any]:
        live = _check_known(slug).live
        if live is None or not live.weights_hash.startswith(asked.weights_hash):
            raise StudioError(f"{slug}: another version is live than this page shows. Load it again.")
        return registry.roll_back(slug).model_dump()

    def _check_known(slug: str) -> PersonaRecord:
        """Before anything is locked, which would leave a file of that name."""
        if registry.folder is not None:
            inside(registry.folder / "personas", slug, ".json")
        return registry.record(slug)

    return routes
