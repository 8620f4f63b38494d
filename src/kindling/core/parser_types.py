"""Types of arguments that the parser can't write into a config by itself."""

from numbers import Number

from jsonargparse.typing import register_type


def is_number(value: object, _: type = Number) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_number(value: int | float) -> int | float:
    if not is_number(value):
        raise ValueError(f"{value!r} is not a number")
    return value


# torchvision's transforms take a `numbers.Number`, which came back from a run's config as "Unable to serialize".
register_type(Number, serializer=as_number, deserializer=as_number, type_check=is_number)
