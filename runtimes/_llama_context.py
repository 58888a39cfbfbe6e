"""The memory that llama.cpp gives the tokens of its sequences: a context, and its parameters."""

from typing import Any

from pajamas_eval.runtimes._llama_cpp import CALL_TOKENS, llama
from pajamas_eval.tokens.token_runtime import BATCH_OUTPUTS

SEQUENCES = 128
"""Sequences that the KV cache tells apart; number 0 holds the base."""

CONTEXT_BLOCK = 256
"""Tokens by whose multiples llama.cpp makes contexts of streams."""


def context_parameters(cells: int, streams: int, threads: int, options: Any) -> Any:
    """Parameters of a context.

    Args:
        cells: Tokens it has room for: over all sequences, or in each of the streams if there are
            several.
        streams: Sequences that attend over their own tokens alone; one is for all to share.
        threads: How many compute.
        options: Those of the runtime: the cache's type, and flash attention.
    """
    library = llama()
    parameters = library.llama_context_default_params()
    # llama.cpp rounds each stream up
    parameters.n_ctx = streams * (cells + -cells % CONTEXT_BLOCK)
    parameters.n_batch = parameters.n_ubatch = CALL_TOKENS
    parameters.n_seq_max = SEQUENCES if streams == 1 else streams
    parameters.n_outputs_max = max(BATCH_OUTPUTS, SEQUENCES)
    parameters.kv_unified = streams == 1
    parameters.swa_full = True
    parameters.no_perf = True
    parameters.n_threads = parameters.n_threads_batch = threads
    if options.flash_attention is not None:
        parameters.flash_attn_type = int(options.flash_attention)
    cache_type = f"GGML_TYPE_{options.cache_type.upper()}"
    parameters.type_k = parameters.type_v = getattr(library, cache_type)
    return parameters
