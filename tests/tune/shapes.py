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
    arms = [sw.BM25(corpus, 12), sw.Dense(corpus, 9), sw.Keyword(corpus, 7)]
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
        "three arms": sw.Cascade([sw.Hybrid(arms, 10, weights=[1, 2, 3]), sw.BiEncoder(corpus, 4)]),
        # The last stage is given more than the one before has read.
        "cross > late": sw.Cascade(
            [sw.Hybrid(corpus, 14), sw.CrossEncoder(k=12, depth=6), sw.LateInteraction(k=5)]
        ),
    }
