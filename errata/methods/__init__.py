"""The editing methods, by name in `METHODS`, one module for each."""

from errata.methods.by_name import METHODS

__all__ = ["METHODS"]
