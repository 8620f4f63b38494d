"""An object that passes for another one."""

from typing import Any


class Proxy:
    """Looks like the object that it wraps, even to `isinstance`, in all but what a subclass adds.

    Attributes are read from and set on the wrapped object, so that hooks and worker functions find theirs. A subclass
    keeps its own attributes in `vars(self)`.
    """

    _wrapped: Any

    def __init__(self, wrapped: Any, **own: Any) -> None:
        vars(self).update(own, _wrapped=wrapped)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._wrapped)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_wrapped"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._wrapped, name, value)

    def __len__(self) -> int:
        return len(self._wrapped)

    def __reduce__(self) -> Any:
        return _unpickled, (type(self), dict(vars(self)))


def _unpickled(cls: type, own: dict[str, Any]) -> Any:
    proxy: Any = object.__new__(cls)
    vars(proxy).update(own)
    return proxy
