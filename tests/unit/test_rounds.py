"""Prompts of later rounds."""

from pajamas_eval.api.media import Image, Prompt
from pajamas_eval.questions.chat_template import ChatTemplate
from pajamas_eval.questions.rounds import ChatConversation, PlainConversation

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    "<assistant>"
)
FIRST = Prompt("Which number?", (Image("d", "a.png"),))


def test_plain_text_goes_on_after_what_the_model_wrote() -> None:
    conversation = PlainConversation(FIRST)
    assert conversation.prompt() == FIRST
    second = conversation.prompt((" 7", "And then?"), (" 8", "Sure?"))
    assert second.text == "Which number? 7\n\nAnd then? 8\n\nSure?"
    assert second.images == FIRST.images


def test_a_chat_goes_through_the_template_as_a_whole() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Which number?"},
    ]
    template = ChatTemplate(TEMPLATE, "<s>", "</s>")
    conversation = ChatConversation(FIRST, messages, template)
    second = conversation.prompt(("7", "And then?"))
    assert second.text == (
        "<s><system>Be brief.<user>Which number?<assistant>7<user>And then?<assistant>"
    )
    assert second.images == FIRST.images
    assert len(messages) == 2, "the conversation itself stays as it is"
