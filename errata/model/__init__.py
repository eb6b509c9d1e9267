"""The model that is edited: its parts by architecture, its prompts as tokens, what it computes."""

from errata.model.editable import EditableModel, digest_of

__all__ = ["EditableModel", "digest_of"]
