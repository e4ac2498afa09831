"""The engine under DIOR: a vision-language model, its prompts, and exact ways to run one image under many conditions.

`loading` finds a model's parts, `prompts` makes what goes in, `tree` lays an image's prompts out as one row; `plain`,
`cached` and `packed` are three ways of running it that give the same vectors, and `self_check` decides which of them
the model at hand allows.
"""
