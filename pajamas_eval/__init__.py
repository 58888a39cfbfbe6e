"""Scores quantized variants of one model on identical questions, whatever engine runs them."""


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version  # a third of the time that `--help` takes

    return version("pajamas-eval")
