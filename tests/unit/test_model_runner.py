"""What a runner makes of a worker that answers, hangs, dies or gives too little."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from handmade import identity

from pajamas_eval.api.answer_key import AnswerKey
from pajamas_eval.api.identity import Identity
from pajamas_eval.api.media import Prompt
from pajamas_eval.api.requests import AnyResult as Result
from pajamas_eval.api.requests import GenerateUntil, GenerationResult, Request
from pajamas_eval.api.results import Failure
from pajamas_eval.api.runtime import Capabilities, Usage
from pajamas_eval.benchmarks.gsm8k import Gsm8k, WordProblem
from pajamas_eval.errors import RunError, StoreError, UsageError, WorkerDiedError, WorkerHungError
from pajamas_eval.evaluation.model_runner import (
    AT_ONCE,
    MOST_LOST,
    PARTS,
    SHARED_AT_ONCE,
    ModelRunner,
    Response,
)
from pajamas_eval.models.spec import ModelSpec
from pajamas_eval.questions.prepare import Question, QuestionSet
from pajamas_eval.questions.rounds import PlainConversation
from pajamas_eval.results.document import AnswerSet
from pajamas_eval.store import Store
from pajamas_eval.store.model_responses import ModelResponses
from pajamas_eval.workers.disturbance import LostTime
from pajamas_eval.workers.messages import Finished, Loaded, Opened, Readings

Behaviour = Callable[[int, int], Result | Exception | None]
"""What becomes of a request, from its number and how often it was met: nothing is no answer."""


def right(number: int, times: int) -> Result:
    del times
    return GenerationResult(f"#### {number}", "stop", 2, 9, 1, 0.5)


class Stub:
    """Stands in for a worker.

    Attributes:
        asked: The numbers of the requests of each call, in order.
        loads, restarts: How often each happened.
    """

    label = "m"
    spec = ModelSpec("m", "stub", {"path": "m.bin"})

    def __init__(self, behaviour: Behaviour = right) -> None:
        self.behaviour = behaviour
        self.at_load: list[Exception] = []
        self.at_open: list[Exception] = []
        self.at_end: list[Exception] = []
        self.cpu: list[LostTime] = []
        self.asked: list[list[int]] = []
        self.met: dict[int, int] = {}
        self.loads = self.restarts = 0

    def load(self, context_length: int) -> Loaded:
        assert context_length == 64
        self.loads += 1
        if self.at_load:
            raise self.at_load.pop(0)
        return Loaded(identity(dtype="as loaded"), 0.25)

    def restart(self) -> None:
        self.restarts += 1

    def open(self) -> None:
        if self.at_open:
            raise self.at_open.pop(0)

    def answer(
        self, requests: Sequence[Request]
    ) -> Iterator[Sequence[tuple[int, Result]] | Finished]:
        numbers = [int(r.prompt.text) for r in requests if isinstance(r, GenerateUntil)]
        self.asked.append(numbers)
        for i, number in enumerate(numbers):
            self.met[number] = self.met.get(number, 0) + 1
            result = self.behaviour(number, self.met[number])
            if isinstance(result, Exception):
                raise result
            if result is not None:
                yield [(i, result)]
        if self.at_end:
            raise self.at_end.pop(0)
        cpu = self.cpu.pop(0) if self.cpu else LostTime()
        yield Finished(Usage(evaluated_tokens=10 * len(numbers), prompt_seconds=1.0), 1000, cpu)

    @property
    def computed(self) -> list[int]:
        """All requests that it met, in order."""
        return [number for numbers in self.asked for number in numbers]


class Steps:
    """Progress that keeps what it was told, and how many questions were answered."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.started: list[tuple[str, int]] = []
        self.done = 0

    def step(self, text: str) -> None:
        self.steps.append(text)

    def start(self, label: str, benchmark: str, total: int) -> None:
        self.started.append((benchmark, total))

    def advance(self, questions: int) -> None:
        self.done += questions

    def finish(self) -> None:
        pass


class Memory:
    """Responses in a dictionary."""

    def __init__(self, **stored: Response) -> None:
        self.responses: dict[bytes, Response] = {k.encode(): v for k, v in stored.items()}
        self.description: Identity | None = None
        self.looked_up: list[list[bytes]] = []
        self.kept: list[list[bytes]] = []
        self.shared: list[bool] = []

    def describe(self, identity: Identity) -> None:
        self.description = identity

    def find(self, fingerprints: Sequence[bytes]) -> dict[bytes, Response]:
        self.looked_up.append(list(fingerprints))
        return {f: self.responses[f] for f in fingerprints if f in self.responses}

    def is_shared(self) -> bool:
        return self.shared.pop(0) if self.shared else False

    def keep(self, responses: Iterable[tuple[bytes, Response]]) -> None:
        new = dict(responses)
        assert not any(isinstance(r, Failure) for r in new.values())
        self.responses |= new
        self.kept.append(list(new))


