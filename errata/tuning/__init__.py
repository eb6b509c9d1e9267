"""Layers, lambda and search settings for a model that is new to Errata, found by editing it.

`quick` varies what is known of the model in at most ten trials; `search` searches a `grid`. Both make `trials` on one
part of the records and report on another. `known_facts` makes records of what the model knows, `layers` traces where it
recalls them, `pace` tells how long all of it takes, and `writing` writes a file of hyperparameters and the tables that
led to it. docs/benchmarks.md tells how to use it.
"""
