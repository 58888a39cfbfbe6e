"""`pajamas-eval verify`: what it prints, its JSON, its exit codes, and what it refuses."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tiny_models as tiny
from click.testing import CliRunner, Result
from rich.console import Console

from pajamas_eval.cli import main
from pajamas_eval.identity import measure as measuring
from pajamas_eval.identity.certificate import Certificate, Comparison, Outcome, TensorFinding
from pajamas_eval.identity.compare import compare_models
from pajamas_eval.identity.diagnosis import FaultKind
from pajamas_eval.identity.model_file import open_model
from pajamas_eval.identity.weights import tensor
from pajamas_eval.report.terminal.certificate import _show_errors


def verify(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["verify", *arguments])


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, a Q4_0 file of it, and one with a wrong rope base."""
    monkeypatch.chdir(tmp_path)
    tiny.write_folder(tiny.llama(), tmp_path / "original")
    tiny.write_gguf(tiny.llama(), tmp_path / "good.gguf", "Q4_0", "Q4_0")
    bad = tiny.llama()
    bad.metadata["llama.rope.freq_base"] = 10000.0
    bad.permutes = False
    tiny.write_gguf(bad, tmp_path / "bad.gguf", "Q8_0", "Q8_0")
    return tmp_path


# -- what is inside ------------------------------------------------------------------------


def test_a_model_alone_shows_what_is_inside(models: Path) -> None:
    result = verify("good.gguf")
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert lines[0] == (
        "good: GGUF (Q4_0), llama, 0.6 million parameters, 318.0 kB, 4.56 bits per weight"
    )
    assert "importance matrix: none is named" in lines
    assert "Q4_0 30 557,056 99.8 % 313.3 kB 4.50" in lines
    assert "attention q 4 65,536 11.7 % 36.9 kB 4.50 Q4_0" in lines
    assert any(line.startswith("0–3 36 ") for line in lines)


def test_makers_and_importance_matrix_are_named(tmp_path: Path) -> None:
    model = tiny.llama()
    model.metadata |= {
        "general.organization": "Makers \x1b[31m& Co",
        "general.quantized_by": "somebody",
        "quantize.imatrix.file": "calibration.dat",
        "quantize.imatrix.chunks_count": 125,
    }
    tiny.write_gguf(model, tmp_path / "m.gguf")
    output = verify(str(tmp_path / "m.gguf")).output
    assert "made by, as it says: organization Makers �[31m& Co, quantized_by somebody" in output
    assert "importance matrix: file calibration.dat, chunks_count 125" in output


def test_a_label_is_not_believed(tmp_path: Path) -> None:
    tiny.write_gguf(tiny.llama(), tmp_path / "m.gguf", "Q4_0", "Q2_K")
    output = verify(str(tmp_path / "m.gguf")).output
    assert "Note: it calls itself Q2_K and holds no Q2_K at all: Q4_0 99.8 %, F32 0.2 %" in output


