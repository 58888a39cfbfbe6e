"""Record what lm-eval 0.4.13 asks, hears and scores, as the reference for the parity tests.

Run inside an environment that has lm_eval, torch, transformers and accelerate:

    python tests/parity/lm_eval_reference.py \\
        --model HF_FOLDER --data DATA_DIR --limit 300 --out reference.json

DATA_DIR holds JSON Lines with the fields of the hub datasets:

    mmlu/dev.jsonl, mmlu/test.jsonl     question, subject, choices, answer
    hellaswag/validation.jsonl          activity_label, ctx_a, ctx_b, endings, label
    gsm8k/train.jsonl, gsm8k/test.jsonl question, answer

Prompts, few-shot choice, filters and metrics come from lm-eval's own task files; only the place the
data is read from is replaced. lm-eval's `hf` model class computes in float32 on the CPU.

The output:

    settings     what was run, with versions
    runs         one per benchmark: tasks -> samples (request arguments, raw and filtered responses,
                 metrics per filter) and lm-eval's aggregated results, groups included
    variants     the same for a few questions under other shot counts and under a chat template
    direct       the three request methods called with hand-written requests, one at a time, with
                 the tokens lm-eval scored or the exception it raised; hand-written GSM8K answers
                 through lm-eval's filters and metric
    batch_check  the largest change of a log-likelihood when requests are scored alone
    seconds      wall time per part
"""

import os

# Before the imports below read them: nothing is looked up on a hub, and two threads do not compete.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TQDM_DISABLE", "1")

import argparse
import hashlib
import importlib.metadata
import json
import logging
import math
import tempfile
import time
from pathlib import Path

# From all four MMLU groups, with short prompts.
SUBJECTS = (
    "abstract_algebra",
    "electrical_engineering",
    "formal_logic",
    "world_religions",
    "sociology",
    "global_facts",
)

# ChatML. Set on the tokenizer for the chat variants whatever template it came with, so that the
# reference does not depend on the model.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content']"
    " + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

# The direct requests run with this window, so that short texts overflow it. The texts that fill it
# exactly count on "a" and " cat" being one token each, as in GPT-2's vocabulary and its relatives.
DIRECT_MAX_LENGTH = 64
LONG = "The lighthouse keeper counted the ships that passed in the night. " * 12

LOGLIKELIHOOD_REQUESTS = [
    # name, context, continuation
    ("plain", "The capital of France is", " Paris"),
    ("several tokens", "The quick brown fox", " jumps over the lazy dog, twice."),
    ("context ends in a space", "The capital of France is ", "Paris"),
    ("context ends in two spaces", "The capital of France is  ", "Paris"),
    ("context ends in a newline", "Question: 2 + 2?\nAnswer:\n", "4"),
    ("context ends in newlines and a tab", "Answer:\n\n\t", "4"),
    ("context ends in a no-break space", "Answer:\u00a0", "4"),
    ("space on both sides", "Answer: ", " 4"),
    ("no space at the seam", "The answer is A", "B"),
    ("seam inside a word", "inter", "national"),
    ("seam that merges into one token", "th", "e"),
    ("empty context", "", "The cat sat on the mat."),
    ("empty context, leading space", "", " cat"),
    ("empty context, one token", "", "cat"),
    ("empty context, continuation starts with the prefix token", "", "<|endoftext|>The cat"),
    ("empty context, continuation is the prefix token", "", "<|endoftext|>"),
    ("empty context, empty continuation", "", ""),
    ("whitespace context", " ", "cat"),
    ("newline context", "\n\n", "cat"),
    ("empty continuation", "The cat", ""),
    ("context starts with the prefix token", "<|endoftext|>The cat", " sat"),
    ("context is the prefix token", "<|endoftext|>", "The cat"),
    ("special token in the continuation", "The cat sat", "<|im_end|>\n"),
    ("chat prompt", "<|im_start|>user\nIs it A or B?<|im_end|>\n<|im_start|>assistant\n", "A"),
    ("accents", "Über naïve Cafés wird", " häufig geschrieben"),
    ("Chinese", "东京是", "日本的首都"),
    ("emoji that joins", "Family: \U0001f468\u200d\U0001f469", "\u200d\U0001f467 and more"),
    ("combining mark at the seam", "cafe", "\u0301 noir"),
    ("digits", "12345 + 67890 =", " 80235"),
    ("spaces before digits", "in total   40", "  17"),
    ("line break inside", "def f(x):\n    return", " x + 1\n\ndef g(y):\n    return y"),
    ("window exactly full", "a" + " cat" * 62, " dog dog"),
    ("window one over", "a" + " cat" * 63, " dog dog"),
    ("context overflows the window", LONG, " Then the fog came."),
    ("continuation as long as the window", "One", " cat" * 64),
    ("continuation longer than the window", "One", " cat" * 65),
]

