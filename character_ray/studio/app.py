"""The studio as one web application: pages from templates, everything they show from ``/api``."""

from pathlib import Path
from typing import TYPE_CHECKING

from character_ray.errors import CharacterRayError
from character_ray.registry import Registry
from character_ray.studio.battles import BattleStore
from character_ray.studio.database import open_database
from character_ray.studio.gallery import Conflict, Gallery
from character_ray.studio.runs import Runs
from character_ray.studio.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["build_studio"]

HERE = Path(__file__).parent
PAGES = {"/": "arena", "/constitutions": "constitutions", "/runs": "runs"}


def build_studio(settings: Settings) -> "FastAPI":
    """The application; its database is opened, and the API is asked only when a page is.

    Raises:
        StudioError: The database cannot be opened.
    """
    from fastapi import FastAPI, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import HTMLResponse, JSONResponse, Response
    from fastapi.staticfiles import StaticFiles
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from character_ray.studio.api import ApiFailure, PersonaApi
    from character_ray.studio.arena import arena_routes
    from character_ray.studio.editor import editor_routes
    from character_ray.studio.progress import run_routes
    from character_ray.studio.security import Guard

    api = PersonaApi(settings.api, settings.api_key)
    store = BattleStore(open_database(settings.database, settings.data))
    gallery = Gallery(settings.constitutions, settings.data / "versions")
    templates = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined)

    app = FastAPI(title="Character-Ray studio", openapi_url=None, docs_url=None, redoc_url=None)
    app.add_middleware(Guard, settings=settings)
    app.mount("/static", StaticFiles(directory=HERE / "static"))
    app.include_router(arena_routes(settings, api, store, gallery))
    app.include_router(editor_routes(settings, api, gallery))
    app.include_router(run_routes(settings, Runs(settings.runs), Registry(settings.registry)))

    def page(name: str) -> str:
        return templates.get_template(f"{name}.html.j2").render(page=name, pages=PAGES)

    for path, name in PAGES.items():
        html = page(name)
        app.add_api_route(path, lambda html=html: HTMLResponse(html), include_in_schema=False, response_model=None)

    @app.exception_handler(CharacterRayError)
    def explain(request: Request, error: CharacterRayError) -> Response:
        status = error.status if isinstance(error, ApiFailure) else 409 if isinstance(error, Conflict) else 400
        return JSONResponse({"error": str(error)}, status_code=status)

    @app.exception_handler(RequestValidationError)
    def explain_request(request: Request, error: RequestValidationError) -> Response:
        told = [f"{'.'.join(map(str, each['loc'][1:])) or 'the body'}: {each['msg']}" for each in error.errors()[:5]]
        return JSONResponse({"error": "; ".join(told)}, status_code=422)

    return app
