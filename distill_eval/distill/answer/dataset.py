"""The answers as a data set that `distill`, TRL and others read: one JSON object per line.

`messages` (chat), or `prompt`, `completion` and `text`, the two together; beside them the numbers of prompt and answer,
`finish_reason` and the tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from distill_eval.distill.chat import ASSISTANT
from distill_eval.distill.documents import Document
from distill_eval.schema.answers import Answer


def lines(prompts: Sequence[Document], num_answers: int, answers: Mapping[int, Answer], *, keep_cut_off: bool) -> str:
    """The data set, in the order of the prompts.

    Args:
        prompts: What was asked.
        num_answers: Per prompt.
        answers: By request: prompt number * num_answers + answer number.
        keep_cut_off: Whether answers that the limit ended are part of it.
    """
    kinds = ("completed", "cut_off") if keep_cut_off else ("completed",)
    found = []
    for number in sorted(answers):
        answer, (prompt, place) = answers[number], divmod(number, num_answers)
        if answer.kind in kinds:
            row = _example(prompts[prompt], answer.text or "") | {
                "prompt_number": prompt,
                "answer_number": place,
                "finish_reason": answer.finish_reason,
                "num_prompt_tokens": answer.num_prompt_tokens,
                "num_answer_tokens": answer.num_answer_tokens,
            }
            found.append(json.dumps(row, ensure_ascii=False) + "\n")
    return "".join(found)


def _example(prompt: Document, answer: str) -> dict[str, object]:
    if isinstance(prompt, str):
        return {"prompt": prompt, "completion": answer, "text": prompt + answer}
    return {"messages": [*prompt, {"role": ASSISTANT, "content": answer}]}
