"""The engine under DIOR: a vision-language model, its prompts, and exact ways to run one image under many conditions.

`loading` finds a model's parts, `prompts` makes its inputs, `tree` lays an image's prompts out as one row; `separate`,
`cached` and `packed` are three strategies that give the same vectors, and `self_check` decides which the model allows.
"""