def questions(numbers: Sequence[int], name: str = "gsm8k") -> QuestionSet:
    """One question for each number, whose right answer is that number."""
    benchmark = Gsm8k(name)
    return QuestionSet(
        benchmark,
        tuple(
            Question(
                doc_id=f"{i}",
                doc_hash="",
                prompt_hash="",
                tags=(),
                gold=str(number),
                answer=str(number),
                chance=0.0,
                cluster="",
                threads=((GenerateUntil(Prompt(str(number)), (), 8),),),
                _benchmark=benchmark,
                _doc=WordProblem(id=str(number), question="", answer=f"#### {number}"),
                _conversation=PlainConversation(Prompt(str(number))),
            )
            for i, number in enumerate(numbers)
        ),
        shots=0,
        available=len(numbers),
        notes=(),
    )


def key(number: int) -> bytes:
    return b"request %d" % number


KEY = AnswerKey(weights="d", runtime="stub", versions={})


class Case:
    """A runner on a stub, with all it is told and tells."""

    def __init__(
        self, stub: Stub, *sets: QuestionSet, memory: Memory | ModelResponses | None = None
    ) -> None:
        self.stub, self.progress = stub, Steps()
        self.runner = ModelRunner(
            stub,  # type: ignore[arg-type]
            Opened(None, Capabilities(frozenset({GenerateUntil})), KEY),
            64,
            self.progress,
            {s.name: Readings([key(int(q.gold)) for q in s.questions]) for s in sets},
            memory,
        )
        self.record = self.runner.record


def one(
    behaviour: Behaviour, numbers: Sequence[int], memory: Memory | None = None
) -> tuple[Case, AnswerSet]:
    """Asks all at once."""
    asked = questions(numbers)
    case = Case(Stub(behaviour), asked, memory=memory)
    return case, case.runner.ask(asked)


def lost(answers: AnswerSet) -> list[int]:
    return [int(a.doc_id) for a in answers.answers if a.error is not None]


def dies() -> WorkerDiedError:
    return WorkerDiedError("m: the worker process died")


def hangs() -> WorkerHungError:
    return WorkerHungError("m: no heartbeat")


# -- answers ---------------------------------------------------------------------------------------


def test_all_are_asked_in_one_call_and_cost_what_the_worker_says() -> None:
    case, answers = one(right, range(10))
    assert case.stub.asked == [list(range(10))]
    assert [a.prediction for a in answers.answers] == [str(n) for n in range(10)]
    assert (answers.evaluated_tokens, answers.prompt_seconds, answers.cached_responses) == (
        100,
        1.0,
        0,
    )
    assert case.record.load_seconds == 0.25
    assert case.progress.done == 10


@pytest.mark.parametrize(("taken", "disturbed"), [(0.5, False), (1.5, True)])
def test_what_other_programs_took_is_added_up_over_all_calls(taken: float, disturbed: bool) -> None:
    asked = questions(range(10))
    case = Case(Stub(right), asked)
    case.stub.cpu = [LostTime(0.0, 4.0), LostTime(taken, 6.0)]
    case.runner.ask(asked, range(5))
    answers = case.runner.ask(asked)
    assert answers.disturbance == taken / 10.0
    assert answers.disturbed == disturbed


def test_requests_that_read_alike_are_asked_once() -> None:
    case, answers = one(right, [7, 8, 7, 7, 8])
    assert case.stub.asked == [[7, 8]]
    assert [a.prediction for a in answers.answers] == ["7", "8", "7", "7", "8"]
    assert case.progress.done == 5


def test_more_questions_later_ask_only_what_is_new() -> None:
    asked = questions(range(6))
    case = Case(Stub(), asked)
    assert len(case.runner.ask(asked, range(2)).answers) == 2
    assert len(case.runner.ask(asked, range(2)).answers) == 2
    assert len(case.runner.ask(asked, range(5)).answers) == 5
    assert lost(case.runner.ask(asked)) == []
    assert case.stub.asked == [[0, 1], [2, 3, 4], [5]]
    assert case.stub.loads == 1


def test_what_is_left_out_is_an_error() -> None:
    _, answers = one(lambda n, _: None if n == 3 else right(n, 1), range(5))
    assert lost(answers) == [3]
    assert answers.answers[3].error == "the stub runtime gave no answer"


