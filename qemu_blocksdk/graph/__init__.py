"""The block graph as a value: nodes, edges, paths, differences and drawings. No I/O.

The one exception: to display a graph in a notebook, ``render`` runs Graphviz if it is installed.
"""

from .block_graph import BlockGraph, GraphDiff
from .diff import EdgeChange
from .model import Blocker, Edge, GraphNode, listed

__all__ = ["BlockGraph", "Blocker", "Edge", "EdgeChange", "GraphDiff", "GraphNode", "listed"]
