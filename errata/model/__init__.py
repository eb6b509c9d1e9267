"""The model that is edited: its parts by architecture, its prompts as tokens, what it computes."""

from errata.model.editable import DEMO, EditableModel, digest_of

__all__ = ["DEMO", "EditableModel", "digest_of"]
