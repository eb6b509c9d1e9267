"""A follower: one vLLM server, kept at the active version and announced as a replica."""

import logging
import threading
import uuid

import redis
from errata_client.records import Replica
from errata_registry.registry import Registry
from errata_registry.settings import Settings

from errata.errors import ErrataError, UnknownVersion
from errata.files.disk import Refused
from errata_service.following import RETRY_S, Following, Swap
from errata_service.vllm.adapters import Adapters
from errata_service.vllm.base import Base
from errata_service.vllm.server import Unreachable, VllmServer
from errata_service.vllm.weights import Weights

TIDY_S = 5.0
READINESS_S = 0.5
STALE_S = 5.0  # without news of activations, a server may serve what it should not

log = logging.getLogger(__name__)


class NotFollowing(Exception):
    """A server was started so that it takes no versions."""


class Follower:
    """The server and the threads that look after it.

    Attributes:
        id: name of this replica: the server's, so that a follower that is started again takes its place.
        stopping: set once the process is about to end.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises `ValueError` where no Redis or no server is named."""
        if settings.follow_url is None:
            raise ValueError("no server is named: give --url, or set ERRATA_FOLLOW_URL")
        self.id = f"vllm-{uuid.uuid5(uuid.NAMESPACE_URL, settings.follow_url).hex[:12]}"
        self.settings = settings
        self.registry = Registry(settings)
        self.server = VllmServer(settings.follow_url, settings.follow_key)
        self.stopping = threading.Event()
        self._route: Adapters | Weights | None = None
        self._following: Following | None = None
        self._waiting_for = "the server"
        self._announced_ready: bool | None = None

    @property
    def obstacle(self) -> str | None:
        """Return why the server does not serve what it should; None if it does."""
        following = self._following
        if following is None:
            return f"waiting for {self._waiting_for}"
        if following.lost_track is None and not following.has_announced:
            return following.obstacle or "the active version is being put in place"
        return _lag(following)

    def run(self) -> None:
        """Follow until told to stop. Raises `NotFollowing`, and `ErrataError` where the home cannot be read."""
        base = self._base()
        route = self._chosen_route(base) if base is not None else None
        if route is None:
            return
        self._route = route
        self._following = following = Following(self.registry, route, self._describe, self.stopping)
        threads = [
            threading.Thread(target=following.send_heartbeats, name="heartbeats"),
            threading.Thread(target=self._announce_readiness, name="readiness"),
            threading.Thread(target=self._tidy, name="tidying"),
        ]
        for thread in threads:
            thread.start()
        following.run()
        for thread in threads:
            thread.join()
        try:
            self.registry.replicas.withdraw(self.id)
        except redis.RedisError as error:
            log.warning("this replica could not be withdrawn: %s", error)

    def _base(self) -> Base | None:
        """Wait until a service or a worker has bound the home folder; None once told to stop."""
        while not self.stopping.is_set():
            try:
                self.registry.commits.catch_up()
                return Base.of(self.settings.home)
            except (UnknownVersion, Refused) as error:
                self._waiting_for = f"a base model: {error}"
                self.stopping.wait(RETRY_S)
        return None

    def _chosen_route(self, base: Base) -> Adapters | Weights | None:
        """Wait until the server answers, and see how it takes versions; None once told to stop.

        Raises `NotFollowing` where it takes none.
        """
        while not self.stopping.is_set():
            try:
                if self.server.in_place() is not None:
                    log.info("%s takes versions into its weights", self.server.url)
                    return Weights(self.server, self.registry, base)
                if self.server.takes_adapters:
                    log.info("%s takes versions as adapters", self.server.url)
                    return Adapters(self.server, self.registry, base)
                raise NotFollowing(
                    f"{self.server.url} takes no versions: start vLLM with --enable-lora and "
                    "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, or with errata_vllm's gate and matrices (docs/growing.md)"
                )
            except Unreachable as error:
                self._waiting_for = f"the server: {error}"
                self.stopping.wait(RETRY_S)
        return None

    def _describe(self, version: int, swap: Swap | None) -> Replica:
        assert self._route is not None and self._following is not None
        models = self._route.models()
        self._announced_ready = ready = _lag(self._following) is None
        return Replica(
            id=self.id,
            version=version,
            load_ms=None if swap is None else swap.load_ms,
            swap_ms=None if swap is None else swap.swap_ms,
            engine="vllm",
            url=self.server.url,
            models=models,
            ready=ready,
            given_up=self._following.given_up,
        )

    def _announce_readiness(self) -> None:
        """Announce at each change whether the server serves what it should: heartbeats are far apart."""
        assert self._following is not None
        while not self.stopping.wait(READINESS_S):
            ready = _lag(self._following) is None
            if self._announced_ready not in (None, ready):
                self._announced_ready = ready  # whatever comes of it: heartbeats say it again
                try:
                    self._following.announce()
                except Exception as error:
                    log.warning("this replica's readiness could not be announced: %s", error)

    def _tidy(self) -> None:
        assert self._route is not None
        while not self.stopping.wait(TIDY_S):
            try:
                self._route.tidy()
            except (Unreachable, ErrataError, redis.RedisError, OSError) as error:
                log.warning("adapters were not tidied up: %s", error)


def _lag(following: Following) -> str | None:
    """Return why what is announced is not what should serve; None if it is."""
    if following.lost_track is not None:
        return following.lost_track
    if following.news_age_s > STALE_S:
        return f"nothing was heard of activations for {following.news_age_s:.0f} s"
    if following.passed_over is not None:
        return f"version {following.passed_over.version} cannot be served: {following.passed_over.reason}"
    return None
