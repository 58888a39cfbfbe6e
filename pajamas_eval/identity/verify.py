"""From model specs to a certificate."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pajamas_eval.errors import UsageError
from pajamas_eval.identity.certificate import Certificate
from pajamas_eval.identity.compare import compare_models
from pajamas_eval.identity.contents import contents_of
from pajamas_eval.identity.model_file import ModelFile, open_model
from pajamas_eval.models.spec import ModelSpec, parse_specs

Progress = Callable[[str, int, int], None]
"""Called with the variant's label, the tensors that are done, and all of them."""


def verify(
    texts: Sequence[str], progress: Progress = lambda label, done, total: None
) -> Certificate:
    """What is inside each model, and whether every other is the first one's model.

    Args:
        texts: Models as they are typed; the first is the base.
        progress: See there.

    Raises:
        UsageError: One is no model on this machine, is broken, or needs a library that is missing.
    """
    base, *variants = [_opened(spec) for spec in parse_specs(texts)]
    comparisons = [
        compare_models(base, v, lambda done, total, v=v: progress(v.label, done, total))  # type: ignore[misc]
        for v in variants
    ]
    return Certificate(
        models=tuple(contents_of(model) for model in (base, *variants)),
        comparisons=tuple(comparisons),
    )


def _opened(spec: ModelSpec) -> ModelFile:
    path = Path(str(spec.options.get("path", "")))
    if not path.exists():
        raise UsageError(
            f"{spec.label}: there is no file or folder {path}; verify reads files on this machine"
        )
    return open_model(spec.label, path)
