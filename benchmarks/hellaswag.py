"""HellaSwag: Can a Machine Really Finish Your Sentence?

Rowan Zellers, Ari Holtzman, Yonatan Bisk, Ali Farhadi, Yejin Choi.
https://arxiv.org/abs/1905.07830

A row of `Rowan/hellaswag`:

    {"ind": 24, "activity_label": "Roof shingle removal",
     "ctx_a": "A man is sitting on a roof.", "ctx_b": "he",
     "ctx": "A man is sitting on a roof. he",
     "endings": ["is using wrap to wrap a pair of skis.", "is ripping level tiles off.",
                 "is holding a rubik's cube.", "starts pulling up roofing on a roof."],
     "source_id": "activitynet~v_-JhWjGDPHMY", "label": "3"}

The log-likelihoods of the four endings are compared, as sums (acc) and per character (acc_norm).
Questions of one source (a video, a WikiHow article) are a cluster.
"""

import re

import msgspec

from pajamas_eval.api import shots
from pajamas_eval.api.data import Dataset, DataSource
from pajamas_eval.api.multiple_choice import ChoiceDoc, MultipleChoice, choice_metrics
from pajamas_eval.errors import UsageError


class Row(msgspec.Struct):
    """One row of the data set."""

    activity_label: str
    ctx_a: str
    ctx_b: str
    endings: list[str]
    label: int | str
    source_id: int | str = ""


class HellaSwag(MultipleChoice):
    """HellaSwag's validation split."""

    family = "hellaswag"
    summary = "which of four endings follows"
    metrics = choice_metrics("acc_norm", "acc")
    dataset = Dataset("hellaswag", hub_id="Rowan/hellaswag", test_split="validation")
    shot_choice = staticmethod(shots.drawn_without_itself)

    def read(self, data: DataSource, split: str) -> list[ChoiceDoc]:
        """All docs of a split."""
        docs = []
        for number, row in enumerate(data.rows(self.dataset, split, Row)):
            context = f"{row.ctx_a} {row.ctx_b.capitalize()}"
            label = str(row.label)
            if not (label.isdecimal() and int(label) < len(row.endings)):
                raise UsageError(
                    f"{self.dataset.folder} {split}, row {number + 1}: label {label!r} "
                    f"names none of the {len(row.endings)} endings"
                )
            docs.append(
                ChoiceDoc(
                    id=str(number),
                    question=clean(f"{row.activity_label}: {context}"),
                    choices=tuple(clean(ending) for ending in row.endings),
                    gold=int(label),
                    cluster=str(row.source_id),
                )
            )
        return docs


def clean(text: str) -> str:
    """Removes WikiHow's markup, in lm-eval's order."""
    text = text.strip().replace(" [title]", ". ")
    text = re.sub(r"\[.*?\]", "", text)
    return text.replace("  ", " ")


class PajamasCommonsense(HellaSwag):
    """100 completions in HellaSwag's form, part of this package."""

    family = "pajamas_commonsense"
    summary = "100 completions in HellaSwag's form (built in)"
    # What 100 questions certify where one in twenty flips; see tests/unit/test_builtin_sets.py.
    metrics = choice_metrics("acc_norm", "acc", margin=6.0)
    dataset = Dataset("pajamas_commonsense", package="pajamas_eval.benchmarks")
    max_shots = 0
