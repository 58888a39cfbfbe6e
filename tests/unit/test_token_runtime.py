"""What a request means in tokens, decided once for every engine."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
from fake_runtime import (
    BOS,
    EOS,
    IDS,
    FakeRuntime,
    decode,
    encode,
    expected,
    log_probabilities,
    most_probable,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from pajamas_eval.api.media import Prompt
from pajamas_eval.api.requests import AnyResult as Result
from pajamas_eval.api.requests import (
    GenerateUntil,
    GenerationResult,
    LogLikelihood,
    LogLikelihoodResult,
    LogLikelihoodRolling,
    Request,
)
from pajamas_eval.api.results import Failure
from pajamas_eval.tokens import token_generator
from pajamas_eval.tokens.prefix_tree import Budget
from pajamas_eval.tokens.token_runtime import BATCH_SEQUENCES, BATCH_TOKENS


def answers(runtime: FakeRuntime, requests: Sequence[Request]) -> list[Result]:
    """Every request's result in order; each index must come exactly once."""
    pairs = list(runtime.answer(requests))
    assert sorted(i for i, _ in pairs) == list(range(len(requests)))
    by_index = dict(pairs)
    return [by_index[i] for i in range(len(requests))]


def score(runtime: FakeRuntime, context: str, continuation: str) -> LogLikelihoodResult:
    (result,) = answers(runtime, [LogLikelihood(Prompt(context), continuation)])
    assert isinstance(result, LogLikelihoodResult), result
    return result


def roll(runtime: FakeRuntime, text: str) -> LogLikelihoodResult:
    (result,) = answers(runtime, [LogLikelihoodRolling(text)])
    assert isinstance(result, LogLikelihoodResult), result
    return result


def generate(
    runtime: FakeRuntime, prompt: str, until: Sequence[str] = (), max_tokens: int = 8
) -> GenerationResult:
    (result,) = answers(runtime, [GenerateUntil(Prompt(prompt), tuple(until), max_tokens)])
    assert isinstance(result, GenerationResult), result
    return result


def failure(runtime: FakeRuntime, request: Request) -> str:
    (result,) = answers(runtime, [request])
    assert isinstance(result, Failure), result
    return result.error


def without_time(result: Result) -> Any:
    """A result save how long it took, which no two runs share."""
    if isinstance(result, LogLikelihoodResult):
        return (result.log_probability, result.is_greedy, result.token_count, result.prompt_tokens)
    if isinstance(result, GenerationResult):
        return (result.text, result.finish_reason, result.token_count, result.prompt_tokens)
    return result


# -- log-likelihood ------------------------------------------------------------------------


def test_a_continuation_is_scored_after_bos_and_context() -> None:
    result = score(FakeRuntime(), "the cat", " sat")
    assert result.log_probability == pytest.approx(
        expected([BOS, *encode("the cat")], encode(" sat")), abs=1e-12
    )
    assert (result.token_count, result.byte_count, result.prompt_tokens) == (4, 4, 8)
    assert result.truncated_tokens == 0


def test_greedy_means_that_every_token_is_the_most_probable() -> None:
    context = "the cat"
    best = most_probable([BOS, *encode(context)], 2)
    other = next(t for t in range(3, 30) if t != best[1])
    runtime = FakeRuntime()
    results = answers(
        runtime,
        [
            LogLikelihood(Prompt(context), decode(tokens, keep_special=True))
            for tokens in (best, [best[0], other])
        ],
    )
    assert [r.is_greedy for r in results if isinstance(r, LogLikelihoodResult)] == [True, False]


@pytest.mark.parametrize("split", [("a b ", "c"), ("a b", " c"), ("a b \n ", "c")])
def test_spaces_at_the_end_of_the_context_move_to_the_continuation(split: tuple[str, str]) -> None:
    context, continuation = split
    result = score(FakeRuntime(), context, continuation)
    tail = encode((context + continuation)[3:])
    assert result.log_probability == pytest.approx(expected([BOS, *encode("a b")], tail))
    assert result.token_count == len(tail)


def test_a_context_of_spaces_only_is_empty() -> None:
    assert score(FakeRuntime(), "  ", "a").log_probability == pytest.approx(
        expected([BOS], encode("  a"))
    )


