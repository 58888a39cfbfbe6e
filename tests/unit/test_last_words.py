"""Why an engine died is found in what it printed, whatever else it printed."""

import time
from pathlib import Path

import pytest

from pajamas_eval.workers.last_words import last_words, why_it_died

FRAMES = "".join(
    f"#{i}  0x00007f{i:02x} in ggml_assert_{i} () from libggml.so\n" for i in range(72)
)

REASONS = {
    "ggml": "ggml.c:12: GGML_ASSERT(ne00 == ne10) failed",
    "llama.cpp": "llama-vocab.cpp:3344: fatal error",
    "C": "python: attn.c:99: run: Assertion `n > 0' failed.",
    "C on macOS": "Assertion failed: (n > 0), function run, file attn.c, line 99.",
    "Metal": "-[MTLDebugCommandBuffer lock]:123: failed assertion `it is locked'",
    "CUDA": "CUDA error: an illegal memory access was encountered",
    "Abseil": "F0712 10:11:12.131415 4242 graph.cc:77] Check failed: n > 0",
    "libc++": "libc++abi: terminating due to uncaught exception of type std::bad_alloc",
    "Python": "Fatal Python error: Segmentation fault",
}


@pytest.fixture
def said(tmp_path: Path) -> "Said":
    return Said(tmp_path / "log")


class Said:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __call__(self, text: str, start: int = 0) -> str:
        self.file.write_text(text)
        with self.file.open("rb") as log:
            return why_it_died(log.fileno(), start)


@pytest.mark.parametrize("engine", REASONS)
@pytest.mark.parametrize("before", ["", "loading\n" * 100])
@pytest.mark.parametrize("after", ["", FRAMES, "x" * 500_000])
def test_the_reason_is_one_line(said: Said, engine: str, before: str, after: str) -> None:
    assert said(f"{before}{REASONS[engine]}\n{after}") == f": {REASONS[engine]}"


def test_reasons_of_two_lines_become_one(said: Said) -> None:
    gnu = (
        "terminate called after throwing an instance of 'std::runtime_error'\n  what():  no room\n"
    )
    assert said(gnu + FRAMES) == ": what(): no room"
    rust = "thread '<unnamed>' panicked at src/lib.rs:7:5:\nindex out of bounds\nnote: run with"
    assert said(rust) == ": thread '<unnamed>' panicked at src/lib.rs:7:5: index out of bounds"
    cuda = f"{REASONS['CUDA']}\n  current device: 0\nggml-cuda.cu:103: CUDA error\n{FRAMES}"
    assert said(cuda) == f": {REASONS['CUDA']}; ggml-cuda.cu:103: CUDA error"


def test_folders_of_the_machine_that_built_the_engine_are_left_out(said: Said) -> None:
    assert said("/tmp/pip-install-x/a b/src/ggml.c:12: GGML_ASSERT(a / b) failed\n") == (
        ": ggml.c:12: GGML_ASSERT(a / b) failed"
    )


def test_what_an_earlier_process_said_is_no_reason(said: Said) -> None:
    former = f"{REASONS['ggml']}\n"
    assert said(f"{former}bye\n", len(former)) == f"; it last said:\n{former}bye"
    again = f"{former}{REASONS['C']}\n"
    assert said(again, len(former)) == f": {REASONS['C']}"


@pytest.mark.parametrize("text", ["assertions are on\n", FRAMES, "see README.md: there\n"])
def test_without_a_reason_it_is_the_last_that_was_said(said: Said, text: str) -> None:
    assert said("x" * 5000 + text) == f"; it last said:\n{('x' * 5000 + text)[-2000:].strip()}"


def test_who_said_nothing_is_not_quoted(said: Said) -> None:
    assert said("") == said(" \n") == ""


def test_a_reason_has_a_length_that_can_be_read(said: Said) -> None:
    assert len(said("ggml.c:1: " + "x" * 10_000)) == 502


def test_a_log_that_only_resembles_reasons_is_read_fast(said: Said) -> None:
    started = time.perf_counter()
    said("Assertion " * 100_000)
    said("Assertion failed assertion\n" * 40_000)
    assert time.perf_counter() - started < 5


def test_looking_does_not_move_the_place_where_the_engine_writes(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+b", buffering=0) as file:
        file.write(b"one\n")
        assert last_words(file.fileno()) == "; it last said:\none"
        file.write(b"two\n")
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"