def test_an_answer_that_comes_twice_fails_the_model_and_keeps_the_others() -> None:
    class Twice(Stub):
        def answer(
            self, requests: Sequence[Request]
        ) -> Iterator[Sequence[tuple[int, Result]] | Finished]:
            yield [(0, right(0, 1)), (1, right(1, 1)), (0, right(0, 1)), (2, right(2, 1))]

    asked, memory = questions(range(3)), Memory()
    case = Case(Twice(), asked, memory=memory)
    assert lost(case.runner.ask(asked)) == [2]
    assert case.record.error == (
        "m: the stub runtime answered request 0 of 3 twice, or was never asked it"
    )
    assert memory.kept == [[key(0), key(1)]]


@pytest.mark.parametrize("index", [3, -1, 10**9])
def test_an_answer_that_was_not_asked_for_is_nobodys(index: int) -> None:
    class Beyond(Stub):
        def answer(
            self, requests: Sequence[Request]
        ) -> Iterator[Sequence[tuple[int, Result]] | Finished]:
            yield [(index, right(2, 1))]

    asked = questions(range(3))
    case = Case(Beyond(), asked)
    assert lost(case.runner.ask(asked)) == [0, 1, 2]
    assert f"answered request {index} of 3 twice, or was never asked it" in str(case.record.error)


# -- a worker that hangs ---------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 1000, 5000])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_the_request_that_hangs_is_found_with_few_restarts(count: int, place: float) -> None:
    culprit = round((count - 1) * place)
    case, answers = one(lambda n, _: hangs() if n == culprit else right(n, 1), range(count))
    assert lost(answers) == [culprit]
    assert answers.answers[culprit].error == "m: no heartbeat"
    assert case.record.error is None
    steps = 1  # each of which divides what is left by PARTS
    while PARTS**steps < count - culprit:
        steps += 1
    assert case.stub.restarts <= steps + 1
    assert case.stub.loads <= case.stub.restarts + 1
    assert set(case.stub.met.values()) <= set(range(1, steps + 2))
    others = [n for n in range(count) if case.stub.met[n] > 1]
    assert others in ([culprit], []), "nothing that was answered is asked again"
    assert case.record.notes == ["its process hung and was started again"] * case.stub.restarts


def test_several_that_hang_are_all_lost_and_the_others_are_not() -> None:
    bad = {5, 500, 501}
    assert len(bad) == MOST_LOST
    case, answers = one(lambda n, _: hangs() if n in bad else right(n, 1), range(1000))
    assert set(lost(answers)) == bad
    assert case.record.error is None


def test_a_model_that_hangs_on_too_many_has_failed_and_keeps_its_answers() -> None:
    bad = set(range(10, 20))
    memory = Memory()
    case, answers = one(lambda n, _: hangs() if n in bad else right(n, 1), range(30), memory)
    assert case.record.error == "m: no heartbeat"
    assert not set(range(10)) & set(lost(answers))
    assert sum(a.error == "m: no heartbeat" for a in answers.answers) == MOST_LOST
    assert set(memory.responses) == {key(n) for n in range(30) if n not in lost(answers)}


def test_one_that_hangs_once_loses_nothing() -> None:
    def once(number: int, times: int) -> Result | Exception:
        return hangs() if (number, times) == (7, 1) else right(number, 1)

    case, answers = one(once, range(50))
    assert lost(answers) == []
    assert case.stub.restarts == 1
    assert [n for n in range(50) if case.stub.met[n] > 1] == [7]


def test_a_hang_after_the_last_answer_loses_nothing_and_loads_nothing_again() -> None:
    asked = questions(range(5))
    stub = Stub()
    stub.at_end = [hangs()]
    case = Case(stub, asked)
    assert lost(case.runner.ask(asked)) == []
    assert (case.record.error, stub.loads) == (None, 1)


def test_a_hang_while_loading_is_tried_once_more() -> None:
    asked = questions(range(100))
    stub = Stub()
    stub.at_load = [hangs()]
    case = Case(stub, asked)
    assert lost(case.runner.ask(asked)) == []
    assert (stub.loads, stub.restarts) == (2, 1)
    assert stub.asked == [list(range(100))], "no request is to blame"


def test_a_model_that_never_loads_is_not_waited_for_again_and_again() -> None:
    """An hour each: the timeout of loading is long."""
    asked = questions(range(100))
    stub = Stub()
    stub.at_load = [hangs() for _ in range(99)]
    case = Case(stub, asked)
    assert lost(case.runner.ask(asked)) == list(range(100))
    assert (stub.loads, stub.restarts) == (2, 1)
    assert case.record.error == "m: no heartbeat"


