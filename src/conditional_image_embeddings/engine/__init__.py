"""The engine under DIOR: a vision-language model, its prompts, and exact strategies for one image, many conditions.

`loading` finds a model's parts, `prompts` makes its inputs, `tree` lays an image's prompts out as one row; `separate`,
`cached` and `packed` are three strategies that give the same vectors. `self_check` finds out which the model allows,
`known_plans` remembers it, `plan` is the outcome and is applied to the model.
"""
