"""How a result document of an earlier version becomes one of the next."""

from collections.abc import Callable
from typing import Any

from pajamas_eval.api.metrics import POINTS


def _from_3(document: dict[str, Any]) -> None:
    """Metrics with kinds, margins with units, and one part for each request."""
    settings = document["settings"]
    settings["margins"] = [{"value": 100 * settings.pop("margin")}]
    settings["template_digest"] = settings.pop("chat_template")
    settings["apply_chat_template"] = settings["template_digest"] is not None
    fairness = document["fairness"]
    fairness["prompt_digest"] = fairness.pop("prompts")
    for record in document["benchmarks"]:
        record["metrics"] = [{"name": name} for name in record["metrics"]]
        for answers in record["answer_sets"]:
            _rename(answers, packing="batch_digest", reused="cached_responses")
            # One digest of all tells nothing of one.
            answers["reading_digests"] = [""] * answers.pop("requests", 0)
            answers.pop("tokens", None)
            _costs_from_3(answers)
            for answer in answers["answers"]:
                if answer.get("log_probabilities"):
                    record["has_choices"] = True
                _answer_from_3(answer)
    for comparison in document.get("comparisons", ()):
        _rename(comparison, missing="unanswered", mcnemar_p="p_different")
        comparison["margin"] = settings["margins"][0]


def _costs_from_3(answers: dict[str, Any]) -> None:
    """Reading and generating were not timed apart: where there was both, neither is known."""
    generated = answers["generated_tokens"]
    seconds = answers.pop("engine_seconds")
    answers["prompt_seconds"] = 0.0 if generated else seconds
    answers["generation_seconds"] = 0.0
    answers["prompt_tokens"] = answers.pop("ideal_tokens") - generated


def _answer_from_3(answer: dict[str, Any]) -> None:
    """Its counts were sums over its requests: the first part has them, the others have none."""
    counts = {
        name: answer.pop(name, 0)
        for name in ("token_count", "prompt_tokens", "truncated_tokens", "seconds")
    }
    nothing = dict.fromkeys(counts, 0)
    values = answer.pop("log_probabilities", None) or []
    greedy = answer.pop("is_greedy", None) or []
    text, reason = answer.pop("text", None), answer.pop("finish_reason", None)
    answer["parts"] = [
        {
            "kind": "loglikelihood",
            "log_probability": value,
            "is_greedy": flag,
            "byte_count": 0,
            **(nothing if place else counts),
        }
        for place, (value, flag) in enumerate(zip(values, greedy, strict=True))
    ]
    if text is not None:
        answer["parts"].append(
            {"kind": "generation", "text": text, "finish_reason": reason or "end", **counts}
        )


def _rename(record: dict[str, Any], **names: str) -> None:
    for old, new in names.items():
        if old in record:
            record[new] = record.pop(old)


def _from_4(document: dict[str, Any]) -> None:
    """The confidence of a difference's interval: it was two-sided at the run's."""
    given = {margin.get("unit", POINTS) for margin in document["settings"]["margins"]}
    for comparison in document.get("comparisons", ()):
        comparison["interval_confidence"] = document["settings"]["confidence"]
        margin = comparison["margin"] or {}
        comparison["margin_is_default"] = margin.get("unit", POINTS) not in given


def _from_5(document: dict[str, Any]) -> None:
    """Answers and chances of the questions were not kept: nothing is known of a guess's score."""


MIGRATIONS: dict[int, Callable[[dict[str, Any]], None]] = {3: _from_3, 4: _from_4, 5: _from_5}
"""By the version they lead from; a released one is never changed."""
