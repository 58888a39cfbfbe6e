"""Measuring Massive Multitask Language Understanding.

Dan Hendrycks, Collin Burns, Steven Basart, Andy Zou, Mantas Mazeika, Dawn Song, Jacob Steinhardt.
https://arxiv.org/abs/2009.03300

A row of `cais/mmlu` (configuration `all`):

    {"question": "Find all c in Z_3 such that Z_3[x]/(x^2 + c) is a field.",
     "subject": "abstract_algebra", "choices": ["0", "1", "2", "3"], "answer": 1}

The question is shown with its lettered choices; the log-likelihoods of " A" … " D" are compared.
Few-shot examples are the first ones of the subject's dev split.

Weak models do not know what to do with letters and answer at chance. The cloze form,
`mmlu_continuation`, shows them no choices and compares the log-likelihoods of the answers' texts.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import msgspec

from pajamas_eval.api import shots
from pajamas_eval.api.data import Dataset, DataSource
from pajamas_eval.api.multiple_choice import ChoiceDoc, MultipleChoice, choice_metrics
from pajamas_eval.errors import UsageError

LETTERS = ("A", "B", "C", "D")

GROUPS = {
    "stem": (
        "abstract_algebra", "anatomy", "astronomy", "college_biology", "college_chemistry",
        "college_computer_science", "college_mathematics", "college_physics", "computer_security",
        "conceptual_physics", "electrical_engineering", "elementary_mathematics",
        "high_school_biology", "high_school_chemistry", "high_school_computer_science",
        "high_school_mathematics", "high_school_physics", "high_school_statistics",
        "machine_learning",
    ),
    "humanities": (
        "formal_logic", "high_school_european_history", "high_school_us_history",
        "high_school_world_history", "international_law", "jurisprudence", "logical_fallacies",
        "moral_disputes", "moral_scenarios", "philosophy", "prehistory", "professional_law",
        "world_religions",
    ),
    "social_sciences": (
        "econometrics", "high_school_geography", "high_school_government_and_politics",
        "high_school_macroeconomics", "high_school_microeconomics", "high_school_psychology",
        "human_sexuality", "professional_psychology", "public_relations", "security_studies",
        "sociology", "us_foreign_policy",
    ),
    "other": (
        "business_ethics", "clinical_knowledge", "college_medicine", "global_facts",
        "human_aging", "management", "marketing", "medical_genetics", "miscellaneous",
        "nutrition", "professional_accounting", "professional_medicine", "virology",
    ),
}  # fmt: skip

SUBJECTS = {subject: group for group, subjects in GROUPS.items() for subject in subjects}


class Row(msgspec.Struct):
    """One row of the data set."""

    question: str
    subject: str
    choices: Annotated[list[str], msgspec.Meta(min_length=4, max_length=4)]
    answer: Annotated[int, msgspec.Meta(ge=0, le=3)]


class Questions(MultipleChoice):
    """Questions in MMLU's rows."""

    def read(self, data: DataSource, split: str) -> list[ChoiceDoc]:
        """All docs of a split, numbered within their subject."""
        docs: list[ChoiceDoc] = []
        numbers: dict[str, int] = {}
        for row in data.rows(self.dataset, split, Row):
            number = numbers[row.subject] = numbers.get(row.subject, -1) + 1
            docs.append(
                ChoiceDoc(
                    id=f"{row.subject}/{number}",
                    tags=self.tags(row.subject),
                    question=row.question,
                    choices=tuple(row.choices),
                    gold=row.answer,
                    subject=row.subject,
                )
            )
        return docs

    def tags(self, subject: str) -> tuple[str, ...]:
        """The subsets that a question of the subject belongs to."""
        return (subject,)


