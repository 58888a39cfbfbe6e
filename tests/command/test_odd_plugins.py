"""Plugins that are broken or say odd things, through the real command: contained and named."""

import os

import pytest
from faulty import Place

from pajamas_eval.results.document import AnswerRecord, Document

RUNTIME = '''"""A runtime whose model's file is code that makes it odd."""
from dataclasses import replace
import msgspec
from faulty_runtime import *
from faulty_runtime import _likely
NAN = float("nan")

class Odd(FaultyRuntime):
    name = "odd"

    def __init__(self, options):
        super().__init__(options)
        exec(self._file.read_text(), {**globals(), "self": self, "Odd": Odd})

    def loads(self, **others):
        self.load = lambda: msgspec.structs.replace(FaultyRuntime.load(self), **others)

    def answers(self, answer):
        """What it yields for its fifth request, or the function of its own answer."""
        def odd(requests):
            for place, right in FaultyRuntime.answer(self, requests):
                yield answer(place, right) if place == 4 else (place, right)
        self.answer = odd

class Sub(LogLikelihoodResult, frozen=True):
    pass
'''
BENCHMARK = '''"""A benchmark with a method that is odd at its doc 3, as the environment says."""
import os
import numpy as np
from pajamas_eval.api.benchmark import Benchmark, Doc, Score
from pajamas_eval.api.metrics import Metric
from pajamas_eval.api.requests import GenerateUntil
NAN = float("nan")

class Odd(Benchmark):
    family, summary, metrics = "odd", "odd", (Metric("acc"),)
    request_types = (GenerateUntil,)
    def docs(self, data):
        return [Doc(id=str(n)) for n in range(10)]
    def question(self, doc):
        return f"Q{doc.id}?"
    def requests(self, doc, prompt, delimiter):
        return [GenerateUntil(prompt, (), 8)]
    def gold(self, doc):
        return doc.id
    def score(self, doc, results):
        said = results[0].text.removeprefix("#### ")
        return Score({"acc": float(said == doc.id)}, said)

def change(method, code):
    usual = getattr(Odd, method)
    def changed(self, doc, *rest):
        right = usual(self, doc, *rest)
        return eval(code) if getattr(doc, "id", "3") == "3" else right
    setattr(Odd, method, changed)

if "ODD" in os.environ:
    change(*os.environ["ODD"].split(" ", 1))
'''
BOTH = (
    "[pajamas_eval.runtimes]\nodd = odd_runtime:Odd\n[pajamas_eval.benchmarks]\nodd = odd_b:Odd\n"
)


def install(place: Place, package: str, points: str, **modules: str) -> None:
    """A package that commands in this place find."""
    folder = place.folder / package
    info = folder / f"{package}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(points)
    for name, content in modules.items():
        (folder / f"{name}.py").write_text(content)
    path = place.environment["PYTHONPATH"]
    place.environment["PYTHONPATH"] = os.pathsep.join([str(folder), path])


@pytest.fixture
def odd(place: Place) -> Place:
    """A place with an odd runtime and an odd benchmark."""
    install(place, "oddities", BOTH, odd_runtime=RUNTIME, odd_b=BENCHMARK)
    return place


def odd_model(place: Place, label: str, code: str) -> str:
    return place.model(label, code).replace("=faulty[", "=odd[")


def answers(document: Document, label: str) -> list[AnswerRecord]:
    """All of a model's answers."""
    return [
        answer
        for record in document.benchmarks
        for answers in record.answer_sets
        if answers.label == label
        for answer in answers.answers
    ]


def lost(document: Document, label: str) -> dict[str, str]:
    """What became of questions without an answer, by their ids."""
    return {a.doc_id: a.error for a in answers(document, label) if a.error is not None}


# -- what a runtime says of itself -----------------------------------------------------------------

