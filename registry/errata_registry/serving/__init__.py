"""What serves: the journal of activations, names of versions, probes."""
