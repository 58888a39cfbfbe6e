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

import random
import re
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from pajamas_eval.api.data import Dataset, DataSource
from pajamas_eval.api.multiple_choice import ChoiceDoc, MultipleChoice
from pajamas_eval.errors import UsageError


class Row(msgspec.Struct):
    """One row of the data set."""

    activity_label: str
    ctx_a: str
    ctx_b: str
    endings: list[str]
    label: str
    source_id: str = ""


class HellaSwag(MultipleChoice):
    """HellaSwag's validation split."""

    metrics = ("acc_norm", "acc")
    dataset: ClassVar[Dataset] = Dataset("hellaswag", hub_id="Rowan/hellaswag")
    test_split: ClassVar[str] = "validation"
    shot_split: ClassVar[str] = "train"

    @classmethod
    def names(cls) -> list[str]:
        """The one benchmark."""
        return ["hellaswag"]

    @classmethod
    def summary(cls) -> str:
        """One line for the list of benchmarks."""
        return "which of four endings follows"

    def docs(self, data: DataSource) -> list[ChoiceDoc]:
        """The validation split, the one with public labels."""
        return self.read(data, self.test_split)

    def shot_pool(self, data: DataSource) -> Sequence[ChoiceDoc]:
        """The train split."""
        return self.read(data, self.shot_split)

    def choose_shots(
        self, data: DataSource, docs: Sequence[ChoiceDoc], count: int, seed: int
    ) -> list[list[ChoiceDoc]]:
        """One more than needed is drawn and the doc itself dropped, as lm-eval does here."""
        if not count:
            return [[] for _ in docs]
        pool = list(self.shot_pool(data))
        if len(pool) <= count:
            raise UsageError(
                f"{self.name} has only {len(pool)} few-shot examples; {count} shots need one more "
                "than that"
            )
        generator = random.Random(seed)
        drawn = [generator.sample(pool, count + 1) for _ in docs]
        return [
            [shot for shot in shots if not _same(shot, doc)][:count]
            for shots, doc in zip(drawn, docs, strict=True)
        ]

    def read(self, data: DataSource, split: str) -> list[ChoiceDoc]:
        """All docs of a split."""
        docs = []
        for number, row in enumerate(data.rows(self.dataset, split, Row)):
            context = f"{row.ctx_a} {row.ctx_b.capitalize()}"
            if not (row.label.isdecimal() and int(row.label) < len(row.endings)):
                raise UsageError(
                    f"{self.dataset.folder} {split}, row {number + 1}: label {row.label!r} "
                    f"names none of the {len(row.endings)} endings"
                )
            docs.append(
                ChoiceDoc(
                    id=str(number),
                    question=clean(f"{row.activity_label}: {context}"),
                    choices=tuple(clean(ending) for ending in row.endings),
                    gold=int(row.label),
                    cluster=row.source_id,
                )
            )
        return docs


def _same(a: ChoiceDoc, b: ChoiceDoc) -> bool:
    return (a.question, a.choices, a.gold) == (b.question, b.choices, b.gold)


def clean(text: str) -> str:
    """Removes WikiHow's markup, in lm-eval's order."""
    text = text.strip().replace(" [title]", ". ")
    text = re.sub(r"\[.*?\]", "", text)
    return text.replace("  ", " ")


class PajamasCommonsense(HellaSwag):
    """100 completions in HellaSwag's form, part of this package."""

    dataset = Dataset("pajamas_commonsense", package="pajamas_eval.benchmarks")
    test_split = "test"
    max_shots = 0

    @classmethod
    def names(cls) -> list[str]:
        """The one benchmark."""
        return ["pajamas_commonsense"]

    @classmethod
    def summary(cls) -> str:
        """One line for the list of benchmarks."""
        return "100 completions in HellaSwag's form (built in)"