# Scored in one call, where lm-eval shares a forward pass between requests whose joined tokens agree
# up to the last one. With different splits of the same text it then reads the wrong positions.
JOINT_REQUESTS = [
    ("The capital of France is", " Paris"),
    ("The capital of France", " is Paris"),
    ("The capital of", " France is Paris"),
    ("The capital of France is", " Rome"),
    ("The capital of France is", " Paris"),
]

ROLLING_TEXTS = [
    ("short", "The cat sat on the mat."),
    ("one token", "cat"),
    ("empty", ""),
    ("leading space and newlines", " \n\nThe cat\n\n\n sat. \n"),
    ("unicode", "Zürich – 東京 – \U0001f642 – naïve café."),
    ("starts with the prefix token", "<|endoftext|>The cat sat."),
    ("one token short of the window", "a" + " cat" * 62),
    ("exactly the window", "a" + " cat" * 63),
    ("one token over the window", "a" + " cat" * 64),
    ("exactly two windows", "a" + " cat" * 127),
    ("one token over two windows", "a" + " cat" * 128),
    ("several windows", LONG * 2),
]

GENERATE_REQUESTS = [
    # name, context, generation arguments
    ("no stop string", "The cat sat on", {"until": [], "max_gen_toks": 12}),
    ("stop string as text", "The cat sat on", {"until": "e", "max_gen_toks": 12}),
    ("stop at a letter", "The cat sat on", {"until": ["e"], "max_gen_toks": 12}),
    ("stop at the earlier of two", "The cat sat on", {"until": ["i", "o"], "max_gen_toks": 12}),
    (
        "context ends in a newline",
        "Question: 2 + 2?\nAnswer:\n",
        {"until": ["\n\n"], "max_gen_toks": 8},
    ),
    ("unicode", "東京は", {"until": ["。"], "max_gen_toks": 8}),
    ("starts with the prefix token", "<|endoftext|>The cat", {"until": [], "max_gen_toks": 8}),
    ("prompt overflows", LONG, {"until": ["\n"], "max_gen_toks": 16}),
    ("no room for a prompt", "The cat", {"until": [], "max_gen_toks": DIRECT_MAX_LENGTH}),
    ("default length does not fit", "The cat", {"until": []}),
]

# Answers for GSM8K's filters and its exact match; a random model never writes one.
GSM8K_ANSWERS = [
    # generated text, reference answer
    (" 2 + 2 = 4\n#### 4", "It is 2+2 = <<2+2=4>>4.\n#### 4"),
    (" #### 1,234.", "#### 1234"),
    (" #### 1,234.00", "#### 1234"),
    (" #### -5\nSo #### 7", "#### -5"),
    (" #### -5\nSo #### 7", "#### 7"),
    (" ####4", "#### 4"),
    (" #### $4", "#### 4"),
    (" The answer is $1,234.", "#### 1234"),
    (" She pays $4.50 for 3.", "#### 4.50"),
    (" She pays $4.50 for 3.", "#### 3"),
    (" Ends in dots 42...", "#### 42"),
    (" It is 12...", "#### 12."),
    (" It is -7", "#### -7"),
    (" It is 5-7", "#### -7"),
    (" Nothing, at all.", "#### 1"),
    (" 12 and then...", "#### 12"),
    (" 1. First, 2. second", "#### 2"),
    (" 12,", "#### 12"),
    (" $$", "#### 12"),
    (" \u0664\u0662", "#### 42"),
    ("", "#### 0"),
    (" #### 4 ####  5", "#### 4"),
    (" #### .", "#### 1"),
    (" 007", "#### 7"),
    (" [INVALID]", "#### [invalid]"),
]

