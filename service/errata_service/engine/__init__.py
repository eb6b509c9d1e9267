"""The serving engine: one resident model that continues many prompts at once, each under its own version.

`engine` takes submissions and runs the loop; `tasks` is what it is asked and what it tells; a `lane` holds the rows of
one version, which are computed together, and `key_values` is its memory; `sampling` chooses tokens and `text` makes
words of them; `weight_sets` keeps the edited matrices of versions.
"""
