# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Reading pickled data from outside safely: only what an allow-list names is ever looked up, nothing else runs."""
import pickle


class Forbidden(pickle.UnpicklingError):
    """The pickle wants something the allow-list does not name."""


class AllowListUnpickler(pickle.Unpickler):
    """A ``pickle.Unpickler`` that resolves ``module.name`` only through the table ``allowed``.

    Args:
        file: binary file at the pickle's first byte.
        allowed: ``{'module.name': object}``; the objects stand in for the real ones.
        persistent: what a persistent id becomes; none are accepted where it is None.

    Raises:
        Forbidden: (from ``load``) a global outside the table, or a persistent id where none is expected.
    """

    def __init__(self, file, allowed, persistent=None):
        super().__init__(file)
        self._allowed = allowed
        self._persistent = persistent

    def find_class(self, module, name):
        try:
            return self._allowed[f"{module}.{name}"]
        except KeyError:
            raise Forbidden(f"it holds {module}.{name}") from None

    def persistent_load(self, pid):
        if self._persistent is None:
            raise Forbidden("it holds a persistent id")
        return self._persistent(pid)