VARIANTS = [
    # name, benchmark, shots, chat template, shots as turns
    ("mmlu, 0 shots", "mmlu", 0, False, False),
    ("hellaswag, 3 shots", "hellaswag", 3, False, False),
    ("gsm8k, 0 shots", "gsm8k", 0, False, False),
    ("mmlu, 0 shots, chat", "mmlu", 0, True, True),
    ("mmlu, 5 shots, chat, turns", "mmlu", 5, True, True),
    ("mmlu, 5 shots, chat, one message", "mmlu", 5, True, False),
    ("hellaswag, 0 shots, chat", "hellaswag", 0, True, True),
    ("hellaswag, 3 shots, chat, turns", "hellaswag", 3, True, True),
    ("gsm8k, 0 shots, chat", "gsm8k", 0, True, True),
    ("gsm8k, 5 shots, chat, turns", "gsm8k", 5, True, True),
    ("gsm8k, 5 shots, chat, one message", "gsm8k", 5, True, False),
]


def parse_arguments():
    parser = argparse.ArgumentParser(description="Record lm-eval's requests, responses and scores.")
    parser.add_argument("--model", required=True, help="folder of a transformers model")
    parser.add_argument(
        "--data", required=True, type=Path, help="folder with mmlu/, hellaswag/, gsm8k/"
    )
    parser.add_argument("--out", required=True, type=Path, help="file to write")
    parser.add_argument("--limit", type=int, default=300, help="questions per benchmark")
    parser.add_argument(
        "--subjects", default=",".join(SUBJECTS), help="MMLU subjects, separated by commas"
    )
    parser.add_argument(
        "--per-subject",
        type=int,
        help="questions per MMLU subject (default: limit / subjects, rounded up)",
    )
    parser.add_argument("--gsm8k-limit", type=int, help="GSM8K questions (default: --limit)")
    parser.add_argument(
        "--max-gen-toks", type=int, help="new tokens per GSM8K answer (default: lm-eval's 256)"
    )
    parser.add_argument(
        "--variant-limit", type=int, default=4, help="questions per task in a variant; 0: none"
    )
    parser.add_argument("--batch-size", type=int, default=8, help="log-likelihood batch size")
    parser.add_argument(
        "--generation-batch-size",
        type=int,
        default=1,
        help="a batch stops when every row has met the same stop string; until then a row that has "
        "passed a stop string which is a special token keeps the text after it. 1 avoids this",
    )
    parser.add_argument(
        "--check-batch", type=int, default=40, help="requests per benchmark scored again alone"
    )
    arguments = parser.parse_args()
    arguments.subjects = arguments.subjects.split(",")
    if arguments.per_subject is None:
        arguments.per_subject = math.ceil(arguments.limit / len(arguments.subjects))
    if arguments.gsm8k_limit is None:
        arguments.gsm8k_limit = arguments.limit
    return arguments


def read_rows(path):
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write_rows(path, rows):
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")


