"""Layers, lambda and search settings for a model that is new to Errata, found by editing it.

`grid` holds the values to try, `search` tries them on one part of the records and reports on another, `writing` writes
a file of hyperparameters and the tables that led to it. docs/benchmarks.md tells how to use it.
"""