def test_nothing_is_read_of_the_values_of_a_model_alone(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pajamas_eval.identity.weights.gguf_file._read", lambda *_: 1 / 0)
    assert verify("good.gguf").exit_code == 0


# -- verdicts ------------------------------------------------------------------------------


def test_the_same_model_ends_with_0(models: Path) -> None:
    result = verify("original", "good.gguf")
    assert result.exit_code == 0
    assert result.output.endswith("good against original: the same model\n")
    assert "architecture: 27 values known of both, all equal" in result.output
    assert "vocabulary: 250 tokens, all equal" in result.output
    assert "weights: all 39 tensors are what their bits explain" in result.output


def test_another_model_ends_with_1_and_every_difference_has_its_line(models: Path) -> None:
    result = verify("original", "good.gguf", "bad.gguf")
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert (
        "rope base: 500000 (config.json: rope_parameters.rope_theta) against 10000 "
        "(llama.rope.freq_base)" in lines
    )
    assert "weights: 8 of 39 tensors are not what they should be" in lines
    assert (
        "  blk.*.attn_q.weight in layers 0–3: permuted for another rotation: rows of each of 4 "
        "heads stand as for an engine that rotates pairs half a head apart" in lines
    )
    assert lines[-2:] == [
        "good against original: the same model",
        "bad against original: not the same model (1 difference of architecture; 8 of 39 tensors)",
    ]


def test_json_holds_everything(models: Path) -> None:
    result = verify("-o", "json", "original", "bad.gguf")
    assert result.exit_code == 1
    certificate = msgspec.json.decode(result.stdout, type=Certificate)
    (comparison,) = certificate.comparisons
    assert (comparison.base, comparison.variant) == ("original", "bad")
    assert comparison.outcome is Outcome.DIFFERS
    assert [fact.name for fact in comparison.facts] == ["rope_base"]
    faults = {finding.fault.kind for finding in comparison.tensors if finding.fault}
    assert faults == {FaultKind.ROTATED}
    assert [model.label for model in certificate.models] == ["original", "bad"]
    assert json.loads(result.stdout)["format_version"] == 1


def test_what_is_not_known_of_a_family_is_not_held_against_a_model(tmp_path: Path) -> None:
    """How llama.cpp's converter rearranges this one's tensors is not known here."""
    base, variant = tiny.llama(model_type="xverse"), tiny.llama(model_type="xverse")
    variant.permutes = False
    source = tiny.write_folder(base, tmp_path / "base")
    honest = tiny.write_gguf(variant, tmp_path / "v.gguf")
    variant.permutes = True
    moved = tiny.write_gguf(variant, tmp_path / "w.gguf")
    assert verify(str(source), str(honest)).exit_code == 0
    result = verify(str(source), str(moved))
    assert result.exit_code == 3
    assert "cannot tell whether it is the same model" in result.output
    assert "how llama.cpp's converter rearranges tensors of xverse is not known" in result.output


def test_a_split_file_is_one_model(models: Path) -> None:
    import gguf

    whole = gguf.GGUFReader("good.gguf")
    for number in (1, 2):
        writer = gguf.GGUFWriter(f"part-0000{number}-of-00002.gguf", "llama")
        if number == 1:
            for key, field in whole.fields.items():
                if not key.startswith(("GGUF.", "general.architecture")):
                    tiny._add(writer, key, field.contents())
        for i, part in enumerate(whole.tensors):
            if i % 2 == number - 1:
                writer.add_tensor(part.name, part.data, raw_dtype=part.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    result = verify("original", "part-00002-of-00002.gguf")
    assert result.exit_code == 0, result.output


def test_parts_of_a_tensor_give_what_the_whole_gives(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded by reading a few rows at a time, experts in tensors of their own too."""
    base = tiny.write_folder(tiny.mixtral(), models / "moe")
    variant = tiny.write_mlx(tiny.mixtral(), models / "moe-mlx")

    def found() -> list[tuple[str, float, float]]:
        comparison = compare_models(open_model("b", base), open_model("v", variant))
        return [(f.name, f.error or 0.0, f.explained or 0.0) for f in comparison.tensors]

    whole, most = found(), 0

    def watched(size: int) -> None:
        nonlocal most
        most = max(most, size)

    add = measuring._Sums.add

    def adding(self: measuring._Sums, *arguments: object) -> None:
        watched(arguments[2].size)  # type: ignore[attr-defined]
        add(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(tensor, "CHUNK_VALUES", 1000)
    monkeypatch.setattr(measuring._Sums, "add", adding)
    parts = found()
    assert most <= 1000
    for (name, *figures), (other_name, *other_figures) in zip(whole, parts, strict=True):
        assert (name, figures) == (other_name, pytest.approx(other_figures, rel=1e-4))


# -- bad input -----------------------------------------------------------------------------


def truncated(folder: Path) -> str:
    data = (folder / "good.gguf").read_bytes()
    (folder / "cut.gguf").write_bytes(data[: len(data) // 2])
    return "cut.gguf"


def truncated_header(folder: Path) -> str:
    (folder / "cut.gguf").write_bytes((folder / "good.gguf").read_bytes()[:3000])
    return "cut.gguf"


def no_gguf(folder: Path) -> str:
    (folder / "no.gguf").write_bytes(b"nothing of the kind" * 100)
    return "no.gguf"


def empty_gguf(folder: Path) -> str:
    (folder / "no.gguf").touch()
    return "no.gguf"


def no_weights(folder: Path) -> str:
    (folder / "original" / "model.safetensors").unlink()
    return "original"


def cut_weights(folder: Path) -> str:
    file = folder / "original" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    return "original"


def broken_header(folder: Path) -> str:
    file = folder / "original" / "model.safetensors"
    file.write_bytes(np.uint64(20).tobytes() + b"{" * 20)
    return "original"


def other_packing(folder: Path) -> str:
    return with_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})


def words_for_numbers(folder: Path) -> str:
    return with_config(folder, rope_parameters={"rope_theta": "many"})


def with_config(folder: Path, **values: object) -> str:
    file = folder / "original" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
    return "original"


def broken_tokenizer(folder: Path) -> str:
    (folder / "original" / "tokenizer.json").write_text('{"model": {}}')
    return "original"


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda _: "nowhere.gguf", "nowhere.gguf: no such file"),
        (lambda _: "org/name", "there is no file or folder org/name; verify reads files on this"),
        (lambda _: ".", ". is not a model folder: it has no config.json; it holds bad.gguf"),
        (truncated, "cut.gguf is not a readable GGUF file: it is cut off"),
        (truncated_header, "cut.gguf is not a readable GGUF file: it is cut off"),
        (no_gguf, "no.gguf is not a readable GGUF file: GGUF magic invalid"),
        (empty_gguf, "no.gguf is not a readable GGUF file: "),
        (no_weights, "original holds no weights: there is no .safetensors file in it"),
        (cut_weights, "model.safetensors is cut off: it has "),
        (broken_header, "model.safetensors is not a readable safetensors file: "),
        (other_packing, "original is packed by gptq, which verify cannot read; it reads plain"),
        (words_for_numbers, "original does not describe a model that can be read: ValueError: "),
        (broken_tokenizer, "tokenizer.json is not a readable tokenizer: "),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    models: Path, make: Callable[[Path], str], complaint: str
) -> None:
    name = make(models)
    for arguments in ([name], ["good.gguf", name]):
        result = verify(*arguments)
        assert result.exit_code == 2
        assert complaint in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert result.stdout == ""


def test_a_missing_library_is_named_with_what_to_install(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    result = verify("good.gguf")
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: to read good.gguf, verify needs the Python package 'gguf', which is not installed; "
        "install it with: pip install 'pajamas-eval[verify]'\n"
    )


def test_layers_stand_in_the_order_of_their_numbers() -> None:
    """Files name tensors in the order of the alphabet, where 10 comes before 2."""
    tensors = tuple(
        TensorFinding(
            name=f"blk.{n}.x",
            kind="output head",
            layer=n,
            outcome=Outcome.SAME,
            error=0.0,
            explained=0.0,
        )
        for n in (0, 1, 10, 11, 2)
    )
    comparison = Comparison(
        base="a",
        variant="b",
        outcome=Outcome.SAME,
        facts=(),
        compared_facts=0,
        unknown_facts=(),
        vocabulary=None,
        tensors=tensors,
        notes=(),
    )
    console = Console(file=io.StringIO(), width=120)
    _show_errors(comparison, console)
    assert isinstance(console.file, io.StringIO)
    by_layer = console.file.getvalue().partition("by layer")[2]
    rows = re.findall(r"^ (\d+) ", by_layer, re.MULTILINE)
    assert rows == ["0", "1", "2", "10", "11"]