def write_tasks(folder, data, subjects):
    """Task files that include lm-eval's own and replace the data source.

    Returns {benchmark: [task or group name]} and, for the tasks made of a part of a file,
    {task name: row number in that file per document}.
    """
    import lm_eval.tasks
    import yaml

    own = Path(lm_eval.tasks.__file__).parent
    rows_of = {}

    def write(name, include, data_files, **changes):
        body = {
            "include": str(own / include),
            "task": name,
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {
                "data_files": {split: str(path) for split, path in data_files.items()}
            },
            **changes,
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(body))

    dev, test = (read_rows(data / "mmlu" / f"{split}.jsonl") for split in ("dev", "test"))
    tasks_of_group, clozes = {}, []
    for subject in subjects:
        task_file = own / "mmlu" / "default" / f"mmlu_{subject}.yaml"
        if not task_file.exists():
            raise SystemExit(f"lm-eval has no MMLU subject {subject!r}")
        rows = [i for i, row in enumerate(test) if row["subject"] == subject]
        if not rows:
            raise SystemExit(f"{data}/mmlu/test.jsonl has no questions of subject {subject!r}")
        name = f"local_mmlu_{subject}"
        rows_of[name] = rows
        shots = [row for row in dev if row["subject"] == subject]
        write_rows(folder / f"{subject}_test.jsonl", [test[i] for i in rows])
        write_rows(folder / f"{subject}_dev.jsonl", shots)
        files = {split: folder / f"{subject}_{split}.jsonl" for split in ("dev", "test")}
        write(name, task_file.relative_to(own), files)
        cloze = f"local_mmlu_continuation_{subject}"
        rows_of[cloze] = rows
        write(cloze, Path("mmlu/continuation") / task_file.name, files)
        clozes.append(cloze)
        tag = yaml.safe_load(task_file.read_text())["tag"]
        tasks_of_group.setdefault(tag.removesuffix("_tasks"), []).append(name)
    tasks_of_group["mmlu"] = [f"local_{group}" for group in tasks_of_group]
    for group, names in tasks_of_group.items():
        body = {
            "group": f"local_{group}",
            "task": names,
            "aggregate_metric_list": [{"metric": "acc", "weight_by_size": True}],
        }
        (folder / f"local_{group}.yaml").write_text(yaml.safe_dump(body))

    # The local HellaSwag has no train split. lm-eval builds the few-shot pool when the task is
    # made, even for 0 shots; without a train split it takes the validation questions.
    write(
        "local_hellaswag",
        Path("hellaswag/hellaswag.yaml"),
        {"validation": data / "hellaswag" / "validation.jsonl"},
        training_split=None,
    )
    write(
        "local_gsm8k",
        Path("gsm8k/gsm8k.yaml"),
        {split: data / "gsm8k" / f"{split}.jsonl" for split in ("train", "test")},
    )
    benchmarks = {name: [f"local_{name}"] for name in ("mmlu", "hellaswag", "gsm8k")}
    benchmarks["mmlu_continuation"] = clozes
    return benchmarks, rows_of


def plain(value):
    """`value` with tuples, numpy numbers and callables replaced by what JSON has."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (str, bool, int, float)) or value is None:
        return value
    if hasattr(value, "item"):
        return value.item()
    return str(value)


def question_of(doc):
    return doc["query"] if "query" in doc else doc["question"]


def collect_samples(logged, rows):
    """One sample per document with every filter's outcome; lm-eval logs one per filter."""
    samples = {}
    for entry in logged:
        doc_id = entry["doc_id"]
        sample = samples.setdefault(
            doc_id,
            {
                "doc_id": doc_id,
                "row": rows[doc_id] if rows else doc_id,
                "question_sha256": hashlib.sha256(question_of(entry["doc"]).encode()).hexdigest(),
                "doc_hash": entry["doc_hash"],
                "prompt_hash": entry["prompt_hash"],
                "target": plain(entry["target"]),
                "arguments": plain(entry["arguments"]),
                "responses": plain(entry["resps"]),
                "filtered": {},
                "metrics": {},
            },
        )
        sample["filtered"][entry["filter"]] = plain(entry["filtered_resps"])
        sample["metrics"][entry["filter"]] = {name: plain(entry[name]) for name in entry["metrics"]}
    return [samples[doc_id] for doc_id in sorted(samples)]


def evaluate(lm, manager, names, shots, limit, rows_of, gen_kwargs=None, chat=False, turns=False):
    import lm_eval

    results = lm_eval.simple_evaluate(
        model=lm,
        tasks=names,
        num_fewshot=shots,
        limit=limit,
        log_samples=True,
        task_manager=manager,
        gen_kwargs=gen_kwargs,
        apply_chat_template=chat,
        fewshot_as_multiturn=turns,
    )
    return {
        "results": plain(results["results"]),
        "groups": plain(results.get("groups", {})),
        "n_shot": plain(results["n-shot"]),
        "n_samples": plain(results["n-samples"]),
        "tasks": {
            name: collect_samples(logged, rows_of.get(name))
            for name, logged in results["samples"].items()
        },
    }


