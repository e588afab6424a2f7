"""Draws a package's rooms from its imports, for Graphviz: ``python docs/draw_rooms.py orchestrator | dot -Tsvg``.

A room is a module or a folder directly below the package. An arrow says that one room imports another. Arrows that a
longer way of arrows implies are counted but not drawn; ``--all`` draws every arrow.
"""

from __future__ import annotations

import sys

import grimp

Arrow = tuple[str, str]


def rooms_of(package: str) -> tuple[set[str], set[str], set[Arrow]]:
    """All rooms of a package, those that are folders, and who imports whom."""
    graph = grimp.build_graph(package)
    paths = [module.split(".") for module in graph.modules]
    rooms = {path[1] for path in paths if len(path) > 1}
    folders = {path[1] for path in paths if len(path) > 2}
    arrows = {
        (path[1], other.split(".")[1])
        for path in paths
        if len(path) > 1
        for other in graph.find_modules_directly_imported_by(".".join(path))
        if "." in other
    }
    return rooms, folders, {(here, there) for here, there in arrows if here != there}


def is_implied(arrow: Arrow, arrows: set[Arrow]) -> bool:
    """Whether a longer way of arrows leads from the arrow's start to its end."""
    start, end = arrow
    reached: set[str] = set()
    ahead = [there for here, there in arrows if here == start and there != end]
    while ahead:
        room = ahead.pop()
        if room not in reached:
            reached.add(room)
            ahead += [there for here, there in arrows if here == room]
    return end in reached


def main() -> None:
    """Print the drawing."""
    package, *options = sys.argv[1:]
    rooms, folders, arrows = rooms_of(package)
    drawn = arrows if "--all" in options else {arrow for arrow in arrows if not is_implied(arrow, arrows)}
    print("digraph {")
    print(
        f'  label="{package}: {len(rooms)} rooms, {len(arrows)} arrows"; labelloc=t; fontname="sans-serif";'
    )
    print(
        '  node [shape=box, style="rounded,filled", fillcolor="#eef4fc", color="#3b6fb6", fontname="sans-serif"];'
    )
    print('  edge [color="#718096", arrowsize=0.7];')
    for room in sorted(rooms):
        print(f'  "{room}" [label="{room}{"/" if room in folders else ""}"];')
    for here, there in sorted(drawn):
        print(f'  "{here}" -> "{there}";')
    print("}")


if __name__ == "__main__":
    main()
