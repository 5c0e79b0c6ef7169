"""Every exception this package raises on purpose.

A message says what is wrong with the names and values the user wrote, why it matters where that is not
plain, and what to do. To add one: derive from :class:`CharacterRayError` *and* from the built-in exception
it stands for, and take nothing but the message, since exceptions are pickled on their way between Ray
processes.
"""

__all__ = [
    "AdapterError",
    "CharacterRayError",
    "ClusterError",
    "ConstitutionError",
    "GenerationError",
    "MigrationError",
    "ModelError",
    "RecipeError",
    "RegistryError",
    "ReportError",
    "ResumeError",
    "ServingError",
    "StorageError",
    "StudioError",
    "TrainingError",
]


class CharacterRayError(Exception):
    """Root of every error raised on purpose; the command line prints it without a stack trace."""


class RecipeError(CharacterRayError, ValueError):
    """A recipe, or an override of one, is not valid."""


class ConstitutionError(CharacterRayError, ValueError):
    """A constitution file is not valid."""


class MigrationError(CharacterRayError, ValueError):
    """Training data of another project cannot be taken over."""


class ModelError(CharacterRayError, OSError):
    """A model could not be found or converted."""


class AdapterError(CharacterRayError, ValueError):
    """An adapter is damaged, unsafe, or belongs to another base model."""


class GenerationError(CharacterRayError, RuntimeError):
    """Too many rows of a generation failed, or its engine could not run."""


class ClusterError(CharacterRayError, RuntimeError):
    """The nodes that a stage needs are not there, or no longer."""


class TrainingError(CharacterRayError, RuntimeError):
    """Training could not start, or left the path it must follow."""


class ReportError(CharacterRayError, ValueError):
    """A report does not follow its schema, or a figure it needs is missing."""


class ResumeError(CharacterRayError, RuntimeError):
    """What lies in a run folder does not belong to this recipe, or is damaged."""


class RegistryError(CharacterRayError, ValueError):
    """A registry does not hold what is asked for, or may not take what is published."""


class ServingError(CharacterRayError, RuntimeError):
    """A deployment could not be built from what it was given."""


class StorageError(CharacterRayError, OSError):
    """A bucket cannot be reached, read or written, or what lies in it is damaged."""


class StudioError(CharacterRayError, ValueError):
    """The studio cannot do what a page asked of it."""
