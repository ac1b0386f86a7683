"""braidcheck gates changes to an LLM's kernels: same numbers, same model, no slower?"""

__version__ = "0.1.0"
__all__ = ("__version__",)
