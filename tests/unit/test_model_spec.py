"""What a user may type for a model, and which runtime it means."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pajamas_eval.errors import UsageError
from pajamas_eval.models.spec import ModelSpec, parse_spec, parse_specs


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def folder(path: Path, config: object = None, metadata: dict[str, str] | None = None) -> Path:
    """A model folder with a configuration and one tensor."""
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({} if config is None else config))
    save_file({"w": np.zeros(1, np.float32)}, path / "model.safetensors", metadata=metadata)
    return path


def refused(text: str | Path) -> str:
    """The message of the refusal."""
    with pytest.raises(UsageError) as caught:
        parse_spec(str(text))
    return str(caught.value)


# -- files ---------------------------------------------------------------------------------


def test_a_gguf_file(tmp_path: Path) -> None:
    file = touch(tmp_path / "llama-q4.gguf")
    assert parse_spec(str(file)) == ModelSpec("llama-q4", "gguf", {"path": str(file)})


def test_a_gguf_file_that_is_not_there(tmp_path: Path) -> None:
    assert refused(tmp_path / "x.gguf") == f"{tmp_path / 'x.gguf'}: no such file"


@pytest.mark.parametrize("named", [1, 2, 3])
@pytest.mark.parametrize("form", ["{}", "gguf[path={},n_ctx=64]"])
def test_any_part_of_a_split_gguf_file_means_the_whole(
    tmp_path: Path, named: int, form: str
) -> None:
    parts = [touch(tmp_path / f"llama-{i:05}-of-00003.gguf") for i in (1, 2, 3)]
    spec = parse_spec(form.format(parts[named - 1]))
    assert (spec.label, spec.runtime) == ("llama", "gguf")
    assert spec.options["path"] == str(parts[0])


def test_a_split_gguf_file_with_a_part_missing(tmp_path: Path) -> None:
    first = touch(tmp_path / "llama-00001-of-00003.gguf")
    touch(tmp_path / "llama-00003-of-00003.gguf")
    message = refused(first)
    assert "split into 3 files" in message
    assert "llama-00002-of-00003.gguf is missing" in message


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    message = refused(touch(tmp_path / "model.bin"))
    assert "is not a model: expected a .gguf file, a folder, a .toml or a .py" in message


# -- folders -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "metadata", "runtime"),
    [
        pytest.param({}, {"format": "mlx"}, "mlx", id="weights that MLX wrote"),
        pytest.param({"quantization": {"bits": 4}}, {"format": "pt"}, "mlx", id="quantized by MLX"),
        pytest.param({}, {"format": "pt"}, "hf", id="weights that torch wrote"),
        pytest.param({}, None, "hf", id="weights without metadata"),
        pytest.param({"quantization_config": {"bits": 4}}, None, "hf", id="quantized elsewhere"),
    ],
)
def test_a_folder_belongs_to(
    tmp_path: Path, config: object, metadata: dict[str, str] | None, runtime: str
) -> None:
    path = folder(tmp_path / "llama", config, metadata)
    assert parse_spec(str(path)) == ModelSpec("llama", runtime, {"path": str(path)})


def test_a_folder_without_safetensors_is_for_transformers(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert parse_spec(str(tmp_path)).runtime == "hf"


def test_a_folder_with_a_slash_at_the_end_has_the_same_label(tmp_path: Path) -> None:
    path = folder(tmp_path / "llama-3.2")
    assert parse_spec(f"{path}/").label == "llama-3.2"


def test_the_current_folder_has_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder(tmp_path / "llama"))
    assert parse_spec(".").label == "llama"


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    assert refused(tmp_path) == f"{tmp_path} is not a model folder: it has no config.json"


def test_a_folder_of_gguf_files_names_them(tmp_path: Path) -> None:
    for name in ("b.gguf", "a.gguf"):
        touch(tmp_path / name)
    assert refused(tmp_path).endswith("it holds a.gguf, b.gguf: name that file")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("{", "not readable JSON"), ("[]", "holds no JSON object"), ("\xff", "not readable JSON")],
)
def test_a_folder_with_a_broken_configuration(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "config.json").write_bytes(content.encode("latin-1"))
    assert complaint in refused(tmp_path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is cut off: it has 0 of 8 bytes; download it again"),
        (b"\x05" + b"\0" * 7 + b"[1,", "is cut off: it has 11 of 13 bytes; download it again"),
        (b"\xff" * 16, "is not a readable safetensors file: its header is too long"),
        (b"\x05" + b"\0" * 7 + b"[1,2]", "is not a readable safetensors file: "),
        (b"\x05" + b"\0" * 7 + b"{\xff\xff\xff\xff", "is not a readable safetensors file: "),
    ],
)
def test_a_folder_with_broken_weights(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    assert refused(tmp_path).startswith(f"{file} {complaint}")


# -- the hub, and nothing at all -----------------------------------------------------------


def test_a_hub_id() -> None:
    assert parse_spec("org-1/llama-3.2_1B") == ModelSpec(
        "llama-3.2_1B", "hf", {"path": "org-1/llama-3.2_1B"}
    )


@pytest.mark.parametrize("text", ["nothing", "a/b/c", "/no/such/folder", "org/na me", "q4="])
def test_what_is_no_file_no_folder_and_no_hub_id(text: str) -> None:
    assert "is not a file, a folder or a hub id (org/name)" in refused(text)


@pytest.mark.parametrize("text", ["", " ", "q4= ", "a\0b", "q4=\0"])
def test_an_empty_name_and_one_with_a_nul(text: str) -> None:
    assert refused(text) == "the model's name is empty or holds a NUL byte"


def test_a_name_too_long_for_a_path() -> None:
    assert "is not a file" in refused("x" * 5000)


# -- runtime[key=value] --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "runtime", "options"),
    [
        ("mlx[path=m]", "mlx", {"path": "m"}),
        ("gguf[path=m.gguf,n_ctx=4096]", "gguf", {"path": "m.gguf", "n_ctx": "4096"}),
        (
            "hf[path=org/m,dtype=float32,device=cpu]",
            "hf",
            {"path": "org/m", "dtype": "float32", "device": "cpu"},
        ),
        ("huggingface[path=m]", "hf", {"path": "m"}),
        ("transformers[path=m]", "hf", {"path": "m"}),
        ("hf[path=m, device=cpu]", "hf", {"path": "m", "device": "cpu"}),
        ('hf[path="a,b",device="cpu"]', "hf", {"path": "a,b", "device": "cpu"}),
        ('hf[path="dir [1], part=2/m"]', "hf", {"path": "dir [1], part=2/m"}),
        ("hf[path=a=b]", "hf", {"path": "a=b"}),
    ],
)
def test_a_named_runtime_with_options(text: str, runtime: str, options: dict[str, object]) -> None:
    spec = parse_spec(text)
    assert (spec.runtime, spec.options) == (runtime, options)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("gguf[path=dir/m-q4.gguf]", "m-q4"),
        ("hf[path=org/m]", "m"),
        ("small=hf[path=org/m]", "small"),
    ],
)
def test_a_named_runtime_is_labelled_by_its_model(text: str, label: str) -> None:
    assert parse_spec(text).label == label


@pytest.mark.parametrize("text", ["gguf[]", "gguf[n_ctx=4096]", "gguf[path=]", 'gguf[path=""]'])
def test_a_named_runtime_without_a_path(text: str) -> None:
    assert refused(text) == f"{text!r} names no model; add path=…"


@pytest.mark.parametrize("text", ["gguf[m.gguf]", "gguf[path=m,]]", "gguf[path=m,,n_ctx=1]"])
def test_options_that_cannot_be_read(text: str) -> None:
    assert "write runtime[key=value,…]" in refused(text)


def test_an_option_that_stands_twice() -> None:
    assert "duplicate 'n_ctx'" in refused("gguf[path=m,n_ctx=1,n_ctx=2]")


# -- config files --------------------------------------------------------------------------


def test_a_toml_config(tmp_path: Path) -> None:
    file = touch(tmp_path / "fast.toml")
    file.write_text('path = "org/m"\nruntime = "hf"\ndtype = "float32"\nn_ctx = 512\n')
    assert parse_spec(str(file)) == ModelSpec(
        "fast", "hf", {"path": "org/m", "dtype": "float32", "n_ctx": 512}
    )


def test_a_python_config(tmp_path: Path) -> None:
    file = touch(tmp_path / "fast.py")
    file.write_text('model = {"path": "org/m", "runtime": "transformers", "n_ctx": 2**9}\n')
    assert parse_spec(str(file)) == ModelSpec("fast", "hf", {"path": "org/m", "n_ctx": 512})


def test_a_config_may_name_its_label_and_the_command_line_another(tmp_path: Path) -> None:
    file = touch(tmp_path / "fast.toml")
    file.write_text('path = "org/m"\nlabel = "from the file"\n')
    assert parse_spec(str(file)).label == "from the file"
    assert parse_spec(f"mine={file}").label == "mine"


def test_a_path_in_a_config_is_relative_to_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = folder(tmp_path / "configs" / "models" / "m", metadata={"format": "mlx"})
    file = tmp_path / "configs" / "m.toml"
    file.write_text('path = "models/m"\n')
    monkeypatch.chdir(tmp_path)
    spec = parse_spec("configs/m.toml")
    assert spec.runtime == "mlx"
    assert Path(str(spec.options["path"])).samefile(model)


def test_a_config_may_name_any_part_of_a_split_file(tmp_path: Path) -> None:
    first, second = (touch(tmp_path / f"m-{i:05}-of-00002.gguf") for i in (1, 2))
    file = tmp_path / "m.toml"
    file.write_text(f'path = "{second.name}"\n')
    spec = parse_spec(str(file))
    assert (spec.runtime, spec.options["path"]) == ("gguf", str(first))


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        (
            "c.toml",
            'path = "org/m"\nruntime = "ggfu"',
            "unknown runtime 'ggfu'; did you mean 'gguf'?",
        ),
        ("c.toml", "path = ", "TOMLDecodeError"),
        ("c.toml", "\xff", "UnicodeDecodeError"),
        ("c.toml", 'runtime = "hf"', 'names no model; add path = "…"'),
        ("c.toml", "path = 3", 'names no model; add path = "…"'),
        ("c.toml", 'path = "org/m"\nlabel = ""', "label = '' must be text"),
        ("c.toml", 'path = "c.toml"', "path = 'c.toml' is another config; name the model"),
        ("c.toml", 'path = "d.py"', "path = 'd.py' is another config; name the model"),
        ("c.toml", 'path = "org/m"\nn_ctx = [1]', "n_ctx = [1] must be text, a number, or true"),
        ("c.py", "model = {'path': 'o/m', 'n': lambda: 1}", "> must be text, a number, or true"),
        ("c.toml", 'path = "nothing.gguf"', "nothing.gguf: no such file"),
        ("c.py", "model = {", "SyntaxError"),
        ("c.py", "1 / 0", "ZeroDivisionError"),
        ("c.py", "raise SystemExit(0)", "SystemExit"),
        ("c.py", "path = 'org/m'", "must define a dictionary named model"),
        ("c.py", "model = 'org/m'", "must define a dictionary named model"),
        ("c.py", "model = {}", 'names no model; add path = "…"'),
    ],
)
def test_a_config_that_is_wrong(tmp_path: Path, name: str, content: str, complaint: str) -> None:
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    assert complaint in refused(tmp_path / name)


@pytest.mark.parametrize("name", ["c.toml", "c.py"])
def test_a_config_that_is_not_there(tmp_path: Path, name: str) -> None:
    assert refused(tmp_path / name) == f"{tmp_path / name}: no such file"


# -- labels --------------------------------------------------------------------------------


def test_a_label_in_front(tmp_path: Path) -> None:
    file = touch(tmp_path / "m.gguf")
    assert parse_spec(f"q4_k.m-1={file}") == ModelSpec("q4_k.m-1", "gguf", {"path": str(file)})


def test_a_path_may_contain_an_equals_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "bits=4" / "m.gguf")
    monkeypatch.chdir(tmp_path)
    expected = {"path": os.path.join("bits=4", "m.gguf")}
    assert parse_spec("bits=4/m.gguf") == ModelSpec("m", "gguf", expected)
    assert parse_spec("q4=bits=4/m.gguf") == ModelSpec("q4", "gguf", expected)


def test_a_path_may_look_like_a_named_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path / "hf[path=x]")
    monkeypatch.chdir(tmp_path)
    assert parse_spec("hf[path=x]").options == {"path": "hf[path=x]"}


def test_two_models_may_not_have_the_same_label(tmp_path: Path) -> None:
    one, two = touch(tmp_path / "a" / "m.gguf"), touch(tmp_path / "b" / "m.gguf")
    with pytest.raises(UsageError, match="two models have the label 'm'") as caught:
        parse_specs([str(one), str(two)])
    assert str(one) in str(caught.value)
    assert f"other={two}" in str(caught.value)
    assert [s.label for s in parse_specs([str(one), f"m2={two}"])] == ["m", "m2"]


def test_the_same_label_given_twice_is_not_suggested_again() -> None:
    with pytest.raises(UsageError) as caught:
        parse_specs(["x=org/a", "x=org/b"])
    assert str(caught.value).endswith("give one another label: other=org/b")
