"""Thoughts that a chat template opens: DIOR reads the token that an answer follows, not one inside a thought.

Templates differ in the marks they use and in whether they have a switch. Both are data here; how an empty thought is
closed is asked of the template itself (`chat`).
"""

import re

THINKING = ("off", "as-is")
# For answers without a thought: what Qwen3 and GLM read; DeepSeek, Granite and Kimi; MiniMax; Cohere.
SWITCHES = {"enable_thinking": False, "thinking": False, "thinking_mode": "disabled", "reasoning": False}
MARKS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "<mm:think>": "</mm:think>",
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|channel>thought": "<channel|>",
    "<unused94>thought": "<unused95>",
}
_MARK = re.compile("|".join(re.escape(mark) for pair in MARKS.items() for mark in pair))


def open_thought(text: str) -> tuple[str, str] | None:
    """The mark of a thought that this text opens and does not close, and the mark that would close it."""
    marks = _MARK.findall(text)
    return (marks[-1], MARKS[marks[-1]]) if marks and marks[-1] in MARKS else None


def closing(prompt: str, mark: str, replies: list[tuple[str, str]], answer: str) -> str:
    r"""What closes the thought that a prompt opens: the template's own form, else the mark and a blank line.

    Args:
        prompt: As rendered, with its open thought.
        mark: What closes it.
        replies: Thoughts, and the same chat rendered with each as the assistant's thought before `answer`.
        answer: The assistant's answer in those chats.
    """
    for thought, chat in replies:
        start = len(prompt) + len(thought)
        if chat.startswith(prompt + thought) and (end := chat.find(answer, start)) > 0:
            own = chat[start:end]
            if own.strip() == mark:
                return own
    return f"{mark}\n\n"
