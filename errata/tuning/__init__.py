"""Layers, lambda and the search's own settings for a model that is new to Errata, found by editing it.

`grid` says what is tried, `search` tries it on one part of the records and reports on another, `writing` makes of it a
file of hyperparameters and the tables that led to it. docs/benchmarks.md tells how to use it.
"""
