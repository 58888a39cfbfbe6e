"""The peers, each as its own documentation uses it. Knows nothing of pajamas-eval.

    python tests/performance/peers.py PEER MODEL WORKLOAD.json [ARGUMENT...]

prints the seconds that the questions took, without loading and after a warm-up, and the answers.
"""

import ctypes
import importlib.util
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WARM_UP = {"context": "A short text to warm up with:", "continuations": [" some more of it"]}

Answers = list[float | str]


def requests_of(questions: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Context and continuation of every choice."""
    return [(q["context"], c) for q in questions for c in q["continuations"]]


def timed(run: Callable[[], Answers]) -> dict[str, Any]:
    """Seconds and answers."""
    started = time.perf_counter()
    answers = run()
    return {"seconds": time.perf_counter() - started, "answers": answers}


# -- llama.cpp -------------------------------------------------------------------------------


def naive(
    model: str, content: dict[str, Any], read: str = "scores", every: str = "1"
) -> dict[str, Any]:
    """llama-cpp-python with `logits_all=True`, one request at a time: all logits of every token.

    Reads `Llama.scores`, an array, or `Llama.eval_logits`, which copies it into Python lists.
    Nothing is shared between requests, so every `every`-th question stands for all.
    """
    import llama_cpp
    import numpy as np

    def tokens(text: str) -> list[int]:
        return llm.tokenize(text.encode(), add_bos=False, special=True)

    def run(questions: list[dict[str, Any]]) -> Answers:
        answers: Answers = []
        for context, continuation in requests_of(questions):
            head, whole = tokens(context), tokens(context + continuation)
            llm.reset()
            llm.eval(whole[:-1])
            total, logits = 0.0, getattr(llm, read)
            for place in range(len(head), len(whole)):
                row = np.asarray(logits[place - 1], np.float32)
                highest = row.max()
                total += float(row[whole[place]] - highest - np.log(np.exp(row - highest).sum()))
            answers.append(total)
        return answers

    questions = content["questions"][:: int(every)]
    longest = max(len(c) + len(k) for c, k in requests_of(content["questions"]))
    llm = llama_cpp.Llama(
        model,
        n_ctx=max(512, longest // 2),
        n_batch=512,
        n_threads=os.cpu_count(),
        n_threads_batch=os.cpu_count(),
        logits_all=True,
        flash_attn=True,
        verbose=False,
    )
    run([WARM_UP])
    return {**timed(lambda: run(questions)), "every": int(every)}


def llama_perplexity(
    model: str, content: dict[str, Any], program: str, mode: str, context: str
) -> dict[str, Any]:
    """llama.cpp's own scorer, four sequences at once, which is its best on a CPU.

    The clock runs from its first word on the tasks, when the model is loaded and warm, to its
    last score.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tasks"
        if mode == "--hellaswag":
            lines = []
            for q in content["questions"]:
                lines += [q["context"], str(q["gold"]), *(c[1:] for c in q["continuations"])]
            file.write_text("\n".join(line.replace("\n", " ") for line in lines) + "\n", "utf-8")
            extra = ["--hellaswag-tasks", str(len(content["questions"]))]
        else:
            file.write_bytes(multiple_choice_file(content["questions"]))
            extra = ["--multiple-choice-tasks", "0"]
        command = [program, "-m", model, mode, *extra, "-np", "4", "-c", context]
        command += ["-bf" if mode == "--multiple-choice" else "-f", str(file)]
        command += ["-b", "2048", "-ub", "512", "-t", str(os.cpu_count()), "-fa", "on"]
        started = ended = None
        done = 0
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout
        said = []
        for line in process.stdout:
            said.append(line)
            if started is None and ("tasks in prompt" in line or "tasks from prompt" in line):
                started = time.perf_counter()
            elif line.split("\t")[0].isdecimal():
                ended, done = time.perf_counter(), int(line.split("\t")[0])
        if process.wait() or done != len(content["questions"]):
            raise RuntimeError(f"{program} scored {done} questions:\n" + "".join(said)[-3000:])
    assert started is not None
    assert ended is not None
    return {"seconds": ended - started, "answers": []}


def multiple_choice_file(questions: list[dict[str, Any]]) -> bytes:
    """The binary file that `llama-perplexity --multiple-choice` reads."""

    def text(value: str) -> bytes:
        encoded = value.encode()
        return struct.pack("<I", len(encoded)) + encoded

    def answers(q: dict[str, Any]) -> bytes:
        choices = [c.removeprefix(" ") for c in q["continuations"]]  # it adds the space itself
        labels = [int(i == q["gold"]) for i in range(len(choices))]
        packed = struct.pack(f"<{len(labels)}i", *labels)
        return struct.pack("<I", len(choices)) + b"".join(map(text, choices)) + packed

    tasks = [text(q["context"]) + answers(q) + struct.pack("<I", 0) for q in questions]
    positions, place = [], 4 + 4 * len(tasks)
    for task in tasks:
        positions.append(place)
        place += len(task)
    return struct.pack(f"<I{len(tasks)}I", len(tasks), *positions) + b"".join(tasks)


def llama_bench(
    model: str, content: dict[str, Any], program: str, depth: str = "0"
) -> dict[str, Any]:
    """The prompt tokens per second of the engine itself: 512 at once, after `depth` others."""
    del content
    command = [
        program,
        "-m",
        model,
        "-p",
        "512",
        "-d",
        depth,
        "-n",
        "0",
        "-b",
        "2048",
        "-ub",
        "512",
    ]
    command += ["-t", str(os.cpu_count()), "-fa", "1", "-r", "3", "-o", "json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {"tokens_per_second": json.loads(done.stdout)[0]["avg_ts"], "answers": []}


def create_completion(model: str, content: dict[str, Any]) -> dict[str, Any]:
    """llama-cpp-python's `create_completion`, one prompt after the other."""
    import llama_cpp

    llm = llama_cpp.Llama(
        model,
        n_ctx=4096,
        n_batch=512,
        n_threads=os.cpu_count(),
        n_threads_batch=os.cpu_count(),
        flash_attn=True,
        verbose=False,
    )

    def complete(prompt: str, max_tokens: int) -> str:
        return llm.create_completion(
            prompt, max_tokens=max_tokens, temperature=0.0, stop=content["until"]
        )["choices"][0]["text"]

    complete("A short text to warm up with:", 4)
    return timed(lambda: [complete(q, content["max_tokens"]) for q in content["questions"]])


# -- MLX -------------------------------------------------------------------------------------


def fast_blas() -> None:
    """Gives MLX on Linux the same BLAS that our adapter gives it: its own is 20 times slower."""
    torch = importlib.util.find_spec("torch")
    if sys.platform == "linux" and torch and torch.origin:
        library = Path(torch.origin).parent / "lib" / "libtorch_cpu.so"
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def mlx_lm_evaluate(model: str, content: dict[str, Any], every: str = "1") -> dict[str, Any]:
    """The model class behind `mlx_lm.evaluate`, with its own defaults.

    It takes the questions one by one, so every `every`-th may stand for all.
    """
    fast_blas()
    from lm_eval.api.instance import Instance
    from mlx_lm.evaluate import MLXLM

    lm = MLXLM(model)

    def run(questions: list[dict[str, Any]]) -> Answers:
        instances = [
            Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(requests_of(questions))
        ]
        return [float(value) for value, _ in lm.loglikelihood(instances)]

    run([WARM_UP])
    return {**timed(lambda: run(content["questions"][:: int(every)])), "every": int(every)}


def mlx_stream(model: str, content: dict[str, Any]) -> dict[str, Any]:
    """`mlx_lm.generate`, one prompt after the other, cut at its stop strings."""
    fast_blas()
    import mlx_lm

    loaded, tokenizer = mlx_lm.load(model)[:2]

    def complete(prompt: str, max_tokens: int) -> str:
        text = ""
        for response in mlx_lm.stream_generate(loaded, tokenizer, prompt, max_tokens=max_tokens):
            text += response.text
            if any(stop in text for stop in content["until"]):
                break
        return text

    complete("A short text to warm up with:", 4)
    return timed(lambda: [complete(q, content["max_tokens"]) for q in content["questions"]])


def mlx_batch(model: str, content: dict[str, Any]) -> dict[str, Any]:
    """`mlx_lm.batch_generate`, which knows no stop strings."""
    fast_blas()
    import mlx_lm

    loaded, tokenizer = mlx_lm.load(model)[:2]

    def run(prompts: list[str], max_tokens: int) -> Answers:
        encoded = [tokenizer.encode(prompt) for prompt in prompts]
        return list(mlx_lm.batch_generate(loaded, tokenizer, encoded, max_tokens=max_tokens).texts)

    run(["A short text to warm up with:"], 4)
    return timed(lambda: run(content["questions"], content["max_tokens"]))


# -- transformers ----------------------------------------------------------------------------


def lm_eval_hf(model: str, content: dict[str, Any], batch_size: str) -> dict[str, Any]:
    """lm-eval's `hf`."""
    import logging

    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    logging.disable(logging.WARNING)
    lm = HFLM(pretrained=model, device="cpu", dtype="float32", batch_size=int(batch_size))

    def run(questions: list[dict[str, Any]]) -> Answers:
        instances = [
            Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(requests_of(questions))
        ]
        return [float(value) for value, _ in lm.loglikelihood(instances, disable_tqdm=True)]

    run([WARM_UP])
    return timed(lambda: run(content["questions"]))


def transformers_generate(model: str, content: dict[str, Any]) -> dict[str, Any]:
    """transformers' `generate`, one prompt after the other."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()

    def complete(prompt: str, max_tokens: int) -> str:
        encoded = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
        with torch.inference_mode():
            out = loaded.generate(
                **encoded,
                max_new_tokens=max_tokens,
                do_sample=False,
                stop_strings=content["until"],
                tokenizer=tokenizer,
                pad_token_id=0,
            )
        return str(tokenizer.decode(out[0, encoded["input_ids"].shape[1] :]))

    complete("A short text to warm up with:", 4)
    return timed(lambda: [complete(q, content["max_tokens"]) for q in content["questions"]])


PEERS: dict[str, Callable[..., dict[str, Any]]] = {
    f.__name__: f
    for f in (
        naive,
        llama_perplexity,
        llama_bench,
        create_completion,
        mlx_lm_evaluate,
        mlx_stream,
        mlx_batch,
        lm_eval_hf,
        transformers_generate,
    )
}


if __name__ == "__main__":
    peer, model, file, *arguments = sys.argv[1:]
    outcome = PEERS[peer](model, json.loads(Path(file).read_text("utf-8")), *arguments)
    assert not any(isinstance(a, float) and math.isnan(a) for a in outcome["answers"])
    print(json.dumps(outcome))