STATEMENTS = {
    # what is odd: (what the model's file says, the model's error)
    "engine": ("self.engine = lambda: 3", "AttributeError: 'int' object has no attribute"),
    "versions": (
        "self.engine = lambda: Engine({'odd': 3}, 'CPU')",
        "the runtime gave an invalid answer key: Expected `str`, got `int` - at `$.versions[...]`",
    ),
    "digest": (
        "self.digest = lambda: 3",
        "the runtime gave an invalid answer key: Expected `str | null`, got `int` - at `$.weights`",
    ),
    "facts": (
        "self.answer_settings = lambda: {'scale': NAN}",
        "the runtime gave an invalid answer key: nan where a number belongs",
    ),
    "function": (
        "self.answer_settings = lambda: {'f': print}",
        "the runtime gave an invalid answer key: something in it is of type builtin",
    ),
    "settings": ("Odd.settings = 3", "the runtime gave invalid settings: it is of type int"),
    "length": (
        "s = self.settings; Odd.settings = msgspec.structs.replace(s, context_length='long')",
        "the runtime gave invalid settings: Expected `int | null`, got `str`",
    ),
    "capabilities": (
        "Odd.capabilities = 3",
        "the runtime gave invalid capabilities: it is of type int",
    ),
    "few_readings": ("self.readings = lambda r: iter([b''])", "ValueError: zip()"),
    "identity": (
        "self.load = lambda: 3",
        "the runtime gave an invalid identity: it is of type int",
    ),
    "bits": (
        "self.loads(bits_per_weight=NAN)",
        "the runtime gave an invalid identity: nan where a number belongs",
    ),
    "notes": (
        "self.loads(notes=[3])",
        "the runtime gave an invalid identity: Expected `str`, got `int`",
    ),
    "seconds": (
        "Odd.usage = property(lambda s: Usage(prompt_seconds=NAN), lambda s, u: 0)",
        "the runtime gave an invalid usage: nan where a number belongs",
    ),
    "usage": (
        "Odd.usage = property(lambda s: 3, lambda s, u: 0); self.right = lambda r: _likely(-1.0)",
        "the runtime gave an invalid usage: it is of type int",
    ),
    "bare": (
        "self.answers(lambda place, right: right)",
        "the odd runtime gave a LogLikelihoodResult where an index and a result belong",
    ),
    "named": (
        "self.answers(lambda place, right: ('four', right))",
        "the odd runtime gave a tuple where an index and a result belong",
    ),
    "fraction": (
        "self.answers(lambda place, right: (4.0, right))",
        "the odd runtime gave a tuple where an index and a result belong",
    ),
    "twice": (
        "self.answers(lambda place, right: (place - 1, right))",
        "the odd runtime answered request 3 of 24 twice",
    ),
    "beyond": (
        "self.answers(lambda place, right: (24, right))",
        "the odd runtime answered request 24 of 24, which it was not asked",
    ),
    "wordless": (
        "E = type('E', (Exception,), {'__str__': lambda self: 3})\n"
        "self.answers(lambda place, right: (_ for _ in ()).throw(E()))",
        "wordless: E",
    ),
}


@pytest.fixture(scope="module")
def stated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Document, str]:
    """One comparison of a sound model with one for each odd statement."""
    place = Place(tmp_path_factory.mktemp("stated"))
    install(place, "oddities", BOTH, odd_runtime=RUNTIME, odd_b=BENCHMARK)
    models = [odd_model(place, label, code) for label, (code, _) in STATEMENTS.items()]
    document, result = place.documented(
        "compare", place.model("sound"), *models, "-b", "mmlu_anatomy", "--shots", 0, code=4
    )
    return place, document, result.stdout


@pytest.mark.parametrize("label", STATEMENTS)
def test_a_model_whose_runtime_says_odd_things_fails_alone(
    stated: tuple[Place, Document, str], label: str
) -> None:
    _, document, output = stated
    error = document.model(label).error
    assert error is not None
    assert STATEMENTS[label][1] in error
    assert f"FAILED {label}: " in output
    assert bool(lost(document, label)) == (label not in ("seconds", "usage"))  # told at the end
    assert lost(document, "sound") == {}
    assert document.model("sound").error is None


def test_the_store_holds_nothing_odd(stated: tuple[Place, Document, str]) -> None:
    place, _, _ = stated
    assert place.run("show", 1).returncode == 0
    assert place.run("store", "verify").returncode == 0
    assert place.run("store", "export", "all.jsonl").returncode == 0


