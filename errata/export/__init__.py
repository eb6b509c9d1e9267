"""A version's weights in the forms that other software reads: a PEFT adapter, or a whole checkpoint; as a tar."""
