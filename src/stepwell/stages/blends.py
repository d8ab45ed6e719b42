"""How much a re-scoring stage weighs against the order before it, by default.

Weights of the new score, from 0 to 1, see `Candidates.scored`. At 1 a re-scorer that is weaker than
the recall on the user's documents replaces a good order by a bad one. Mean nDCG@10 of five sets
(docs/decisions/0003-fusion.md) with the embedded encoder: BM25, then the bi-encoder at .3, .5, .7
and 1: .636, .655, .659, .608; hybrid, then the bi-encoder at 0, .1 and .3: .654, .656, .657, of
which .3 loses .01 on two sets: those vectors have had their say in the hybrid. The embedded
cross-encoder after that: docs/models.md, chosen on held-out training collections.
"""

HYBRID = 0.7
BI_ENCODER = 0.5
BI_ENCODER_AFTER_HYBRID = 0.05
CROSS_ENCODER = 0.5
CROSS_ENCODER_AFTER_HYBRID = 0.4
LATE_INTERACTION = 0.5