def test_lone_surrogates_in_what_a_runtime_says_are_spelled_out(odd: Place) -> None:
    code = (
        "self.loads(notes=('n\\udcff',), architecture='a\\udcff')\n"
        "self.engine = lambda: Engine({'odd': 'v\\udcff'}, 'CPU')\n"
        "self.answer_settings = lambda: {'s\\udcff': 't\\udcff'}\n"
        "self.usage.notes.append('u\\udcff')\n"
    )
    document, _ = odd.documented(
        "run", odd_model(odd, "m", code), "-b", "mmlu_anatomy", "--shots", 0
    )
    (model,) = document.models
    assert model.identity is not None
    assert model.identity.notes == ("n\\udcff",)
    assert model.key is not None
    assert model.key.settings == {"s\\udcff": "t\\udcff"}
    assert odd.run("show", 1).returncode == 0
    assert odd.run("store", "verify").returncode == 0
    assert odd.run("store", "export", "all.jsonl").returncode == 0
    again, _ = odd.documented("compare", "--resume", 1)
    assert again.benchmarks[0].answer_sets[0].cached_responses == 24


def test_a_result_of_a_class_of_its_own_is_an_answer(odd: Place) -> None:
    code = "self.answers(lambda place, right: (place, Sub(*msgspec.structs.astuple(right))))"
    document, _ = odd.documented(
        "run", odd_model(odd, "m", code), "-b", "mmlu_anatomy", "--shots", 0
    )
    assert lost(document, "m") == {}


# -- what a benchmark does -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("score 1 / 0", "odd could not score it: ZeroDivisionError: division by zero"),
        ("score 3", "odd could not score it: AttributeError: 'int' object has no attribute"),
        (
            "score Score({'acc': NAN}, '')",
            "odd could not score it: the benchmark gave an invalid score",
        ),
        ("score Score({'acc': 'much'}, '')", "Expected `float`, got `str`"),
        ("score Score({'acc': 1.0}, 3)", "Expected `str`, got `int`"),
        ("score Score({'acc': 1.0}, '', weights={'acc': NAN})", "nan where a number belongs"),
        ("rounds 1 / 0", "odd, asked for the next round, is broken: ZeroDivisionError: division"),
        ("rounds [3]", "is broken: AttributeError: 'int' object has no attribute 'drawn'"),
    ],
)
def test_a_doc_on_which_a_benchmark_fails_is_an_error(odd: Place, what: str, said: str) -> None:
    models = odd.model("a"), odd.model("b")
    document, result = odd.documented("compare", *models, "-b", "odd", ODD=what)
    for label in ("a", "b"):
        assert list(lost(document, label)) == ["3"]
        assert said in lost(document, label)["3"]
        assert [a.scores for a in answers(document, label) if a.error is None] == [{"acc": 1.0}] * 9
    assert "b failed on 1 question, not counted as wrong: " in result.stdout


@pytest.mark.parametrize(
    "value", ["True", "np.bool_(True)", "np.float32(1)", "np.float64(1)", "np.int64(1)", "1"]
)
def test_a_score_may_be_any_number(odd: Place, value: str) -> None:
    what = f"score Score({{'acc': {value}}}, 'p\\udcff')"
    document, _ = odd.documented("run", odd.model("a"), "-b", "odd", ODD=what)
    assert lost(document, "a") == {}
    assert answers(document, "a")[3].scores == {"acc": 1.0}
    assert odd.run("show", 1).returncode == 0


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("docs 1 / 0", "the benchmark odd is broken: ZeroDivisionError: division by zero ("),
        ("docs [3]", "the benchmark odd is broken: AttributeError: 'int' object has no"),
        ("docs [Doc(id=3)]", "the benchmark odd is broken: it has 3 for a doc's text"),
        ("docs [Doc(id='x')] * 2", "the benchmark odd is broken: it has two docs of the id 'x'"),
        ("question 3", "the benchmark odd is broken: TypeError: "),
        ("requests []", "the benchmark odd is broken: it has nothing to ask for 3"),
        ("requests [3]", "the benchmark odd is broken: AttributeError: 'int' object has no"),
        ("gold 3", "the benchmark odd is broken: it has a right answer that is no text for 3"),
        ("gold os._nothing", "is broken: AttributeError: module 'os' has no attribute '_nothing'"),
    ],
)
def test_a_benchmark_that_cannot_be_asked_is_refused(odd: Place, what: str, said: str) -> None:
    result = odd.run("run", odd.model("a"), "-b", "odd", ODD=what)
    assert result.returncode == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert odd.calls("a") == []


