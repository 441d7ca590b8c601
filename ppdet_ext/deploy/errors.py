# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The one exception of this folder, so that it stands without the rest of the package."""


class DeployError(ValueError):
    """Something the user can mend. The message is one line: what is wrong, where, what to do."""
