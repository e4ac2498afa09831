"""What a user gives: images read safely, where they come from, conditions, prompts and words."""