def recording_class():
    """lm-eval's `hf` class, noting the (context, continuation) tokens of each scored request."""
    from lm_eval.models.huggingface import HFLM

    class Recorder(HFLM):
        def _loglikelihood_tokens(self, requests, **kwargs):
            self.scored = getattr(self, "scored", [])
            self.scored += [(list(context), list(cont)) for _, context, cont in requests]
            return super()._loglikelihood_tokens(requests, **kwargs)

    return Recorder


def instance(kind, *arguments):
    from lm_eval.api.instance import Instance

    metadata = ("direct", 0, 1)  # task, document, repeats
    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0, metadata=metadata)


def direct_cases(lm):
    """Each hand-written request in a call of its own: result and tokens, or the exception."""

    def attempt(kind, *arguments):
        lm.scored = []
        try:
            (response,) = getattr(lm, kind)([instance(kind, *arguments)], disable_tqdm=True)
        except Exception as error:
            # What lm-eval refuses is part of the reference.
            outcome = {"error": type(error).__name__, "message": str(error)}
        else:
            outcome = {"response": plain(response)}
        return outcome | {"scored_tokens": lm.scored}

    cases = {"max_length": lm.max_length, "prefix_token_id": lm.prefix_token_id}
    cases["loglikelihood"] = [
        {"name": name, "context": context, "continuation": continuation}
        | attempt("loglikelihood", context, continuation)
        for name, context, continuation in LOGLIKELIHOOD_REQUESTS
    ]
    alone = [attempt("loglikelihood", *request)["response"] for request in JOINT_REQUESTS]
    instances = [instance("loglikelihood", *request) for request in JOINT_REQUESTS]
    joint = lm.loglikelihood(instances, disable_tqdm=True)
    cases["joint_loglikelihood"] = [
        {"context": context, "continuation": continuation, "alone": one, "joint": plain(together)}
        for (context, continuation), one, together in zip(JOINT_REQUESTS, alone, joint, strict=True)
    ]
    cases["loglikelihood_rolling"] = [
        {"name": name, "text": text} | attempt("loglikelihood_rolling", text)
        for name, text in ROLLING_TEXTS
    ]
    cases["generate_until"] = [
        {"name": name, "context": context, "arguments": arguments}
        | attempt("generate_until", context, {"do_sample": False, "temperature": 0.0, **arguments})
        for name, context, arguments in GENERATE_REQUESTS
    ]
    for case in cases["generate_until"]:
        del case["scored_tokens"]
    return cases


def score_gsm8k_answers(manager):
    """lm-eval's filters and metric on hand-written answers, by filter."""
    (task,) = manager.load(["local_gsm8k"])["tasks"].values()
    docs = [{"question": "", "answer": gold} for _, gold in GSM8K_ANSWERS]
    instances = [instance("generate_until", "", {}) for _ in docs]
    for one, doc, (text, _) in zip(instances, docs, GSM8K_ANSWERS, strict=True):
        one.doc, one.resps = doc, [text]
    task._instances = instances
    task.apply_filters()
    return [
        {
            "text": text,
            "gold": gold,
            "filtered": plain(one.filtered_resps),
            "exact_match": {
                name: plain(task.process_results(doc, [response])["exact_match"])
                for name, response in one.filtered_resps.items()
            },
        }
        for one, doc, (text, gold) in zip(instances, docs, GSM8K_ANSWERS, strict=True)
    ]


