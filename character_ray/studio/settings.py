"""Where the studio finds what it shows, and who may see it."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["LOOPBACK", "Settings"]

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Settings:
    """One studio."""

    api: str = "http://127.0.0.1:8000/v1"
    """OpenAI-compatible API that answers, as ``character-ray serve`` prints it."""

    api_key: str = ""
    """Key for that API; a visitor may use one of their own instead."""

    constitutions: Path = Path("constitutions")
    """Folder of YAML files; the editor writes here and in ``data``, nowhere else."""

    runs: Path = Path("runs")
    """Folder that holds run folders."""

    registry: str = "registry"
    """Registry that runs are promoted to: its folder, or ``s3://bucket/prefix``."""

    data: Path = Path("studio")
    """Folder of the votes and of earlier versions of constitutions."""

    database: str = ""
    """``postgresql://...`` for the votes of several studios; a SQLite file in ``data`` by default."""

    host: str = "127.0.0.1"
    """Address to listen on."""

    port: int = 8600
    """Port of the pages."""

    token: str = ""
    """Secret that every request must bring; empty for none."""

    seed: int = 7
    """Seed of seats, of random pairings, of sampling and of the rating's intervals."""

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOOPBACK

    @property
    def url(self) -> str:
        """Address of the pages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"
