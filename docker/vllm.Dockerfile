# vLLM that takes Errata's versions into its weights. Needed for that alone: adapters go into vLLM's own image.
#
#   docker build -f docker/vllm.Dockerfile -t errata-vllm engines/vllm

ARG VLLM_IMAGE=vllm/vllm-openai:v0.32.0

FROM ${VLLM_IMAGE}
COPY . /opt/errata-vllm
# By vLLM's uv, into the environment that vLLM is in. It has no dependencies.
RUN uv pip install --system /opt/errata-vllm
