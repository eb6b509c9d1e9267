"""Causal tracing: which hidden states, MLPs and attentions decide an answer, and so which layers to edit.

Section 2 of the ROME paper (Meng et al., arXiv 2202.05262) and section 4.1 of MEMIT's. A prompt is run clean, and
several times with noise on the subject's embeddings, which takes the answer away. Then a part of a noisy run is set to
what it was in the clean one; how much of the answer's probability comes back is that part's indirect effect.
"""
