"""The block graph as a value: what is connected to what, and how. Pure, no I/O."""

from .blocked import Obstacle
from .diff import EdgeChange, GraphDiff
from .model import BlockGraph
from .node import Edge, GraphNode, listed

__all__ = ["BlockGraph", "Edge", "EdgeChange", "GraphDiff", "GraphNode", "Obstacle", "listed"]