class Lettered(Questions):
    """A question with its choices under letters; the letter is the answer."""

    cloze_family: ClassVar[str]

    def description(self, doc: ChoiceDoc) -> str:
        """Names the subject."""
        subject = doc.subject.replace("_", " ")
        return f"The following are multiple choice questions (with answers) about {subject}.\n\n"

    def question(self, doc: ChoiceDoc) -> str:
        """The question and its lettered choices."""
        lines = [doc.question.strip()]
        lines += [f"{letter}. {text}" for letter, text in zip(LETTERS, doc.choices, strict=True)]
        return "\n".join([*lines, "Answer:"])

    def continuations(self, doc: ChoiceDoc) -> Sequence[str]:
        """The letters."""
        return LETTERS

    @property
    def cloze(self) -> str:
        """The same part of the family in that form."""
        return self.name.replace(self.family, self.cloze_family, 1)


class Cloze(Questions):
    """A question alone; the text of a choice is the answer, as in lm-eval's mmlu_continuation."""

    def description(self, doc: ChoiceDoc) -> str:
        """Names the subject."""
        subject = doc.subject.replace("_", " ")
        return f"The following are questions (with answers) about {subject}.\n\n"

    def question(self, doc: ChoiceDoc) -> str:
        """The question, up to where the answer begins."""
        return f"Question: {doc.question.strip()}\nAnswer:"


class OfSubjects(Questions):
    """All of MMLU, one of its groups, or a subject: the part is in the name."""

    dataset = Dataset("mmlu", hub_id="cais/mmlu", hub_config="all", shot_split="dev")
    max_shots = 5
    shot_choice = staticmethod(shots.first_of_subject)

    @classmethod
    def names(cls) -> list[str]:
        """The whole, the four groups and the 57 subjects."""
        return [cls.family, *(f"{cls.family}_{name}" for name in (*GROUPS, *SUBJECTS))]

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects that this benchmark asks about."""
        part = self.name.removeprefix(self.family).removeprefix("_")
        return GROUPS.get(part, (part,)) if part else tuple(SUBJECTS)

    def docs(self, data: DataSource) -> list[ChoiceDoc]:
        """The test questions of the subjects."""
        docs = [doc for doc in super().docs(data) if doc.subject in self.subjects]
        if not docs:
            raise UsageError(f"the data of mmlu holds no question for {self.name}")
        return docs

    def tags(self, subject: str) -> tuple[str, ...]:
        """The subject and its group."""
        return (subject, SUBJECTS[subject]) if subject in SUBJECTS else (subject,)

    def notes(self, docs: Sequence[ChoiceDoc]) -> list[str]:
        """Says so where subjects are missing from the data."""
        found = len({doc.subject for doc in docs})
        if found == len(self.subjects):
            return []
        return [f"the data holds {found} of the {len(self.subjects)} subjects of {self.name}"]


class Mmlu(Lettered, OfSubjects):
    """MMLU: all of it (`mmlu`), a group (`mmlu_stem`) or a subject (`mmlu_anatomy`)."""

    family = "mmlu"
    cloze_family = "mmlu_continuation"
    summary = "57 subjects, four choices; mmlu_<subject>, mmlu_<group>"


class MmluContinuation(Cloze, OfSubjects):
    """The same questions without letters, for weaker models: `mmlu_continuation_anatomy` …"""

    family = "mmlu_continuation"
    summary = "MMLU's questions, scored by the answer's text; parts as of mmlu"
    metrics = choice_metrics("acc", "acc_norm")


class General(Questions):
    """200 general-knowledge questions, part of this package."""

    # What 200 questions certify where one in twenty flips; see tests/unit/test_builtin_sets.py.
    metrics = choice_metrics("acc", margin=4.0)
    dataset = Dataset("pajamas_knowledge", package="pajamas_eval.benchmarks", shot_split="dev")
    max_shots = 5
    shot_choice = staticmethod(shots.first)


class PajamasKnowledge(Lettered, General):
    """In MMLU's form."""

    family = "pajamas_knowledge"
    cloze_family = "pajamas_knowledge_cloze"
    summary = "200 general-knowledge questions in MMLU's form (built in)"


class PajamasKnowledgeCloze(Cloze, General):
    """Without letters, for weaker models."""

    family = "pajamas_knowledge_cloze"
    summary = "the same 200 questions, scored by the answer's text (built in)"
