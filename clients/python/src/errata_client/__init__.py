"""The Python SDK of Errata, the service that corrects facts inside a language model.

    with Errata() as errata:
        errata.edit([("Michael Jordan", "plays the sport of", "baseball")]).wait()
        print(errata.generate("Michael Jordan plays the sport of").text)

`AsyncErrata` is the same for asyncio.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from errata_client.public_names import *  # noqa: F403
else:
    # Imported when the first name is asked for: the command line's help needs neither httpx nor pydantic.
    def __getattr__(name: str) -> Any:
        from importlib import import_module

        public = vars(import_module("errata_client.public_names"))
        if name == "__all__":
            return sorted(name for name in public if not name.startswith("_"))
        if name.startswith("_") or name not in public:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return public[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *__getattr__("__all__")})
