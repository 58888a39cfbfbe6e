"""What a benchmark asks of a runtime, each kind of request below the result it gets.

A kind states its result's type, what belongs to the key that its result is stored under, and what
a valid result is. Nothing else in the core switches on kinds: to add one, write its two classes
here and name the result in `Response`.
"""

import math
from typing import Annotated, ClassVar, Literal, Self

import msgspec
from msgspec import Meta

from pajamas_eval.api.media import Image, Prompt, portable
from pajamas_eval.api.results import Failure, Result


class Request(msgspec.Struct, frozen=True, tag_field="kind"):
    """Base of all requests; the tag of a kind is also the name of the method that answers it."""

    result_type: ClassVar[type[Result]]

    @classmethod
    def kind(cls) -> str:
        """The name of this kind, such as `loglikelihood`."""
        return str(cls.__struct_config__.tag)

    def texts(self) -> tuple[str, str]:
        """The text that the model is given, and the text that it is to score; either may be empty.

        A person can read the two as one.
        """
        return "", ""

    def images(self) -> tuple[Image, ...]:
        """The images that the model is given."""
        return ()

    def new_tokens(self) -> int:
        """Tokens of the context that are kept free for the answer."""
        return 0

    def key_parts(self) -> tuple[object, ...]:
        """What its result repeats or depends on, beyond what the model reads."""
        return ()

    def drawn(self, sampling: "Sampling | None", sample: int) -> Self:
        """The same request for one of several samples; itself where nothing is drawn."""
        return self

    def content(self) -> tuple[object, ...]:
        """All that tells it from other requests."""
        images = [image.digest for image in self.images()]
        return self.kind(), *self.key_parts(), *map(portable, self.texts()), images


class LogLikelihoodResult(Result, frozen=True, tag="loglikelihood"):
    """Answer to `LogLikelihood` and `LogLikelihoodRolling`.

    Attributes:
        log_probability: Sum over the scored tokens, natural logarithm.
        is_greedy: Whether every scored token is the most probable one at its place.
        token_count: Number of scored tokens.
        byte_count: UTF-8 length of the scored text.
        prompt_tokens: Tokens in front of the scored ones (windows of a rolling text: 1 each).
    """

    counts = (*Result.counts, "byte_count")

    log_probability: float
    is_greedy: bool
    token_count: int
    byte_count: int
    prompt_tokens: int
    truncated_tokens: int = 0
    seconds: float = 0.0

    def problem(self) -> str | None:
        """A log-probability is finite."""
        finite = math.isfinite(self.log_probability)
        return None if finite else f"a log-probability of {self.log_probability}"

    @property
    def log_probabilities(self) -> tuple[float, ...]:
        """That of its one choice."""
        return (self.log_probability,)


class LogLikelihood(Request, frozen=True, tag="loglikelihood"):
    """How probable is `continuation` after `context`?"""

    result_type = LogLikelihoodResult

    context: Prompt
    continuation: str

    def texts(self) -> tuple[str, str]:
        """Context and continuation."""
        return self.context.text, self.continuation

    def images(self) -> tuple[Image, ...]:
        """The context's."""
        return self.context.images

    def key_parts(self) -> tuple[object, ...]:
        """The length of the scored text, which other texts of equal tokens need not share."""
        return (_byte_count(self.continuation),)


class LogLikelihoodRolling(Request, frozen=True, tag="loglikelihood_rolling"):
    """How probable is the whole of `text`, from its first token on?"""

    result_type = LogLikelihoodResult

    text: str

    def texts(self) -> tuple[str, str]:
        """All of it is scored."""
        return "", self.text

    def key_parts(self) -> tuple[object, ...]:
        """As for `LogLikelihood`."""
        return (_byte_count(self.text),)


FinishReason = Literal["stop", "end", "length"]


class GenerationResult(Result, frozen=True, tag="generation"):
    """Answer to `GenerateUntil`.

    Attributes:
        text: The generated text, without the stop string and what follows it.
        finish_reason: `stop` (a stop string), `end` (an end token) or `length` (token limit).
        token_count: Number of generated tokens.
        prompt_tokens: Number of tokens of the prompt that the model saw.
        truncated_tokens: Tokens cut from the left of the prompt because the context was full.
        seconds: Time since the text that was finished before this one: they run together.
    """

    text: str
    finish_reason: FinishReason
    token_count: int
    prompt_tokens: int
    truncated_tokens: int = 0
    seconds: float = 0.0


class Sampling(msgspec.Struct, frozen=True):
    """How each next token is drawn.

    Attributes:
        temperature: Divides the logits.
        top_p: Draw from the most probable tokens that have this share of the probability.
        top_k: Draw from so many of the most probable tokens; from all if 0.
        seed: Of the draws; each sample of a prompt draws its own.
    """

    temperature: Annotated[float, Meta(gt=0)] = 1.0
    top_p: Annotated[float, Meta(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Meta(ge=0)] = 0
    seed: int = 0


class GenerateUntil(Request, frozen=True, tag="generate_until"):
    """Continue `prompt` until a stop string, the end token or `max_tokens` new tokens.

    Attributes:
        until: Stop strings.
        sampling: How tokens are drawn; the most probable one each time if nothing.
        sample: Number of the sample, from 0, where one prompt is asked several times.
    """

    result_type = GenerationResult

    prompt: Prompt
    until: tuple[str, ...]
    max_tokens: int
    sampling: Sampling | None = None
    sample: int = 0

    def texts(self) -> tuple[str, str]:
        """The prompt; nothing is scored."""
        return self.prompt.text, ""

    def images(self) -> tuple[Image, ...]:
        """The prompt's."""
        return self.prompt.images

    def new_tokens(self) -> int:
        """Those that may be generated."""
        return self.max_tokens

    def drawn(self, sampling: Sampling | None, sample: int) -> Self:
        """With the way of drawing and the sample's number."""
        return msgspec.structs.replace(self, sampling=sampling, sample=sample)

    def key_parts(self) -> tuple[object, ...]:
        """What ends the text, and how it is drawn."""
        drawn = msgspec.structs.astuple(self.sampling) if self.sampling else None
        return [portable(stop) for stop in self.until], self.max_tokens, drawn, self.sample


class Classification(Result, frozen=True, tag="classification"):
    """Answer to `Classify`.

    Attributes:
        classes: Log-probability of each class of the model's head, natural logarithm.
    """

    classes: tuple[float, ...]
    token_count: int = 0
    prompt_tokens: int = 0
    truncated_tokens: int = 0
    seconds: float = 0.0

    def problem(self) -> str | None:
        """There are classes, and none has a log-probability that is NaN or infinite."""
        if not self.classes:
            return "a classification without classes"
        odd = next((value for value in self.classes if not math.isfinite(value)), None)
        return None if odd is None else f"a log-probability of {odd}"

    @property
    def log_probabilities(self) -> tuple[float, ...]:
        """Those of the classes."""
        return self.classes


class Classify(Request, frozen=True, tag="classify"):
    """Which class does `image` belong to?"""

    result_type = Classification

    image: Image

    def images(self) -> tuple[Image, ...]:
        """The one that is classified."""
        return (self.image,)


Response = LogLikelihoodResult | GenerationResult | Classification
"""An answer, which can be stored and written; new kinds go to the end."""

AnyResult = Response | Failure


def _byte_count(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