# -- a worker that dies ----------------------------------------------------------------------------


def test_one_that_dies_goes_on_where_it_stood() -> None:
    def once(number: int, times: int) -> Result | Exception:
        return dies() if (number, times) == (20, 1) else right(number, 1)

    case, answers = one(once, range(50))
    assert lost(answers) == []
    assert case.stub.asked == [list(range(50)), list(range(20, 50))]
    assert case.record.notes == ["its process died and was started again"]
    assert "m: its process died and was started again" in case.progress.steps
    assert answers.evaluated_tokens == 300, "what the dead process used is not known"


def test_one_that_dies_twice_has_failed_and_keeps_its_answers() -> None:
    memory = Memory()
    case, answers = one(lambda n, _: dies() if n == 20 else right(n, 1), range(50), memory)
    assert lost(answers) == list(range(20, 50))
    assert {a.error for a in answers.answers[20:]} == {"the model did not get to this question"}
    assert case.record.error == "m: the worker process died"
    assert case.stub.restarts == 1
    assert set(memory.responses) == {key(n) for n in range(20)}
    assert case.progress.done == 20
    assert case.progress.steps[-1] == "failed: m: the worker process died"


def test_it_is_started_again_once_in_a_run_and_not_once_in_a_benchmark() -> None:
    def twice(number: int, times: int) -> Result | Exception:
        return dies() if number in (3, 103) and times == 1 else right(number, 1)

    first, second = questions(range(6)), questions(range(100, 106), "other")
    case = Case(Stub(twice), first, second)
    assert lost(case.runner.ask(first)) == []
    assert lost(case.runner.ask(second)) == [3, 4, 5]
    assert case.record.error == "m: the worker process died"


def test_a_death_after_the_last_answer_loads_nothing_again() -> None:
    asked = questions(range(5))
    stub = Stub()
    stub.at_end = [dies()]
    case = Case(stub, asked)
    assert lost(case.runner.ask(asked)) == []
    assert (case.record.error, stub.loads) == (None, 1)


@pytest.mark.parametrize("error", [dies(), hangs(), RunError("its files were changed")])
def test_one_that_cannot_be_opened_again_has_failed(error: Exception) -> None:
    asked = questions(range(5))
    stub = Stub(lambda n, _: dies() if n == 3 else right(n, 1))
    stub.at_open = [error]
    case = Case(stub, asked)
    assert lost(case.runner.ask(asked)) == [3, 4]
    assert case.record.error == str(error)


@pytest.mark.parametrize("error", [RunError("m: the kernel"), UsageError("m: the weights")])
def test_another_error_fails_the_model_at_once(error: Exception) -> None:
    case, answers = one(lambda n, _: error if n == 3 else right(n, 1), range(6))
    assert lost(answers) == [3, 4, 5]
    assert (case.record.error, case.stub.restarts) == (str(error), 0)


def test_a_model_that_has_failed_is_asked_nothing_more() -> None:
    first, second = questions(range(3)), questions(range(100, 103), "other")
    case = Case(Stub(lambda n, _: RunError("broken")), first, second)
    case.runner.ask(first)
    assert lost(case.runner.ask(second)) == [0, 1, 2]
    assert case.stub.asked == [[0, 1, 2]]


# -- what is stored --------------------------------------------------------------------------------


def test_what_is_stored_is_not_asked_for() -> None:
    memory = Memory()
    memory.responses = {key(n): right(n, 1) for n in (0, 2, 4)}  # type: ignore[misc]
    case, answers = one(right, range(6), memory)
    assert case.stub.asked == [[1, 3, 5]]
    assert lost(answers) == []
    assert answers.cached_responses == 3
    assert (answers.evaluated_tokens, answers.prompt_seconds) == (30, 1.0), "of the others alone"
    assert len(memory.looked_up) == 1, "in one look-up"
    assert case.progress.done == 6


def test_a_model_whose_answers_are_all_stored_is_not_loaded() -> None:
    memory = Memory()
    memory.responses = {key(n): right(n, 1) for n in range(6)}  # type: ignore[misc]
    memory.description = identity(dtype="as described")
    case, answers = one(right, range(6), memory)
    assert (case.stub.loads, case.stub.asked) == (0, [])
    assert lost(answers) == []
    assert case.record.identity == identity(dtype="as described", path="m.bin")  # as now named
    assert case.record.load_seconds == 0.0
    assert not any("loading" in step for step in case.progress.steps)


def test_what_was_loaded_takes_the_place_of_the_description() -> None:
    memory = Memory()
    memory.description = identity(dtype="as described")
    case, _ = one(right, range(3), memory)
    assert case.record.identity == identity(dtype="as loaded")
    assert memory.description == identity(dtype="as loaded")


