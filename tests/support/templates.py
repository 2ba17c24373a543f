"""Chat templates of the kinds that published students have, in a few lines each, for the tiny student's tokenizer."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support import tiny_student

_TURN = "'<|start|>' + m.role + '\\n' + m.content + '<|end|>\\n'"
_OPEN = "{% if add_generation_prompt %}{{ '<|start|>assistant\\n' }}{% endif %}"


@dataclass(frozen=True)
class Kind:
    """A template, or None for a base model's lack of one, and how its answers look.

    Attributes:
        template: Jinja.
        begins: the tokenizer begins every text with BOS.
        context: what the student is asked with for the question ``q`` after the system's ``s``.
        learnt: what it is to write for the answer ``a``.
        system: the template has a place for a system turn.
    """

    template: str | None
    context: str
    learnt: str
    begins: bool = False
    system: bool = True


KINDS = {
    "chatml": Kind(
        tiny_student.TEMPLATE, "<|start|>system\ns<|end|>\n<|start|>user\nq<|end|>\n<|start|>assistant\n", "a<|end|>\n"
    ),
    "opens a thought, and hides thoughts": Kind(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[User]' + m.content }}"
        "{% elif m.role == 'assistant' %}{{ '[Bot]' + m.content.split('</think>')[-1] + '<|end|>' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '[Bot]<think>\\n' }}{% endif %}",
        "<|start|>[User]s\n\nq[Bot]",
        "a<|end|>",
        begins=True,
        system=False,
    ),
    "writes an empty thought": Kind(
        "{% for m in messages %}{% if m.role == 'assistant' %}{{ '<|start|>assistant\\n' }}"
        "{% if '</think>' not in m.content and loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
        "{{ (m.content if loop.last else m.content.split('</think>')[-1]) + '<|end|>\\n' }}{% else %}{{ "
        + _TURN
        + " }}{% endif %}"
        "{% endfor %}" + _OPEN,
        "<|start|>system\ns<|end|>\n<|start|>user\nq<|end|>\n<|start|>assistant\n",
        "<think>\n\n</think>\n\na<|end|>\n",
    ),
    "refuses a system turn": Kind(
        "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
        "{{ '[turn]' + m.role + '\\n' + m.content | trim + '<|end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '[turn]assistant\\n' }}{% endif %}",
        "<|start|>[turn]user\ns\n\nq<|end|>\n[turn]assistant\n",
        "a<|end|>\n",
        begins=True,
        system=False,
    ),
    "writes a blank before the answer": Kind(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}"
        "{% else %}{{ '[INST] ' + m.content + ' [/INST]' }}{% endif %}{% endfor %}",
        "<|start|>[INST] s [/INST][INST] q [/INST]",
        " a<|end|>",
        begins=True,
    ),
    "shows the system's words where the last turn is the user's": Kind(
        "{{ bos_token }}{% if messages[0].role == 'system' %}{% set s = messages[0].content %}{% set messages = messages[1:] %}"
        "{% endif %}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' }}{% if loop.last and s %}{{ s + '\\n\\n' }}"
        "{% endif %}{{ m.content + '[/INST]' }}{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}",
        "<|start|>[INST] s\n\nq[/INST]",
        " a<|end|>",
        begins=True,
    ),
    "writes no mark at the end": Kind(
        "{% for m in messages %}{% if m.role == 'user' %}{{ '### Instruction:\\n' + m.content + '\\n\\n' }}"
        "{% elif m.role == 'assistant' %}{{ '### Response:\\n' + m.content + '\\n\\n' }}"
        "{% else %}{{ m.content + '\\n\\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}",
        "s\n\n### Instruction:\nq\n\n### Response:\n",
        "a\n\n<|end|>",
        begins=True,
    ),
    "opens no turn": Kind(
        "{% for m in messages %}{{ " + _TURN + " }}{% endfor %}",
        "<|start|>system\ns<|end|>\n<|start|>user\nq<|end|>\n",
        "<|start|>assistant\na<|end|>\n",
    ),
    "none": Kind(None, "s\n\nq\n\n", "a<|end|>"),
    "none, and a text begins with BOS": Kind(None, "<|start|>s\n\nq\n\n", "a<|end|>", begins=True),
}
