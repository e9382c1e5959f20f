"""A trained run in use: its weights restored, evaluated, exported; raw lines scored."""
