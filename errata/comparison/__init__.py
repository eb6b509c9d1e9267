"""Methods compared as the MEMIT paper compares them: more and more edits at once, measured, in a table and a plot.

`data_sets` has the records, `plan` says what is measured, `cells` measures it and keeps it, `results` draws it
together, `table` and `plots` show it. docs/benchmarks.md tells how to use it.
"""