def test_the_continuation_is_what_the_whole_has_beyond_the_context() -> None:
    # Alone, "u:" is one token; in "qu:" it would be two, of which the context holds the first.
    result = score(FakeRuntime(), "qu", ":")
    assert result.log_probability == pytest.approx(expected([BOS, IDS["qu"]], [IDS[":"]]))


def test_a_continuation_merged_into_the_context_is_encoded_on_its_own() -> None:
    assert encode("q") == [IDS["q"]]
    assert encode("qu") == [IDS["qu"]]  # nothing is left beyond the one token of the context
    result = score(FakeRuntime(), "q", "u")
    assert result.log_probability == pytest.approx(expected([BOS, IDS["q"]], [IDS["u"]]))
    assert result.token_count == 1


def test_an_empty_continuation_is_certain() -> None:
    result = score(FakeRuntime(), "abc", "")
    assert (result.log_probability, result.is_greedy, result.token_count) == (0.0, True, 0)


@pytest.mark.parametrize(
    ("runtime", "start"),
    [
        pytest.param(FakeRuntime(), [BOS], id="the prefix"),
        pytest.param(FakeRuntime(adds_bos=False), [BOS], id="BOS, though texts have no prefix"),
        pytest.param(FakeRuntime(bos=None), [EOS], id="EOS, where there is no BOS"),
        pytest.param(
            FakeRuntime(bos=None, eos=frozenset({9, 4})), [4], id="the first of several EOS"
        ),
    ],
)
def test_an_empty_context_is(runtime: FakeRuntime, start: list[int]) -> None:
    result = score(runtime, "", "abc")
    assert result.log_probability == pytest.approx(expected(start, encode("abc")))
    assert (result.token_count, result.prompt_tokens) == (3, 1)


def test_an_empty_context_without_bos_and_eos_is_a_failure() -> None:
    runtime = FakeRuntime(bos=None, eos=frozenset())
    assert "neither a BOS nor an EOS" in failure(runtime, LogLikelihood(Prompt(""), "a"))
    assert "neither a BOS nor an EOS" in failure(runtime, LogLikelihoodRolling("a"))
    assert "no BOS or EOS" in failure(runtime, GenerateUntil(Prompt(""), (), 4))


def test_a_context_without_a_prefix_stands_alone() -> None:
    assert score(FakeRuntime(adds_bos=False), "ab", "c").log_probability == pytest.approx(
        expected(encode("ab"), encode("c"))
    )


# -- BOS -----------------------------------------------------------------------------------


@pytest.mark.parametrize("context", ["ab", "<s>ab"])
def test_bos_stands_in_front_exactly_once(context: str) -> None:
    runtime = FakeRuntime()
    score(runtime, context, "c")
    assert runtime.scored == [[[BOS, *encode("ab")]]]


@pytest.mark.parametrize("text", ["abc", "<s>abc"])
def test_bos_stands_in_front_of_a_text_without_context_exactly_once(text: str) -> None:
    runtime = FakeRuntime()
    score(runtime, "", text)
    roll(runtime, text)
    generate(runtime, text, max_tokens=1)
    assert runtime.scored == [[[BOS, *encode("ab")]], [[BOS, *encode("ab")]]]
    ((tokens, _),) = runtime.tokenize([GenerateUntil(Prompt(text), (), 1)])
    assert list(tokens) == [BOS, *encode("abc")]


@pytest.mark.parametrize(
    ("adds_bos", "add_bos", "start"),
    [(True, None, [BOS]), (True, False, []), (False, True, [BOS]), (False, None, [])],
)
def test_add_bos_overrides_the_models_own_default(
    adds_bos: bool, add_bos: bool | None, start: list[int]
) -> None:
    runtime = FakeRuntime(adds_bos=adds_bos, add_bos=add_bos)
    score(runtime, "ab", "c")
    assert runtime.scored == [[[*start, *encode("ab")]]]
    assert runtime.settings.prefix_tokens == tuple(start)


def test_add_bos_adds_nothing_where_there_is_no_bos() -> None:
    assert FakeRuntime(bos=None, add_bos=True).prefix_tokens == ()


