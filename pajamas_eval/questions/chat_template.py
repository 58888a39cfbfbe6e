"""Renders a model's own chat template, as transformers does, without importing it."""

import json
from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Any

from blake3 import blake3
from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pajamas_eval.errors import UsageError

Message = dict[str, str]


class ChatTemplate:
    """A Jinja template in a sandbox: it comes with a model and is not to be trusted.

    Attributes:
        today: What the template is told where it asks for the date; the time is midnight.
        reads_clock: Whether it has asked.
    """

    def __init__(
        self, source: str, bos_token: str, eos_token: str, today: date | None = None
    ) -> None:
        """`today` is the present day by default."""
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = self._strftime_now
        self.today = today or date.today()
        self.reads_clock = False
        self._source = source
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise UsageError(f"the model's chat template is not valid Jinja: {error}") from None

    @property
    def digest(self) -> str:
        """Of the template's text."""
        return blake3(self._source.encode("utf-8", "replace")).hexdigest()

    def render(self, messages: Sequence[Message]) -> str:
        """The conversation as text, ending where the assistant's next turn begins.

        A template that leaves out what users say, as one made for images does that walks over a
        message's parts, is given each message as a part. One that refuses system messages gets
        the conversation without them (as lm-eval does).

        Raises:
            UsageError: The template refuses the conversation, or leaves out a part of it.
        """
        others = [message for message in messages if message["role"] != "system"]
        refusal = None
        for said in (messages, others)[: 2 if len(others) < len(messages) else 1]:
            for in_parts in (False, True):
                try:
                    text = self._rendered(said, in_parts)
                except Exception as error:  # a template may raise anything
                    refusal = refusal or error
                    continue
                if all(m["content"].strip() in text for m in said if m["role"] == "user"):
                    return text
        if refusal:
            raise UsageError(f"the model's chat template failed: {refusal}")
        raise UsageError(
            "the model's chat template leaves the question out of the prompt; ask without "
            "--apply-chat-template, or mend the template"
        )

    def _rendered(self, messages: Sequence[Message], in_parts: bool) -> str:
        shaped = [
            {**m, "content": [{"type": "text", "text": m["content"]}]} if in_parts else m
            for m in messages
        ]
        return self._template.render(
            messages=shaped,
            tools=None,
            documents=None,
            add_generation_prompt=True,
            **self._tokens,
        )

    def _strftime_now(self, form: str) -> str:
        self.reads_clock = True
        return datetime.combine(self.today, time()).strftime(form)


def _raise(message: str) -> None:
    raise TemplateError(message)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


class _Generation(Extension):
    """`{% generation %}` marks the assistant's words for training; here it changes nothing."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own declaration

    def parse(self, parser: Parser) -> nodes.Node:
        """The block's body, in a scope of its own."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)
