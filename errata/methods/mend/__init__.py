"""MEND (Mitchell, Lin, Bosselut, Finn, Manning; ICLR 2022, arXiv 2110.11309): a network that has learnt to edit.

The gradient of an edit's loss to a matrix is a sum of one term of rank one for each token, delta u^T
(`gradient_terms`). A small network, trained once for a base model (`training`), turns the two vectors of each term into
others (`network`), whose sum is an update that puts the fact in, in all its phrasings, and little else (`editing`).
"""
