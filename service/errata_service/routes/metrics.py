"""Figures for Prometheus. Open to everyone, as health is: they count, and tell nothing of what is asked."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from errata_service.dependencies import ReplicaDep

router = APIRouter(tags=["health"])


@router.get("/metrics", summary="Figures for Prometheus", response_class=Response)
def get_metrics(replica: ReplicaDep) -> Response:
    """In Prometheus' text form."""
    return Response(replica.metrics.exposition(), media_type=CONTENT_TYPE_PLAIN_0_0_4)
