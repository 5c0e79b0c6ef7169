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
            f"{folder} could not be uploaded as {kind} {name!r} ({type(cause).__name__}: {cause}). The folder is complete; "
            f"{_remedy(cause)}, and run: hf upload {name} {folder} --repo-type {kind}"
        ) from cause
    return str(address)


def _remedy(cause: Exception) -> str:
    """What to do about it, by what the hub said, if it said anything."""
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if status in (401, 403):
        return "log in (hf auth login, or HF_TOKEN) as one who may write there"
    if status in (400, 413, 422):
        return "the hub refuses what is in it or how it is named: correct what it says"
    if status == 404:
        return "check the name, and log in (hf auth login, or HF_TOKEN)"
    if status == 429:
        return "wait until the hub takes more requests"
    if status is not None:
        return "try again when the hub has recovered"
    return "check name and network, log in (hf auth login, or HF_TOKEN)"