def test_tokenize_gives_the_tokens_that_are_scored() -> None:
    runtime = FakeRuntime()
    requests: list[Request] = [
        LogLikelihoodRolling("xyz"),
        LogLikelihood(Prompt("ab "), "c"),
        GenerateUntil(Prompt("the"), (), 4),
        LogLikelihood(Prompt(""), "c"),
    ]
    pairs = [(list(context), list(rest)) for context, rest in runtime.tokenize(requests)]
    assert pairs == [
        ([], [BOS, *encode("xyz")]),
        ([BOS, *encode("ab")], encode(" c")),
        ([BOS, *encode("the")], []),
        ([BOS], encode("c")),
    ]


def test_what_was_tokenized_to_compare_is_not_tokenized_again_to_score() -> None:
    requests = [
        LogLikelihood(Prompt("ab "), "c"),
        LogLikelihood(Prompt("ab "), "d"),
        LogLikelihood(Prompt("ab "), "c"),
    ]
    fresh, prepared = FakeRuntime(), FakeRuntime()
    list(prepared.tokenize(requests[:2]))
    prepared.encode = None  # type: ignore[method-assign, assignment]
    assert [without_time(r) for r in answers(prepared, requests)] == [
        without_time(r) for r in answers(fresh, requests)
    ]


# -- odd text ------------------------------------------------------------------------------


def test_a_lone_surrogate_reads_as_the_replacement_character() -> None:
    runtime = FakeRuntime()
    assert score(runtime, "a\ud800", "b\udfff").log_probability == pytest.approx(
        expected([BOS, *encode("a�")], encode("b�"))
    )
    roll(runtime, "\udc80")
    generate(runtime, "\udc80", max_tokens=1)


def test_a_nul_is_a_character_like_any_other() -> None:
    assert score(FakeRuntime(), "a\0b", "\0").log_probability == pytest.approx(
        expected([BOS, *encode("a\0b")], encode("\0"))
    )


# -- truncation ----------------------------------------------------------------------------


def test_a_context_that_does_not_fit_loses_its_left_end() -> None:
    runtime = FakeRuntime(context_length=8)
    context = "abcdefghijklm"
    result = score(runtime, context, "nop")
    # The last token of the continuation is predicted, never read: 8 are read for 3 targets.
    ((row,),) = runtime.scored
    assert row == encode("ghijklmno")[1:]
    assert len(row) == 8
    assert result.log_probability == pytest.approx(expected(encode("hijklm"), encode("nop")))
    assert result.truncated_tokens == 1 + len(context) + 3 - 1 - 8
    assert result.prompt_tokens == 6


def test_a_request_that_just_fits_is_not_truncated() -> None:
    assert score(FakeRuntime(context_length=8), "abcd", "efgh").truncated_tokens == 0
    assert score(FakeRuntime(context_length=7), "abcd", "efgh").truncated_tokens == 1


def test_a_continuation_may_fill_the_whole_context() -> None:
    result = score(FakeRuntime(context_length=4), "xyz", "abcd")
    assert result.log_probability == pytest.approx(expected(encode("z"), encode("abcd")))
    assert (result.token_count, result.prompt_tokens, result.truncated_tokens) == (4, 1, 3)


def test_a_continuation_longer_than_the_context_length_is_a_failure() -> None:
    error = failure(FakeRuntime(context_length=4), LogLikelihood(Prompt("x"), "abcde"))
    assert "5 tokens" in error
    assert "context length of 4" in error


def test_the_context_length_is_the_least_of_all_bounds() -> None:
    runtime = FakeRuntime(context_length=64, n_ctx=32)
    assert runtime.settings.context_length == 32
    runtime.limit_context(16)
    assert runtime.settings.context_length == 16
    assert FakeRuntime(context_length=64, n_ctx=128).context_length == 64


# -- batches -------------------------------------------------------------------------------


def test_what_is_asked_twice_is_computed_once() -> None:
    runtime = FakeRuntime()
    requests = [LogLikelihood(Prompt("the cat"), f" {letter}") for letter in "abcdabcd"]
    results = answers(runtime, requests)
    # One-token choices after a space share the whole input: context and space.
    assert [row for batch in runtime.scored for row in batch] == [[BOS, *encode("the cat ")]]
    assert [without_time(r) for r in results[:4]] == [without_time(r) for r in results[4:]]
    assert len({r.log_probability for r in results[:4]}) == 4  # type: ignore[union-attr]


