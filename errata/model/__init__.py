"""The model to edit: its parts by architecture, prompts as tokens, and what it computes."""

from errata.model.editable import EditableModel, digest_of

__all__ = ["EditableModel", "digest_of"]
