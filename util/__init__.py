"""Side effects and plumbing shared by every program; imports nothing else of the project."""
