"""The `leveret` command: a thin caller of the SDK. cyclopts enters here alone, rich here and in `progress`.

One module per command. Heavy imports are made inside the functions that need them: `--help` must be quick.
"""