def check_batch(lm, run, count):
    """Score about `count` requests of a run again, alone; the largest change."""
    requests = [
        (arguments, responses[0])
        for samples in run["tasks"].values()
        for sample in samples
        for arguments, responses in zip(sample["arguments"], sample["responses"], strict=True)
    ]
    step = max(1, len(requests) // count)
    absolute, relative, flags = 0.0, 0.0, 0
    for arguments, (expected, greedy) in requests[::step]:
        request = instance("loglikelihood", *arguments)
        ((value, flag),) = lm.loglikelihood([request], disable_tqdm=True)
        absolute = max(absolute, abs(value - expected))
        relative = max(relative, abs(value - expected) / max(1.0, abs(expected)))
        flags += flag != greedy
    return {
        "requests": len(requests[::step]),
        "largest_absolute": absolute,
        "largest_relative": relative,
        "greedy_flags_changed": flags,
    }


def main():
    arguments = parse_arguments()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    seconds = {}

    def timed(name, work, *args, **kwargs):
        start = time.perf_counter()
        result = work(*args, **kwargs)
        seconds[name] = round(time.perf_counter() - start, 1)
        print(f"{name}: {seconds[name]} s", flush=True)
        return result

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["HF_DATASETS_CACHE"] = str(folder / "datasets")  # read by the imports below
        import lm_eval.evaluator
        import torch
        from lm_eval.tasks import TaskManager

        lm_eval.evaluator.get_git_commit_hash = lambda: None  # starts git in the working directory
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        (folder / "tasks").mkdir()
        tasks = folder / "tasks"
        benchmarks, rows_of = write_tasks(tasks, arguments.data.resolve(), arguments.subjects)
        manager = TaskManager(include_path=str(tasks), include_defaults=False)

        recorder = recording_class()
        lm = timed(
            "load",
            recorder,
            pretrained=arguments.model,
            dtype="float32",
            device="cpu",
            batch_size=arguments.batch_size,
        )
        shared = {"pretrained": lm.model, "tokenizer": lm.tokenizer}
        generator = recorder(batch_size=arguments.generation_batch_size, **shared)
        alone = recorder(batch_size=1, **shared)
        narrow = recorder(batch_size=1, max_length=DIRECT_MAX_LENGTH, **shared)

        def run(name, benchmark, lm, shots, limit, **options):
            names = benchmarks[benchmark]
            return timed(name, evaluate, lm, manager, names, shots, limit, rows_of, **options)

        gen_kwargs = {"max_gen_toks": arguments.max_gen_toks} if arguments.max_gen_toks else None
        runs = {
            "mmlu": run("mmlu", "mmlu", lm, 5, arguments.per_subject),
            "mmlu_continuation": run(
                "mmlu_continuation", "mmlu_continuation", lm, 2, arguments.per_subject
            ),
            "hellaswag": run("hellaswag", "hellaswag", lm, 0, arguments.limit),
            # None: the task's own number of shots, 5.
            "gsm8k": run(
                "gsm8k", "gsm8k", generator, None, arguments.gsm8k_limit, gen_kwargs=gen_kwargs
            ),
        }
        batch_check = {
            name: timed(
                f"batch check, {name}", check_batch, alone, runs[name], arguments.check_batch
            )
            for name in ("mmlu", "hellaswag")
        }
        direct = timed("direct", direct_cases, narrow)
        direct["gsm8k_answers"] = score_gsm8k_answers(manager)

        variants = {}
        lm.tokenizer.chat_template = CHAT_TEMPLATE
        for name, benchmark, shots, chat, turns in VARIANTS if arguments.variant_limit else ():
            settings = {"benchmark": benchmark, "shots": shots, "chat": chat, "turns": turns}
            variants[name] = settings | run(
                name,
                benchmark,
                generator,
                shots,
                arguments.variant_limit,
                gen_kwargs={"max_gen_toks": 8} if benchmark == "gsm8k" else None,
                chat=chat,
                turns=turns,
            )

    reference = {
        "settings": {
            "model": Path(arguments.model).name,
            "dtype": "float32",
            "device": "cpu",
            "max_length": lm.max_length,
            "batch_size": arguments.batch_size,
            "generation_batch_size": arguments.generation_batch_size,
            "max_gen_toks": arguments.max_gen_toks,
            "subjects": arguments.subjects,
            "chat_template": CHAT_TEMPLATE,
            "versions": {
                name: importlib.metadata.version(name)
                for name in ("lm_eval", "torch", "transformers", "tokenizers", "datasets", "numpy")
            },
        },
        "runs": runs,
        "variants": variants,
        "direct": direct,
        "batch_check": batch_check,
        "seconds": seconds,
    }
    text = json.dumps(reference, ensure_ascii=False, indent=1) + "\n"
    arguments.out.write_text(text, encoding="utf-8")
    print(f"wrote {arguments.out} ({arguments.out.stat().st_size / 1e6:.1f} MB)")
    print("batch check:", json.dumps(batch_check))


if __name__ == "__main__":
    main()
