"""`errata up`: everything that serves one home folder, until Ctrl-C."""

import signal
from types import FrameType

from errata_cli.options import AllowAnonymous, Home, Host, Model, Port, settings_with
from errata_cli.preflight import require_startable


def up(
    model: Model = None, home: Home = None, host: Host = None, port: Port = None, allow_anonymous: AllowAnonymous = None
) -> None:
    """Start Redis, a worker and the service; serve until Ctrl-C."""
    settings = settings_with(model=model, home=home, host=host, port=port, allow_anonymous=allow_anonymous)
    require_startable(settings)
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts background jobs with SIGINT ignored
        signal.signal(number, _interrupt)
    print(f"errata: starting model {settings.model} with its data in {settings.home} …", flush=True)

    from errata_cli.supervisor import Supervisor

    with Supervisor(settings) as supervisor:
        try:
            url, logs = supervisor.url, supervisor.log_folder
            print(f"errata: serving at {url} (OpenAPI at {url}/docs); logs in {logs}")
            if told := supervisor.passed_over():
                print(f"errata: {told}")
            print("errata: Ctrl-C ends it", flush=True)
            supervisor.watch()
        except KeyboardInterrupt:
            print("\nerrata: stopping …", flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
