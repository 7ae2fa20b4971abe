"""Named public sets of events: where the original is, what it must hash to, and under which licence."""

from __future__ import annotations

from statewise.core.datasets import Dataset

__all__ = ["DATASETS"]

_GROUPLENS = "MovieLens (GroupLens): research use; no redistribution and no commercial use without permission"
_HARPER = "Harper and Konstan, The MovieLens Datasets: History and Context, 2015"

DATASETS = {
    "ml-100k": Dataset(
        summary="100,000 film ratings of 943 users and 1,682 films with times, as parquet",
        file="ml-100k.parquet",
        sha256="48cc0b4d852c6d307f1326ac1a730b3e7a9c5b4496fe3d278ae4ec7dfcba9147",
        licence=_GROUPLENS,
        credit=_HARPER,
        size=677_364,
    ),
    "ml-1m": Dataset(
        summary="999,611 film ratings of 6,040 users and 3,416 films in order",
        file="ml-1m.parquet",
        sha256="090687fc8824ff7f2be5a4131524eb006bd439b83bfa3e12b43392b24024f6b5",
        licence=_GROUPLENS,
        credit=_HARPER,
        size=1_638_996,
    ),
    "beauty": Dataset(
        summary="353,962 reviews of 40,226 users and 54,542 products in order (BERT4Rec's file)",
        file="beauty.bert4rec.parquet",
        sha256="3b8c177762eae78a317a6359b0bfd95b0ece452dc0956259e03e9df3a8b2437e",
        licence="Amazon product reviews: released for research, no explicit grant of redistribution",
        credit="McAuley et al., Image-based Recommendations on Styles and Substitutes, 2015",
        size=1_105_495,
    ),
}
"""Public sets by name; none is shipped, and none has an address from which this version fetches."""
