"""Pictures of graphs: the tree for the terminal, Mermaid, DOT and what Graphviz makes of it."""

from __future__ import annotations

import re
import shutil
from xml.etree import ElementTree

import pytest

from qemu_blocksdk.graph import BlockGraph
from qemu_blocksdk.graph.render import LINES, TEXT, legend
from qemu_blocksdk.tools import svg
from tests.unit.graph.graphs import edge, graph, info, vertex

needs_graphviz = pytest.mark.skipif(shutil.which("dot") is None, reason="no program 'dot'")

CHAIN = graph(
    [vertex(1, "", "block-backend"), vertex(2, "disk"), vertex(3, "base"), vertex(4, "file")],
    [
        edge(1, 2, "root", ["consistent-read", "write"], ["write-unchanged"]),
        edge(2, 4, "file", ["resize"]),
        edge(2, 3, "backing", [], []),
    ],
    info("disk", "qcow2"),
    info("file", "file", "/tmp/disk", ro=True),
)
NAMES = (
    *('a"b', "<b>x</b>", "a&amp;b & c", "[x](y)", "{z}|`w`", "#35;", "\\N \\n", "end", "1. list"),
    *("**b** _i_", "\N{FLOPPY DISK} übel", "%%c", "--> n1", "graph; x", "-->|y|", "<br/>"),
)
"""Names that mean something in some language of pictures."""
CONTROL = ("a\nb", "\x1b[31mred", "a\rb", "\ud800")
"""Names that would do something to a terminal, or are no text."""


def named(*names: str) -> BlockGraph:
    return graph(
        [vertex(n, name) for n, name in enumerate(names)],
        [edge(n, n + 1, name) for n, name in enumerate(names[:-1])],
    )


# -- the tree -----------------------------------------------------------------------------


def test_the_tree_shows_names_drivers_and_the_files_of_leaves() -> None:
    assert CHAIN.draw() == (
        "unnamed [block-backend]\n"
        "└─ root: disk [qcow2]\n"
        "   ├─ file: file [file, read-only] /tmp/disk\n"
        "   └─ backing: base [block-driver]"
    )


def test_the_tree_shows_permissions_and_what_the_letters_mean() -> None:
    assert CHAIN.draw(permissions=True) == (
        "unnamed [block-backend]\n"
        "└─ root rw/u: disk [qcow2]\n"
        "   ├─ file s/rwus: file [file, read-only] /tmp/disk\n"
        "   └─ backing -/-: base [block-driver]\n"
        "holds/shares: r consistent-read, w write, u write-unchanged, s resize"
    )


def test_a_shared_subtree_is_unfolded_once() -> None:
    shared = graph(
        [vertex(1, "a"), vertex(2, "b"), vertex(3, "shared"), vertex(4, "leaf")],
        [edge(1, 3, "file"), edge(2, 3, "file"), edge(3, 4, "file")],
    )
    assert shared.draw().count("leaf") == 1
    assert "shared [block-driver] (see above)" in shared.draw()


def test_an_empty_graph_draws_nothing() -> None:
    assert graph([], []).draw(permissions=True) == ""
    assert graph([], []).mermaid() == "flowchart TB\n"
    assert "->" not in graph([], []).dot()


@pytest.mark.parametrize("name", CONTROL)
def test_no_name_can_move_the_cursor_or_end_a_line(name: str) -> None:
    picture = named(name, "x")
    for text in (picture.draw(), picture.mermaid(), picture.dot(), str(picture.nodes[0])):
        assert all(c.isprintable() or c == "\n" for c in text)
    assert len(picture.draw().splitlines()) == 2


def test_jobs_exports_and_devices_say_what_they_are() -> None:
    picture = graph(
        [
            vertex(1, "disk"),
            vertex(2, "m", "block-job"),
            vertex(3, "", "block-backend"),
            vertex(4, "/machine/peripheral/d0/virtio-backend", "block-backend"),
            vertex(5, "", "block-backend"),
            vertex(6, "copy"),
        ],
        [
            edge(2, 1, "main node"),
            edge(2, 6, "target"),
            edge(3, 1, "root"),
            edge(4, 1, "root"),
            edge(5, 6, "root"),
        ],
        jobs=[{"id": "m", "type": "mirror", "status": "ready"}],
        exports=[{"id": "e0", "type": "nbd", "node-name": "copy"}],
    )
    roots = [line for line in picture.draw().splitlines() if line[0].isalnum()]
    assert roots == [
        "m [mirror job, ready]",
        "unnamed [block-backend] perhaps of job 'm'",
        "d0 [device]",
        "e0 [nbd export]",
    ]


# -- Graphviz -----------------------------------------------------------------------------


def texts(picture: str) -> list[str]:
    found = ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")
    return [(each.text or "").strip() for each in found]


