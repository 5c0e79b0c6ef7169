"""Running the studio: alone, or beside a served application."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from character_ray.errors import StudioError
from character_ray.studio.settings import Settings

if TYPE_CHECKING:
    import uvicorn

__all__ = ["running_studio", "serve_studio"]

START_S = 30.0


def serve_studio(settings: Settings) -> None:
    """Answer until Ctrl-C.

    Raises:
        StudioError: The address cannot be listened on, or the database not opened.
    """
    with _listening(settings) as listener:
        _server(settings).run(sockets=[listener])


@contextmanager
def running_studio(settings: Settings) -> Iterator[str]:
    """The studio in a thread of this process while the block runs; gives its address.

    Raises:
        StudioError: The address cannot be listened on, the database not opened, or the studio did not start.
    """
    with _listening(settings) as listener:
        server = _server(settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="studio", daemon=True)
        thread.start()
        try:
            waited = threading.Event()
            for _ in range(int(START_S / 0.05)):
                if server.started or not thread.is_alive():
                    break
                waited.wait(0.05)
            if not server.started:
                raise StudioError(f"the studio did not start at {settings.url}.")
            yield settings.url
        finally:
            server.should_exit = True
            thread.join(timeout=START_S)


def _server(settings: Settings) -> "uvicorn.Server":
    import uvicorn

    from character_ray.studio.app import build_studio

    config = uvicorn.Config(
        build_studio(settings), log_level="warning", server_header=False, timeout_graceful_shutdown=2
    )
    return uvicorn.Server(config)


@contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as cause:
            raise StudioError(
                f"the studio cannot listen on {settings.host}:{settings.port}: {cause.strerror}. Choose another with --host or --port."
            ) from None
        yield listener
