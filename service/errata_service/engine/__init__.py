"""The serving engine: one resident model that generates for many requests at once, each under its own version.

`engine` holds the thread that steps; `scheduler` decides what a step computes; a `batch` holds the sequences of one
version, which are computed together over a `kv_cache` by the `model_runner`. On a GPU its decode steps are
`decode_graphs`, which `capture` captures over the `fixed_rows`. A `request` consists of `sequence`s, for
which `sampling` chooses tokens and the `detokenizer` makes text of them; `events` tell of it. `weight_sets` keeps the
edited matrices of versions.
"""
