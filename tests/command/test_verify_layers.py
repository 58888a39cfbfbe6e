"""`verify --layers` as a user runs it: exit codes, words, JSON, and what it refuses."""

import json
import subprocess
from pathlib import Path

import pytest
from test_bad_input import complaint, run

pytestmark = pytest.mark.engine

TEXT = "One fish, two fish, and seventeen boats that came home before the rain. " * 8


def verified(*arguments: object) -> subprocess.CompletedProcess[str]:
    result = run("verify", "--layers", *arguments)
    assert "Traceback" not in result.stderr
    return result


@pytest.mark.parametrize(
    ("name", "error"), [("demo-q8_0.gguf", "0.0059"), ("demo-mlx-4bit", "0.09")]
)
def test_variants_that_hold_one_model(
    name: str, error: str, variants: Path, original: Path
) -> None:
    result = verified(original, variants / name)
    assert result.returncode == 0, result.stderr
    label = name.removesuffix(".gguf")
    assert (
        f"{label} and weights part nowhere by more than a relative error of {error}"
        in result.stdout
    )
    assert "the text was cut from 1858 to 1024 tokens" in result.stdout
    assert " !" not in result.stdout


def test_another_rope_base(variants: Path, original: Path) -> None:
    faulty = f'faulty=mlx[path={variants / "demo-mlx-8bit"},config={{"rope_theta": 1000.0}}]'
    result = verified(original, faulty)
    assert result.returncode == 1, result.stderr
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("faulty and weights")]
    assert "part first at the attention of layer 0, and of 6 of 6 layers in all (0 to 5)" in line
    assert "rotary embeddings of another base" in line
    assert result.stdout.count(" !") == 6


def test_json(variants: Path, original: Path) -> None:
    result = verified("-o", "json", "--text", TEXT, original, variants / "demo-f16.gguf")
    assert result.returncode == 0, result.stderr
    (found,) = json.loads(result.stdout)
    assert (found["baseline"], found["variant"]) == ("weights", "demo-f16")
    assert found["partings"] == []
    assert [p["place"] for p in found["places"][:3]] == ["embedding", "attention", "feed-forward"]
    assert all(0 <= p["error"] < p["limit"] < 0.01 for p in found["places"])
    assert len(found["places"][1]["errors_by_position"]) == 16
    assert set(found["drift"]) == {"-1", *"012345"}


def test_a_text_in_a_file(variants: Path, tmp_path: Path) -> None:
    file = tmp_path / "some text.txt"
    file.write_text(TEXT, "utf-8")
    models = variants / "demo-f32.gguf", variants / "demo-f16.gguf"
    found = [verified("-o", "json", "--text", text, *models) for text in (file, TEXT)]
    assert found[0].stdout == found[1].stdout
    assert json.loads(found[0].stdout)[0]["tokens"] > 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("absent.txt", "--text absent.txt: No such file or directory"),
        ("", "--text is empty"),
        ("too short a text", "the text has"),
    ],
)
def test_texts_that_cannot_be_used(variants: Path, text: str, message: str) -> None:
    file = variants / "demo-f16.gguf"
    line = complaint("verify", "--layers", "--text", text, file, variants / "demo-f32.gguf")
    assert message in line


def test_a_text_that_is_no_text(variants: Path, tmp_path: Path) -> None:
    file = tmp_path / "text.bin"
    file.write_bytes(b"\xff\xfe\x00")
    models = variants / "demo-f16.gguf", variants / "demo-f32.gguf"
    assert "it is not UTF-8 text" in complaint("verify", "--layers", "--text", file, *models)


def test_what_is_not_said() -> None:
    result = run("verify", "--layers", "a.gguf")
    assert result.returncode == 2
    assert "needs two models or more, the baseline first" in result.stderr
    assert "absent.gguf: no such file" in complaint("verify", "--layers", "absent.gguf", "b.gguf")
