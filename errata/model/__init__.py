"""The model to edit: its parts by architecture, prompts as tokens, and what it computes."""

from errata.model.editable import (
    EditableModel as EditableModel,
    digest_of as digest_of,
    matrix_shapes_of as matrix_shapes_of,
)
