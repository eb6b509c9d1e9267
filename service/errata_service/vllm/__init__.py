"""`errata follow --engine vllm`: a running vLLM server is kept at the active version, as one more replica.

A version gets there on one of two routes. `adapters.py`: as a LoRA adapter under a name of its own, several at once.
`weights.py`: into the server's own matrices, one at a time, by `errata_vllm` (engines/vllm) in the server.
"""
