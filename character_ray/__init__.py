"""Character training at cluster scale: a constitution in, a measured and served persona out."""

__version__ = "0.1.0"
__all__ = ["__version__"]
