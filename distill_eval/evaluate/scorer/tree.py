"""The prefix tree of a task's requests, and the order in which its tokens are computed.

Requests are token ids, never strings, so options whose joint tokenization changes the context's last tokens simply
branch one token earlier. A *trunk* is a run of tokens whose keys and values are kept while everything below it is
computed (the few-shot preamble that all documents share); a *segment* is a subtree small enough to be computed in one
go behind the current trunk; a *batch* is what goes through the model at once: segments side by side in one row
without padding, or a single piece of a trunk. The plan depends on the requests and on `batch_tokens` alone, so a
resumed run computes the very same batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

MIN_TRUNK_TOKENS = 24
"""A shared prefix shorter than this is computed again in each branch: a forward pass of its own costs more."""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """Score `targets` as the continuation of what precedes them.

    `inputs` are the tokens that the model reads; the logits at its last `len(targets)` positions predict `targets`.
    """

    inputs: tuple[int, ...]
    targets: tuple[int, ...]


@dataclass(slots=True)
class Node:
    """An edge of the tree: `tokens` at depths `depth` to `depth + len(tokens) - 1` of every path through it."""

    depth: int
    tokens: tuple[int, ...]
    children: list[Node] = field(default_factory=list)
    scores: list[tuple[int, int, int]] = field(default_factory=list)
    """(offset in `tokens`, request, index in its targets) of each target predicted inside this edge."""
    num_subtree_tokens: int = 0


@dataclass(slots=True)
class Segment:
    """A subtree in one row: `stem_len` tokens in a chain, then branches.

    `parents[i]` is the place in the segment of token i's predecessor, -1 for the first (which follows the trunk).
    """

    tokens: list[int]
    depths: list[int]
    parents: list[int]
    stem_len: int


@dataclass(slots=True)
class Batch:
    """What goes through the model at once, behind `num_past` tokens of trunk."""

    num_past: int
    segments: list[Segment]
    scores: list[tuple[int, int, int]]
    """(row in the batch, request, index in its targets)."""
    keep: bool
    """Whether its keys and values become part of the trunk (then it is one chain)."""

    @property
    def num_tokens(self) -> int:
        """Tokens in all segments."""
        return sum(len(segment.tokens) for segment in self.segments)


def build_tree(requests: Sequence[TokenRequest]) -> Node:
    """The radix tree of the requests' inputs; its root is an edge without tokens."""
    order = sorted(range(len(requests)), key=lambda i: requests[i].inputs)
    root = Node(depth=0, tokens=())
    path = [root]
    previous: tuple[int, ...] = ()
    for index in order:
        inputs = requests[index].inputs
        _attach(path, inputs, common_prefix(previous, inputs))
        _place_scores(path, index, requests[index])
        previous = inputs
    _count(root)
    return root


def common_prefix(a: Sequence[object], b: Sequence[object]) -> int:
    """Length of the common prefix, by bisection on slice comparisons (which run in C)."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _attach(path: list[Node], inputs: tuple[int, ...], shared: int) -> None:
    """Cut `path` back to depth `shared` (splitting the edge that crosses it) and append what is new of `inputs`."""
    while path[-1].depth >= shared and len(path) > 1:
        path.pop()
    last = path[-1]
    cut = shared - last.depth
    if cut < len(last.tokens):
        rest = Node(depth=shared, tokens=last.tokens[cut:], children=last.children)
        rest.scores = [(offset - cut, request, target) for offset, request, target in last.scores if offset >= cut]
        last.scores = [score for score in last.scores if score[0] < cut]
        last.tokens, last.children = last.tokens[:cut], [rest]
    if shared < len(inputs):
        node = Node(depth=shared, tokens=inputs[shared:])
        last.children.append(node)
        path.append(node)


def _place_scores(path: list[Node], index: int, request: TokenRequest) -> None:
    """Note on the path's edges where each target of the request is predicted."""
    first = len(request.inputs) - len(request.targets)
    for node in reversed(path):
        end = node.depth + len(node.tokens)
        for position in range(max(first, node.depth), min(end, len(request.inputs))):
            node.scores.append((position - node.depth, index, position - first))
        if node.depth <= first:
            break


def _count(root: Node) -> None:
    """Fill in `num_subtree_tokens`, without recursion (a chain of edges can be deep)."""
    stack, order = [root], []
    while stack:
        node = stack.pop()
        order.append(node)
        stack.extend(node.children)
    for node in reversed(order):
        node.num_subtree_tokens = len(node.tokens) + sum(child.num_subtree_tokens for child in node.children)


