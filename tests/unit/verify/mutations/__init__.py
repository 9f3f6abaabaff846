"""One breach each; importing this registers all of them."""

from tests.unit.verify.mutations import contents, order
from tests.unit.verify.mutations.registry import MUTATIONS

__all__ = ["MUTATIONS", "contents", "order"]
