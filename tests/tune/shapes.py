"""Questions, and cascades of every shape that can be tuned."""

import stepwell as sw

QUERIES = {
    "q1": "how do I find the middle value of some numbers?",
    "q2": "json",
    "q3": "time a small piece of code",
    "blank": "  ",
}


def cascades(corpus: sw.Corpus) -> dict[str, sw.Cascade]:
    """By name, one of each shape."""
    rrf = sw.Hybrid(corpus, 30, fusion="rrf", weights=[2.0, 1.0])
    return {
        "bm25 > cross": sw.Cascade([sw.BM25(corpus, 20), sw.CrossEncoder(k=4, depth=12)]),
        "hybrid > cross": sw.Cascade([sw.Hybrid(corpus, 12), sw.CrossEncoder(k=4)]),
        "three stages": sw.Cascade(
            [sw.Hybrid(corpus, 30), sw.BiEncoder(corpus, 12, blend=0.3), sw.CrossEncoder(k=4)]
        ),
        "rrf > late > cross": sw.Cascade(
            [rrf, sw.LateInteraction(k=9, blend=0.7), sw.CrossEncoder(k=None, blend=1.0)]
        ),
        "bm25 > late": sw.Cascade([sw.BM25(corpus, 25), sw.LateInteraction(k=5)]),
        "dense": sw.Cascade([sw.Dense(corpus, 15)]),
    }
