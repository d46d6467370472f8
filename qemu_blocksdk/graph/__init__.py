"""The block graph as a value: what is connected to what. Pure, no I/O."""

from .model import BlockGraph, Edge, GraphNode, listed

__all__ = ["BlockGraph", "Edge", "GraphNode", "listed"]
