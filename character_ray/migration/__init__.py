"""What OpenCharacterTraining's users bring along: constitutions, preference pairs and introspection data."""

from character_ray.migration.constitutions import ImportedConstitution, read_traits
from character_ray.migration.data import ImportedData, Malformed, read_data_files, write_data
from character_ray.migration.rows import brought_rows, load_conversations, load_pairs

__all__ = [
    "ImportedConstitution",
    "ImportedData",
    "Malformed",
    "brought_rows",
    "load_conversations",
    "load_pairs",
    "read_data_files",
    "read_traits",
    "write_data",
]