def test_same_input_with_other_splits_reads_its_own_places() -> None:
    runtime = FakeRuntime()
    splits = [("a", "bcd"), ("ab", "cd"), ("abc", "d")]
    results = answers(runtime, [LogLikelihood(Prompt(head), tail) for head, tail in splits])
    assert len(runtime.scored[0]) == 1
    for (context, continuation), result in zip(splits, results, strict=True):
        assert isinstance(result, LogLikelihoodResult)
        assert result.log_probability == pytest.approx(
            expected([BOS, *encode(context)], encode(continuation))
        )


texts = st.text(alphabet="abqu: .", max_size=6)
prompts = texts.map(Prompt)
requests_ = st.one_of(
    st.builds(LogLikelihood, prompts, texts),
    st.builds(LogLikelihoodRolling, texts),
    st.builds(GenerateUntil, prompts, st.just(("a:", "b")), st.integers(1, 4)),
)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_order_of_requests_is_irrelevant(data: st.DataObject) -> None:
    requests = data.draw(st.lists(requests_, max_size=12))
    order = data.draw(st.permutations(range(len(requests))))
    straight = answers(FakeRuntime(context_length=7), requests)
    shuffled = answers(FakeRuntime(context_length=7), [requests[i] for i in order])
    assert [without_time(straight[i]) for i in order] == [without_time(r) for r in shuffled]


@settings(max_examples=60, deadline=None)
@given(context=texts, continuation=st.text(alphabet="abqu: .", min_size=1, max_size=8))
def test_every_score_is_the_sum_over_its_tokens(context: str, continuation: str) -> None:
    runtime = FakeRuntime(context_length=6)
    ((head, tail),) = runtime.tokenize([LogLikelihood(Prompt(context), continuation)])
    tokens = [*head.tolist(), *tail.tolist()]
    (result,) = answers(runtime, [LogLikelihood(Prompt(context), continuation)])
    if isinstance(result, Failure):
        assert "more than the context length of 6" in result.error
        return
    assert isinstance(result, LogLikelihoodResult)
    kept = list(tokens)[-7:]
    at = len(kept) - result.token_count
    assert result.log_probability == pytest.approx(expected(kept[:at], kept[at:]))
    assert result.truncated_tokens == len(tokens) - len(kept)


def test_rows_of_similar_length_share_a_batch_within_its_tokens() -> None:
    runtime = FakeRuntime()
    runtime.budget = Budget(tokens=20, rows=3, outputs=9, padding=4)
    lengths = (9, 1, 4, 1, 9, 5, 2)
    letters = ("a", "c", "d", "c", "a", "e", "f")  # nothing to share but what is the same
    answers(
        runtime, [LogLikelihood(Prompt(x * n), "b") for x, n in zip(letters, lengths, strict=True)]
    )
    sizes = [[len(row) for row in batch] for batch in runtime.scored]
    assert sizes == [[10, 6], [5, 3], [2]]


def test_a_prefix_shared_by_many_rows_is_run_once() -> None:
    runtime = FakeRuntime(context_length=200)
    requests = [LogLikelihood(Prompt("shots " * 20 + "q" * n), "a") for n in range(1, 9)]
    answers(runtime, requests)
    longest = len(requests[-1].context.text) + 1
    assert runtime.usage.prompt_tokens == longest
    whole = sum(len(r.context.text) + 1 for r in requests)
    assert runtime.usage.evaluated_tokens < whole / 3


def test_a_model_whose_cache_cannot_be_shared_runs_every_row_alone() -> None:
    sharing, plain = FakeRuntime(context_length=200), FakeRuntime(context_length=200)
    plain.shares_prefix = False
    requests = [LogLikelihood(Prompt("shots " * 20 + "q" * n), "a") for n in range(1, 9)]
    assert [without_time(r) for r in answers(plain, requests)] == [
        without_time(r) for r in answers(sharing, requests)
    ]
    assert plain.usage.evaluated_tokens > 3 * sharing.usage.evaluated_tokens
    assert plain.usage.prompt_tokens == sharing.usage.prompt_tokens