def plan(root: Node, batch_tokens: int) -> Iterable[Batch]:
    """Yield the batches in the order in which they must run: a trunk before what hangs from it, depth first.

    Batches hold at most `batch_tokens` tokens (a segment never holds more).
    """
    if batch_tokens < 1:
        raise ValueError(f"batch_tokens must be at least 1, not {batch_tokens}")
    yield from _plan_below(root, batch_tokens)


def _plan_below(top: Node, batch_tokens: int) -> Iterable[Batch]:
    """Plan `top`'s subtree behind a trunk of `top.depth` tokens."""
    todo: list[Node] = [top]
    pending: list[Node] = []
    deferred: list[Node] = []
    while todo:
        node = todo.pop()
        if node.num_subtree_tokens <= batch_tokens:
            pending.append(node)
        elif node.tokens and (len(node.tokens) >= MIN_TRUNK_TOKENS or not node.children):
            deferred.append(node)
        else:
            todo.extend(_without_sharing(node))
    yield from _side_by_side(top.depth, pending, batch_tokens)
    for node in deferred:
        yield from _plan_trunk(node, batch_tokens)


def _without_sharing(node: Node) -> list[Node]:
    """The children with `node`'s few tokens in front of each; its own scores stay with the first."""
    lifted: list[Node] = []
    for child in node.children:
        shift = len(node.tokens)
        scores = [(offset + shift, request, target) for offset, request, target in child.scores]
        if not lifted:
            scores = node.scores + scores
        lifted.append(
            Node(
                depth=node.depth,
                tokens=node.tokens + child.tokens,
                children=child.children,
                scores=scores,
                num_subtree_tokens=child.num_subtree_tokens + shift,
            )
        )
    return lifted


def _plan_trunk(node: Node, batch_tokens: int) -> Iterable[Batch]:
    """Compute the edge piece by piece, keeping its keys and values, then everything below it."""
    for start in range(0, len(node.tokens), batch_tokens):
        piece = node.tokens[start : start + batch_tokens]
        depth = node.depth + start
        segment = Segment(
            tokens=list(piece),
            depths=list(range(depth, depth + len(piece))),
            parents=list(range(-1, len(piece) - 1)),
            stem_len=len(piece),
        )
        scores = [(o - start, r, t) for o, r, t in node.scores if start <= o < start + len(piece)]
        more = bool(node.children) or start + batch_tokens < len(node.tokens)
        yield Batch(num_past=depth, segments=[segment], scores=scores, keep=more)
    if node.children:
        below = Node(depth=node.depth + len(node.tokens), tokens=(), children=node.children)
        below.num_subtree_tokens = node.num_subtree_tokens - len(node.tokens)
        yield from _plan_below(below, batch_tokens)


def _side_by_side(num_past: int, nodes: list[Node], batch_tokens: int) -> Iterable[Batch]:
    """Fill batches with subtrees, longest first so that neighbors are alike and the last batch is the small one."""
    batch = Batch(num_past=num_past, segments=[], scores=[], keep=False)
    size = 0
    for node in sorted(nodes, key=lambda n: -n.num_subtree_tokens):
        if size and size + node.num_subtree_tokens > batch_tokens:
            yield batch
            batch, size = Batch(num_past=num_past, segments=[], scores=[], keep=False), 0
        for top in [node] if node.tokens else node.children:
            segment, scores = _flatten(top)
            batch.scores.extend((size + row, request, target) for row, request, target in scores)
            batch.segments.append(segment)
            size += len(segment.tokens)
    if size:
        yield batch


def _flatten(top: Node) -> tuple[Segment, list[tuple[int, int, int]]]:
    """The subtree in depth-first order, and its scores by row of the segment."""
    segment = Segment(tokens=[], depths=[], parents=[], stem_len=len(top.tokens))
    scores: list[tuple[int, int, int]] = []
    stack: list[tuple[Node, int]] = [(top, -1)]
    while stack:
        node, parent = stack.pop()
        start = len(segment.tokens)
        segment.tokens.extend(node.tokens)
        segment.depths.extend(range(node.depth, node.depth + len(node.tokens)))
        segment.parents.append(parent)
        segment.parents.extend(range(start, start + len(node.tokens) - 1))
        scores.extend((start + offset, request, target) for offset, request, target in node.scores)
        last = start + len(node.tokens) - 1
        stack.extend((child, last) for child in reversed(node.children))
    return segment, scores