def test_a_failure_is_not_stored() -> None:
    memory = Memory()
    one(lambda n, _: Failure("no") if n == 1 else right(n, 1), range(3), memory)
    assert set(memory.responses) == {key(0), key(2)}


def test_each_group_is_stored_before_the_next_is_waited_for() -> None:
    memory = Memory()
    sizes: list[int] = []

    def watched(number: int, times: int) -> Result:
        sizes.append(len(memory.responses))
        return right(number, times)

    one(watched, range(5), memory)
    assert sizes == [0, 1, 2, 3, 4]


def test_what_was_asked_in_another_benchmark_is_found_in_the_store() -> None:
    first, second = questions([1, 2, 3]), questions([2, 3, 4], "other")
    case = Case(Stub(), first, second, memory=Memory())
    case.runner.ask(first)
    assert lost(case.runner.ask(second)) == []
    assert case.stub.asked == [[1, 2, 3], [4]]


def test_a_model_that_has_failed_shows_what_is_stored_of_later_benchmarks() -> None:
    first, second = questions(range(3)), questions(range(100, 104), "other")
    memory = Memory()
    memory.responses = {key(n): right(n, 1) for n in (101, 103)}  # type: ignore[misc]
    case = Case(Stub(lambda n, _: RunError("broken")), first, second, memory=memory)
    case.runner.ask(first)
    assert lost(case.runner.ask(second)) == [0, 2]
    assert case.stub.asked == [[0, 1, 2]]


def test_a_store_that_fails_is_not_the_models_failure() -> None:
    class Full(Memory):
        def keep(self, responses: Iterable[tuple[bytes, Response]]) -> None:
            raise StoreError("the disk is full")

    asked = questions(range(3))
    case = Case(Stub(), asked, memory=Full())
    with pytest.raises(StoreError, match="the disk is full"):
        case.runner.ask(asked)
    assert case.record.error is None


def test_the_real_store_gives_back_what_a_dead_worker_answered(tmp_path: Path) -> None:
    """Two runners, as of two runs: the second computes exactly what the first did not."""
    asked = questions(range(10))
    model = AnswerKey(weights="d", runtime="stub", versions={}, settings={})
    with Store.open(tmp_path / "s.sqlite") as store:
        stubs = [Stub(lambda n, _: dies() if n == 6 else right(n, 1)), Stub()]
        for stub in stubs:
            run = store.runs.begin({}, machine={}, versions={})
            case = Case(stub, asked, memory=ModelResponses(store, run, model, "m"))
            answers = case.runner.ask(asked)
            store.runs.finish(run, "finished")
        assert stubs[1].asked == [[6, 7, 8, 9]]
        assert lost(answers) == []
        assert answers.cached_responses == 6
        assert [(r.computed, r.duplicates) for r in store.runs.all()] == [(6, 0), (4, 0)]


# -- other runs of the same model ------------------------------------------------------------------


def test_the_store_is_looked_at_again_before_each_part() -> None:
    memory = Memory()

    def meanwhile(number: int, times: int) -> Result:
        if number == 0:  # another run finds half of what this one has yet to ask
            memory.responses |= {key(i): right(i, 1) for i in range(AT_ONCE, AT_ONCE + 300)}
        return right(number, times)

    case, found = one(meanwhile, range(AT_ONCE + 600), memory)
    assert case.stub.asked == [[*range(AT_ONCE)], [*range(AT_ONCE + 300, AT_ONCE + 600)]]
    assert lost(found) == []
    assert found.cached_responses == 300
    assert case.progress.done == AT_ONCE + 600
    assert found.batch_digest == ""


def test_parts_are_small_while_another_run_asks_the_same() -> None:
    memory = Memory()
    memory.shared = [True, False]
    case, found = one(right, range(AT_ONCE + 100), memory)
    assert lost(found) == []
    sizes = sorted(map(len, case.stub.asked))
    assert sizes == [SHARED_AT_ONCE] * (AT_ONCE // SHARED_AT_ONCE) + [100]
    assert sorted(case.stub.computed) == list(range(AT_ONCE + 100))
    assert case.stub.computed != sorted(case.stub.computed), "each run has an order of its own"


def test_what_others_found_is_not_even_loaded_for() -> None:
    class Found(Memory):
        def is_shared(self) -> bool:
            self.responses |= {key(i): right(i, 1) for i in range(40)}
            return True

    case, found = one(right, range(40), Found())
    assert (case.stub.asked, case.stub.loads) == ([], 0)
    assert (lost(found), found.cached_responses) == ([], 40)
