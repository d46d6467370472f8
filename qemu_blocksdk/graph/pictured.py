"""What can be drawn: a graph, and the difference of two."""

from __future__ import annotations

from .dot import dot
from .mermaid import mermaid
from .picture import Picture
from .tree import tree


class Pictured:
    """The languages of pictures.

    With ``permissions``, edges tell what the parent holds and shares: ``root rw/rwus``. Where these
    have changed, they tell it in any case.
    """

    def _picture(self, *, permissions: bool) -> Picture:
        raise NotImplementedError

    def draw(self, *, permissions: bool = False) -> str:
        """Return a tree for the terminal; what was drawn before is not unfolded again."""
        return tree(self._picture(permissions=permissions))

    def mermaid(self, *, permissions: bool = False) -> str:
        """Return a Mermaid flowchart, as GitHub and GitLab show it in a page."""
        return mermaid(self._picture(permissions=permissions))

    def dot(self, *, permissions: bool = False) -> str:
        """Return a graph for Graphviz; :func:`qemu_blocksdk.tools.svg` makes an SVG of it."""
        return dot(self._picture(permissions=permissions))
