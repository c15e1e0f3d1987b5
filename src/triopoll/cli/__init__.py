"""The commands of ``triopoll`` beside ``serve``, ``key`` and ``ticket``.

Nothing is imported here: `serve` has its options from this package, and no more.
"""
