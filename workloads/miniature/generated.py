"""Generated tasks with one right answer each, in words that are single tokens.

An instance is a prompt and an answer, both lists of words; the text is the words with a space
before each and a newline at the end, for instance " add 3 7 5 = 5\\n". A hash of the prompt decides
whether an instance may be trained on, so test instances are unseen by construction.
"""

import random
import zlib
from collections.abc import Callable

LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
DIGITS = tuple("0123456789")
CLOSING = {"(": ")", "[": "]", "{": "}"}
END = "\n"

Instance = tuple[list[str], list[str]]


def _add(rng: random.Random) -> Instance:
    """The sum of two to four digits modulo ten."""
    terms = [rng.randrange(10) for _ in range(rng.randint(2, 4))]
    return ["add", *map(str, terms), "="], [str(sum(terms) % 10)]


def _recall(rng: random.Random) -> Instance:
    """The value that a key was given among three to six key-value pairs."""
    keys = rng.sample(LETTERS, rng.randint(3, 6))
    values = [rng.choice(DIGITS) for _ in keys]
    pairs = [word for pair in zip(keys, values, strict=True) for word in pair]
    asked = rng.randrange(len(keys))
    return ["recall", *pairs, ":", keys[asked], "="], [values[asked]]


def _close(rng: random.Random) -> Instance:
    """The closing brackets that complete a bracket expression, and then the end."""
    words: list[str] = []
    still_open: list[str] = []
    for _ in range(rng.randint(4, 9)):
        if still_open and (len(still_open) == 4 or rng.random() < 0.4):
            words.append(CLOSING[still_open.pop()])
        else:
            still_open.append(rng.choice(tuple(CLOSING)))
            words.append(still_open[-1])
    return ["close", *words, "="], [*(CLOSING[word] for word in reversed(still_open)), END]


def _sort(rng: random.Random) -> Instance:
    """Four to six different letters in alphabetical order."""
    letters = rng.sample(LETTERS, rng.randint(4, 6))
    return ["sort", *letters, "="], sorted(letters)


def _reverse(rng: random.Random) -> Instance:
    """Four to six letters in reverse order."""
    letters = [rng.choice(LETTERS) for _ in range(rng.randint(4, 6))]
    return ["reverse", *letters, "="], letters[::-1]


def _count(rng: random.Random) -> Instance:
    """How often a letter occurs among five to nine letters a, b and c."""
    letters = [rng.choice("abc") for _ in range(rng.randint(5, 9))]
    asked = rng.choice("abc")
    return ["count", *letters, ":", asked, "="], [str(letters.count(asked))]


TASKS: dict[str, Callable[[random.Random], Instance]] = {
    "add": _add,
    "recall": _recall,
    "close": _close,
    "sort": _sort,
    "reverse": _reverse,
    "count": _count,
}
WORDS = (*TASKS, *LETTERS, *DIGITS, *CLOSING, *CLOSING.values(), "=", ":")


def split_of(key: str) -> str:
    """The split ("train", "calibration" or "test") of a prompt, file or chapter, by its hash."""
    return {0: "test", 1: "calibration"}.get(zlib.crc32(key.encode()) % 16, "train")


def instance(task: str, split: str, rng: random.Random) -> Instance:
    """One instance of a task that belongs to the split."""
    while True:
        prompt, answer = TASKS[task](rng)
        if split_of(" ".join(prompt)) == split:
            return prompt, answer if answer[-1] == END else [*answer, END]


def scored_words(answer: list[str], task: str) -> int:
    """How many words of an answer are scored: the final newline only where it carries meaning."""
    return len(answer) if task == "close" else len(answer) - 1


def fill(
    task: str, split: str, rng: random.Random, ids: dict[str, int], length: int
) -> tuple[list[int], list[int]]:
    """Instances of one task until `length` tokens are full.

    Returns the token ids and, for each token, the number of the instance whose answer it scores
    (-1: not scored; the answer of a cut-off instance is not scored).
    """
    tokens: list[int] = []
    scored: list[int] = []
    number = 0
    while len(tokens) < length:
        prompt, answer = instance(task, split, rng)
        fits = len(tokens) + len(prompt) + len(answer) <= length
        tokens += [ids[word] for word in (*prompt, *answer)]
        count = scored_words(answer, task) if fits else 0
        scored += [-1] * len(prompt) + [number] * count + [-1] * (len(answer) - count)
        number += 1
    return tokens[:length], scored[:length]