def test_usage_counts_the_tokens_that_were_run() -> None:
    runtime = FakeRuntime()
    answers(runtime, [LogLikelihood(Prompt("abc"), "d"), LogLikelihood(Prompt("x"), "yz")])
    assert runtime.usage.evaluated_tokens == 4 + 4  # two rows side by side, one of them padded
    assert runtime.usage.prompt_tokens == 4 + 2  # both begin with BOS
    answers(runtime, [GenerateUntil(Prompt("ab"), (), 2)])
    assert runtime.usage.generated_tokens == 1, "the first comes with the prompt"
    assert runtime.usage.prompt_tokens == 6 + 3
    assert runtime.usage.evaluated_tokens == 8 + 3 + 1


def test_tokens_that_memory_took_back_are_run_again_and_do_not_count_as_work() -> None:
    roomy, cramped = FakeRuntime(), FakeRuntime()
    cramped.texts_at_once = 4
    answers(roomy, GENERATED)
    answers(cramped, GENERATED)
    assert cramped.usage.prompt_tokens == roomy.usage.prompt_tokens
    assert cramped.usage.generated_tokens == roomy.usage.generated_tokens
    assert cramped.usage.evaluated_tokens > roomy.usage.evaluated_tokens


def test_an_end_token_is_a_token_that_was_generated() -> None:
    runtime = FakeRuntime()
    runtime.script = [IDS["a"], IDS["b"], EOS]
    answers(runtime, [GenerateUntil(Prompt("ab"), (), 9)])
    assert runtime.usage.generated_tokens == 2
    runtime.script = [EOS]
    answers(runtime, [GenerateUntil(Prompt("ab"), (), 9)])
    assert runtime.usage.generated_tokens == 2


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that it is."""
    now = [0.0]
    monkeypatch.setattr(token_generator.time, "perf_counter", lambda: now[0])
    return now


def ran(runtime: FakeRuntime, clock: list[float], seconds: float, prompts: int, texts: int) -> None:
    clock[0] += seconds
    runtime.ran(prompts, texts)


def test_time_of_reading_and_of_generating_is_kept_apart(clock: list[float]) -> None:
    runtime = FakeRuntime()
    ran(runtime, clock, 3.0, 300, 0)
    ran(runtime, clock, 0.5, 0, 8)
    assert (runtime.usage.prompt_seconds, runtime.usage.generation_seconds) == (3.0, 0.5)
    ran(runtime, clock, 1.25, 60, 4)  # four texts, which alone take half of what eight do
    assert (runtime.usage.prompt_seconds, runtime.usage.generation_seconds) == (4.0, 0.75)
    ran(runtime, clock, 0.125, 1, 4)  # never more than there was
    assert (runtime.usage.prompt_seconds, runtime.usage.generation_seconds) == (4.0, 0.875)


def test_where_nothing_tells_reading_from_generating_each_token_costs_the_same(
    clock: list[float],
) -> None:
    runtime = FakeRuntime()
    ran(runtime, clock, 1.0, 96, 32)
    assert (runtime.usage.prompt_seconds, runtime.usage.generation_seconds) == (0.75, 0.25)


SCORED: list[Request] = [
    *[LogLikelihood(Prompt("a" * n), "b") for n in range(1, 30)],
    *[LogLikelihood(Prompt("shots " * 6 + "q" * n), f" {x}") for n in range(8) for x in "abc"],
]
GENERATED: list[Request] = [GenerateUntil(Prompt("a" * n), ("b",), 6) for n in range(1, 20)]


@pytest.mark.parametrize(
    ("bounds", "most"),
    [
        ({"batch_tokens": 60}, BATCH_SEQUENCES),
        ({"batch_sequences": 3}, 3),
        ({"batch_tokens": 160, "batch_sequences": 5}, 5),
        ({"batch_tokens": 1}, 1),
        ({"batch_sequences": 1}, 1),
        ({"batch_sequences": 8, "exact": True}, 1),
    ],
)
def test_batches_that_the_user_bounds_give_the_same_results(
    bounds: dict[str, Any], most: int
) -> None:
    own, bounded = FakeRuntime(), FakeRuntime(**bounds)
    assert [without_time(r) for r in answers(bounded, SCORED)] == [
        without_time(r) for r in answers(own, SCORED)
    ]
    assert max(map(len, bounded.scored)) <= most
    assert len(bounded.scored) > len(own.scored)
    assert bounded.usage.batch_digest != own.usage.batch_digest


@pytest.mark.parametrize(
    ("bounds", "most"),
    [
        ({"batch_sequences": 3}, 3),
        ({"batch_sequences": 1}, 1),
        ({"batch_sequences": 8, "exact": True}, 1),
        ({"batch_tokens": 1}, len(GENERATED)),  # tokens are of scoring only
    ],
)
def test_as_many_texts_are_generated_at_once_as_the_user_allows(
    bounds: dict[str, Any], most: int
) -> None:
    own, bounded = FakeRuntime(), FakeRuntime(**bounds)
    assert [without_time(r) for r in answers(bounded, GENERATED)] == [
        without_time(r) for r in answers(own, GENERATED)
    ]
    assert max(bounded.generated) == most
    assert max(own.generated) == len(GENERATED)


def test_no_batch_has_more_tokens_than_the_user_allows() -> None:
    """The fake engine refuses what is too large, and the runtime notes it."""
    requests = [
        LogLikelihood(Prompt(x * n), "b") for n, x in enumerate("acdefghijklmnopqrstvwxyz", 1)
    ]
    own, bounded = FakeRuntime(), FakeRuntime(batch_tokens=60)
    own.room = bounded.room = 60
    answers(own, requests)
    answers(bounded, requests)
    assert "out of memory: batches now hold" in own.usage.notes[0]
    assert bounded.usage.notes == []
    assert bounded.usage.batching == "up to 60 tokens and 32 sequences at once"


def test_a_request_larger_than_the_batches_that_the_user_allows_is_run_alone() -> None:
    runtime = FakeRuntime(batch_tokens=4)
    answers(runtime, [LogLikelihood(Prompt("a" * n), "b") for n in (2, 1, 20)])
    assert sorted(sorted(map(len, batch)) for batch in runtime.scored) == [[2], [3], [21]]


def test_more_than_a_runtimes_own_batches_is_not_granted() -> None:
    runtime = FakeRuntime(batch_tokens=10**6, batch_sequences=10**6)
    assert (runtime.budget.tokens, runtime.budget.rows) == (BATCH_TOKENS, BATCH_SEQUENCES)
    assert runtime.batch_sequences == BATCH_SEQUENCES


def test_out_of_memory_halves_the_batches_and_goes_on() -> None:
    requests = [LogLikelihood(Prompt("a" * n), "b") for n in range(1, 30)]
    cramped, roomy = FakeRuntime(), FakeRuntime()
    cramped.room = 60
    assert [without_time(r) for r in answers(cramped, requests)] == [
        without_time(r) for r in answers(roomy, requests)
    ]
    assert len(cramped.scored) > len(roomy.scored)
    assert cramped.budget.tokens < roomy.budget.tokens
    assert "out of memory" in cramped.usage.notes[0]
    rows = [tuple(row) for batch in cramped.scored for row in batch]
    assert len(rows) == len(set(rows)), "a row was scored twice"


def test_a_single_row_too_large_for_memory_fails_alone() -> None:
    runtime = FakeRuntime()
    runtime.room = 10
    results = answers(
        runtime,
        [
            LogLikelihood(Prompt("abc"), "d"),
            LogLikelihood(Prompt("a" * 20), "b"),
            LogLikelihood(Prompt("x"), "y"),
        ],
    )
    assert [type(r) for r in results] == [LogLikelihoodResult, Failure, LogLikelihoodResult]
    assert "out of memory" in results[1].error  # type: ignore[union-attr]


def test_logits_that_are_not_numbers_are_a_failure_of_that_request() -> None:
    runtime = FakeRuntime()
    runtime.poisoned = IDS["z"]
    results = answers(
        runtime,
        [
            LogLikelihood(Prompt("abc"), "d"),
            LogLikelihood(Prompt("az"), "b"),
            LogLikelihoodRolling("azb"),
        ],
    )
    assert isinstance(results[0], LogLikelihoodResult)
    for result in results[1:]:
        assert isinstance(result, Failure)
        assert "not numbers" in result.error


# -- rolling -------------------------------------------------------------------------------


def test_a_text_that_fits_is_one_window_after_bos() -> None:
    result = roll(FakeRuntime(), "the cat")
    assert result.log_probability == pytest.approx(expected([BOS], encode("the cat")))
    assert (result.token_count, result.byte_count, result.prompt_tokens) == (7, 7, 1)


@pytest.mark.parametrize("length", [1, 4, 5, 6, 9, 10, 11, 23])
def test_every_token_of_a_long_text_is_predicted_exactly_once(length: int) -> None:
    text = "abcdefghijklmnopqrstvwxyz"[:length]
    tokens, context = encode(text), 5
    runtime = FakeRuntime(context_length=context)
    result = roll(runtime, text)
    total, done, whole = 0.0, 0, [BOS, *tokens]
    while done < length:
        end = min(done + context, length)
        begin = max(0, end - context)
        total += expected(whole[begin : done + 1], tokens[done:end])
        done = end
    assert result.log_probability == pytest.approx(total)
    assert result.token_count == length
    assert result.prompt_tokens == math.ceil(length / context)
    assert result.truncated_tokens == 0


def test_the_first_window_is_conditioned_on_bos_and_later_ones_on_text() -> None:
    runtime = FakeRuntime(context_length=4)
    roll(runtime, "abcdefghij")
    rows = sorted(row for batch in runtime.scored for row in batch)
    assert rows == sorted([[BOS, *encode("abc")], encode("defg"), encode("fghi")])


def test_rolling_without_bos_starts_from_eos() -> None:
    assert roll(FakeRuntime(bos=None), "ab").log_probability == pytest.approx(
        expected([EOS], encode("ab"))
    )


def test_bos_spelled_out_in_a_rolling_text_is_not_predicted() -> None:
    with_bos, without = roll(FakeRuntime(), "<s>abc"), roll(FakeRuntime(), "abc")
    assert with_bos.log_probability == without.log_probability
    assert with_bos.token_count == 3


def test_an_empty_text_is_certain() -> None:
    result = roll(FakeRuntime(), "")
    assert (result.log_probability, result.is_greedy, result.token_count) == (0.0, True, 0)


def test_a_text_of_equal_windows_counts_each() -> None:
    result = roll(FakeRuntime(context_length=2), "aaaaaaaa")
    parts = [expected([BOS], encode("aa")), *[expected(encode("a"), encode("aa"))] * 3]
    assert result.log_probability == pytest.approx(math.fsum(parts))
    assert result.token_count == 8


# -- generation ----------------------------------------------------------------------------


def test_generation_takes_the_most_probable_token_each_time() -> None:
    runtime = FakeRuntime(eos=frozenset())
    result = generate(runtime, "the cat", max_tokens=5)
    tokens = most_probable([BOS, *encode("the cat")], 5)
    assert result.text == decode(tokens, keep_special=False)
    assert (result.finish_reason, result.token_count, result.prompt_tokens) == ("length", 5, 8)


def scripted(text: str) -> FakeRuntime:
    runtime = FakeRuntime()
    runtime.script = [*encode(text), EOS]
    return runtime


def test_generation_ends_at_the_end_token_which_is_no_text() -> None:
    result = generate(scripted("abc"), "x", max_tokens=8)
    assert (result.text, result.finish_reason, result.token_count) == ("abc", "end", 3)


def test_generation_ends_at_the_token_limit() -> None:
    result = generate(scripted("abcdef"), "x", max_tokens=4)
    assert (result.text, result.finish_reason, result.token_count) == ("abcd", "length", 4)


def test_a_limit_reached_together_with_a_stop_string_is_a_stop() -> None:
    result = generate(scripted("abcd"), "x", ["cd"], max_tokens=4)
    assert (result.text, result.finish_reason) == ("ab", "stop")


def test_a_stop_string_may_straddle_tokens() -> None:
    result = generate(scripted("abc the end. more"), "x", ["the end."], max_tokens=30)
    assert (result.text, result.finish_reason, result.token_count) == ("abc ", "stop", 12)


def test_a_stop_string_may_end_inside_a_token() -> None:
    result = generate(scripted("aqua"), "x", ["aq"], max_tokens=30)  # "qu" is one token
    assert (result.text, result.finish_reason, result.token_count) == ("", "stop", 2)


def test_a_stop_string_may_begin_inside_a_token() -> None:
    result = generate(scripted("aquab"), "x", ["uab"], max_tokens=30)
    assert (result.text, result.finish_reason) == ("aq", "stop")


def test_the_first_of_several_stop_strings_ends_the_text() -> None:
    result = generate(scripted("abc def ghi"), "x", ["ghi", "f", "e"], max_tokens=30)
    assert (result.text, result.finish_reason) == ("abc d", "stop")


def test_of_stop_strings_that_end_together_the_earlier_start_cuts() -> None:
    result = generate(scripted("abcdef"), "x", ["cd", "abcd", "bcd"], max_tokens=30)
    assert (result.text, result.finish_reason) == ("", "stop")


def test_a_stop_string_that_is_a_special_token_is_seen() -> None:
    runtime = FakeRuntime(eos=frozenset())
    runtime.script = [*encode("ab<s>cd")]
    result = generate(runtime, "x", ["<s>"], max_tokens=5)
    assert (result.text, result.finish_reason) == ("ab", "stop")


def test_an_empty_stop_string_stops_nothing() -> None:
    result = generate(scripted("abc"), "x", [""], max_tokens=8)
    assert (result.text, result.finish_reason) == ("abc", "end")


def test_an_empty_prompt_starts_from_bos() -> None:
    result = generate(FakeRuntime(adds_bos=False, eos=frozenset()), "", max_tokens=3)
    assert result.text == decode(most_probable([BOS], 3), keep_special=False)
    assert result.prompt_tokens == 1


def test_a_prompt_is_cut_so_that_the_new_tokens_fit() -> None:
    result = generate(FakeRuntime(context_length=10, eos=frozenset()), "abcdefghij", max_tokens=4)
    tokens = most_probable(encode("efghij"), 4)
    assert result.text == decode(tokens, keep_special=False)
    assert (result.prompt_tokens, result.truncated_tokens) == (6, 5)


@pytest.mark.parametrize("max_tokens", [10, 11])
def test_more_new_tokens_than_the_context_holds_is_a_failure(max_tokens: int) -> None:
    error = failure(FakeRuntime(context_length=10), GenerateUntil(Prompt("a"), (), max_tokens))
    assert error == (
        f"{max_tokens} new tokens leave no room for a prompt in the context length of 10"
    )


def test_out_of_memory_generates_fewer_texts_at_once() -> None:
    requests = [GenerateUntil(Prompt("a" * n), ("b",), 6) for n in range(1, 20)]
    cramped, roomy = FakeRuntime(), FakeRuntime()
    cramped.texts_at_once = 5
    assert [without_time(r) for r in answers(cramped, requests)] == [
        without_time(r) for r in answers(roomy, requests)
    ]
    assert max(cramped.generated) == cramped.batch_sequences == 4
    assert any("out of memory" in note for note in cramped.usage.notes)


def test_a_prompt_too_large_for_memory_fails_alone() -> None:
    runtime = FakeRuntime()
    runtime.longest_prompt = 10
    results = answers(runtime, [GenerateUntil(Prompt("a" * n), (), 2) for n in (3, 20, 5)])
    assert [type(r) for r in results] == [GenerationResult, Failure, GenerationResult]
    assert results[1] == Failure("out of memory: no room")


def test_an_engine_that_leaves_texts_out_is_found_out() -> None:
    runtime = FakeRuntime()
    runtime.generate = lambda generations: iter(())  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match=r"left out requests \[0\]"):
        answers(runtime, [GenerateUntil(Prompt("a"), (), 2)])


def test_the_model_of_these_tests_gives_probabilities() -> None:
    assert math.isclose(sum(math.exp(v) for v in log_probabilities((BOS, 5, 6))), 1)
