"""Watches a transformers model by hooks on its layers and on their parts."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from pajamas_eval.errors import UsageError
from pajamas_eval.tokens.hidden_states import BEFORE_LAYERS, OUTPUT, Watch


@contextmanager
def watched(model: Any, watch: Watch) -> Iterator[None]:
    """Has every forward pass told to a watch. Raises `UsageError` if there are no layers."""
    with ExitStack() as hooks:
        for number, layer in enumerate(_layers(model)):
            if number == 0:
                handle = layer.register_forward_pre_hook(_input_hook(watch), with_kwargs=True)
                hooks.callback(handle.remove)
            for name, part in [*layer.named_children(), (OUTPUT, layer)]:
                hooks.callback(part.register_forward_hook(_hook(watch, number, name)).remove)
        yield


def _layers(model: Any) -> Any:
    """The list of modules that is as long as the model has layers."""
    from torch.nn import ModuleList

    count = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    for module in model.modules():
        if isinstance(module, ModuleList) and len(module) == count:
            return module
    raise UsageError(f"no list of {count} layers is found in {type(model).__name__}")


def _hook(watch: Watch, layer: int, name: str) -> Callable[..., Any]:
    def hook(module: Any, args: Any, output: Any) -> Any:
        first = output[0] if isinstance(output, tuple) else output
        instead = _shown(watch, layer, name, first)
        if instead is None:
            return None
        return (instead, *output[1:]) if isinstance(output, tuple) else instead

    return hook


def _input_hook(watch: Watch) -> Callable[..., Any]:
    def hook(module: Any, args: Any, kwargs: Any) -> Any:
        states = args[0] if args else kwargs["hidden_states"]
        instead = _shown(watch, BEFORE_LAYERS, "input", states)
        if instead is None:
            return None
        return (
            ((instead, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": instead})
        )

    return hook


def _shown(watch: Watch, layer: int, name: str, states: Any) -> Any:
    """What is to take the place of the states, if anything."""
    import torch

    if not isinstance(states, torch.Tensor) or not states.is_floating_point():
        return None
    if states.ndim < 2 or not watch.wants(layer, name):
        return None
    rows = states.reshape(-1, states.shape[-1])
    instead = watch.show(layer, name, rows.float().cpu().numpy())
    if instead is None:
        return None
    return torch.from_numpy(instead).to(states).reshape(states.shape)