# -- plugins that cannot be imported, and names that are not free ----------------------------------


def crowd(place: Place) -> None:
    """One package that is broken, two that offer the same names, one that wants built-in ones."""
    runtimes, benchmarks = "[pajamas_eval.runtimes]", "[pajamas_eval.benchmarks]"
    install(
        place, "broken", f"{runtimes}\nwreck = wreck:W\n{benchmarks}\nwreck = wreck:W\n",
        wreck="print('loud'); import nowhere",
    )  # fmt: skip
    for package in ("one", "two"):
        install(place, package, BOTH, odd_runtime=RUNTIME, odd_b=BENCHMARK)
    install(
        place, "greedy", f"{runtimes}\ngguf = wreck:W\nhuggingface = wreck:W\n"
        f"{benchmarks}\nmmlu = wreck:W\n",
    )  # fmt: skip


LISTED: dict[tuple[str, ...], list[str]] = {
    ("list", "runtimes"): [
        "wreck       cannot be used: 'wreck' of the package broken is broken: ModuleNotFoundError: "
        "No module named 'nowhere' (wreck.py, line 1)",
        "odd         cannot be used: 'odd' is offered by 2 packages, one and two; uninstall all "
        "but one of them",
        "  not used: 'gguf' of the package greedy, since that name is built in",
        "  not used: 'huggingface' of the package greedy, since that name is built in",
        "gguf        GGUF models in llama.cpp, through the low-level API of llama-cpp-python.",
    ],
    ("list", "benchmarks"): [
        "wreck                 cannot be used: 'wreck' of the package broken is broken: "
        "ModuleNotFoundError: No module named 'nowhere' (wreck.py, line 1)",
        "odd                   cannot be used: 'odd' is offered by 2 packages, one and two; "
        "uninstall all but one of them",
        "  not used: 'mmlu' of the package greedy, since that name is built in",
        "dialogue              two rounds about numbers; acc; 0-shot by default, margin 1 point",
    ],
    ("doctor",): [
        "wreck    missing: 'wreck' of the package broken is broken: ModuleNotFoundError: "
        "No module named 'nowhere' (wreck.py, line 1)",
        "odd      missing: 'odd' is offered by 2 packages, one and two; uninstall all but "
        "one of them",
        "faulty   works on CPU: faulty 1",
    ],
}  # fmt: skip


@pytest.mark.parametrize("command", LISTED, ids=" ".join)
def test_what_cannot_be_used_is_listed_with_the_reason(
    place: Place, command: tuple[str, ...]
) -> None:
    crowd(place)
    result = place.run(*command)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    for line in LISTED[command]:
        assert line in lines


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "wreck[path=a.bin]", "-b", "dialogue"], "'wreck' of the package broken is broken"),
        (["run", "odd[path=a.bin]", "-b", "dialogue"], "'odd' is offered by 2 packages, one and"),
        (["run", "a.toml", "-b", "wreck"], "'wreck' of the package broken is broken: Module"),
        (["run", "a.toml", "-b", "odd"], "'odd' is offered by 2 packages, one and two"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    place: Place, arguments: list[str], said: str
) -> None:
    crowd(place)
    place.model("a")
    (place.folder / "a.toml").write_text("runtime = 'faulty'\npath = 'a.bin'\n")
    result = place.run(*arguments)
    assert result.returncode == 2
    assert said in result.stderr
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert place.calls("a") == []


def test_it_is_no_obstacle_to_who_does_not_need_it(place: Place) -> None:
    crowd(place)
    document, result = place.documented("run", place.model("a"), "-b", "mmlu_anatomy,dialogue")
    assert [record.name for record in document.benchmarks] == ["mmlu_anatomy", "dialogue"]
    assert lost(document, "a") == {}
    assert "loud" not in result.stdout