@needs_graphviz
@pytest.mark.parametrize("name", NAMES)
def test_graphviz_draws_any_name_as_it_is(name: str) -> None:
    drawn = texts(svg(named(name, "x").dot()))
    assert drawn.count(name) == 2  # of the node, of its edge


@needs_graphviz
def test_an_svg_has_every_node_and_edge_and_a_legend() -> None:
    drawn = texts(svg(CHAIN.dot(permissions=True)))
    assert {"disk", "qcow2", "root rw/u", "/tmp/disk", "storage", "block node"} <= set(drawn)
    assert any(each.startswith("holds/shares") for each in drawn)


def test_only_what_is_there_is_in_the_legend() -> None:
    text = CHAIN.dot()
    assert "other user" in text
    assert "holds/shares" not in text
    assert ">job<" not in text


def test_a_long_file_name_is_cut_at_its_beginning() -> None:
    path = "/very/long/path/of/an/image/of/some/guest/disk.qcow2"
    text = graph([vertex(1, "f")], [], info("f", "file", path)).dot()
    assert "…/an/image/of/some/guest/disk.qcow2"[-31:] in text
    assert f'tooltip="{path}"' in text


def test_the_password_in_an_address_is_not_drawn() -> None:
    address = "https://somebody:secret@example.org/disk"
    picture = graph([vertex(1, "f")], [], info("f", "https", address))
    for text in (picture.draw(), picture.mermaid(), picture.dot(), repr(picture)):
        assert "f" in text
        assert "secret" not in text


def test_vertices_of_one_name_are_boxes_of_their_own() -> None:
    picture = graph(
        [vertex(1, "disk"), vertex(2, "", "block-backend"), vertex(3, "", "block-backend")],
        [edge(2, 1, "root"), edge(3, 1, "root")],
    )
    assert "unnamed backend of node 'disk' (2)" in picture.dot()
    assert picture.draw().count("unnamed") == 2


# -- notebooks ----------------------------------------------------------------------------


@needs_graphviz
def test_a_notebook_shows_an_svg_and_has_the_tree_as_text() -> None:
    for drawable in (CHAIN, CHAIN.diff(named("disk"))):
        bundle = drawable._repr_mimebundle_()
        assert set(bundle) == {"text/plain", "image/svg+xml"}
        assert bundle["text/plain"] == drawable.draw()
        assert "disk" in texts(bundle["image/svg+xml"])


def test_a_notebook_shows_the_tree_where_graphviz_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert CHAIN._repr_mimebundle_() == {"text/plain": CHAIN.draw()}


def test_a_notebook_gets_only_the_kinds_that_it_asks_for() -> None:
    assert set(CHAIN._repr_mimebundle_(include=["text/plain"])) == {"text/plain"}
    assert "text/plain" not in CHAIN._repr_mimebundle_(exclude=["text/plain"])


def test_reprs_count_what_is_there() -> None:
    assert repr(CHAIN) == "<BlockGraph: 4 nodes, 3 edges; roots: unnamed backend>"
    assert repr(CHAIN.diff(CHAIN)) == "<GraphDiff: no difference>"
    assert repr(named("a").diff(named("a", "b", "c"))) == (
        "<GraphDiff: 2 nodes added, 2 edges added>"
    )


# -- Mermaid ------------------------------------------------------------------------------


def test_a_flowchart_has_every_node_and_edge() -> None:
    lines = CHAIN.mermaid(permissions=True).splitlines()
    assert '  n1["disk<br/>qcow2"]:::block_node' in lines
    assert '  n3[("file<br/>file, read-only<br/>/tmp/disk")]:::storage' in lines
    assert '  n0 -->|"root rw/u"| n1' in lines
    assert '    block_node_[" block node "]:::block_node' in lines
    assert sum(line.startswith("  classDef ") for line in lines) == 3


@pytest.mark.parametrize("name", NAMES)
def test_a_flowchart_has_any_name_in_codes(name: str) -> None:
    line = named(name, "x").mermaid().splitlines()[1]
    label = line.removeprefix('  n0["').partition("<br/>")[0]
    assert not re.search(r'["<>&`*#{}\[\]|;\\%](?!\d+;)|[.-] ', re.sub(r"#\d+;", "_", label))
    assert re.sub(r"#(\d+);", lambda code: chr(int(code[1])), label) == name


# -- colours ------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("page", ["#ffffff", "#0d1117"])
@pytest.mark.parametrize("line", LINES.values())
def test_lines_show_on_a_light_and_on_a_dark_page(line: str, page: str) -> None:
    assert contrast(line, page) >= 3


def test_words_show_in_their_boxes() -> None:
    drawn = (CHAIN, CHAIN.diff(named("x", "y")))
    legends = [legend(each._picture(permissions=False)) for each in drawn]
    fills = [fill for each in legends for fill, _ in each.values()]
    assert len(fills) >= 5
    assert all(contrast(TEXT, fill) >= 7 for fill in fills)
