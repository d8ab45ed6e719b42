"""How much a re-scoring stage weighs against the order before it, by default.

Weights of the new score, from 0 to 1, see `Candidates.scored`. At 1 a re-scorer that is weaker than
the recall on the user's documents replaces a good order by a bad one; see docs/decisions.
"""

HYBRID = 0.7
BI_ENCODER = 0.3
CROSS_ENCODER = 0.5
LATE_INTERACTION = 0.5
