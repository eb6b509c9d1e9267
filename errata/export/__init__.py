"""A version's weights for other software: a PEFT adapter or a whole checkpoint, as a tar."""
