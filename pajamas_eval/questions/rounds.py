"""What was said about a question, as the prompt of a later round."""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from pajamas_eval.api.media import Prompt
from pajamas_eval.questions.chat_template import ChatTemplate, Message


@dataclass(frozen=True, slots=True)
class PlainConversation:
    """Text that goes on: what the model wrote follows its prompt, and the next question that."""

    first: Prompt

    def prompt(self, *turns: tuple[str, str]) -> Prompt:
        """The first prompt, then for each turn the model's answer and the next question."""
        said = "".join(f"{answer}\n\n{question}" for answer, question in turns)
        return replace(self.first, text=self.first.text + said)


@dataclass(frozen=True, slots=True)
class ChatConversation:
    """Messages that go through the chat template."""

    first: Prompt
    messages: Sequence[Message]
    template: ChatTemplate

    def prompt(self, *turns: tuple[str, str]) -> Prompt:
        """The first prompt, then for each turn the model's answer and the next question."""
        messages = [*self.messages]
        for answer, question in turns:
            messages.append({"role": "assistant", "content": answer})
            messages.append({"role": "user", "content": question})
        return replace(self.first, text=self.template.render(messages))
