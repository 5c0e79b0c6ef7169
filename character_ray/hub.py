"""Uploads to the model hub."""

from pathlib import Path
from typing import Literal

from character_ray.errors import ReportError

__all__ = ["upload"]


def upload(folder: Path, name: str, kind: Literal["dataset", "model"], *, private: bool) -> str:
    """Upload a folder; returns its address.

    Args:
        folder: What is uploaded, whole.
        name: ``owner/name``.
        kind: Which side of the hub.
        private: Whether a repository that is not there yet is made private; one that is there stays as it is.

    Raises:
        ReportError: The hub refuses, or cannot be reached. The folder stays.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        address = api.create_repo(name, repo_type=kind, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=name, folder_path=str(folder), repo_type=kind, commit_message="Upload of Character-Ray"
        )
    except Exception as cause:
        raise ReportError(
            f"{folder} could not be uploaded as {kind} {name!r} ({type(cause).__name__}: {cause}). The folder is complete; log in "
            f"(hf auth login, or HF_TOKEN), check name and network, and run: hf upload {name} {folder} --repo-type {kind}"
        ) from cause
    return str(address)
