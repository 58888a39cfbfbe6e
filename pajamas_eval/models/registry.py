"""Finds and opens runtimes and benchmarks: through entry points, built-ins as plugins."""

from collections.abc import Mapping
from typing import Literal, get_args, get_origin, get_type_hints

import msgspec

from pajamas_eval.api.options import RuntimeOptions
from pajamas_eval.api.runtime import Runtime
from pajamas_eval.errors import UsageError, suggestion
from pajamas_eval.plugins import Plugin, contained, installed

RUNTIME_ALIASES = {"huggingface": "hf", "transformers": "hf"}


def runtimes() -> dict[str, Plugin]:
    """The installed runtimes by name; nothing is imported."""
    found = installed("pajamas_eval.runtimes")
    for alias, meant in RUNTIME_ALIASES.items():  # which are no names for plugins either
        if alias in found and meant in found:
            found[meant].ignored.append(found.pop(alias).title)
    return found


def runtime_names() -> list[str]:
    """Names of the installed runtimes; nothing is imported."""
    return list(runtimes())


def check_runtime(name: str) -> None:
    """Raises `UsageError` where no runtime has that name or alias; nothing is imported."""
    names = runtime_names()
    if RUNTIME_ALIASES.get(name, name) not in names:
        raise UsageError(
            f"unknown runtime {name!r}{suggestion(name, [*names, *RUNTIME_ALIASES])} "
            f"(known: {', '.join(names)})"
        )


def runtime_class(name: str) -> type[Runtime]:
    """The runtime of that name or alias. Raises `UsageError`, also where it is broken."""
    check_runtime(name)
    return runtimes()[RUNTIME_ALIASES.get(name, name)].load(Runtime)


def open_runtime(name: str, options: Mapping[str, object]) -> Runtime:
    """The runtime with its options checked. Raises `UsageError`."""
    runtime_type = runtime_class(name)
    with contained(f"the {name} runtime"):
        known = [field.name for field in msgspec.structs.fields(runtime_type.options_type)]
    for key in options:
        if key not in known:
            raise UsageError(
                f"the {name} runtime has no option {key!r}{suggestion(key, known)} "
                f"(known: {', '.join(known)})"
            )
    try:
        converted: RuntimeOptions = msgspec.convert(
            dict(options), runtime_type.options_type, strict=False
        )
    except msgspec.ValidationError as error:
        raise UsageError(_bad_option(name, runtime_type.options_type, options, error)) from None
    return runtime_type(converted)  # type: ignore[call-arg]


def _bad_option(
    name: str,
    options_type: type[RuntimeOptions],
    options: Mapping[str, object],
    error: msgspec.ValidationError,
) -> str:
    """What is wrong with an option, in the words of those who type it."""
    message, _, key = str(error).partition(" - at `$.")
    key = key.rstrip("`")
    if key not in options:
        return f"{name} options: {error}"
    kind = get_type_hints(options_type)[key]
    allowed = [
        str(value)
        for part in (kind, *get_args(kind))
        if get_origin(part) is Literal
        for value in get_args(part)
    ]
    if allowed:
        message = f"expected one of {', '.join(allowed)}"
    else:
        for technical, plain in _PLAIN_TYPES.items():
            message = message.replace(technical, plain)
    return f"{name} option {key}={options[key]}: {message[0].lower()}{message[1:]}"


_PLAIN_TYPES = {
    " | null": "",
    "`int`": "a whole number",
    "`float`": "a number",
    "`bool`": "true or false",
    "`str`": "text",
}
