"""pajamas-eval as a contestant: a worker process, as in every run of the command.

python tests/performance/ours.py RUNTIME MODEL WORKLOAD.json
"""

import json
import sys
import time
from pathlib import Path

from pajamas_eval.api.media import Prompt
from pajamas_eval.api.requests import GenerateUntil, GenerationResult, LogLikelihood, Request
from pajamas_eval.api.results import Failure
from pajamas_eval.models.spec import ModelSpec
from pajamas_eval.workers.local_worker import LocalWorker
from pajamas_eval.workers.messages import Finished


def main(runtime: str, model: str, file: str, *settings: str) -> None:
    """Prints the results and the seconds they took.

    `seconds` are those from the first request sent to the last result, `scoring_seconds` those
    after all requests were tokenized.
    """
    content = json.loads(Path(file).read_text("utf-8"))
    requests: list[Request]
    if content["kind"] == "choices":
        warm_up: Request = LogLikelihood(
            Prompt("A short text to warm up with:"), " some more of it"
        )
        requests = [
            LogLikelihood(Prompt(question["context"]), continuation)
            for question in content["questions"]
            for continuation in question["continuations"]
        ]
    else:
        limits = {"until": tuple(content["until"]), "max_tokens": content["max_tokens"]}
        warm_up = GenerateUntil(Prompt("A short text to warm up with:"), (), 4)
        requests = [GenerateUntil(Prompt(prompt), **limits) for prompt in content["questions"]]
    options = {"path": model, **dict(setting.split("=", 1) for setting in settings)}
    worker = LocalWorker(ModelSpec("ours", runtime, options))
    try:
        opened = worker.open()
        worker.load(opened.settings.context_length)
        list(worker.answer([warm_up]))
        answers: list[float | str] = [0.0] * len(requests)
        started = time.perf_counter()
        # As `compare` does, to prove that all models read the same.
        worker.start_reading(requests, opened.settings.context_length)
        worker.readings()
        tokenized = time.perf_counter()
        for message in worker.answer(requests):
            if isinstance(message, Finished):
                finished = message
                continue
            for i, result in message:
                if isinstance(result, Failure):
                    raise RuntimeError(f"request {i}: {result.error}")
                is_text = isinstance(result, GenerationResult)
                answers[i] = result.text if is_text else result.log_probability
        finished_at = time.perf_counter()
    finally:
        worker.close()
    print(
        json.dumps(
            {
                "seconds": finished_at - started,
                "scoring_seconds": finished_at - tokenized,
                "answers": answers,
                "prompt_tokens": finished.usage.prompt_tokens,
                "evaluated_tokens": finished.usage.evaluated_tokens,
                "peak_memory_bytes": finished.peak_memory_bytes,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
